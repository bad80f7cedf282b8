//! The scheduler's own picture of the cluster: what the caches show, plus the pods it has assigned but whose binding
//! the caches do not show yet (assumed), plus the pods that others make room for (nominated).
//!
//! ```text
//! pending --assume--> assumed --observe (bound)--> placed --observe (ended, gone)--> forgotten
//!                        `--forget (binding failed)--> pending
//! ```

use crate::filter::Wanted;
use crate::index::Index;
use crate::labels::{Labels, Selection};
use crate::pods::{PodInfo, has_ended};
use crate::profile::Profile;
use crate::snapshot::{NodeInfo, Snapshot};
use gantry_proto::Key;
use gantry_proto::apps::v1::ReplicaSet;
use gantry_proto::core::v1::{Namespace, Node, Pod, Service};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

#[derive(Default)]
pub struct Model {
    snapshot: Snapshot,
    /// Nodes whose pods are known but which themselves are not (any more).
    absent: HashMap<Arc<str>, NodeInfo>,
    placed: BTreeMap<Key, Placed>,
    nominated: HashMap<Key, Nominated>,
    /// How many of the placed are assumed.
    assumed: usize,
    index: Index,
    /// Each set of labels once: the pods of a controller have the same.
    labels: HashSet<Arc<Labels>>,
}

/// Values of labels that no node has any more, and sets of labels that no pod has any more, are forgotten when there are
/// more of them than of those in use, and so many besides: that is seldom, and costs little then.
const SPARE: usize = 4096;

/// A pod that takes room on a node.
struct Placed {
    node: Arc<str>,
    info: Arc<PodInfo>,
    assumed: bool,
}

struct Nominated {
    node: Arc<str>,
    info: Arc<PodInfo>,
    /// The pod's status has shown it, so that a status without it takes it back.
    shown: bool,
}

/// What became of a pod, as far as others may wait for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Nothing,
    /// It takes room now.
    Came(Arc<PodInfo>),
    Changed {
        before: Arc<PodInfo>,
        after: Arc<PodInfo>,
    },
    Went(Arc<PodInfo>),
}

impl Model {
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The snapshot with its nodes in order, after a batch of changes.
    pub fn settle(&mut self) -> &Snapshot {
        self.snapshot.settle();
        if self.index.most_domains() > 2 * self.snapshot.len() + SPARE {
            self.count_anew();
        }
        &self.snapshot
    }

    /// A pod with everything that a decision about it needs, from what is kept up to date.
    pub fn want<'p>(&mut self, pod: &'p Pod, profile: &'p Profile) -> Wanted<'p> {
        let placed = &self.placed;
        let pods_of = |namespace: &str, tell: &mut dyn FnMut(&PodInfo, &str)| {
            let all = placed.range(Key::new(namespace, "")..);
            all.take_while(|(key, _)| namespace.is_empty() || key.namespace == namespace)
                .for_each(|(_, placed)| tell(&placed.info, &placed.node));
        };
        let mut counter = self.index.over(&self.snapshot, pods_of);
        Wanted::counted_by(&mut counter, pod, &self.snapshot.surroundings, profile)
    }

    /// Returns the node as it was and as it is.
    pub fn set_node(&mut self, node: &Node) -> (Option<Arc<NodeInfo>>, Option<Arc<NodeInfo>>) {
        let name = node.metadata().name.as_str();
        let before = self.snapshot.get(name).cloned();
        let mut info = match &before {
            Some(before) => NodeInfo::clone(before),
            None => self.absent.remove(name).unwrap_or_default(),
        };
        info.set_node(node);
        let slot = self.snapshot.put(info);
        let after = self.snapshot.at(slot).cloned();
        if let Some(after) = &after {
            let images_before = before.as_ref().map_or(&[][..], |before| &before.images);
            self.snapshot
                .surroundings
                .set_images(slot, images_before, &after.images);
        }
        if !same_place(before.as_deref(), after.as_deref()) {
            self.index
                .change_node(&self.snapshot, before.as_deref(), after.as_deref());
        }
        (before, after)
    }

    /// A node that is gone takes no more pods; those on it count until they are gone too.
    pub fn remove_node(&mut self, name: &str) -> Option<Arc<NodeInfo>> {
        let before = self.snapshot.remove(name)?;
        self.snapshot
            .surroundings
            .set_images(before.slot, &before.images, &[]);
        self.index
            .change_node(&self.snapshot, Some(before.as_ref()), None);
        if !before.is_empty() {
            let mut absent = NodeInfo::clone(&before);
            absent.exists = false;
            self.absent.insert(before.name.clone(), absent);
        }
        Some(before)
    }

    /// Takes over what the cache shows of a pod.
    pub fn observe(&mut self, key: &Key, pod: Option<&Pod>) -> Seen {
        self.observe_nomination(key, pod);
        let bound = pod.filter(|pod| !pod.spec().node_name.is_empty() && !has_ended(pod));
        let Some(pod) = bound else {
            // A pod that is not bound in the cache may be assumed: its binding is on its way.
            let stays = |placed: &Placed| {
                placed.assumed && pod.is_some_and(|p| p.metadata().uid == *placed.info.uid && !has_ended(p))
            };
            if self.placed.get(key).is_some_and(stays) {
                return Seen::Nothing;
            }
            return self.remove(key).map_or(Seen::Nothing, Seen::Went);
        };
        let info = PodInfo::of(pod);
        let node = pod.spec().node_name.as_str();
        if let Some(placed) = self.placed.get_mut(key)
            && *placed.node == *node
            && *placed.info == info
        {
            self.assumed -= usize::from(placed.assumed);
            let came = std::mem::take(&mut placed.assumed);
            return match came {
                true => Seen::Came(placed.info.clone()),
                false => Seen::Nothing,
            };
        }
        let before = self.placed.get(key).map(|placed| placed.info.clone());
        let info = self.place(info.into(), node.into(), false);
        match before {
            Some(before) if before.uid == info.uid => Seen::Changed { before, after: info },
            Some(before) => Seen::Went(before),
            None => Seen::Came(info),
        }
    }

    /// Counts a pod on a node before its binding is written.
    pub fn assume(&mut self, info: Arc<PodInfo>, node: Arc<str>) {
        self.forget_nomination(&info.key);
        self.place(info, node, true);
    }

    /// The binding of a pod failed. Returns the pod where it had taken room.
    pub fn forget(&mut self, key: &Key, uid: &str) -> Option<Arc<PodInfo>> {
        let assumed = self
            .placed
            .get(key)
            .is_some_and(|placed| placed.assumed && *placed.info.uid == *uid);
        if assumed { self.remove(key) } else { None }
    }

    /// Others make room for a pod on a node: it counts there for pods that are not more important.
    pub fn nominate(&mut self, info: Arc<PodInfo>, node: Arc<str>) {
        self.set_nomination(info, node, false);
    }

    fn set_nomination(&mut self, info: Arc<PodInfo>, node: Arc<str>, shown: bool) {
        self.forget_nomination(&info.key);
        self.change(&node, |node| node.nominated.push(info.clone()));
        let key = info.key.clone();
        self.nominated.insert(key, Nominated { node, info, shown });
    }

    /// Returns the pod, where it was nominated.
    pub fn forget_nomination(&mut self, key: &Key) -> Option<Arc<PodInfo>> {
        let Nominated { node, info, .. } = self.nominated.remove(key)?;
        self.change(&node, |node| {
            node.nominated.retain(|other| other.uid != info.uid);
        });
        Some(info)
    }

    /// The node that a pod is nominated to.
    pub fn nomination(&self, key: &Key) -> Option<&Arc<str>> {
        self.nominated.get(key).map(|nominated| &nominated.node)
    }

    /// A pod that is nominated, as it counts on its node.
    pub fn nominated(&self, key: &Key) -> Option<&Arc<PodInfo>> {
        self.nominated.get(key).map(|nominated| &nominated.info)
    }

    pub fn set_namespace(&mut self, name: &str, namespace: Option<&Namespace>) {
        let namespaces = &mut self.snapshot.surroundings.namespaces;
        let labels = namespace.map(|namespace| &namespace.metadata().labels);
        if namespaces.get(name).map(|labels| &**labels) == labels {
            return;
        }
        match labels {
            Some(labels) => namespaces.insert(name.into(), Arc::new(labels.clone())),
            None => namespaces.remove(name),
        };
        self.index.change_namespaces();
    }

    pub fn set_service(&mut self, key: &Key, service: Option<&Service>) {
        let selector = service.map(|service| &service.spec().selector);
        let selection = selector
            .filter(|selector| !selector.is_empty())
            .map(Selection::of_map);
        set(&mut self.snapshot.surroundings.services, key, selection);
    }

    pub fn set_replica_set(&mut self, key: &Key, replica_set: Option<&ReplicaSet>) {
        let selection = replica_set.map(|set| Selection::of(set.spec().selector.as_ref()));
        set(&mut self.snapshot.surroundings.replica_sets, key, selection);
    }

    /// Pods that take room, and how many of them the cache does not show as bound yet.
    pub fn pods(&self) -> (usize, usize) {
        (self.placed.len(), self.assumed)
    }

    pub fn is_assumed(&self, key: &Key, uid: &str) -> bool {
        self.placed
            .get(key)
            .is_some_and(|placed| *placed.info.uid == *uid)
    }

    /// A pod that waits may be nominated to a node, by this scheduler or by one before it.
    fn observe_nomination(&mut self, key: &Key, pod: Option<&Pod>) {
        let waiting = pod.filter(|pod| pod.spec().node_name.is_empty() && !has_ended(pod));
        let Some(pod) = waiting else {
            self.forget_nomination(key);
            return;
        };
        let uid = pod.metadata().uid.as_str();
        if self.is_assumed(key, uid) {
            return;
        }
        let shown = pod.status().nominated_node_name.as_str();
        match self.nominated.get(key) {
            Some(known) if *known.info.uid != *uid => drop(self.forget_nomination(key)),
            Some(known) if shown.is_empty() && known.shown => drop(self.forget_nomination(key)),
            Some(known) if *known.node == *shown && known.shown => return,
            _ => {}
        }
        if !shown.is_empty() {
            self.set_nomination(Arc::new(PodInfo::of(pod)), shown.into(), true);
        }
    }

    /// Forgets what was counted; it is counted again when it is asked for.
    fn count_anew(&mut self) {
        self.index = Index::default();
        for placed in self.placed.values() {
            if let Some(slot) = self.snapshot.slot_of(&placed.node) {
                self.index.change_pod(&self.snapshot, slot, &placed.info, 1);
            }
        }
    }

    fn place(&mut self, mut info: Arc<PodInfo>, node: Arc<str>, assumed: bool) -> Arc<PodInfo> {
        self.remove(&info.key.clone());
        // Pods that are alike share their labels.
        if let Some(known) = self.labels.get(&info.labels)
            && !Arc::ptr_eq(known, &info.labels)
        {
            Arc::make_mut(&mut info).labels = known.clone();
        } else {
            self.labels.insert(info.labels.clone());
            if self.labels.len() > 2 * self.placed.len() + SPARE {
                self.labels.retain(|labels| Arc::strong_count(labels) > 1);
            }
        }
        self.assumed += usize::from(assumed);
        self.change(&node, |node| node.add_pod(info.clone()));
        if let Some(slot) = self.snapshot.slot_of(&node) {
            self.index.change_pod(&self.snapshot, slot, &info, 1);
        }
        let placed = Placed {
            node,
            info: info.clone(),
            assumed,
        };
        self.placed.insert(info.key.clone(), placed);
        info
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<PodInfo>> {
        let placed = self.placed.remove(key)?;
        self.assumed -= usize::from(placed.assumed);
        self.change(&placed.node, |node| {
            node.remove_pod(&placed.info.uid);
        });
        if let Some(slot) = self.snapshot.slot_of(&placed.node) {
            self.index.change_pod(&self.snapshot, slot, &placed.info, -1);
        }
        Some(placed.info)
    }

    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut NodeInfo)) {
        if let Some(slot) = self.snapshot.slot_of(name) {
            self.snapshot.change(slot, change);
            return;
        }
        let absent = self.absent.entry(name.clone()).or_default();
        change(absent);
        if absent.is_empty() {
            self.absent.remove(name);
        }
    }
}

/// Whether pods on a node count as before: by its name, labels and taints.
fn same_place(before: Option<&NodeInfo>, after: Option<&NodeInfo>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => before.labels == after.labels && before.taints == after.taints,
        (None, None) => true,
        _ => false,
    }
}

fn set(selections: &mut imbl::OrdMap<Key, Arc<Selection>>, key: &Key, selection: Option<Selection>) {
    match selection {
        Some(selection) if selections.get(key).is_some_and(|known| **known == selection) => {}
        Some(selection) => drop(selections.insert(key.clone(), Arc::new(selection))),
        None => drop(selections.remove(key)),
    }
}

#[cfg(test)]
mod tests;
