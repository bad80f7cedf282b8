//! What wakes a budget, and what its decision looks at.

use super::{View, Workloads, is_disruption_target, matches, reconcile, reconcile_pod};
use crate::action::Action;
use crate::clock;
use crate::cluster::{Cluster, Watches, sides};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::ownership::controller_of;
use crate::pod_facts;
use crate::wakes::Wakes;
use gantry_client::{Change, Entry};
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::OwnerReference;
use gantry_proto::policy::v1::PodDisruptionBudget;
use gantry_proto::{Key, Kind};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub struct DisruptionController;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DisruptionKey {
    Budget(Key),
    /// For what is said about the pod itself.
    Pod(Key),
}

impl fmt::Display for DisruptionKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            DisruptionKey::Budget(key) => write!(f, "poddisruptionbudgets/{key}"),
            DisruptionKey::Pod(key) => write!(f, "pods/{key}"),
        }
    }
}

impl Controller for DisruptionController {
    type Key = DisruptionKey;
    const NAME: &'static str = "disruption";
    const COMPONENT: &'static str = "controllermanager";
    const RESOURCE: &'static str = "";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<DisruptionKey>) {
        let wake = wakes.clone();
        watches.disruption_budgets.add(move |change| {
            wake.wake(DisruptionKey::Budget(change.key.clone()), change.cause.as_ref());
        });
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.pods.add(move |change| {
            if change
                .new
                .as_ref()
                .is_some_and(|pod| is_disruption_target(&pod.object))
            {
                wake.wake(DisruptionKey::Pod(change.key.clone()), change.cause.as_ref());
            }
            let before = change.old.as_ref().map(|pod| facts(&pod.object));
            let after = change.new.as_ref().map(|pod| facts(&pod.object));
            let Some(cluster) = cluster.get().filter(|_| before != after) else {
                return;
            };
            let mut matching = 0;
            for budget in cluster.disruption_budgets.list_namespace(&change.key.namespace) {
                if sides(change).any(|pod| matches(&budget.object, pod)) {
                    matching += 1;
                    let key = DisruptionKey::Budget(budget.object.key());
                    wake.wake(key, change.cause.as_ref());
                }
            }
            let (labels_before, labels) = (before.map(|pod| pod.labels), after.map(|pod| pod.labels));
            if matching > 1 && labels.is_some() && labels_before != labels {
                wake.wake(DisruptionKey::Pod(change.key.clone()), change.cause.as_ref());
            }
        });
        macro_rules! wake_on_scale {
            ($field:ident) => {
                let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
                watches.$field.add(move |change| {
                    let before = change.old.as_ref().map(|one| one.spec().replicas);
                    let after = change.new.as_ref().map(|one| one.spec().replicas);
                    if let Some(cluster) = cluster.get().filter(|_| before != after) {
                        wake_namespace(&wake, cluster, change);
                    }
                });
            };
        }
        wake_on_scale!(replica_sets);
        wake_on_scale!(deployments);
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &DisruptionKey,
        _memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let now = clock::now();
        let key = match key {
            DisruptionKey::Budget(key) => key,
            DisruptionKey::Pod(key) => {
                let Some(pod) = cluster.pods.get(key) else {
                    return Ok(None);
                };
                let budgets = cluster.disruption_budgets.list_namespace(&key.namespace);
                let budgets: Vec<&PodDisruptionBudget> = budgets
                    .iter()
                    .map(|entry| &entry.object)
                    .filter(|budget| matches(budget, &pod.object))
                    .collect();
                return Ok(Some(reconcile_pod(&pod.object, &budgets, now)));
            }
        };
        let Some(budget) = cluster.disruption_budgets.get(key) else {
            return Ok(None);
        };
        let pods = cluster.pods.list_namespace(&key.namespace);
        let replica_sets = cluster.replica_sets.list_namespace(&key.namespace);
        let deployments = cluster.deployments.list_namespace(&key.namespace);
        Ok(Some(reconcile(&View {
            budget: &budget.object,
            pods: pods.iter().map(|entry| &entry.object).collect(),
            workloads: Workloads {
                replica_sets: by_name(&replica_sets),
                deployments: by_name(&deployments),
            },
            now,
        })))
    }
}

/// What budgets see of a pod.
#[derive(Clone, Copy, PartialEq)]
struct Facts<'a> {
    labels: &'a BTreeMap<String, String>,
    controller: Option<&'a OwnerReference>,
    is_ready: bool,
    is_terminating: bool,
}

fn facts(pod: &Pod) -> Facts<'_> {
    Facts {
        labels: &pod.metadata().labels,
        controller: controller_of(pod.metadata()),
        is_ready: pod_facts::is_ready(pod),
        is_terminating: pod_facts::is_terminating(pod),
    }
}

fn by_name<K: Kind>(entries: &[Arc<Entry<K>>]) -> BTreeMap<&str, &K> {
    entries
        .iter()
        .map(|entry| (entry.object.metadata().name.as_str(), &entry.object))
        .collect()
}

/// Kubernetes waits for the pods that a new scale brings or takes; a budget is right sooner so.
fn wake_namespace<K>(wake: &Wakes<DisruptionKey>, cluster: &Cluster, change: &Change<K>) {
    for budget in cluster.disruption_budgets.list_namespace(&change.key.namespace) {
        let key = DisruptionKey::Budget(budget.object.key());
        wake.wake(key, change.cause.as_ref());
    }
}
