//! Every kind's cache and rules, and the writes that keep them: what stands between a request and the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gantry_proto::api::v1::Fence;
use gantry_proto::core::v1::{Namespace, Pod};
use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind, KindInfo, envelope, wire};
use gantry_store::Store;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::allocation::Ranges;
use crate::authentication::User;
use crate::authorization::{self, Condition, Decision};
use crate::cache::{Cache, Selection, State};
use crate::metrics::Authorizations;
use crate::request::{Attributes, Caller};
use crate::strategy;

mod current;
mod commit;
mod fence;
mod metadata;
mod names;
mod placement;
mod version;
mod preconditions;
mod admission;
mod priority;
mod create;
mod update;
mod scale;
mod patch;
mod fate;
mod delete;
mod delete_collection;
mod binding;
mod eviction;
mod event_leases;
mod unsupported_events;
mod system;
mod addresses;
mod kubernetes_service;

pub use create::Creation;
pub use current::out_of_time;
pub use delete::{Deletion, deletes_collections};
pub use delete_collection::CollectionDeletion;
pub use eviction::Evicting;
pub use kubernetes_service::reachable_at;
pub use patch::{Change, Patch};
pub use placement::settle_namespace;
pub use update::{Endpoint, Proposal, Update, creates_by_update};
pub use version::MODIFIED;

/// Who writes, and on what condition.
#[derive(Clone, Debug)]
pub struct Writer {
    pub user: Arc<User>,
    /// The write is done only while this holds.
    pub fence: Option<Fence>,
}

impl Writer {
    /// The server itself.
    fn server() -> Writer {
        Writer {
            user: Arc::new(User::server()),
            fence: None,
        }
    }
}

/// An object as a request left it.
#[derive(Debug)]
pub struct Written {
    /// In wire form, resourceVersion included.
    pub raw: bytes::Bytes,
    pub message: &'static str,
    pub warnings: Vec<String>,
}

/// The objects of every kind.
pub struct Registry {
    store: Arc<dyn Store>,
    caches: BTreeMap<&'static str, Arc<Cache>>,
    ranges: Ranges,
    event_leases: event_leases::EventLeases,
    /// Whether the namespaces that every cluster has are there.
    has_system_namespaces: AtomicBool,
    authorizations: Arc<Authorizations>,
}

impl Registry {
    pub fn new(store: Arc<dyn Store>, ranges: Ranges) -> Registry {
        let caches = strategy::all()
            .into_iter()
            .map(|(message, strategy)| (message, Cache::new(strategy, store.clone())))
            .collect();
        Registry {
            store,
            caches,
            ranges,
            event_leases: event_leases::EventLeases::default(),
            has_system_namespaces: AtomicBool::new(false),
            authorizations: Arc::default(),
        }
    }

    /// Starts the tasks that keep the caches up to date.
    pub fn follow(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        for cache in self.caches.values() {
            tasks.spawn(cache.clone().follow(shutdown.clone()));
        }
    }

    pub fn caches(&self) -> impl Iterator<Item = &Arc<Cache>> {
        self.caches.values()
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// How requests were decided on.
    pub fn authorizations(&self) -> &Arc<Authorizations> {
        &self.authorizations
    }

    /// Whether the namespaces that every cluster has are there.
    pub fn has_system_namespaces(&self) -> bool {
        self.has_system_namespaces.load(Ordering::Relaxed)
    }

    /// The cache of the kind that a request's `resource` names.
    pub fn cache_of(&self, resource: &str) -> Result<&Arc<Cache>, Status> {
        KindInfo::of_resource(resource)
            .and_then(|info| self.caches.get(info.message))
            .ok_or_else(no_such_resource)
    }

    pub fn cache<K: Kind>(&self) -> Result<&Arc<Cache>, Status> {
        self.caches.get(K::INFO.message).ok_or_else(no_such_resource)
    }

    /// Lets the request pass, or says in Kubernetes' words why not.
    pub async fn authorize(&self, caller: &Caller, request: &Attributes<'_>) -> Result<(), Status> {
        let denial = match authorization::authorize(&caller.user, request) {
            Decision::Allow => None,
            Decision::Deny(denial) => Some(denial),
            Decision::OnlyIf(condition) => match self.holds(&condition, request).await {
                Err(status) => {
                    self.authorizations.failed();
                    return Err(status);
                }
                Ok(true) => None,
                Ok(false) => Some(authorization::unmet(
                    &condition,
                    request.verb,
                    request.subresource,
                )),
            },
        };
        let allowed = denial.is_none();
        self.authorizations.decided(denial.as_ref());
        caller
            .trail
            .authorized(allowed, || authorization::reason(&caller.user, denial.as_ref()));
        match denial {
            None => Ok(()),
            Some(denial) => Err(authorization::forbidden(&caller.user, request, &denial)),
        }
    }

    /// Looks into the cache first. A pod that was bound a moment ago may not be in it yet, so only a state that
    /// is surely current can say no.
    async fn holds(&self, condition: &Condition, request: &Attributes<'_>) -> Result<bool, Status> {
        let pods = self.cache::<Pod>()?;
        if holds_in(&*pods.synced().await?, condition, request) {
            return Ok(true);
        }
        Ok(holds_in(&*pods.consistent().await?, condition, request))
    }

    /// Reads one object from the store, at its present state, as bytes.
    pub async fn read(&self, cache: &Cache, key: &Key) -> Result<Written, Status> {
        let kv = self.stored(cache.kind(), key).await?;
        let envelope = envelope::open(kv.value).map_err(internal)?;
        Ok(Written {
            raw: wire::splice_resource_version(&envelope.raw, &kv.mod_revision.to_string()),
            message: cache.kind().message,
            warnings: Vec::new(),
        })
    }

    /// Reads one object as a request asks: at its present state, or, where a version is named, as the cache has it
    /// that is not older.
    pub async fn read_at(&self, cache: &Cache, key: &Key, resource_version: &str) -> Result<Written, Status> {
        if resource_version.is_empty() {
            return self.read(cache, key).await;
        }
        let state = cache.for_get(resource_version).await?;
        let entry = state.objects.get(key);
        let entry = entry.ok_or_else(|| Status::not_found(cache.kind(), &key.name))?;
        Ok(Written {
            raw: entry.raw.clone(),
            message: cache.kind().message,
            warnings: Vec::new(),
        })
    }

    /// The traceparent of an object's last write; empty where it has none.
    pub async fn cause(&self, cache: &Cache, key: &Key) -> Result<String, Status> {
        let kv = self.stored(cache.kind(), key).await?;
        Ok(envelope::open(kv.value).map_err(internal)?.trace_parent)
    }
}

fn holds_in(pods: &State, condition: &Condition, request: &Attributes<'_>) -> bool {
    match condition {
        Condition::PodOnNode { node } => pods
            .objects
            .get(&Key::new(request.namespace, request.name))
            .is_some_and(|pod| pod.field("spec.nodeName") == Some(node)),
        Condition::ReferredByPodOnNode { node, referent, name } => pods
            .objects
            .select(&Selection::all(request.namespace), None)
            .filter(|entry| entry.field("spec.nodeName") == Some(node))
            .filter_map(|entry| Pod::decode(&*entry.raw).ok())
            .any(|pod| authorization::refers_to(&pod, *referent, name)),
    }
}

/// A request for something that the server does not have.
pub fn no_such_resource() -> Status {
    Status::failure(
        Reason::NotFound,
        "the server could not find the requested resource",
    )
}

/// A verb that the resource does not have.
pub fn not_allowed() -> Status {
    Status::failure(
        Reason::MethodNotAllowed,
        "the server does not allow this method on the requested resource",
    )
}

pub fn bad_request(message: impl Into<String>) -> Status {
    Status::failure(Reason::BadRequest, message)
}

fn internal(message: impl std::fmt::Display) -> Status {
    Status::failure(
        Reason::InternalError,
        format!("Internal error occurred: {message}"),
    )
}

/// Whether the kind is Namespace, which has rules of its own for coming and going.
fn is_namespace(info: &KindInfo) -> bool {
    info.message == Namespace::INFO.message
}
