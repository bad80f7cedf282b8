//! What garbage collection looks at before it decides: caches where they are enough, fresh reads where a deletion or
//! the end of a finalizer depends on it.

use super::graph::{Graph, Identity, Item, owner_of};
use super::{Decision, Dependent, FOREGROUND, OwnerState, View, awaits, blocks, reconcile};
use crate::action::{Action, Says, Target};
use gantry_client::Error;
use gantry_proto::core::v1::ObjectReference;
use gantry_proto::meta::v1::{ObjectMeta, OwnerReference};
use gantry_proto::{Key, KindInfo};
use std::collections::BTreeSet;

/// The cluster, as far as garbage is concerned.
pub trait Reads: Sync {
    /// What the caches show.
    fn cached(&self, kind: &'static KindInfo, key: &Key) -> Option<ObjectMeta>;

    /// Whether the caches show an object of this uid anywhere.
    fn shows_uid(&self, kind: &'static KindInfo, uid: &str) -> bool;

    /// A read that begins now.
    fn live(
        &self,
        kind: &'static KindInfo,
        key: &Key,
    ) -> impl Future<Output = Result<Option<ObjectMeta>, Error>> + Send;

    /// Every object that names the owner, by reads that begin now.
    fn live_dependents(
        &self,
        owner: &ObjectMeta,
    ) -> impl Future<Output = Result<Vec<Dependent>, Error>> + Send;
}

/// Decides about one object; `None` when it is gone. `is_outdated` says that the caches were behind when it was decided
/// about the last time: then it is read afresh, or an object that changes all the time would never be collected.
pub async fn decide(
    graph: &Graph,
    reads: &impl Reads,
    item: &Item,
    is_outdated: bool,
) -> Result<Option<Vec<Action>>, Error> {
    let Some(kind) = KindInfo::of_resource(&item.resource) else {
        return Ok(None);
    };
    let found = match is_outdated {
        true => reads.live(kind, &item.key).await?,
        false => reads.cached(kind, &item.key),
    };
    let Some(metadata) = found else {
        return Ok(None);
    };
    let target = Target {
        kind,
        key: item.key.clone(),
        uid: metadata.uid.clone(),
    };
    let mut owners = Vec::with_capacity(metadata.owner_references.len());
    let mut complaints = Vec::new();
    // Where it goes anyway nobody asks who its owners are.
    if metadata.deletion_timestamp.is_none() {
        for reference in &metadata.owner_references {
            let found = find_owner(graph, reads, &metadata, reference).await?;
            if found.is_elsewhere {
                complaints.push(invalid_namespace(&target, reference));
            }
            owners.push(found.state);
        }
    }
    let uid = &metadata.uid;
    let dependents = if awaits(&metadata, FOREGROUND) {
        blocking_dependents(graph, reads, uid)
    } else if owners.contains(&OwnerState::WaitsForDependents) {
        seen_dependents(reads, uid, graph.dependents_of(uid, usize::MAX))
    } else {
        Vec::new()
    };
    let mut view = View {
        target,
        metadata: &metadata,
        owners,
        dependents: &dependents,
        is_in_circle: is_in_circle(graph, reads, &metadata),
        dependents_are_fresh: false,
    };
    let mut decision = reconcile(&view);
    let fresh;
    if decision == Decision::NeedsFreshDependents {
        fresh = reads.live_dependents(&metadata).await?;
        view.dependents = &fresh;
        view.dependents_are_fresh = true;
        decision = reconcile(&view);
    }
    let Decision::Act(mut actions) = decision else {
        return Ok(Some(Vec::new()));
    };
    actions.extend(complaints);
    Ok(Some(actions))
}

/// Those of the items that the caches show as the owner's.
fn seen_dependents(reads: &impl Reads, owner_uid: &str, items: Vec<Item>) -> Vec<Dependent> {
    let seen = items.into_iter().filter_map(|item| {
        let kind = KindInfo::of_resource(&item.resource)?;
        let metadata = reads.cached(kind, &item.key)?;
        let names_owner = metadata.owner_references.iter().any(|one| one.uid == owner_uid);
        names_owner.then(|| Dependent {
            target: Target {
                kind,
                key: item.key,
                uid: metadata.uid.clone(),
            },
            metadata,
        })
    });
    seen.collect()
}

/// As many dependents as tell whether the owner is held up: each that goes makes its owner look, which must not look at
/// thousands for it.
fn blocking_dependents(graph: &Graph, reads: &impl Reads, owner_uid: &str) -> Vec<Dependent> {
    const GLANCE: usize = 16;
    let glance = seen_dependents(reads, owner_uid, graph.dependents_of(owner_uid, GLANCE));
    let blocks_owner = |dependent: &Dependent| {
        let mut references = dependent.metadata.owner_references.iter();
        dependent.metadata.uid != owner_uid
            && references.any(|reference| reference.uid == owner_uid && blocks(reference))
    };
    match glance.iter().any(blocks_owner) {
        true => glance,
        false => seen_dependents(reads, owner_uid, graph.dependents_of(owner_uid, usize::MAX)),
    }
}

/// How many objects are followed in search of a circle: more than anybody nests.
const MOST_IN_CIRCLE: usize = 1_000;

/// Whether an object that waits for its dependents is waited for by itself in the end. People may delete all of a circle
/// at once; whichever of it is seen last to wait finds the others waiting.
fn is_in_circle(graph: &Graph, reads: &impl Reads, metadata: &ObjectMeta) -> bool {
    if !awaits(metadata, FOREGROUND) || !metadata.owner_references.iter().any(blocks) {
        return false;
    }
    let mut followed = BTreeSet::new();
    let mut next = vec![metadata.uid.clone()];
    while let Some(uid) = next.pop() {
        let waits_for = |dependent: &Dependent| {
            let mut references = dependent.metadata.owner_references.iter();
            references.any(|reference| reference.uid == uid && blocks(reference))
                && awaits(&dependent.metadata, FOREGROUND)
        };
        let dependents = seen_dependents(reads, &uid, graph.waiting_dependents_of(&uid));
        for dependent in dependents.into_iter().filter(waits_for) {
            let is_itself = dependent.metadata.uid == metadata.uid;
            if is_itself && uid != metadata.uid {
                return true;
            }
            if !is_itself
                && followed.len() < MOST_IN_CIRCLE
                && followed.insert(dependent.metadata.uid.clone())
            {
                next.push(dependent.metadata.uid);
            }
        }
    }
    false
}

struct Found {
    state: OwnerState,
    /// There is one of this uid, and not where the reference says.
    is_elsewhere: bool,
}

/// What the cache shows is believed when it shows the owner; that there is none takes a fresh read, or the end that a
/// watch told of.
async fn find_owner(
    graph: &Graph,
    reads: &impl Reads,
    dependent: &ObjectMeta,
    reference: &OwnerReference,
) -> Result<Found, Error> {
    let just = |state| Found {
        state,
        is_elsewhere: false,
    };
    let Some((kind, key)) = owner_of(dependent, reference) else {
        return Ok(just(OwnerState::Unknowable));
    };
    if kind.namespaced && dependent.namespace.is_empty() {
        return Ok(Found {
            state: OwnerState::Unknowable,
            is_elsewhere: reads.shows_uid(kind, &reference.uid),
        });
    }
    let identity = Identity {
        item: Item {
            resource: kind.group_resource(),
            key: key.clone(),
        },
        uid: reference.uid.clone(),
    };
    if graph.is_absent(&identity) {
        return Ok(just(OwnerState::Gone));
    }
    let is_owner = |metadata: &ObjectMeta| metadata.uid == reference.uid;
    let state = |owner: &ObjectMeta, otherwise| match awaits(owner, FOREGROUND) {
        true => OwnerState::WaitsForDependents,
        false => otherwise,
    };
    if let Some(owner) = reads.cached(kind, &key).filter(is_owner) {
        return Ok(just(state(&owner, OwnerState::Solid)));
    }
    if let Some(owner) = reads.live(kind, &key).await?.filter(is_owner) {
        return Ok(just(state(&owner, OwnerState::Virtual)));
    }
    graph.note_absent(identity);
    Ok(Found {
        state: OwnerState::Gone,
        is_elsewhere: kind.namespaced && reads.shows_uid(kind, &reference.uid),
    })
}

/// Kubernetes' graph_builder.go, reportInvalidNamespaceOwnerRef.
fn invalid_namespace(dependent: &Target, reference: &OwnerReference) -> Action {
    let namespace = &dependent.key.namespace;
    Action::Tell {
        says: Says {
            about: ObjectReference {
                kind: dependent.kind.kind.into(),
                api_version: dependent.kind.api_version(),
                namespace: namespace.clone(),
                name: dependent.key.name.clone(),
                uid: dependent.uid.clone(),
                ..ObjectReference::default()
            },
            warning: true,
            reason: "OwnerRefInvalidNamespace",
            message: format!(
                "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
                reference.api_version, reference.kind, reference.name, reference.uid
            ),
            on_failure: None,
        },
    }
}
