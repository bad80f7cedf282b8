//! The caches that a scheduler decides from, and which of their keys changed since it last looked.

use gantry_client::{Cache, Client};
use gantry_proto::apps::v1::ReplicaSet;
use gantry_proto::core::v1::{Namespace, Node, Pod, Service};
use gantry_proto::policy::v1::PodDisruptionBudget;
use gantry_proto::{Key, Kind};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub struct Sources {
    pub pods: Source<Pod>,
    pub nodes: Source<Node>,
    pub namespaces: Source<Namespace>,
    pub services: Source<Service>,
    pub replica_sets: Source<ReplicaSet>,
    /// Asked when pods would have to go; no decision waits for a change of one.
    pub budgets: Cache<PodDisruptionBudget>,
    changed: Arc<Notify>,
}

/// A cache, and its keys that have changed. They are no more than there are objects.
pub struct Source<K> {
    pub cache: Cache<K>,
    woken: Arc<Mutex<BTreeSet<Key>>>,
    changed: Arc<Notify>,
}

impl Sources {
    pub fn new(client: &Client, shutdown: &CancellationToken) -> Sources {
        let changed = Arc::new(Notify::new());
        Sources {
            pods: Source::new(client, &changed, shutdown),
            nodes: Source::new(client, &changed, shutdown),
            namespaces: Source::new(client, &changed, shutdown),
            services: Source::new(client, &changed, shutdown),
            replica_sets: Source::new(client, &changed, shutdown),
            budgets: Cache::builder(client.clone()).spawn(shutdown.clone()),
            changed,
        }
    }

    /// Returns when everything has been listed once.
    pub async fn synced(&self) {
        tokio::join!(
            self.pods.cache.synced(),
            self.nodes.cache.synced(),
            self.namespaces.cache.synced(),
            self.services.cache.synced(),
            self.replica_sets.cache.synced(),
            self.budgets.synced(),
        );
    }

    /// Returns when a key has changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl<K: Kind> Source<K> {
    fn new(client: &Client, changed: &Arc<Notify>, shutdown: &CancellationToken) -> Source<K> {
        let woken = Arc::new(Mutex::new(BTreeSet::new()));
        let cache = Cache::builder(client.clone())
            .on_change({
                let (woken, changed) = (woken.clone(), changed.clone());
                move |change| wake(&woken, &changed, change.key.clone())
            })
            .spawn(shutdown.clone());
        Source {
            cache,
            woken,
            changed: changed.clone(),
        }
    }

    /// Has a key looked at again.
    pub fn wake(&self, key: Key) {
        wake(&self.woken, &self.changed, key);
    }

    pub fn take_woken(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn wake(woken: &Mutex<BTreeSet<Key>>, changed: &Notify, key: Key) {
    woken.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    changed.notify_one();
}
