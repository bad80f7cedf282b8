//! What wakes a pod for eviction.

use super::noticed::Noticed;
use super::reconcile;
use crate::action::Action;
use crate::clock;
use crate::cluster::{Cluster, Watches};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_proto::Key;
use gantry_proto::core::v1::{Node, Taint};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
pub struct PodEvictionController {
    noticed: Arc<Noticed>,
    /// Pods that were given a time, after which they go.
    to_go: Mutex<HashSet<Key>>,
}

impl Controller for PodEvictionController {
    type Key = Key;
    const NAME: &'static str = "pod_eviction";
    const COMPONENT: &'static str = "taint-eviction-controller";
    const RESOURCE: &'static str = "pods";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.pods.add(move |change| {
            let Some(pod) = &change.new else { return };
            let before = change
                .old
                .as_ref()
                .map(|old| (old.spec().node_name.clone(), &old.spec().tolerations));
            let is_moved = before != Some((pod.spec().node_name.clone(), &pod.spec().tolerations));
            let node = cluster
                .get()
                .and_then(|cluster| cluster.nodes.get(&Key::cluster(&pod.spec().node_name)));
            if is_moved && node.is_none_or(|node| evicting(&node.object).next().is_some()) {
                wake.wake(change.key.clone(), change.cause.as_ref());
            }
        });
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        let noticed = self.noticed.clone();
        watches.nodes.add(move |change| {
            let Some(node) = &change.new else {
                return noticed.forget(&change.key.name);
            };
            noticed.note(&node.object, clock::now());
            let Some(cluster) = cluster.get() else { return };
            let before: Vec<&Taint> = change
                .old
                .as_ref()
                .map(|old| evicting(&old.object).collect())
                .unwrap_or_default();
            if evicting(&node.object).eq(before) {
                return;
            }
            for (key, pod) in &cluster.pods.snapshot() {
                if pod.spec().node_name == change.key.name {
                    wake.wake(key.clone(), change.cause.as_ref());
                }
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &Key,
        _memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let Some(pod) = cluster.pods.get(key) else {
            self.note(key, false);
            return Ok(None);
        };
        let node = cluster.nodes.get(&Key::cluster(&pod.spec().node_name));
        let taints = node
            .map(|node| self.noticed.taints(&node.object))
            .unwrap_or_default();
        let was_to_go = self.note(key, false);
        let actions = reconcile(&pod.object, &taints, was_to_go, clock::now());
        let is_given_time = |action: &Action| matches!(action, Action::WakeAfter(_));
        self.note(key, actions.iter().any(is_given_time));
        Ok(Some(actions))
    }
}

impl PodEvictionController {
    /// Returns what was noted before.
    fn note(&self, key: &Key, is_to_go: bool) -> bool {
        // No code that holds the lock can panic half way through a change.
        let mut to_go = self.to_go.lock().unwrap_or_else(PoisonError::into_inner);
        match is_to_go {
            true => !to_go.insert(key.clone()),
            false => to_go.remove(key),
        }
    }
}

fn evicting(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec()
        .taints
        .iter()
        .filter(|taint| taint.effect == "NoExecute")
}
