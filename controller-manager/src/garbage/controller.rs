//! What wakes an object for garbage collection, and the fresh reads that the decision asks for.

use super::dependents::{Dependents, Item};
use super::{Decision, Dependent, FOREGROUND, ORPHAN, OwnerState, View, reconcile};
use crate::action::{Action, Target};
use crate::cluster::{Cluster, Watches, for_each_cached, list_metadata, read_metadata};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_client::{Change, Error};
use gantry_proto::meta::v1::{ObjectMeta, OwnerReference};
use gantry_proto::{Key, Kind, KindInfo};
use std::sync::Arc;

#[derive(Default)]
pub struct GarbageController {
    dependents: Arc<Dependents>,
}

impl Controller for GarbageController {
    type Key = Item;
    const NAME: &'static str = "garbage_collector";
    const COMPONENT: &'static str = "garbage-collector-controller";
    const RESOURCE: &'static str = "";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Item>) {
        macro_rules! watch {
            ($field:ident, $kind:path) => {
                let (dependents, wake) = (self.dependents.clone(), wakes.clone());
                watches
                    .$field
                    .add(move |change: &Change<$kind>| changed(&dependents, &wake, change));
            };
        }
        for_each_cached!(watch);
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        item: &Item,
        _memory: &Memory,
    ) -> Result<Option<Vec<Action>>, Error> {
        let Some(kind) = KindInfo::of_resource(&item.resource) else {
            return Ok(None);
        };
        let Ok(Some(metadata)) = cluster.metadata(kind, &item.key) else {
            return Ok(None);
        };
        let mut owners = Vec::with_capacity(metadata.owner_references.len());
        for reference in &metadata.owner_references {
            owners.push(owner_state(cluster, &metadata, reference).await?);
        }
        let target = Target {
            kind,
            key: item.key.clone(),
            uid: metadata.uid.clone(),
        };
        let seen = self.seen_dependents(cluster, &metadata.uid);
        let decision = decide(target.clone(), &metadata, owners.clone(), &seen, false);
        match decision {
            Decision::Act(actions) => Ok(Some(actions)),
            Decision::NeedsFreshDependents => {
                let fresh = fresh_dependents(cluster, &metadata).await?;
                match decide(target, &metadata, owners, &fresh, true) {
                    Decision::Act(actions) => Ok(Some(actions)),
                    Decision::NeedsFreshDependents => Ok(Some(Vec::new())),
                }
            }
        }
    }
}

impl GarbageController {
    fn seen_dependents(&self, cluster: &Cluster, owner_uid: &str) -> Vec<(Target, ObjectMeta)> {
        let items = self.dependents.of(owner_uid).into_iter();
        items
            .filter_map(|item| {
                let kind = KindInfo::of_resource(&item.resource)?;
                let metadata = cluster.metadata(kind, &item.key).ok()??;
                Some((
                    Target {
                        kind,
                        key: item.key,
                        uid: metadata.uid.clone(),
                    },
                    metadata,
                ))
            })
            .collect()
    }
}

fn decide(
    target: Target,
    metadata: &ObjectMeta,
    owners: Vec<OwnerState>,
    dependents: &[(Target, ObjectMeta)],
    dependents_are_fresh: bool,
) -> Decision {
    let dependents = dependents.iter().map(|(target, metadata)| Dependent {
        target: target.clone(),
        metadata,
    });
    reconcile(&View {
        target,
        metadata,
        owners,
        dependents: dependents.collect(),
        dependents_are_fresh,
    })
}

fn changed<K: Kind>(dependents: &Dependents, wakes: &Wakes<Item>, change: &Change<K>) {
    let cause = change.cause.as_ref();
    let item = Item {
        resource: K::INFO.group_resource(),
        key: change.key.clone(),
    };
    let old = change.old.as_ref().map(|entry| entry.metadata());
    let new = change.new.as_ref().map(|entry| entry.metadata());
    dependents.change(&item, old, new);
    if let Some(old) = old.filter(|old| new.is_none_or(|new| new.uid != old.uid)) {
        // Gone: its dependents have lost an owner, and its owner may have waited for it.
        for dependent in dependents.of(&old.uid) {
            wakes.wake(dependent, cause);
        }
        for owner in old
            .owner_references
            .iter()
            .filter_map(|reference| owner_item(old, reference))
        {
            wakes.wake(owner, cause);
        }
    }
    let Some(new) = new else { return };
    let is_ending = new.deletion_timestamp.is_some();
    if is_ending
        && new
            .finalizers
            .iter()
            .any(|name| name == FOREGROUND || name == ORPHAN)
    {
        wakes.wake(item.clone(), cause);
        for dependent in dependents.of(&new.uid) {
            wakes.wake(dependent, cause);
        }
    }
    let references_changed = old.is_none_or(|old| old.owner_references != new.owner_references);
    if !new.owner_references.is_empty() && references_changed {
        wakes.wake(item, cause);
    }
    if references_changed && let Some(old) = old {
        // An owner that orphans waits for the reference to go.
        for owner in old
            .owner_references
            .iter()
            .filter_map(|reference| owner_item(old, reference))
        {
            wakes.wake(owner, cause);
        }
    }
}

/// `None` for an owner of a kind that nobody here knows.
fn owner_item(dependent: &ObjectMeta, reference: &OwnerReference) -> Option<Item> {
    let kind = KindInfo::of_object(&reference.api_version, &reference.kind)?;
    Some(Item {
        resource: kind.group_resource(),
        key: owner_key(dependent, kind, reference),
    })
}

fn owner_key(dependent: &ObjectMeta, kind: &KindInfo, reference: &OwnerReference) -> Key {
    match kind.namespaced {
        true => Key::new(&dependent.namespace, &reference.name),
        false => Key::cluster(&reference.name),
    }
}

/// What the cache shows is believed when it shows the owner; that there is none takes a fresh read.
async fn owner_state(
    cluster: &Cluster,
    dependent: &ObjectMeta,
    reference: &OwnerReference,
) -> Result<OwnerState, Error> {
    let Some(kind) = KindInfo::of_object(&reference.api_version, &reference.kind) else {
        return Ok(OwnerState::Present);
    };
    if kind.namespaced && dependent.namespace.is_empty() {
        // An object without a namespace can't have an owner in one; the reference means nothing.
        return Ok(OwnerState::Present);
    }
    let key = owner_key(dependent, kind, reference);
    let is_owner = |metadata: &ObjectMeta| metadata.uid == reference.uid;
    let cached = cluster.metadata(kind, &key).ok().flatten().filter(is_owner);
    let owner = match cached {
        Some(owner) => Some(owner),
        None => read_metadata(&cluster.client, kind, &key).await?.filter(is_owner),
    };
    Ok(match owner {
        None => OwnerState::Gone,
        Some(owner) if owner.deletion_timestamp.is_none() => OwnerState::Present,
        Some(owner) if owner.finalizers.iter().any(|name| name == FOREGROUND) => {
            OwnerState::WaitsForDependents
        }
        Some(_) => OwnerState::Present,
    })
}

/// Every object that names the owner, by reads that begin now.
async fn fresh_dependents(cluster: &Cluster, owner: &ObjectMeta) -> Result<Vec<(Target, ObjectMeta)>, Error> {
    let mut found = Vec::new();
    for kind in gantry_proto::kinds::KINDS
        .iter()
        .copied()
        .filter(|kind| kind.stored && kind.kind != "Event")
    {
        if !kind.namespaced && !owner.namespace.is_empty() {
            continue;
        }
        let objects = list_metadata(&cluster.client, kind, &owner.namespace).await?;
        let depends =
            |metadata: &ObjectMeta| metadata.owner_references.iter().any(|one| one.uid == owner.uid);
        found.extend(objects.into_iter().filter(depends).map(|metadata| {
            let key = Key::new(&metadata.namespace, &metadata.name);
            (
                Target {
                    kind,
                    key,
                    uid: metadata.uid.clone(),
                },
                metadata,
            )
        }));
    }
    Ok(found)
}
