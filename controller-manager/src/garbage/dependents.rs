//! Who depends on whom, by the owner's uid. Kept by the caches' callbacks.

use crate::action::Target;
use gantry_proto::meta::v1::ObjectMeta;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An object, as a key of the work queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    /// Such as `replicasets.apps`.
    pub resource: String,
    pub key: gantry_proto::Key,
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

/// Holds as many entries as there are owner references in the cluster.
#[derive(Debug, Default)]
pub struct Dependents {
    by_owner_uid: Mutex<HashMap<String, BTreeSet<Item>>>,
}

impl Dependents {
    /// Takes note of a change, of which either side may be absent.
    pub fn change(&self, item: &Item, old: Option<&ObjectMeta>, new: Option<&ObjectMeta>) {
        let uids = |metadata: Option<&ObjectMeta>| -> BTreeSet<String> {
            let references = metadata
                .map(|metadata| metadata.owner_references.as_slice())
                .unwrap_or_default();
            references.iter().map(|reference| reference.uid.clone()).collect()
        };
        let (old, new) = (uids(old), uids(new));
        let mut by_owner_uid = self.lock();
        for uid in new.difference(&old) {
            by_owner_uid.entry(uid.clone()).or_default().insert(item.clone());
        }
        for uid in old.difference(&new) {
            if let Some(items) = by_owner_uid.get_mut(uid) {
                items.remove(item);
                if items.is_empty() {
                    by_owner_uid.remove(uid);
                }
            }
        }
    }

    pub fn of(&self, owner_uid: &str) -> Vec<Item> {
        self.lock()
            .get(owner_uid)
            .map(|items| items.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeSet<Item>>> {
        // No code that holds the lock can panic half way through a change.
        self.by_owner_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::Key;
    use gantry_proto::meta::v1::OwnerReference;

    #[test]
    fn dependents_come_and_go_with_their_references() {
        let owned = |uids: &[&str]| ObjectMeta {
            owner_references: uids
                .iter()
                .map(|uid| OwnerReference {
                    uid: uid.to_string(),
                    ..OwnerReference::default()
                })
                .collect(),
            ..ObjectMeta::default()
        };
        let item = Item {
            resource: "pods".into(),
            key: Key::new("default", "a"),
        };
        let dependents = Dependents::default();
        dependents.change(&item, None, Some(&owned(&["x", "y"])));
        assert_eq!((dependents.of("x").len(), dependents.of("y").len()), (1, 1));
        dependents.change(&item, Some(&owned(&["x", "y"])), Some(&owned(&["y"])));
        assert_eq!((dependents.of("x").len(), dependents.of("y").len()), (0, 1));
        dependents.change(&item, Some(&owned(&["y"])), None);
        assert_eq!(dependents.of("y").len(), 0);
    }
}
