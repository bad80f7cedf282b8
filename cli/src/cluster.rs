//! The cluster as the commands see it: objects of any kind, by calls that fail over and pass the server's
//! warnings on to the user.

mod patience;
mod watch;

pub use patience::{Patience, before_watching_again};
pub use watch::{Event, Watch};

use crate::failure::Failure;
use bytes::Bytes;
use gantry_client::{CallError, Client, Config, Connection};
use gantry_proto::any::Any;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::{self as api, FieldValidation, PatchType};
use gantry_proto::core::v1::Pod;
use gantry_proto::kinds::Subresource;
use gantry_proto::meta::v1::{DeleteOptions, ObjectMeta};
use gantry_proto::policy::v1::Eviction;
use gantry_proto::{Key, Kind, KindInfo, wire};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tonic::{Request, Response, Streaming};

/// How long a call other than a stream may take: longer than the apiserver gives the store.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects to a list call, as kubectl's default chunk size.
const LIST_CHUNK: i64 = 500;
/// The name under which this program writes, for managedFields and logs.
const FIELD_MANAGER: &str = "gantry";

/// An object of any kind in wire form, with its metadata at hand.
#[derive(Clone, Debug)]
pub struct Object {
    pub kind: &'static KindInfo,
    pub metadata: ObjectMeta,
    pub raw: Bytes,
}

impl Object {
    pub fn new(kind: &'static KindInfo, raw: Bytes) -> Result<Object, Failure> {
        let metadata = wire::metadata(&raw).map_err(|error| undecodable(kind, &error))?;
        Ok(Object { kind, metadata, raw })
    }

    #[cfg(test)]
    pub fn of<K: Kind>(object: &K) -> Object {
        Object {
            kind: K::INFO,
            metadata: object.metadata().clone(),
            raw: object.encode_to_vec().into(),
        }
    }

    pub fn key(&self) -> Key {
        Key::new(&self.metadata.namespace, &self.metadata.name)
    }

    pub fn decode<K: Kind>(&self) -> Result<K, Failure> {
        K::decode(self.raw.clone()).map_err(|error| undecodable(self.kind, &error))
    }

    /// Kubernetes' JSON, with apiVersion and kind.
    pub fn json(&self) -> Result<Value, Failure> {
        (self.kind.decode_json)(&self.raw).map_err(|error| undecodable(self.kind, &error))
    }

    /// How messages name it, such as `deployment.apps/web`.
    pub fn shown(&self) -> String {
        shown(self.kind, &self.metadata.name)
    }
}

/// How messages name an object, such as `deployment.apps/web`.
pub fn shown(kind: &KindInfo, name: &str) -> String {
    format!("{}/{name}", qualified_singular(kind))
}

/// Such as `deployment.apps`, or `pod` for the core group.
pub fn qualified_singular(kind: &KindInfo) -> String {
    match kind.group {
        "" => kind.singular.to_string(),
        group => format!("{}.{group}", kind.singular),
    }
}

fn undecodable(kind: &KindInfo, error: &dyn std::fmt::Display) -> Failure {
    Failure::message(format!("the server's {} does not decode: {error}", kind.kind))
}

/// Which objects of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Empty for all namespaces.
    pub namespace: String,
    pub labels: String,
    pub fields: String,
}

/// The cluster, through whichever of its apiservers answers.
pub struct Cluster {
    client: Client,
}

impl Cluster {
    pub fn new(config: Config) -> Result<Cluster, Failure> {
        if config.servers.is_empty() {
            return Err(Failure::message("the kubeconfig names no apiserver"));
        }
        let client = Client::new(config).map_err(|error| Failure::message(error.to_string()))?;
        Ok(Cluster { client })
    }

    pub async fn get(&self, kind: &'static KindInfo, key: &Key) -> Result<Object, Failure> {
        let request = api::GetRequest {
            resource: kind.group_resource(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            ..Default::default()
        };
        let reply = self
            .call(request, async |connection, request| {
                connection.resources().get(request).await
            })
            .await?;
        from_reply(kind, reply)
    }

    /// The object decoded.
    pub async fn get_as<K: Kind>(&self, key: &Key) -> Result<K, Failure> {
        self.get(K::INFO, key).await?.decode()
    }

    /// All selected objects at one revision, and that revision.
    pub async fn list(
        &self,
        kind: &'static KindInfo,
        selection: &Selection,
    ) -> Result<(Vec<Object>, String), Failure> {
        self.list_in_chunks(kind, selection, LIST_CHUNK).await
    }

    /// As `list`, with so many objects to a call; 0 for all in one.
    pub async fn list_in_chunks(
        &self,
        kind: &'static KindInfo,
        selection: &Selection,
        chunk: i64,
    ) -> Result<(Vec<Object>, String), Failure> {
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            let request = api::ListRequest {
                resource: kind.group_resource(),
                namespace: selection.namespace.clone(),
                label_selector: selection.labels.clone(),
                field_selector: selection.fields.clone(),
                limit: chunk,
                r#continue: next,
                ..Default::default()
            };
            let reply = self
                .call(request, async |connection, request| {
                    connection.resources().list(request).await
                })
                .await?;
            for item in reply.items {
                objects.push(from_form(kind, Some(item))?);
            }
            if reply.r#continue.is_empty() {
                return Ok((objects, reply.resource_version));
            }
            next = reply.r#continue;
        }
    }

    /// The first objects of a kind, so many at most.
    pub async fn list_first(
        &self,
        kind: &'static KindInfo,
        namespace: &str,
        limit: i64,
    ) -> Result<Vec<Object>, Failure> {
        let request = api::ListRequest {
            resource: kind.group_resource(),
            namespace: namespace.into(),
            limit,
            // Whatever the server has at hand will do.
            resource_version: "0".into(),
            ..Default::default()
        };
        let reply = self
            .call(request, async |connection, request| {
                connection.resources().list(request).await
            })
            .await?;
        let items = reply
            .items
            .into_iter()
            .take(usize::try_from(limit).unwrap_or(usize::MAX));
        items.map(|item| from_form(kind, Some(item))).collect()
    }

    pub async fn list_as<K: Kind>(&self, selection: &Selection) -> Result<Vec<K>, Failure> {
        self.list(K::INFO, selection)
            .await?
            .0
            .iter()
            .map(Object::decode)
            .collect()
    }

    /// Events after `revision`; the present state first where that is empty.
    pub async fn watch(
        &self,
        kind: &'static KindInfo,
        selection: &Selection,
        revision: &str,
    ) -> Result<Watch, Failure> {
        let request = api::WatchRequest {
            resource: kind.group_resource(),
            namespace: selection.namespace.clone(),
            label_selector: selection.labels.clone(),
            field_selector: selection.fields.clone(),
            resource_version: revision.into(),
            ..Default::default()
        };
        let stream = self
            .stream(request, async |connection, request| {
                connection.resources().watch(request).await
            })
            .await?;
        Ok(Watch::new(kind, stream, self.server()))
    }

    /// Creates an object, in the namespace that its metadata names.
    pub async fn create(&self, object: &Object, dry_run: bool) -> Result<Object, Failure> {
        let request = api::CreateRequest {
            resource: object.kind.group_resource(),
            namespace: object.metadata.namespace.clone(),
            object: Some(into_form(object)),
            field_validation: FieldValidation::Warn.into(),
            dry_run,
            field_manager: FIELD_MANAGER.into(),
            ..Default::default()
        };
        let reply = self
            .call(request, async |connection, request| {
                connection.resources().create(request).await
            })
            .await?;
        from_reply(object.kind, reply)
    }

    pub async fn patch(
        &self,
        kind: &'static KindInfo,
        key: &Key,
        patch_type: PatchType,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Object, Failure> {
        let reply = self.patch_at(kind, key, "", patch_type, patch, dry_run).await?;
        from_reply(kind, reply)
    }

    /// Patches what a subresource stands for. The reply is not of the kind for every subresource.
    pub async fn patch_subresource(
        &self,
        kind: &'static KindInfo,
        key: &Key,
        subresource: &str,
        patch_type: PatchType,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Option<Object>, Failure> {
        let reply = self
            .patch_at(kind, key, subresource, patch_type, patch, dry_run)
            .await?;
        if subresource == "scale" {
            warn(&reply.warnings);
            return Ok(None);
        }
        from_reply(kind, reply).map(Some)
    }

    async fn patch_at(
        &self,
        kind: &'static KindInfo,
        key: &Key,
        subresource: &str,
        patch_type: PatchType,
        patch: &Value,
        dry_run: bool,
    ) -> Result<api::ObjectReply, Failure> {
        let request = api::PatchRequest {
            resource: kind.group_resource(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            subresource: subresource.into(),
            r#type: patch_type.into(),
            patch: patch.to_string().into(),
            dry_run,
            field_manager: FIELD_MANAGER.into(),
            ..Default::default()
        };
        self.call(request, async |connection, request| {
            connection.resources().patch(request).await
        })
        .await
    }

    /// Asks for a pod's eviction, which its disruption budgets may refuse for now (TooManyRequests).
    pub async fn evict(&self, pod: &Key, options: DeleteOptions) -> Result<(), Failure> {
        let dry_run = !options.dry_run.is_empty();
        let eviction = Eviction {
            metadata: Some(ObjectMeta {
                name: pod.name.clone(),
                namespace: pod.namespace.clone(),
                ..ObjectMeta::default()
            }),
            delete_options: Some(options),
        };
        let request = api::CreateRequest {
            resource: Pod::INFO.group_resource(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            subresource: Subresource::Eviction.name().into(),
            object: Some(api::Object {
                form: Some(Form::Any(encoded(&eviction))),
            }),
            dry_run,
            field_manager: FIELD_MANAGER.into(),
            ..Default::default()
        };
        let reply = self
            .call(request, async |connection, request| {
                connection.resources().create(request).await
            })
            .await?;
        warn(&reply.warnings);
        Ok(())
    }

    /// Returns the object's uid, where the server tells it: of what is being deleted, or was just now.
    pub async fn delete(
        &self,
        kind: &'static KindInfo,
        key: &Key,
        options: DeleteOptions,
    ) -> Result<Option<String>, Failure> {
        let request = api::DeleteRequest {
            resource: kind.group_resource(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            options: Some(options),
            ..Default::default()
        };
        let reply = self
            .call(request, async |connection, request| {
                connection.resources().delete(request).await
            })
            .await?;
        let deleted = from_reply(kind, reply);
        let uid = deleted.map(|object| object.metadata.uid).unwrap_or_default();
        Ok((!uid.is_empty()).then_some(uid))
    }

    pub async fn discover(&self) -> Result<api::DiscoverReply, Failure> {
        let request = api::DiscoverRequest {};
        self.call(request, async |connection, request| {
            connection.resources().discover(request).await
        })
        .await
    }

    pub async fn why(&self, request: api::WhyRequest) -> Result<api::WhyReply, Failure> {
        self.call(request, async |connection, request| {
            connection.diagnostics().why(request).await
        })
        .await
    }

    pub async fn read_trace(&self, request: api::ReadTraceRequest) -> Result<api::ReadTraceReply, Failure> {
        self.call(request, async |connection, request| {
            connection.traces().read(request).await
        })
        .await
    }

    pub async fn report_trace(&self, request: api::ReportTraceRequest) -> Result<(), Failure> {
        self.call(request, async |connection, request| {
            connection.traces().report(request).await
        })
        .await
        .map(drop)
    }

    pub async fn logs(&self, request: api::LogsRequest) -> Result<Streaming<api::LogsReply>, Failure> {
        self.stream(request, async |connection, request| {
            connection.pods().logs(request).await
        })
        .await
    }

    /// A client for a call that cannot be repeated, of the apiserver that answered last. Makes one small call
    /// first, so that one that is dead is passed over.
    pub async fn answering_client(&self) -> Result<&Client, Failure> {
        self.discover().await?;
        Ok(&self.client)
    }

    /// Host and port of the apiserver in use.
    pub fn server(&self) -> String {
        self.client.server()
    }

    /// Makes a call that has one reply.
    async fn call<Q: Clone, R>(
        &self,
        request: Q,
        send: impl AsyncFn(Connection, Request<Q>) -> Result<Response<R>, tonic::Status>,
    ) -> Result<R, Failure> {
        let send = async |connection: Connection, mut request: Request<Q>| {
            request.set_timeout(CALL_TIMEOUT);
            send(connection, request).await
        };
        self.stream(request, send).await
    }

    /// Makes a call, at each apiserver in turn while it has surely not been done.
    async fn stream<Q: Clone, R>(
        &self,
        request: Q,
        send: impl AsyncFn(Connection, Request<Q>) -> Result<Response<R>, tonic::Status>,
    ) -> Result<R, Failure> {
        let attempt = |connection| send(connection, Request::new(request.clone()));
        match self.client.call_any(attempt).await {
            Ok(reply) => Ok(reply.into_inner()),
            Err(CallError { server, status }) => Err(Failure::of_call(status, &server)),
        }
    }
}

fn encoded<K: Kind>(object: &K) -> Any {
    Any::new(K::INFO.message, object.encode_to_vec().into())
}

fn into_form(object: &Object) -> api::Object {
    api::Object {
        form: Some(Form::Any(Any::new(object.kind.message, object.raw.clone()))),
    }
}

fn from_reply(kind: &'static KindInfo, reply: api::ObjectReply) -> Result<Object, Failure> {
    warn(&reply.warnings);
    from_form(kind, reply.object)
}

fn from_form(kind: &'static KindInfo, object: Option<api::Object>) -> Result<Object, Failure> {
    match object.and_then(|object| object.form) {
        Some(Form::Any(any)) => Object::new(kind, any.value),
        _ => Err(undecodable(kind, &"it has no wire form")),
    }
}

/// Passes warnings on to the user, each once in a command, as kubectl does: what is read, compared and written may
/// be warned of each time.
pub fn warn(warnings: &[String]) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    for warning in warnings {
        if said.insert(warning.clone()) {
            eprintln!("Warning: {warning}");
        }
    }
}
