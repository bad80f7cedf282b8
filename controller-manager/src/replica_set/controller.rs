//! What wakes a ReplicaSet, and what its decision looks at.

use super::{View, reconcile};
use crate::action::Action;
use crate::clock;
use crate::cluster::{Cluster, Watches, sides};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::ownership::controller_of;
use crate::wakes::Wakes;
use gantry_proto::apps::v1::ReplicaSet;
use gantry_proto::core::v1::Pod;
use gantry_proto::selector::Selector;
use gantry_proto::{Key, Kind};
use std::sync::Arc;

pub struct ReplicaSetController;

impl Controller for ReplicaSetController {
    type Key = Key;
    const NAME: &'static str = "replicaset";
    const COMPONENT: &'static str = "replicaset-controller";
    const RESOURCE: &'static str = "replicasets";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let wake = wakes.clone();
        watches
            .replica_sets
            .add(move |change| wake.wake(change.key.clone(), change.cause.as_ref()));
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.pods.add(move |change| {
            for pod in sides(change) {
                let owner = controller_of(pod.metadata()).filter(|owner| owner.kind == ReplicaSet::KIND);
                if let Some(owner) = owner {
                    wake.wake(
                        Key::new(&change.key.namespace, &owner.name),
                        change.cause.as_ref(),
                    );
                }
            }
            let orphan = change
                .new
                .as_ref()
                .filter(|entry| controller_of(entry.metadata()).is_none());
            if let (Some(orphan), Some(cluster)) = (orphan, cluster.get()) {
                for key in selecting(cluster, &orphan.object) {
                    wake.wake(key, change.cause.as_ref());
                }
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &Key,
        memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let Some(replica_set) = cluster.replica_sets.get(key) else {
            return Ok(None);
        };
        let replica_sets = cluster.replica_sets.list_namespace(&key.namespace);
        let pods = cluster.pods.list_namespace(&key.namespace);
        Ok(Some(reconcile(&View {
            replica_set: &replica_set.object,
            replica_sets: replica_sets.iter().map(|entry| &entry.object).collect(),
            pods: pods.iter().map(|entry| &entry.object).collect(),
            names: &memory.names(&replica_set.metadata().uid),
            failure: memory.failure.as_ref(),
            now: clock::now(),
        })))
    }
}

/// The ReplicaSets that might adopt an orphan.
fn selecting(cluster: &Cluster, orphan: &Pod) -> Vec<Key> {
    let replica_sets = cluster.replica_sets.list_namespace(&orphan.metadata().namespace);
    let selects = |replica_set: &ReplicaSet| {
        let selector = Selector::from_label_selector(replica_set.spec().selector());
        selector.is_ok_and(|selector| !selector.is_empty() && selector.matches(&orphan.metadata().labels))
    };
    replica_sets
        .iter()
        .filter(|one| selects(&one.object))
        .map(|one| one.key())
        .collect()
}
