//! Garbage collection: what its owners leave behind goes too (Kubernetes' pkg/controller/garbagecollector).
//!
//! ```text
//! as a dependent: a solid owner?   yes -> references to owners that are gone, or that wait for it, are cut
//!                                  no  -> deleted, in the foreground if an owner waits and it has dependents itself
//! as an owner that is being deleted: finalizer orphan -> references to it are cut, then the finalizer
//!                                    finalizer foregroundDeletion -> blocking dependents first, then the finalizer
//! ```
//!
//! Guarantees: an object goes only when every one of its owners was shown to be gone, by a fresh read or by the watch
//! that told of its end, or waits for its dependents; and only as it was read, so that a new owner saves it. A
//! finalizer is taken away only after a fresh read of all kinds.

pub mod controller;
mod graph;
mod sight;
#[cfg(test)]
mod simulation;

use crate::action::{Action, Propagation, Target};
use crate::ownership::owners_patch;
use gantry_proto::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::json;
use std::time::Duration;

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// What a fresh read has shown and no cache does may come and go between two lists, and then nobody tells of its end:
/// it is looked for again after this. (Kubernetes' virtual nodes, which it looks at again with growing pauses.)
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// All that a decision about one object looks at.
pub struct View<'a> {
    pub target: Target,
    pub metadata: &'a ObjectMeta,
    /// For each of its owner references, in order.
    pub owners: Vec<OwnerState>,
    pub dependents: &'a [Dependent],
    /// Whether it waits for dependents that wait for theirs, and so on, back to itself.
    pub is_in_circle: bool,
    /// Whether `dependents` is all there is, by a read that began after the deletion, and not only what the
    /// caches have seen. Required before a finalizer goes.
    pub dependents_are_fresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// It is there, and its end will be told.
    Solid,
    /// A fresh read has found it, and no cache shows it.
    Virtual,
    /// There is no object of this kind, namespace, name and uid.
    Gone,
    /// It is being deleted and waits for its dependents.
    WaitsForDependents,
    /// Nobody can tell: its kind is not known here, or it would be in a namespace and the dependent is in none.
    /// Nothing is done to such a dependent.
    Unknowable,
}

#[derive(Clone, Debug)]
pub struct Dependent {
    pub target: Target,
    pub metadata: ObjectMeta,
}

/// What the decision needs to know before it can be made.
#[derive(Debug, PartialEq)]
pub enum Decision {
    Act(Vec<Action>),
    /// Look the dependents up afresh, then decide again.
    NeedsFreshDependents,
}

pub fn reconcile(view: &View) -> Decision {
    if view.metadata.deletion_timestamp.is_some() {
        return as_owner(view);
    }
    Decision::Act(as_dependent(view))
}

/// Whether the object is being deleted and this finalizer says what becomes of its dependents.
pub fn awaits(metadata: &ObjectMeta, finalizer: &str) -> bool {
    metadata.deletion_timestamp.is_some() && metadata.finalizers.iter().any(|one| one == finalizer)
}

fn as_dependent(view: &View) -> Vec<Action> {
    let references = &view.metadata.owner_references;
    let is_any = |state: OwnerState| view.owners.contains(&state);
    if references.is_empty() || is_any(OwnerState::Unknowable) {
        return Vec::new();
    }
    if is_any(OwnerState::Solid) || is_any(OwnerState::Virtual) {
        let stays = |state: &OwnerState| matches!(state, OwnerState::Solid | OwnerState::Virtual);
        let stay: Vec<OwnerReference> = references
            .iter()
            .zip(&view.owners)
            .filter(|(_, state)| stays(state))
            .map(|(reference, _)| reference.clone())
            .collect();
        let is_less = stay.len() < references.len();
        let cut = is_less.then(|| cut(&view.target, view.metadata, &stay));
        let again = is_any(OwnerState::Virtual).then_some(Action::CheckAfter(LOOK_AGAIN));
        return cut.into_iter().chain(again).collect();
    }
    if is_any(OwnerState::WaitsForDependents) && !view.dependents.is_empty() {
        // The owner waits for this one, so this one waits for its own.
        return match unblocked(view) {
            Some(unblock) => vec![unblock],
            None => vec![delete(view, Propagation::Foreground)],
        };
    }
    // Finalizers that somebody has set keep their meaning; else its dependents follow in their turn.
    let has = |name: &str| view.metadata.finalizers.iter().any(|one| one == name);
    let propagation = match (has(ORPHAN), has(FOREGROUND)) {
        (true, _) => Propagation::Orphan,
        (false, true) => Propagation::Foreground,
        (false, false) => Propagation::Background,
    };
    vec![delete(view, propagation)]
}

/// Where a dependent waits for its own already there may be a circle, each waiting for the next. One that does not hold
/// its owners up breaks it.
fn unblocked(view: &View) -> Option<Action> {
    let may_be_circle = view
        .dependents
        .iter()
        .any(|dependent| awaits(&dependent.metadata, FOREGROUND));
    let references = &view.metadata.owner_references;
    if !may_be_circle || !references.iter().any(blocks) {
        return None;
    }
    Some(free(view))
}

pub fn blocks(reference: &OwnerReference) -> bool {
    reference.block_owner_deletion == Some(true)
}

/// Its owners wait for it no longer.
fn free(view: &View) -> Action {
    let references = &view.metadata.owner_references;
    let free = |reference: &OwnerReference| OwnerReference {
        block_owner_deletion: reference.block_owner_deletion.map(|_| false),
        ..reference.clone()
    };
    let free: Vec<OwnerReference> = references.iter().map(free).collect();
    cut(&view.target, view.metadata, &free)
}

fn as_owner(view: &View) -> Decision {
    let own = |reference: &OwnerReference| reference.uid == view.metadata.uid;
    // One that names itself must not wait for itself.
    let others = || {
        let dependents = view.dependents.iter();
        dependents.filter(|dependent| dependent.metadata.uid != view.metadata.uid)
    };
    if awaits(view.metadata, ORPHAN) {
        if !view.dependents_are_fresh {
            return Decision::NeedsFreshDependents;
        }
        let cuts = others().map(|dependent| {
            let mut stay = dependent.metadata.owner_references.clone();
            stay.retain(|reference| !own(reference));
            cut(&dependent.target, &dependent.metadata, &stay)
        });
        // The finalizer goes last, and not at all when something before it fails.
        let last = without_finalizer(view, ORPHAN);
        return Decision::Act(cuts.chain([last]).collect());
    }
    if !awaits(view.metadata, FOREGROUND) {
        return Decision::Act(Vec::new());
    }
    let is_blocked = others().any(|dependent| {
        let mut references = dependent.metadata.owner_references.iter();
        references.any(|reference| own(reference) && blocks(reference))
    });
    if is_blocked && view.is_in_circle {
        return Decision::Act(vec![free(view)]);
    }
    match (is_blocked, view.dependents_are_fresh) {
        // The dependents' own turn deletes them; their going wakes this owner.
        (true, false) => Decision::Act(Vec::new()),
        (true, true) => Decision::Act(vec![Action::CheckAfter(LOOK_AGAIN)]),
        (false, false) => Decision::NeedsFreshDependents,
        (false, true) => Decision::Act(vec![without_finalizer(view, FOREGROUND)]),
    }
}

fn without_finalizer(view: &View, finalizer: &str) -> Action {
    let mut finalizers = view.metadata.finalizers.clone();
    finalizers.retain(|name| name != finalizer);
    Action::Patch {
        target: view.target.clone(),
        subresource: None,
        patch: json!({"metadata": {
            "uid": view.metadata.uid,
            "resourceVersion": view.metadata.resource_version,
            "finalizers": finalizers,
        }}),
        says: None,
    }
}

fn delete(view: &View, propagation: Propagation) -> Action {
    Action::Delete {
        target: view.target.clone(),
        resource_version: Some(view.metadata.resource_version.clone()),
        grace_seconds: None,
        propagation: Some(propagation),
        says: None,
    }
}

fn cut(target: &Target, metadata: &ObjectMeta, stay: &[OwnerReference]) -> Action {
    Action::Patch {
        target: target.clone(),
        subresource: None,
        patch: owners_patch(metadata, stay),
        says: None,
    }
}

#[cfg(test)]
mod tests;
