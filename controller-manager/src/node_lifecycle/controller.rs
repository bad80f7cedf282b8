//! What wakes a node, and how long it has been silent.

use super::heartbeats::{Heartbeats, Sign};
use super::{View, evictions, ready, reconcile};
use crate::action::Action;
use crate::clock;
use crate::cluster::{Cluster, Watches};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::pod_facts;
use crate::wakes::Wakes;
use gantry_proto::Key;
use gantry_proto::coordination::v1::Lease;
use gantry_proto::core::v1::{Node, Pod};
use std::sync::Arc;
use std::time::Duration;

/// The namespace of the nodes' leases.
pub const LEASES: &str = "kube-node-lease";
/// A silent node's lease is read afresh this often, and in any case before the node is taken for lost: a failed read
/// says that we could not have seen a renewal, which is no fault of the node's. Agents renew every ten seconds, so a
/// node in good health is never read.
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// While leases cannot be read they are tried this often, so that a node is given its time from the outage's end on.
const PROBE_AGAIN: Duration = Duration::from_secs(2);
/// A read that takes longer has waited for an outage to end, before which the node could not renew.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

pub struct NodeLifecycleController {
    grace: Duration,
    heartbeats: Arc<Heartbeats>,
}

impl NodeLifecycleController {
    pub fn new(grace: Duration) -> NodeLifecycleController {
        NodeLifecycleController {
            grace,
            heartbeats: Arc::default(),
        }
    }

    fn probe_after(&self) -> Duration {
        PROBE_AFTER.min(self.grace)
    }

    /// For how long the node has been silent while we could have heard it.
    async fn silence(&self, cluster: &Cluster, name: &str) -> Duration {
        let now = clock::monotonic();
        let silence = self.heartbeats.silence(name, now);
        if silence < self.probe_after() && !self.heartbeats.is_blind(name) {
            return silence;
        }
        let key = Key::new(LEASES, name);
        match tokio::time::timeout(PROBE_LIMIT, cluster.client.get::<Lease>(&key)).await {
            Ok(Ok(lease)) => {
                self.heartbeats.can_see(name);
                self.heartbeats
                    .note(name, lease_sign(&lease), clock::monotonic(), self.grace);
            }
            Ok(Err(error)) if error.is_not_found() => self.heartbeats.can_see(name),
            Ok(Err(error)) => {
                tracing::debug!(object = format_args!("nodes/{name}"), %error, "cannot tell whether the node is silent");
                self.heartbeats.was_blind(name, clock::monotonic());
            }
            Err(_) => self.heartbeats.was_blind(name, clock::monotonic()),
        }
        self.heartbeats.silence(name, clock::monotonic())
    }
}

impl Controller for NodeLifecycleController {
    type Key = Key;
    const NAME: &'static str = "node_lifecycle";
    const COMPONENT: &'static str = "node-controller";
    const RESOURCE: &'static str = "nodes";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        let (heartbeats, grace) = (self.heartbeats.clone(), self.grace);
        watches.nodes.add(move |change| {
            match &change.new {
                Some(node) => {
                    heartbeats.note(
                        &change.key.name,
                        status_sign(&node.object),
                        clock::monotonic(),
                        grace,
                    );
                }
                None => heartbeats.forget(&change.key.name),
            }
            wake.wake(change.key.clone(), change.cause.as_ref());
            let readiness =
                |node: Option<&Node>| node.and_then(ready).map(|condition| condition.status.clone());
            let old = readiness(change.old.as_ref().map(|entry| &entry.object));
            if old != readiness(change.new.as_ref().map(|entry| &entry.object)) {
                // Whether the others' pods may be evicted depends on how many nodes are ready.
                let nodes = cluster
                    .get()
                    .map(|cluster| cluster.nodes.snapshot())
                    .unwrap_or_default();
                nodes.keys().for_each(|key| wake.wake(key.clone(), None));
            }
        });
        let (wake, heartbeats, grace) = (wakes.clone(), self.heartbeats.clone(), self.grace);
        watches.leases.add(move |change| {
            let Some(lease) = change.new.as_ref().filter(|_| change.key.namespace == LEASES) else {
                return;
            };
            let was_silent = heartbeats.note(
                &change.key.name,
                lease_sign(&lease.object),
                clock::monotonic(),
                grace,
            );
            if was_silent {
                wake.wake(Key::cluster(&change.key.name), None);
            }
        });
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.pods.add(move |change| {
            // A node that is lost has no pods that are ready, not even one that is said to be so later.
            let (Some(pod), Some(cluster)) = (&change.new, cluster.get()) else {
                return;
            };
            let key = Key::cluster(&pod.spec().node_name);
            let is_lost = |node: &Node| ready(node).is_some_and(|condition| condition.status == "Unknown");
            if pod_facts::is_ready(&pod.object)
                && cluster.nodes.get(&key).is_some_and(|node| is_lost(&node.object))
            {
                wake.wake(key, change.cause.as_ref());
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &Key,
        _memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let Some(node) = cluster.nodes.get(key) else {
            return Ok(None);
        };
        let silence = self.silence(cluster, &key.name).await;
        let nodes = cluster.nodes.snapshot();
        let all_pods = cluster.pods.snapshot();
        let pods: Vec<&Pod> = match ready(&node.object) {
            Some(condition) if condition.status == "Unknown" => all_pods
                .values()
                .map(|entry| &entry.object)
                .filter(|pod| pod.spec().node_name == key.name)
                .collect(),
            _ => Vec::new(),
        };
        let mut actions = reconcile(&View {
            node: &node.object,
            pods,
            silence,
            grace: self.grace,
            evictions: evictions(nodes.values().map(|entry| &entry.object)),
            now: clock::now(),
        });
        actions.push(Action::CheckAfter(match self.heartbeats.is_blind(&key.name) {
            true => PROBE_AGAIN,
            false => self.probe_after(),
        }));
        Ok(Some(actions))
    }
}

fn lease_sign(lease: &Lease) -> Sign {
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    Sign::Lease(renewed.map_or(0, |time| nanoseconds(time.seconds, time.nanos)))
}

fn status_sign(node: &Node) -> Sign {
    // A condition that this controller has set does not move the heartbeat.
    let beats = node
        .status()
        .conditions
        .iter()
        .filter_map(|condition| condition.last_heartbeat_time.as_ref());
    Sign::Status(
        beats
            .map(|time| nanoseconds(time.seconds, time.nanos))
            .max()
            .unwrap_or(0),
    )
}

fn nanoseconds(seconds: i64, nanos: i32) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}
