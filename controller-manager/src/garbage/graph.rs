//! Who depends on whom, by the owner's uid, and which owners are known to be gone. Kept by the caches' callbacks, which
//! it tells whom a change concerns.

use super::{FOREGROUND, ORPHAN, awaits};
use crate::action::Target;
use gantry_proto::meta::v1::{ObjectMeta, OwnerReference};
use gantry_proto::{Key, KindInfo};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many absent owners are remembered, as in Kubernetes: the pods of one ReplicaSet then cost one read, not thousands.
/// 500 x about 300 bytes.
const MAX_ABSENT: usize = 500;

/// An object, as a key of the work queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    /// Such as `replicasets.apps`.
    pub resource: String,
    pub key: Key,
}

impl Item {
    pub fn of(target: &Target) -> Item {
        Item {
            resource: target.kind.group_resource(),
            key: target.key.clone(),
        }
    }
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}/{}", self.resource, self.key)
    }
}

/// One incarnation of an object, where a reference says that it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub item: Item,
    pub uid: String,
}

/// The object that the reference means; `None` for a kind that is not known here.
pub fn owner_of(dependent: &ObjectMeta, reference: &OwnerReference) -> Option<(&'static KindInfo, Key)> {
    let kind = KindInfo::of_object(&reference.api_version, &reference.kind)?;
    let key = match kind.namespaced {
        true => Key::new(&dependent.namespace, &reference.name),
        false => Key::cluster(&reference.name),
    };
    Some((kind, key))
}

/// Holds as many entries as there are owner references in the cluster, and the absent owners up to their limit.
#[derive(Debug, Default)]
pub struct Graph {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    dependents_by_owner_uid: HashMap<String, BTreeSet<Item>>,
    /// By their uids, those that are being deleted and wait for something to be done to their dependents. (A reference may
    /// have the uid of an owner and not its name.)
    waiting: HashMap<String, Item>,
    absent: HashSet<Identity>,
    /// The longest known first.
    absent_in_order: VecDeque<Identity>,
}

impl Graph {
    /// Takes note of a change of the item, of which either side may be missing. Returns whom it concerns.
    pub fn observe(&self, item: &Item, old: Option<&ObjectMeta>, new: Option<&ObjectMeta>) -> BTreeSet<Item> {
        let mut concerned = BTreeSet::new();
        let mut state = self.lock();
        // A relist may show another object in the place of one that went.
        let was_replaced = old.zip(new).is_some_and(|(old, new)| old.uid != new.uid);
        if let Some(old) = old.filter(|_| new.is_none() || was_replaced) {
            state.went(item, old, &mut concerned);
        }
        if let Some(new) = new {
            state.is_now(item, old.filter(|_| !was_replaced), new, &mut concerned);
        }
        concerned
    }

    /// At most so many of them.
    pub fn dependents_of(&self, owner_uid: &str, most: usize) -> Vec<Item> {
        self.lock()
            .dependents_by_owner_uid
            .get(owner_uid)
            .map(|items| items.iter().take(most).cloned().collect())
            .unwrap_or_default()
    }

    /// Those of them that wait for dependents of their own.
    pub fn waiting_dependents_of(&self, owner_uid: &str) -> Vec<Item> {
        let state = self.lock();
        let Some(dependents) = state.dependents_by_owner_uid.get(owner_uid) else {
            return Vec::new();
        };
        let waiting = state.waiting.values();
        waiting
            .filter(|item| dependents.contains(*item))
            .cloned()
            .collect()
    }

    pub fn is_absent(&self, owner: &Identity) -> bool {
        self.lock().absent.contains(owner)
    }

    pub fn note_absent(&self, owner: Identity) {
        self.lock().note_absent(owner);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.dependents_by_owner_uid.is_empty()
            && state.waiting.is_empty()
            && state.absent.len() == state.absent_in_order.len()
            && state.absent.len() <= MAX_ABSENT
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn went(&mut self, item: &Item, old: &ObjectMeta, concerned: &mut BTreeSet<Item>) {
        self.waiting.remove(&old.uid);
        self.relate(item, Some(old), None);
        if let Some(dependents) = self.dependents_by_owner_uid.get(&old.uid) {
            concerned.extend(dependents.iter().cloned());
            self.note_absent(Identity {
                item: item.clone(),
                uid: old.uid.clone(),
            });
        }
        for reference in &old.owner_references {
            concerned.extend(self.waiting.get(&reference.uid).cloned());
        }
    }

    fn is_now(
        &mut self,
        item: &Item,
        old: Option<&ObjectMeta>,
        new: &ObjectMeta,
        concerned: &mut BTreeSet<Item>,
    ) {
        self.relate(item, old, Some(new));
        let waits = |metadata: &ObjectMeta| awaits(metadata, FOREGROUND) || awaits(metadata, ORPHAN);
        if waits(new) {
            concerned.insert(item.clone());
            let waited = self.waiting.insert(new.uid.clone(), item.clone()).is_some();
            if !waited && let Some(dependents) = self.dependents_by_owner_uid.get(&new.uid) {
                concerned.extend(dependents.iter().cloned());
            }
        } else {
            self.waiting.remove(&new.uid);
        }
        let before = old.map(|old| old.owner_references.as_slice()).unwrap_or_default();
        if *before == *new.owner_references {
            return;
        }
        if !new.owner_references.is_empty() {
            concerned.insert(item.clone());
        }
        // An owner that waits may wait for this reference to go, or to block it no longer.
        for reference in before {
            concerned.extend(self.waiting.get(&reference.uid).cloned());
        }
    }

    fn relate(&mut self, item: &Item, old: Option<&ObjectMeta>, new: Option<&ObjectMeta>) {
        let uids = |metadata: Option<&ObjectMeta>| -> BTreeSet<String> {
            let references = metadata
                .map(|metadata| metadata.owner_references.as_slice())
                .unwrap_or_default();
            references.iter().map(|reference| reference.uid.clone()).collect()
        };
        let (old, new) = (uids(old), uids(new));
        for uid in new.difference(&old) {
            let dependents = self.dependents_by_owner_uid.entry(uid.clone()).or_default();
            dependents.insert(item.clone());
        }
        for uid in old.difference(&new) {
            if let Some(items) = self.dependents_by_owner_uid.get_mut(uid) {
                items.remove(item);
                if items.is_empty() {
                    self.dependents_by_owner_uid.remove(uid);
                }
            }
        }
    }

    fn note_absent(&mut self, owner: Identity) {
        if !self.absent.insert(owner.clone()) {
            return;
        }
        self.absent_in_order.push_back(owner);
        if self.absent_in_order.len() > MAX_ABSENT
            && let Some(longest_known) = self.absent_in_order.pop_front()
        {
            self.absent.remove(&longest_known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::meta::v1::Time;

    fn item(name: &str) -> Item {
        Item {
            resource: "pods".into(),
            key: Key::new("default", name),
        }
    }

    fn object(uid: &str, owners: &[&str]) -> ObjectMeta {
        let reference = |owner: &&str| OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: owner.to_string(),
            uid: owner.to_string(),
            ..OwnerReference::default()
        };
        ObjectMeta {
            namespace: "default".into(),
            name: uid.into(),
            uid: uid.into(),
            owner_references: owners.iter().map(reference).collect(),
            ..ObjectMeta::default()
        }
    }

    fn waiting(uid: &str) -> ObjectMeta {
        ObjectMeta {
            deletion_timestamp: Some(Time::default()),
            finalizers: vec![FOREGROUND.into()],
            ..object(uid, &[])
        }
    }

    fn names(concerned: &BTreeSet<Item>) -> Vec<&str> {
        concerned.iter().map(|item| item.key.name.as_str()).collect()
    }

    #[test]
    fn a_change_concerns_those_whose_fate_it_may_decide() {
        let graph = Graph::default();
        let child = object("child", &["x", "y"]);
        assert_eq!(
            names(&graph.observe(&item("child"), None, Some(&child))),
            ["child"]
        );
        assert!(names(&graph.observe(&item("x"), None, Some(&object("x", &[])))).is_empty());
        assert!(names(&graph.observe(&item("child"), Some(&child), Some(&child))).is_empty());
        let (x, ending) = (object("x", &[]), waiting("x"));
        assert_eq!(
            names(&graph.observe(&item("x"), Some(&x), Some(&ending))),
            ["child", "x"]
        );
        assert_eq!(graph.waiting_dependents_of("x"), []);
        // Told once more, it concerns itself alone.
        assert_eq!(
            names(&graph.observe(&item("x"), Some(&ending), Some(&ending))),
            ["x"]
        );
        let mut free = child.clone();
        free.owner_references[0].block_owner_deletion = Some(false);
        assert_eq!(
            names(&graph.observe(&item("child"), Some(&child), Some(&free))),
            ["child", "x"]
        );
        // The owner that waits for it, not the one that does not.
        assert_eq!(names(&graph.observe(&item("child"), Some(&free), None)), ["x"]);
        graph.observe(&item("x"), Some(&ending), None);
        assert!(graph.is_empty());
    }

    #[test]
    fn dependents_of_an_owner_that_went_are_concerned_and_the_owner_is_absent() {
        let graph = Graph::default();
        let (owner, child) = (object("x", &[]), object("child", &["x"]));
        graph.observe(&item("x"), None, Some(&owner));
        graph.observe(&item("child"), None, Some(&child));
        // A relist shows another object of the same name.
        let other = object("x2", &[]);
        let concerned = graph.observe(&item("x"), Some(&owner), Some(&other));
        assert_eq!(names(&concerned), ["child"]);
        let identity = |uid: &str| Identity {
            item: item("x"),
            uid: uid.into(),
        };
        assert!(graph.is_absent(&identity("x")) && !graph.is_absent(&identity("x2")));
        // And one with the same references as its predecessor must be looked at.
        let next = object("next", &["x"]);
        assert_eq!(
            names(&graph.observe(&item("child"), Some(&child), Some(&next))),
            ["child"]
        );
        assert_eq!(graph.dependents_of("x", usize::MAX), [item("child")]);
    }

    #[test]
    fn only_so_many_absent_owners_are_remembered() {
        let graph = Graph::default();
        let identity = |number: usize| Identity {
            item: item("x"),
            uid: number.to_string(),
        };
        for number in 0..=MAX_ABSENT {
            graph.note_absent(identity(number));
        }
        assert!(!graph.is_absent(&identity(0)) && graph.is_absent(&identity(MAX_ABSENT)));
        assert!(graph.is_empty());
    }
}
