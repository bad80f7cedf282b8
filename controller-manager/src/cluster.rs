//! The cluster as controllers see it: one cache for each kind, shared by all of them. A kind is one line in the
//! list at the end.

use crate::action::Target;
use crate::memory::Seen;
use gantry_client::{Cache, Change, Client, ListOptions};
use gantry_proto::meta::v1::ObjectMeta;
use gantry_proto::{Key, Kind, KindInfo};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// For callbacks that look at other kinds. It is set before the first decision; a change that comes earlier is
/// part of a first list, and then every key is looked at anyway.
pub type Later = Arc<OnceLock<Arc<Cluster>>>;

type OnChange<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// What is to be called when a kind changes.
pub struct Callbacks<K>(Vec<OnChange<K>>);

impl<K: Kind> Callbacks<K> {
    pub fn add(&mut self, on_change: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.0.push(Box::new(on_change));
    }

    fn spawn(self, client: &Client, shutdown: &CancellationToken) -> Cache<K> {
        let builder = Cache::<K>::builder(client.clone());
        let builder = self
            .0
            .into_iter()
            .fold(builder, |builder, on_change| builder.on_change(on_change));
        builder.spawn(shutdown.clone())
    }
}

/// The two sides of a change, as their objects.
pub fn sides<K>(change: &Change<K>) -> impl Iterator<Item = &K> {
    change.old.iter().chain(&change.new).map(|entry| &entry.object)
}

macro_rules! cached {
    ($($field:ident: $kind:path),* $(,)?) => {
        pub struct Cluster {
            pub client: Client,
            $(pub $field: Cache<$kind>,)*
        }

        /// Where controllers say what wakes them.
        pub struct Watches {
            pub cluster: Later,
            $(pub $field: Callbacks<$kind>,)*
        }

        impl Watches {
            pub fn new() -> Watches {
                Watches { cluster: Later::default(), $($field: Callbacks(Vec::new()),)* }
            }

            /// Starts the caches.
            pub fn spawn(self, client: Client, shutdown: &CancellationToken) -> Arc<Cluster> {
                let cluster = Arc::new(Cluster {
                    $($field: self.$field.spawn(&client, shutdown),)*
                    client,
                });
                // Nobody else sets it.
                let _ = self.cluster.set(cluster.clone());
                cluster
            }
        }

        impl Cluster {
            /// Returns when every first list is in.
            pub async fn synced(&self) {
                $(self.$field.synced().await;)*
            }

            pub fn is_synced(&self) -> bool {
                true $(&& self.$field.is_synced())*
            }

            /// Returns when the cache of a resource has seen `revision`; at once where there is no cache.
            pub async fn reached(&self, resource: &str, revision: i64) {
                $(if resource == <$kind as Kind>::INFO.resource {
                    return self.$field.reached(revision).await;
                })*
            }

            /// An object of any cached kind, as far as collecting garbage needs it. `Err` for a kind without
            /// a cache, of which nothing can be said.
            pub fn metadata(&self, kind: &KindInfo, key: &Key) -> Result<Option<ObjectMeta>, NotCached> {
                $(if kind.message == <$kind as Kind>::INFO.message {
                    return Ok(self.$field.get(key).map(|entry| entry.metadata().clone()));
                })*
                Err(NotCached)
            }

            /// Whether the cache of the kind shows an object of this uid. It looks at all of them.
            pub fn has_uid(&self, kind: &KindInfo, uid: &str) -> bool {
                $(if kind.message == <$kind as Kind>::INFO.message {
                    return self.$field.snapshot().values().any(|entry| entry.metadata().uid == uid);
                })*
                false
            }
        }

        impl Seen for Cluster {
            fn revision(&self, resource: &str) -> Option<i64> {
                $(if resource == <$kind as Kind>::INFO.resource {
                    return Some(self.$field.revision());
                })*
                None
            }

            fn has(&self, kind: &KindInfo, key: &Key) -> bool {
                self.metadata(kind, key).is_ok_and(|metadata| metadata.is_some())
            }

            fn shows(&self, target: &Target) -> bool {
                let metadata = self.metadata(target.kind, &target.key).ok().flatten();
                metadata.is_some_and(|metadata| {
                    metadata.uid == target.uid && metadata.deletion_timestamp.is_none()
                })
            }
        }

        /// Calls `$macro!(field, Kind)` for each cached kind.
        macro_rules! for_each_cached {
            ($callback:ident) => {
                $($callback!($field, $kind);)*
            };
        }
        pub(crate) use for_each_cached;
    };
}

impl Cluster {
    /// Whether the namespace is known to be being deleted.
    pub fn is_ending(&self, namespace: &str) -> bool {
        let namespace = self.namespaces.get(&Key::cluster(namespace));
        namespace.is_some_and(|namespace| namespace.metadata().deletion_timestamp.is_some())
    }
}

/// The kind has no cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCached;

/// Live reads by a kind that is known only at run time. `None` for a kind that this process does not know.
macro_rules! with_kind {
    ($info:expr, $kind:ident => $body:expr) => {
        $crate::cluster::with_kind!(@ $info, $kind => $body;
            gantry_proto::core::v1::Namespace, gantry_proto::core::v1::Node, gantry_proto::core::v1::Pod,
            gantry_proto::core::v1::Service, gantry_proto::core::v1::ConfigMap,
            gantry_proto::core::v1::Secret, gantry_proto::core::v1::ServiceAccount,
            gantry_proto::core::v1::Event, gantry_proto::discovery::v1::EndpointSlice,
            gantry_proto::coordination::v1::Lease, gantry_proto::apps::v1::Deployment,
            gantry_proto::apps::v1::ReplicaSet, gantry_proto::apps::v1::ControllerRevision,
            gantry_proto::core::v1::Endpoints, gantry_proto::core::v1::PodTemplate,
            gantry_proto::networking::v1::IpAddress, gantry_proto::networking::v1::ServiceCidr,
            gantry_proto::policy::v1::PodDisruptionBudget, gantry_proto::scheduling::v1::PriorityClass
        )
    };
    (@ $info:expr, $kind:ident => $body:expr; $($path:path),*) => {{
        let message = $info.message;
        $(if message == <$path as gantry_proto::Kind>::INFO.message {
            type $kind = $path;
            Some($body)
        } else)* {
            None
        }
    }};
}
pub(crate) use with_kind;

/// A fresh read of one object's metadata. `Ok(None)` when there is no such object.
pub async fn read_metadata(
    client: &Client,
    kind: &KindInfo,
    key: &Key,
) -> Result<Option<ObjectMeta>, gantry_client::Error> {
    let read = with_kind!(kind, K => client.get::<K>(key).await.map(|object| object.metadata().clone()));
    match read {
        Some(Ok(metadata)) => Ok(Some(metadata)),
        Some(Err(error)) if error.is_not_found() => Ok(None),
        Some(Err(error)) => Err(error),
        None => Err(unknown(kind)),
    }
}

/// A fresh read of the metadata of all objects of a kind, of one namespace or of all.
pub async fn list_metadata(
    client: &Client,
    kind: &KindInfo,
    namespace: &str,
) -> Result<Vec<ObjectMeta>, gantry_client::Error> {
    let options = ListOptions {
        namespace: namespace.into(),
        ..ListOptions::default()
    };
    let read = with_kind!(kind, K => client.list::<K>(&options).await.map(|list| {
        list.items.iter().map(|object| object.metadata().clone()).collect()
    }));
    read.unwrap_or_else(|| Err(unknown(kind)))
}

/// A linearizable read that begins now: later than every write that has been sent before.
pub struct FreshRead {
    pub revision: i64,
    /// The revision of the object itself, if it is there.
    pub object: Option<i64>,
}

pub async fn read_fresh(client: &Client, target: &Target) -> Result<FreshRead, gantry_client::Error> {
    let options = ListOptions {
        namespace: target.key.namespace.clone(),
        field_selector: format!("metadata.name={}", target.key.name),
        ..ListOptions::default()
    };
    let read = with_kind!(target.kind, K => client.list::<K>(&options).await.map(|list| FreshRead {
        revision: list.revision,
        object: list.items.first().map(|object| gantry_client::revision(object.metadata())),
    }));
    read.unwrap_or_else(|| Err(unknown(target.kind)))
}

fn unknown(kind: &KindInfo) -> gantry_client::Error {
    gantry_client::Error::Unavailable(format!("the kind {} is not known here", kind.kind))
}

cached! {
    namespaces: gantry_proto::core::v1::Namespace,
    nodes: gantry_proto::core::v1::Node,
    leases: gantry_proto::coordination::v1::Lease,
    pods: gantry_proto::core::v1::Pod,
    services: gantry_proto::core::v1::Service,
    endpoint_slices: gantry_proto::discovery::v1::EndpointSlice,
    config_maps: gantry_proto::core::v1::ConfigMap,
    secrets: gantry_proto::core::v1::Secret,
    service_accounts: gantry_proto::core::v1::ServiceAccount,
    deployments: gantry_proto::apps::v1::Deployment,
    replica_sets: gantry_proto::apps::v1::ReplicaSet,
    controller_revisions: gantry_proto::apps::v1::ControllerRevision,
    endpoints: gantry_proto::core::v1::Endpoints,
    pod_templates: gantry_proto::core::v1::PodTemplate,
    disruption_budgets: gantry_proto::policy::v1::PodDisruptionBudget,
    ip_addresses: gantry_proto::networking::v1::IpAddress,
    service_cidrs: gantry_proto::networking::v1::ServiceCidr,
    priority_classes: gantry_proto::scheduling::v1::PriorityClass,
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_stored_kind_but_events_has_a_cache() {
        // An owner of a kind without one would be looked for again and again.
        let mut cached = Vec::new();
        macro_rules! note {
            ($field:ident, $kind:path) => {
                cached.push(<$kind as gantry_proto::Kind>::KIND);
            };
        }
        for_each_cached!(note);
        for kind in gantry_proto::kinds::KINDS.iter().filter(|kind| kind.stored) {
            assert_eq!(cached.contains(&kind.kind), kind.kind != "Event", "{}", kind.kind);
        }
    }

    #[test]
    fn every_stored_kind_can_be_read_by_its_name() {
        // A deletion in the foreground reads all of them, and would never end.
        for kind in gantry_proto::kinds::KINDS.iter().filter(|kind| kind.stored) {
            let known = with_kind!(kind, K => <K as gantry_proto::Kind>::KIND);
            assert_eq!(known, Some(kind.kind));
        }
    }
}
