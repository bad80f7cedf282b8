//! The scheduler's own picture of the nodes: what the caches show, plus the pods it has assigned but whose
//! binding the caches do not show yet (assumed).
//!
//! ```text
//! pending --assume--> assumed --observe (bound)--> placed --observe (ended, gone)--> forgotten
//!                        `--forget (binding failed)--> pending
//! ```

use crate::snapshot::{NodeInfo, Snapshot, Taken, has_ended};
use gantry_proto::Key;
use gantry_proto::core::v1::{Node, Pod};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Default)]
pub struct Model {
    nodes: Snapshot,
    placed: HashMap<Key, Placed>,
    /// How many of them are assumed.
    assumed: usize,
}

/// A pod that takes room on a node.
struct Placed {
    uid: String,
    node: Arc<str>,
    taken: Taken,
    assumed: bool,
}

impl Model {
    pub fn nodes(&self) -> &Snapshot {
        &self.nodes
    }

    pub fn set_node(&mut self, node: &Node) {
        self.change(&Arc::from(node.metadata().name.as_str()), |info| {
            info.set_node(node)
        });
    }

    /// A node that is gone takes no more pods; those on it count until they are gone too.
    pub fn remove_node(&mut self, name: &str) {
        self.change(&Arc::from(name), |info| info.exists = false);
    }

    /// Takes over what the cache shows of a pod. Returns true when room became free.
    pub fn observe(&mut self, key: &Key, pod: Option<&Pod>) -> bool {
        let bound = pod.filter(|pod| !pod.spec().node_name.is_empty() && !has_ended(pod));
        let Some(pod) = bound else {
            // A pod that is not bound in the cache may be assumed: its binding is on its way.
            let stays = |placed: &Placed| {
                placed.assumed && pod.is_some_and(|p| p.metadata().uid == placed.uid && !has_ended(p))
            };
            if self.placed.get(key).is_some_and(stays) {
                return false;
            }
            return self.remove(key);
        };
        let same =
            |placed: &Placed| placed.uid == pod.metadata().uid && *placed.node == *pod.spec().node_name;
        let taken = Taken::of(pod);
        match self.placed.get_mut(key) {
            Some(placed) if same(placed) && placed.taken == taken => {
                self.assumed -= usize::from(std::mem::take(&mut placed.assumed));
                false
            }
            _ => {
                let freed = self.remove(key);
                self.place(key, pod, Arc::from(pod.spec().node_name.as_str()), false);
                freed
            }
        }
    }

    /// Counts a pod on a node before its binding is written.
    pub fn assume(&mut self, key: &Key, pod: &Pod, node: Arc<str>) {
        self.remove(key);
        self.place(key, pod, node, true);
    }

    /// The binding of a pod failed. Returns true when room became free.
    pub fn forget(&mut self, key: &Key, uid: &str) -> bool {
        let assumed = self
            .placed
            .get(key)
            .is_some_and(|placed| placed.assumed && placed.uid == uid);
        assumed && self.remove(key)
    }

    /// Pods that take room, and how many of them the cache does not show as bound yet.
    pub fn pods(&self) -> (usize, usize) {
        (self.placed.len(), self.assumed)
    }

    pub fn is_assumed(&self, key: &Key, uid: &str) -> bool {
        self.placed.get(key).is_some_and(|placed| placed.uid == uid)
    }

    fn place(&mut self, key: &Key, pod: &Pod, node: Arc<str>, assumed: bool) {
        let placed = Placed {
            uid: pod.metadata().uid.clone(),
            node,
            taken: Taken::of(pod),
            assumed,
        };
        self.assumed += usize::from(assumed);
        self.change(&placed.node, |info| info.add_pod(&placed.taken));
        self.placed.insert(key.clone(), placed);
    }

    fn remove(&mut self, key: &Key) -> bool {
        let Some(placed) = self.placed.remove(key) else {
            return false;
        };
        self.assumed -= usize::from(placed.assumed);
        self.change(&placed.node, |info| info.remove_pod(&placed.taken));
        true
    }

    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut NodeInfo)) {
        let mut info = self.nodes.get(name).cloned().unwrap_or_default();
        change(Arc::make_mut(&mut info));
        if info.exists || !info.is_empty() {
            self.nodes.insert(name.clone(), info);
        } else {
            self.nodes.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::CPU;
    use gantry_proto::json;
    use serde_json::json;

    fn pod(uid: &str, node: &str, phase: &str) -> Pod {
        let value = json!({
            "metadata": {"name": "p", "namespace": "d", "uid": uid},
            "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": phase},
        });
        json::decode_value(&value).map(|d| d.object).unwrap_or_default()
    }

    fn taken(model: &Model, node: &str) -> i64 {
        model.nodes().get(node).map_or(0, |info| info.requested.get(CPU))
    }

    #[test]
    fn a_pod_counts_once_from_assumption_to_its_end() {
        let (mut model, key) = (Model::default(), Key::new("d", "p"));
        model.assume(&key, &pod("1", "", "Pending"), "n".into());
        assert_eq!(taken(&model, "n"), 1000);
        assert!(
            !model.observe(&key, Some(&pod("1", "", "Pending"))),
            "the cache is behind"
        );
        assert_eq!(taken(&model, "n"), 1000);
        model.observe(&key, Some(&pod("1", "n", "Pending")));
        model.observe(&key, Some(&pod("1", "n", "Running")));
        assert_eq!(taken(&model, "n"), 1000);
        assert!(model.observe(&key, Some(&pod("1", "n", "Succeeded"))));
        assert_eq!(taken(&model, "n"), 0);
    }

    #[test]
    fn a_failed_binding_gives_the_room_back_but_only_to_its_own_pod() {
        let (mut model, key) = (Model::default(), Key::new("d", "p"));
        model.assume(&key, &pod("2", "", "Pending"), "n".into());
        assert!(!model.forget(&key, "1"));
        assert_eq!(taken(&model, "n"), 1000);
        assert!(model.forget(&key, "2"));
        assert_eq!(taken(&model, "n"), 0);
    }

    #[test]
    fn another_pod_of_the_same_name_takes_the_place_of_the_first() {
        let (mut model, key) = (Model::default(), Key::new("d", "p"));
        model.observe(&key, Some(&pod("1", "a", "Running")));
        model.observe(&key, Some(&pod("2", "b", "Running")));
        assert_eq!((taken(&model, "a"), taken(&model, "b")), (0, 1000));
        assert!(model.observe(&key, None));
        assert_eq!(taken(&model, "b"), 0);
    }
}
