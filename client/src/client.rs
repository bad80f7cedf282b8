//! Typed calls to the apiserver.

use crate::config::{Config, ConfigError};
use crate::connection::{Connection, Connections, Service};
use crate::error::{CallError, Error, may_work_elsewhere, was_not_done};
use gantry_proto::any::Any;
use gantry_proto::api::v1::diagnostics_client::DiagnosticsClient;
use gantry_proto::api::v1::nodes_client::NodesClient;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::pods_client::PodsClient;
use gantry_proto::api::v1::resources_client::ResourcesClient;
use gantry_proto::api::v1::{self as api, Object};
use gantry_proto::core::v1::Binding;
use gantry_proto::meta::v1::DeleteOptions;
use gantry_proto::{Key, Kind};
use std::time::Duration;
use tonic::{Request, Response};

pub use gantry_proto::api::v1::PatchType;

/// How long a call other than a stream may take: longer than the apiserver gives the store.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects to a list call.
const LIST_CHUNK: i64 = 1_000;

/// A handle to the cluster; cheap to clone. It connects when it is first used, and goes to the next
/// apiserver when one does not answer.
#[derive(Clone)]
pub struct Client {
    connections: Connections,
    /// What every write depends on.
    fence: Option<api::Fence>,
}

/// Which objects of a kind.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Empty for all namespaces.
    pub namespace: String,
    pub label_selector: String,
    pub field_selector: String,
}

/// Objects at one revision.
#[derive(Debug)]
pub struct List<K> {
    pub items: Vec<K>,
    pub revision: i64,
}

impl Client {
    pub fn new(config: Config) -> Result<Client, ConfigError> {
        Ok(Client {
            connections: Connections::new(&config)?,
            fence: None,
        })
    }

    /// The same client, whose writes are done only while the fence holds: [`Error::is_fenced_off`] otherwise.
    pub fn fenced(&self, fence: api::Fence) -> Client {
        Client {
            connections: self.connections.clone(),
            fence: Some(fence),
        }
    }

    /// The generic service of the apiserver in use, for callers that are not typed.
    pub fn resources(&self) -> ResourcesClient<Service> {
        self.connections.current().resources()
    }

    pub fn pods(&self) -> PodsClient<Service> {
        self.connections.current().pods()
    }

    pub fn nodes(&self) -> NodesClient<Service> {
        self.connections.current().nodes()
    }

    pub fn diagnostics(&self) -> DiagnosticsClient<Service> {
        self.connections.current().diagnostics()
    }

    /// Host and port of the apiserver in use.
    pub fn server(&self) -> String {
        self.connections.current().server().to_string()
    }

    /// Makes a call of any service, stream or not: at each apiserver in turn while it has surely not been done, because
    /// there is no connection or the apiserver says that it cannot serve. `attempt` makes one attempt, with the
    /// connection that it is given and no other, and its own time limit. A call that lost its connection half way is
    /// the caller's to repeat; the next one goes to another apiserver.
    pub async fn call_any<R, F>(&self, attempt: impl Fn(Connection) -> F) -> Result<R, CallError>
    where
        F: Future<Output = Result<R, tonic::Status>>,
    {
        let mut attempts = self.connections.len();
        loop {
            attempts -= 1;
            let connection = self.connections.current();
            let status = match attempt(connection.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(status) => status,
            };
            self.note_failure(&connection, &status);
            if attempts == 0 || !was_not_done(&status) {
                let server = connection.server().to_string();
                return Err(CallError { server, status });
            }
        }
    }

    /// Where a stream has failed that had begun well: calls go to another apiserver then.
    pub(crate) fn note_failure(&self, connection: &Connection, status: &tonic::Status) {
        if may_work_elsewhere(status) {
            self.connections.failed(connection);
        }
    }

    /// Returns when calls have gone to another apiserver than this for a while.
    pub(crate) async fn left(&self, connection: &Connection) {
        self.connections.left(connection).await;
    }

    /// What the cluster serves.
    pub async fn discover(&self) -> Result<api::DiscoverReply, Error> {
        let send =
            |mut client: ResourcesClient<Service>, request| async move { client.discover(request).await };
        self.call(api::DiscoverRequest {}, Error::of_read, send).await
    }

    /// A linearizable read.
    pub async fn get<K: Kind>(&self, key: &Key) -> Result<K, Error> {
        let request = api::GetRequest {
            resource: K::INFO.group_resource(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            ..Default::default()
        };
        let reply = self
            .call(request, Error::of_read, |mut client, request| async move {
                client.get(request).await
            })
            .await?;
        decode(reply.object)
    }

    /// A linearizable read of all objects that the options select, in chunks at one revision.
    pub async fn list<K: Kind>(&self, options: &ListOptions) -> Result<List<K>, Error> {
        let raw = self.list_raw::<K>(options).await?;
        let items = raw
            .items
            .into_iter()
            .map(|any| K::decode(any.value))
            .collect::<Result<_, _>>()?;
        Ok(List {
            items,
            revision: raw.revision,
        })
    }

    /// As [`Client::list`], each object as its bytes.
    pub(crate) async fn list_raw<K: Kind>(&self, options: &ListOptions) -> Result<List<Any>, Error> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let request = api::ListRequest {
                resource: K::INFO.group_resource(),
                namespace: options.namespace.clone(),
                label_selector: options.label_selector.clone(),
                field_selector: options.field_selector.clone(),
                limit: LIST_CHUNK,
                r#continue: next,
                ..Default::default()
            };
            let reply = self
                .call(request, Error::of_read, |mut client, request| async move {
                    client.list(request).await
                })
                .await?;
            items.extend(reply.items.into_iter().filter_map(into_any));
            if reply.r#continue.is_empty() {
                return Ok(List {
                    items,
                    revision: reply.resource_version.parse().unwrap_or(0),
                });
            }
            next = reply.r#continue;
        }
    }

    pub(crate) async fn watch_raw<K: Kind>(
        &self,
        options: &ListOptions,
        revision: i64,
    ) -> Result<(Connection, tonic::Streaming<api::WatchReply>), Error> {
        let request = api::WatchRequest {
            resource: K::INFO.group_resource(),
            namespace: options.namespace.clone(),
            label_selector: options.label_selector.clone(),
            field_selector: options.field_selector.clone(),
            resource_version: revision.to_string(),
            allow_bookmarks: true,
            ..Default::default()
        };
        let connection = self.connections.current();
        match connection.resources().watch(request).await {
            Ok(reply) => Ok((connection, reply.into_inner())),
            Err(status) => {
                self.note_failure(&connection, &status);
                Err(Error::of_read(status))
            }
        }
    }

    pub async fn create<K: Kind>(&self, object: &K) -> Result<K, Error> {
        let request = api::CreateRequest {
            resource: K::INFO.group_resource(),
            namespace: object.metadata().namespace.clone(),
            object: Some(encode(object)),
            fence: self.fence.clone(),
            ..Default::default()
        };
        let reply = self
            .call(request, Error::of_write, |mut client, request| async move {
                client.create(request).await
            })
            .await?;
        decode(reply.object)
    }

    /// Replaces an object, status excepted. A resourceVersion in its metadata makes it conditional.
    pub async fn update<K: Kind>(&self, object: &K) -> Result<K, Error> {
        self.update_at(object, "").await
    }

    pub async fn update_status<K: Kind>(&self, object: &K) -> Result<K, Error> {
        self.update_at(object, "status").await
    }

    /// Replaces what the subresource stands for ("status", "finalize"; empty for the object itself).
    pub async fn update_at<K: Kind>(&self, object: &K, subresource: &str) -> Result<K, Error> {
        let request = api::UpdateRequest {
            resource: K::INFO.group_resource(),
            namespace: object.metadata().namespace.clone(),
            name: object.metadata().name.clone(),
            subresource: subresource.into(),
            object: Some(encode(object)),
            fence: self.fence.clone(),
            ..Default::default()
        };
        let reply = self
            .call(request, Error::of_write, |mut client, request| async move {
                client.update(request).await
            })
            .await?;
        decode(reply.object)
    }

    pub async fn patch<K: Kind>(
        &self,
        key: &Key,
        subresource: Option<&str>,
        patch_type: PatchType,
        patch: &serde_json::Value,
    ) -> Result<K, Error> {
        let request = api::PatchRequest {
            resource: K::INFO.group_resource(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            subresource: subresource.unwrap_or_default().into(),
            r#type: patch_type.into(),
            patch: patch.to_string().into(),
            fence: self.fence.clone(),
            ..Default::default()
        };
        let reply = self
            .call(request, Error::of_write, |mut client, request| async move {
                client.patch(request).await
            })
            .await?;
        decode(reply.object)
    }

    pub async fn delete<K: Kind>(&self, key: &Key, options: DeleteOptions) -> Result<(), Error> {
        let request = api::DeleteRequest {
            resource: K::INFO.group_resource(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            options: Some(options),
            fence: self.fence.clone(),
            ..Default::default()
        };
        self.call(request, Error::of_write, |mut client, request| async move {
            client.delete(request).await
        })
        .await
        .map(drop)
    }

    /// Assigns a pod to a node.
    pub async fn bind(&self, binding: &Binding) -> Result<(), Error> {
        let request = api::CreateRequest {
            resource: "pods".into(),
            namespace: binding.metadata().namespace.clone(),
            name: binding.metadata().name.clone(),
            subresource: "binding".into(),
            object: Some(encode(binding)),
            fence: self.fence.clone(),
            ..Default::default()
        };
        self.call(request, Error::of_write, |mut client, request| async move {
            client.create(request).await
        })
        .await
        .map(drop)
    }

    /// Makes a call, at each apiserver in turn while it was surely not done, or does nothing.
    async fn call<Q, R, F, C>(
        &self,
        request: Q,
        classify: fn(tonic::Status) -> Error,
        send: C,
    ) -> Result<R, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, tonic::Status>>,
        C: Fn(ResourcesClient<Service>, Request<Q>) -> F,
    {
        let mut attempts = self.connections.len();
        loop {
            attempts -= 1;
            let connection = self.connections.current();
            let mut attempt = Request::new(request.clone());
            attempt.set_timeout(CALL_TIMEOUT);
            let status = match send(connection.resources(), attempt).await {
                Ok(reply) => return Ok(reply.into_inner()),
                Err(status) => status,
            };
            self.note_failure(&connection, &status);
            match classify(status) {
                Error::Unavailable(_) if attempts > 0 => {}
                error => return Err(error),
            }
        }
    }
}

fn encode<K: Kind>(object: &K) -> Object {
    let any = Any::new(K::INFO.message, object.encode_to_vec().into());
    Object {
        form: Some(Form::Any(any)),
    }
}

pub(crate) fn into_any(object: Object) -> Option<Any> {
    match object.form? {
        Form::Any(any) => Some(any),
        Form::Json(_) => None,
    }
}

fn decode<K: Kind>(object: Option<Object>) -> Result<K, Error> {
    let any = object.and_then(into_any).unwrap_or_default();
    Ok(K::decode(any.value)?)
}
