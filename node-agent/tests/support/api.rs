//! An apiserver in memory: enough of it for one node.

use futures::Stream;
use gantry_proto::api::v1 as api;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::resources_server::{Resources, ResourcesServer};
use gantry_proto::meta::v1::{DeleteOptions, Status as ApiStatus};
use gantry_proto::{Key, KindInfo, any, patch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

type Id = (&'static str, Key);

#[derive(Default)]
struct Store {
    revision: i64,
    objects: BTreeMap<Id, Value>,
    events: Vec<(i64, &'static str, &'static str, Value)>,
}

#[derive(Clone, Default)]
pub struct Api {
    store: Arc<Mutex<Store>>,
    changed: Arc<Notify>,
}

impl Api {
    pub async fn serve(&self, address: SocketAddr) {
        let service = ResourcesServer::new(self.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve(address),
        );
    }

    pub fn apply(&self, value: Value) {
        let info = KindInfo::of_object(
            value["apiVersion"].as_str().unwrap(),
            value["kind"].as_str().unwrap(),
        )
        .unwrap();
        let mut store = self.store.lock().unwrap();
        let id = id(info, &value);
        let kind = if store.objects.contains_key(&id) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        store.put(info, kind, value);
        drop(store);
        self.changed.notify_waiters();
    }

    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let info = KindInfo::of_resource(resource).unwrap();
        self.store
            .lock()
            .unwrap()
            .objects
            .get(&(info.resource, Key::new(namespace, name)))
            .cloned()
    }

    pub fn list(&self, resource: &str) -> Vec<Value> {
        let store = self.store.lock().unwrap();
        store
            .objects
            .iter()
            .filter(|((of, _), _)| *of == resource)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// As a user deletes a pod.
    pub fn delete_pod(&self, namespace: &str, name: &str, grace: i64) {
        let info = KindInfo::of_resource("pods").unwrap();
        self.store
            .lock()
            .unwrap()
            .delete(info, &Key::new(namespace, name), Some(grace));
        self.changed.notify_waiters();
    }

    /// Waits until what `look` sees is there.
    pub async fn eventually<T>(&self, what: &str, mut look: impl FnMut(&Api) -> Option<T>) -> T {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let changed = self.changed.notified();
            if let Some(found) = look(self) {
                return found;
            }
            if std::time::Instant::now() > deadline {
                let pods = self.list("pods");
                let statuses: Vec<&Value> = pods.iter().map(|pod| &pod["status"]).collect();
                let events = self.list("events");
                let events: Vec<&Value> = events.iter().map(|event| &event["message"]).collect();
                panic!("never: {what}\n{statuses:#?}\n{events:#?}");
            }
            let _ = tokio::time::timeout(std::time::Duration::from_millis(50), changed).await;
        }
    }
}

fn id(info: &'static KindInfo, value: &Value) -> Id {
    let text = |name: &str| value["metadata"][name].as_str().unwrap_or_default().to_string();
    let namespace = if info.namespaced {
        text("namespace")
    } else {
        String::new()
    };
    (info.resource, Key::new(namespace, text("name")))
}

impl Store {
    fn put(&mut self, info: &'static KindInfo, kind: &'static str, mut value: Value) -> Value {
        self.revision += 1;
        let metadata = &mut value["metadata"];
        metadata["resourceVersion"] = json!(self.revision.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.revision));
            metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        self.objects.insert(id(info, &value), value.clone());
        self.events
            .push((self.revision, info.resource, kind, value.clone()));
        value
    }

    fn delete(&mut self, info: &'static KindInfo, key: &Key, grace: Option<i64>) -> Option<Value> {
        let mut value = self.objects.get(&(info.resource, key.clone()))?.clone();
        if info.resource == "pods" && grace != Some(0) {
            if value["metadata"]["deletionTimestamp"].is_null() {
                let grace = grace.unwrap_or(30);
                #[allow(clippy::disallowed_methods, reason = "a test runs now")]
                let time = std::time::SystemTime::now() + std::time::Duration::from_secs(grace as u64);
                value["metadata"]["deletionTimestamp"] =
                    serde_json::to_value(gantry_proto::meta::v1::Time::from_system(time)).unwrap();
                value["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
                self.put(info, "MODIFIED", value.clone());
            }
            return Some(value);
        }
        self.objects.remove(&(info.resource, key.clone()));
        self.revision += 1;
        value["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.events
            .push((self.revision, info.resource, "DELETED", value.clone()));
        Some(value)
    }
}

fn encode(info: &KindInfo, value: &Value) -> api::Object {
    let (bytes, _) = (info.encode_json)(value).unwrap();
    api::Object {
        form: Some(Form::Any(any::Any::new(info.message, bytes))),
    }
}

fn decode(object: Option<api::Object>) -> (&'static KindInfo, Value) {
    let Some(Form::Any(any)) = object.and_then(|object| object.form) else {
        panic!("not an Any")
    };
    let info = KindInfo::of_message(any.message()).unwrap();
    (info, (info.decode_json)(&any.value).unwrap())
}

fn kind(resource: &str) -> &'static KindInfo {
    KindInfo::of_resource(resource).unwrap()
}

fn reply(info: &KindInfo, value: &Value) -> Result<Response<api::ObjectReply>, Status> {
    Ok(Response::new(api::ObjectReply {
        object: Some(encode(info, value)),
        warnings: Vec::new(),
    }))
}

fn selected(selector: &str, value: &Value) -> bool {
    match selector.strip_prefix("spec.nodeName=") {
        Some(node) => value["spec"]["nodeName"] == node,
        None => true,
    }
}

#[tonic::async_trait]
impl Resources for Api {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<api::WatchReply, Status>> + Send>>;

    async fn discover(
        &self,
        _: Request<api::DiscoverRequest>,
    ) -> Result<Response<api::DiscoverReply>, Status> {
        Err(Status::unimplemented("discover"))
    }

    async fn get(&self, request: Request<api::GetRequest>) -> Result<Response<api::ObjectReply>, Status> {
        let request = request.into_inner();
        let info = kind(&request.resource);
        match self.get(info.resource, &request.namespace, &request.name) {
            Some(value) => reply(info, &value),
            None => Err(ApiStatus::not_found(info, &request.name).into()),
        }
    }

    async fn list(&self, request: Request<api::ListRequest>) -> Result<Response<api::ListReply>, Status> {
        let request = request.into_inner();
        let info = kind(&request.resource);
        let revision = self.store.lock().unwrap().revision;
        let items = self.list(info.resource);
        let items = items
            .iter()
            .filter(|value| selected(&request.field_selector, value));
        Ok(Response::new(api::ListReply {
            items: items.map(|value| encode(info, value)).collect(),
            resource_version: revision.to_string(),
            ..api::ListReply::default()
        }))
    }

    async fn watch(
        &self,
        request: Request<api::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let (info, api) = (kind(&request.resource), self.clone());
        let mut from: i64 = request.resource_version.parse().unwrap_or(0);
        Ok(Response::new(Box::pin(async_stream::stream! {
            loop {
                let changed = api.changed.notified();
                let events: Vec<_> = {
                    let store = api.store.lock().unwrap();
                    let new = store.events.iter().filter(|(revision, resource, ..)| *revision > from && *resource == info.resource);
                    new.cloned().collect()
                };
                for (revision, _, kind, value) in events {
                    from = revision;
                    if selected(&request.field_selector, &value) {
                        let event = api::WatchEvent { r#type: kind.into(), object: Some(encode(info, &value)), revision, ..Default::default() };
                        yield Ok(api::WatchReply { events: vec![event] });
                    }
                }
                let _ = tokio::time::timeout(std::time::Duration::from_millis(100), changed).await;
            }
        })))
    }

    async fn create(
        &self,
        request: Request<api::CreateRequest>,
    ) -> Result<Response<api::ObjectReply>, Status> {
        let (info, value) = decode(request.into_inner().object);
        let value = {
            let mut store = self.store.lock().unwrap();
            let id = id(info, &value);
            if store.objects.contains_key(&id) {
                return Err(ApiStatus::already_exists(info, &id.1.name).into());
            }
            store.put(info, "ADDED", value)
        };
        self.changed.notify_waiters();
        reply(info, &value)
    }

    async fn delete_collection(
        &self,
        _: Request<api::DeleteCollectionRequest>,
    ) -> Result<Response<api::ListReply>, Status> {
        Err(Status::unimplemented("delete_collection"))
    }

    async fn update(
        &self,
        request: Request<api::UpdateRequest>,
    ) -> Result<Response<api::ObjectReply>, Status> {
        let (info, value) = decode(request.into_inner().object);
        let value = self.store.lock().unwrap().put(info, "MODIFIED", value);
        self.changed.notify_waiters();
        reply(info, &value)
    }

    async fn patch(&self, request: Request<api::PatchRequest>) -> Result<Response<api::ObjectReply>, Status> {
        let request = request.into_inner();
        let info = kind(&request.resource);
        let change: Value = serde_json::from_slice(&request.patch).unwrap();
        let value = {
            let mut store = self.store.lock().unwrap();
            let key = Key::new(&request.namespace, &request.name);
            let Some(before) = store.objects.get(&(info.resource, key)).cloned() else {
                return Err(ApiStatus::not_found(info, &request.name).into());
            };
            let wanted_uid = &change["metadata"]["uid"];
            if !wanted_uid.is_null() && *wanted_uid != before["metadata"]["uid"] {
                return Err(ApiStatus::conflict(info, &request.name, "uid").into());
            }
            let after = match request.r#type() {
                api::PatchType::StrategicMerge => {
                    patch::strategic_merge(info.message, before, change).unwrap()
                }
                _ => patch::merge(before, change),
            };
            store.put(info, "MODIFIED", after)
        };
        self.changed.notify_waiters();
        reply(info, &value)
    }

    async fn delete(
        &self,
        request: Request<api::DeleteRequest>,
    ) -> Result<Response<api::ObjectReply>, Status> {
        let request = request.into_inner();
        let info = kind(&request.resource);
        let options: DeleteOptions = request.options.unwrap_or_default();
        let key = Key::new(&request.namespace, &request.name);
        let deleted = self
            .store
            .lock()
            .unwrap()
            .delete(info, &key, options.grace_period_seconds);
        self.changed.notify_waiters();
        match deleted {
            Some(value) => reply(info, &value),
            None => Err(ApiStatus::not_found(info, &request.name).into()),
        }
    }
}
