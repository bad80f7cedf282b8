//! What wakes a pod for garbage collection, and since when its node is gone.

use super::{NodeState, QUARANTINE, beyond_threshold, is_out_of_service, reconcile};
use crate::action::Action;
use crate::clock;
use crate::cluster::{Cluster, Watches, read_metadata};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::pod_facts;
use crate::wakes::Wakes;
use gantry_proto::core::v1::{Node, Pod};
use gantry_proto::{Key, Kind};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Ended pods are counted this often, as in Kubernetes.
const COUNT_EVERY: Duration = Duration::from_secs(20);

pub struct PodGcController {
    threshold: usize,
    /// Nodes that pods are bound to and that the cache does not show, and since when.
    gone_since: Mutex<HashMap<String, SystemTime>>,
}

impl PodGcController {
    pub fn new(threshold: usize) -> PodGcController {
        PodGcController {
            threshold,
            gone_since: Mutex::default(),
        }
    }

    async fn node_state(
        &self,
        cluster: &Cluster,
        pod: &Pod,
        now: SystemTime,
    ) -> Result<NodeState, gantry_client::Error> {
        let name = &pod.spec().node_name;
        let key = Key::cluster(name);
        let node = cluster.nodes.get(&key);
        if name.is_empty() || node.is_some() {
            self.lock().remove(name);
            let is_out = node.is_some_and(|node| is_out_of_service(&node.object));
            return Ok(match is_out {
                true => NodeState::OutOfService,
                false => NodeState::Present,
            });
        }
        let since = *self.lock().entry(name.clone()).or_insert(now);
        let since = now.duration_since(since).unwrap_or_default();
        if since >= QUARANTINE && read_metadata(&cluster.client, Node::INFO, &key).await?.is_some() {
            return Ok(NodeState::Present);
        }
        Ok(NodeState::Gone { since })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, SystemTime>> {
        // No code that holds the lock can panic half way through a change.
        self.gone_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PodGcKey {
    Pod(Key),
    /// All ended pods, for the threshold.
    Ended,
}

impl fmt::Display for PodGcKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            PodGcKey::Pod(key) => key.fmt(f),
            PodGcKey::Ended => f.write_str("ended pods"),
        }
    }
}

impl Controller for PodGcController {
    type Key = PodGcKey;
    const NAME: &'static str = "pod_gc";
    const COMPONENT: &'static str = "pod-garbage-collector";
    const RESOURCE: &'static str = "pods";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<PodGcKey>) {
        wakes.wake(PodGcKey::Ended, None);
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.pods.add(move |change| {
            let Some(pod) = &change.new else { return };
            let name = &pod.spec().node_name;
            let node = cluster
                .get()
                .and_then(|cluster| cluster.nodes.get(&Key::cluster(name)));
            let is_ending = pod_facts::is_terminating(&pod.object);
            let is_lost = match &node {
                None => !name.is_empty(),
                Some(node) => is_ending && is_out_of_service(&node.object),
            };
            if is_ending && name.is_empty() || is_lost {
                wake.wake(PodGcKey::Pod(change.key.clone()), change.cause.as_ref());
            }
        });
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.nodes.add(move |change| {
            let is_lost = change
                .new
                .as_ref()
                .is_none_or(|node| is_out_of_service(&node.object));
            let Some(cluster) = cluster.get().filter(|_| is_lost) else {
                return;
            };
            for (key, pod) in &cluster.pods.snapshot() {
                if pod.spec().node_name == change.key.name {
                    wake.wake(PodGcKey::Pod(key.clone()), change.cause.as_ref());
                }
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &PodGcKey,
        _memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let PodGcKey::Pod(key) = key else {
            let pods = cluster.pods.snapshot();
            let pods: Vec<&Pod> = pods.values().map(|entry| &entry.object).collect();
            self.lock()
                .retain(|name, _| pods.iter().any(|pod| pod.spec().node_name == *name));
            let mut actions = beyond_threshold(&pods, self.threshold);
            actions.push(Action::CheckAfter(COUNT_EVERY));
            return Ok(Some(actions));
        };
        let Some(pod) = cluster.pods.get(key) else {
            return Ok(None);
        };
        let now = clock::now();
        let node = self.node_state(cluster, &pod.object, now).await?;
        Ok(Some(reconcile(&pod.object, node, now)))
    }
}
