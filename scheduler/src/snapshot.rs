//! The cluster as a decision sees it: nodes with the pods on them, and what pods are judged by beside nodes.

mod slots;

use crate::labels::{Labels, Selection};
use crate::pods::{HostPort, PodInfo};
use crate::resources::{Counted, Resources};
use gantry_proto::Key;
use gantry_proto::core::v1::{Node, Pod, Taint};
use imbl::{HashMap, OrdMap};
use slots::Slots;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

pub use crate::pods::has_ended;

/// Everything at one moment; cheap to clone, and a change costs one node.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes_by_slot: Slots,
    /// Slots below the highest that nobody has.
    vacant: Vec<u32>,
    slot_by_name: HashMap<Arc<str>, u32>,
    /// The slots of all nodes in the order in which they are looked at: zones take turns, so that the first of many
    /// nodes are of all zones (backend/cache/node_tree.go).
    order: Arc<Vec<u32>>,
    order_is_old: bool,
    pub surroundings: Surroundings,
}

/// What pods are judged by beside nodes; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The labels of namespaces.
    pub namespaces: HashMap<String, Arc<Labels>>,
    /// The selectors of Services that have one.
    pub services: OrdMap<Key, Arc<Selection>>,
    pub replica_sets: OrdMap<Key, Arc<Selection>>,
    /// Which nodes have an image, by the image's name.
    pub images: HashMap<Arc<str>, Arc<ImageState>>,
}

/// How large an image is on each node that has it, by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageState {
    pub size_by_slot: BTreeMap<u32, i64>,
}

/// A node, and what the pods on it take. What changes with every pod stands here; what the node itself says is shared
/// between versions.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node's number, while it exists; another node may have it later.
    pub slot: u32,
    /// False for a node whose pods are known but which itself is not (any more).
    pub exists: bool,
    pub unschedulable: bool,
    /// Whether there are any taints: most nodes have none, and are not asked for them.
    pub tainted: bool,
    pub allocatable: Resources,
    pub requested: Resources,
    /// What is requested as scores count it.
    pub counted: Counted,
    pub host_ports: Vec<HostPort>,
    pub pods: Vec<Arc<PodInfo>>,
    /// Pods that wait for others to make room for them here.
    pub nominated: Vec<Arc<PodInfo>>,
    /// How many of the pods care which pods are near.
    pub pods_with_affinity: usize,
    facts: Arc<NodeFacts>,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    pub name: Arc<str>,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    /// Every name of every image that the node has, and the image's size in bytes.
    pub images: Vec<(Arc<str>, i64)>,
}

impl Deref for NodeInfo {
    type Target = NodeFacts;
    fn deref(&self) -> &NodeFacts {
        &self.facts
    }
}

impl NodeInfo {
    /// Takes over what the node itself says, and keeps what its pods take.
    pub fn set_node(&mut self, node: &Node) {
        let (metadata, spec, status) = (node.metadata(), node.spec(), node.status());
        let images = status.images.iter();
        let images = images.flat_map(|image| image.names.iter().map(|name| (name, image.size_bytes)));
        let facts = NodeFacts {
            name: metadata.name.as_str().into(),
            labels: metadata.labels.clone(),
            taints: spec.taints.clone(),
            images: images.map(|(name, size)| (name.as_str().into(), size)).collect(),
        };
        if facts != *self.facts {
            self.facts = Arc::new(facts);
        }
        self.unschedulable = spec.unschedulable;
        self.tainted = !spec.taints.is_empty();
        self.allocatable = Resources::of_quantities(&status.allocatable);
        self.exists = true;
    }

    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.takes.requests);
        self.counted.milli_cpu += pod.takes.counted.milli_cpu;
        self.counted.memory += pod.takes.counted.memory;
        self.host_ports.extend(pod.takes.host_ports.iter().cloned());
        self.pods_with_affinity += usize::from(pod.affinity.is_some());
        self.pods.push(pod);
    }

    /// Returns the pod, where it was here.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let index = self.pods.iter().position(|pod| *pod.uid == *uid)?;
        let pod = self.pods.swap_remove(index);
        self.requested.subtract(&pod.takes.requests);
        self.counted.milli_cpu -= pod.takes.counted.milli_cpu;
        self.counted.memory -= pod.takes.counted.memory;
        for port in &pod.takes.host_ports {
            if let Some(index) = self.host_ports.iter().position(|taken| taken == port) {
                self.host_ports.swap_remove(index);
            }
        }
        self.pods_with_affinity -= usize::from(pod.affinity.is_some());
        Some(pod)
    }

    pub fn free(&self, resource: &str) -> i64 {
        self.allocatable
            .get(resource)
            .saturating_sub(self.requested.get(resource))
    }

    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.nominated.is_empty()
    }

    #[cfg(test)]
    pub fn named(name: &str, labels: Labels) -> NodeInfo {
        let facts = NodeFacts {
            name: name.into(),
            labels,
            ..NodeFacts::default()
        };
        NodeInfo {
            exists: true,
            facts: Arc::new(facts),
            ..NodeInfo::default()
        }
    }

    /// Where the node stands among zones: its region and zone.
    fn zone(&self) -> (&str, &str) {
        let label = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| self.labels.get(*name));
            found.map_or("", String::as_str)
        };
        (
            label([
                "topology.kubernetes.io/region",
                "failure-domain.beta.kubernetes.io/region",
            ]),
            label([
                "topology.kubernetes.io/zone",
                "failure-domain.beta.kubernetes.io/zone",
            ]),
        )
    }
}

impl Snapshot {
    pub fn new() -> Snapshot {
        Snapshot::default()
    }

    pub fn len(&self) -> usize {
        self.slot_by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slot_by_name.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.at(*self.slot_by_name.get(name)?)
    }

    pub fn at(&self, slot: u32) -> Option<&Arc<NodeInfo>> {
        self.nodes_by_slot.get(slot)
    }

    /// All nodes with their names, in the order in which they are looked at.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<NodeInfo>)> {
        self.from(0).map(|node| (&node.facts.name, node))
    }

    /// All nodes in any order, also while their order is not up to date.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.nodes_by_slot.iter()
    }

    /// All nodes, beginning with the one at a place in their order.
    pub fn from(&self, start: usize) -> impl Iterator<Item = &Arc<NodeInfo>> {
        let (before, after) = self.order.split_at(start.min(self.order.len()));
        after.iter().chain(before).filter_map(|slot| self.at(*slot))
    }

    /// Puts a node in, or its next version. A new one gets a slot, which is returned.
    pub fn put(&mut self, mut node: NodeInfo) -> u32 {
        let slot = match self.slot_by_name.get(&node.facts.name) {
            Some(slot) => *slot,
            None => {
                let highest = u32::try_from(self.slot_by_name.len()).unwrap_or(u32::MAX);
                let slot = self.vacant.pop().unwrap_or(highest);
                self.slot_by_name.insert(node.facts.name.clone(), slot);
                self.order_is_old = true;
                slot
            }
        };
        node.slot = slot;
        let place = self.nodes_by_slot.get_mut(slot);
        let moved = place.as_ref().is_some_and(|before| before.zone() != node.zone());
        *place = Some(Arc::new(node));
        self.order_is_old |= moved;
        slot
    }

    pub fn remove(&mut self, name: &str) -> Option<Arc<NodeInfo>> {
        let slot = self.slot_by_name.remove(name)?;
        self.order_is_old = true;
        self.vacant.push(slot);
        self.nodes_by_slot.get_mut(slot).take()
    }

    /// Changes what is on a node; what the node itself says stays.
    pub fn change(&mut self, slot: u32, change: impl FnOnce(&mut NodeInfo)) {
        if let Some(node) = self.nodes_by_slot.get_mut(slot) {
            change(Arc::make_mut(node));
        }
    }

    pub fn slot_of(&self, name: &str) -> Option<u32> {
        self.slot_by_name.get(name).copied()
    }

    /// Brings the order up to date, once after many changes.
    pub fn settle(&mut self) {
        if !std::mem::take(&mut self.order_is_old) {
            return;
        }
        let mut slots_by_zone: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
        for node in self.nodes_by_slot.iter() {
            slots_by_zone.entry(node.zone()).or_default().push(node.slot);
        }
        let mut order = Vec::with_capacity(self.len());
        let longest = slots_by_zone.values().map(Vec::len).max().unwrap_or(0);
        for turn in 0..longest {
            order.extend(slots_by_zone.values().filter_map(|slots| slots.get(turn)));
        }
        self.order = Arc::new(order);
    }
}

impl FromIterator<(Arc<str>, Arc<NodeInfo>)> for Snapshot {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<NodeInfo>)>>(nodes: I) -> Snapshot {
        let mut snapshot = Snapshot::new();
        for (_, node) in nodes {
            snapshot.put(NodeInfo::clone(&node));
        }
        snapshot.settle();
        snapshot
    }
}

static NO_LABELS: Labels = Labels::new();

impl Surroundings {
    /// Those of a namespace that is not known are none.
    pub fn namespace_labels(&self, namespace: &str) -> &Labels {
        self.namespaces.get(namespace).map_or(&NO_LABELS, |labels| labels)
    }

    /// The pods that belong with a pod, by the selectors of its Services and of the controller that made it;
    /// everything where there is none (helper.DefaultSelector).
    pub fn default_selection(&self, pod: &Pod) -> Selection {
        let metadata = pod.metadata();
        let within = Key::new(metadata.namespace.as_str(), "");
        let services = self.services.range(within..);
        let services = services.take_while(|(key, _)| key.namespace == metadata.namespace);
        let mut requirements = Vec::new();
        for (_, selection) in services {
            if let Selection::All(all) = &**selection
                && selection.matches(&metadata.labels)
            {
                requirements.extend(all.iter().cloned());
            }
        }
        let mut owners = metadata.owner_references.iter();
        let controller = owners.find(|owner| owner.controller == Some(true));
        if let Some(owner) =
            controller.filter(|owner| owner.kind == "ReplicaSet" && owner.api_version == "apps/v1")
            && let Some(selection) = self
                .replica_sets
                .get(&Key::new(metadata.namespace.as_str(), owner.name.as_str()))
            && let Selection::All(all) = &**selection
        {
            requirements.extend(all.iter().cloned());
        }
        Selection::EVERYTHING.and(requirements)
    }

    /// Takes over which images a node has.
    pub fn set_images(&mut self, slot: u32, before: &[(Arc<str>, i64)], after: &[(Arc<str>, i64)]) {
        if before == after {
            return;
        }
        for (name, _) in before {
            if let Some(state) = self.images.get_mut(name) {
                Arc::make_mut(state).size_by_slot.remove(&slot);
                if state.size_by_slot.is_empty() {
                    self.images.remove(name);
                }
            }
        }
        for (name, size) in after {
            let state = self.images.entry(name.clone()).or_default();
            Arc::make_mut(state).size_by_slot.insert(slot, *size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(snapshot: &Snapshot, start: usize) -> Vec<&str> {
        snapshot.from(start).map(|node| &*node.name).collect()
    }

    #[test]
    fn zones_take_turns_and_the_start_goes_round() {
        let mut snapshot = Snapshot::new();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")] {
            let label = ("topology.kubernetes.io/zone".to_string(), zone.to_string());
            snapshot.put(NodeInfo::named(name, [label].into()));
        }
        snapshot.settle();
        assert_eq!(names(&snapshot, 0), ["a1", "b1", "a2", "a3"]);
        assert_eq!(names(&snapshot, 3), ["a3", "a1", "b1", "a2"]);
        snapshot.remove("a2");
        snapshot.settle();
        assert_eq!(names(&snapshot, 0), ["a1", "b1", "a3"]);
    }

    #[test]
    fn a_copy_does_not_change_with_the_original() {
        let mut snapshot = Snapshot::new();
        let slot = snapshot.put(NodeInfo::named("a", Labels::new()));
        let copy = snapshot.clone();
        snapshot.change(slot, |node| node.add_pod(Arc::default()));
        assert_eq!(
            (
                copy.at(slot).unwrap().pods.len(),
                snapshot.at(slot).unwrap().pods.len()
            ),
            (0, 1)
        );
    }

    #[test]
    fn a_pod_that_goes_gives_back_what_it_took() {
        let port = HostPort {
            protocol: "TCP".into(),
            port: 80,
            address: String::new(),
        };
        let mut pod = PodInfo {
            uid: "1".into(),
            ..PodInfo::default()
        };
        pod.takes.requests.set("example.com/gpu", 2);
        pod.takes.host_ports = vec![port];
        let mut node = NodeInfo::default();
        node.add_pod(Arc::new(pod));
        assert_eq!(
            (node.requested.get("example.com/gpu"), node.host_ports.len()),
            (2, 1)
        );
        assert!(node.remove_pod("1").is_some());
        assert!(node.is_empty() && node.host_ports.is_empty());
        assert_eq!(node.requested, Resources::default());
    }
}
