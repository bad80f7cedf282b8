//! What wakes a Deployment, and what its decision looks at.

use super::{View, reconcile};
use crate::action::Action;
use crate::clock;
use crate::cluster::{Cluster, Watches, sides};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::ownership::controller_of;
use crate::wakes::Wakes;
use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use gantry_proto::meta::v1::ObjectMeta;
use gantry_proto::selector::Selector;
use gantry_proto::{Key, Kind};
use std::sync::Arc;

pub struct DeploymentController;

impl Controller for DeploymentController {
    type Key = Key;
    const NAME: &'static str = "deployment";
    const COMPONENT: &'static str = "deployment-controller";
    const RESOURCE: &'static str = "deployments";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let wake = wakes.clone();
        watches
            .deployments
            .add(move |change| wake.wake(change.key.clone(), change.cause.as_ref()));
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.replica_sets.add(move |change| {
            for replica_set in sides(change) {
                if let Some(key) = owner(replica_set.metadata()) {
                    wake.wake(key, change.cause.as_ref());
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
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.pods.add(move |change| {
            // Only Recreate waits for pods themselves.
            let (Some(pod), Some(cluster)) = (sides(change).last(), cluster.get()) else {
                return;
            };
            let Some(reference) = controller_of(pod.metadata()).filter(|one| one.kind == ReplicaSet::KIND)
            else {
                return;
            };
            let replica_set = cluster
                .replica_sets
                .get(&Key::new(&change.key.namespace, &reference.name));
            let Some(key) = replica_set.and_then(|replica_set| owner(replica_set.metadata())) else {
                return;
            };
            if cluster
                .deployments
                .get(&key)
                .is_some_and(|deployment| is_recreate(&deployment.object))
            {
                wake.wake(key, change.cause.as_ref());
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &Key,
        memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let Some(deployment) = cluster.deployments.get(key) else {
            return Ok(None);
        };
        let replica_sets = cluster.replica_sets.list_namespace(&key.namespace);
        let pods = match is_recreate(&deployment.object) {
            true => cluster.pods.list_namespace(&key.namespace),
            false => Vec::new(),
        };
        Ok(Some(reconcile(&View {
            deployment: &deployment.object,
            replica_sets: replica_sets.iter().map(|entry| &entry.object).collect(),
            pods: pods.iter().map(|entry| &entry.object).collect(),
            failure: memory.failure.as_ref(),
            now: clock::now(),
        })))
    }
}

fn is_recreate(deployment: &Deployment) -> bool {
    deployment.spec().strategy().r#type == "Recreate"
}

fn owner(metadata: &ObjectMeta) -> Option<Key> {
    let reference = controller_of(metadata).filter(|reference| reference.kind == Deployment::KIND)?;
    Some(Key::new(&metadata.namespace, &reference.name))
}

/// The deployments that might adopt an orphan.
fn selecting(cluster: &Cluster, orphan: &ReplicaSet) -> Vec<Key> {
    let deployments = cluster.deployments.list_namespace(&orphan.metadata().namespace);
    let selects = |deployment: &Deployment| {
        let selector = Selector::from_label_selector(deployment.spec().selector());
        selector.is_ok_and(|selector| !selector.is_empty() && selector.matches(&orphan.metadata().labels))
    };
    deployments
        .iter()
        .filter(|deployment| selects(&deployment.object))
        .map(|deployment| deployment.key())
        .collect()
}
