//! Garbage collection: what its owners leave behind goes too (Kubernetes' garbage-collection documentation).
//!
//! ```text
//! as a dependent: any owner stays?   yes -> references to owners that are gone are cut
//!                                    no  -> deleted
//! as an owner that is being deleted: finalizer foregroundDeletion -> dependents first, then the finalizer
//!                                    finalizer orphan -> references to it are cut, then the finalizer
//! ```

pub mod controller;
pub mod dependents;

use crate::action::{Action, Propagation, Target};
use crate::ownership::owners_patch;
use gantry_proto::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::json;

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// All that a decision about one object looks at.
pub struct View<'a> {
    pub target: Target,
    pub metadata: &'a ObjectMeta,
    /// For each of its owner references, in order.
    pub owners: Vec<OwnerState>,
    pub dependents: Vec<Dependent<'a>>,
    /// Whether `dependents` is all there is, by a read that began after the deletion, and not only what the
    /// caches have seen. Required before a finalizer goes.
    pub dependents_are_fresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// It is there, or nobody can tell: an owner of a kind that we do not know is left alone.
    Present,
    /// A fresh read has shown that there is no object of this name and uid.
    Gone,
    /// It is being deleted and waits for its dependents.
    WaitsForDependents,
}

pub struct Dependent<'a> {
    pub target: Target,
    pub metadata: &'a ObjectMeta,
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

fn as_dependent(view: &View) -> Vec<Action> {
    let references = &view.metadata.owner_references;
    let with = |state: OwnerState| {
        references
            .iter()
            .zip(&view.owners)
            .filter(move |(_, one)| **one == state)
    };
    if references.is_empty() {
        return Vec::new();
    }
    if with(OwnerState::Present).next().is_some() {
        let stay: Vec<OwnerReference> = with(OwnerState::Present)
            .map(|(reference, _)| reference.clone())
            .collect();
        if stay.len() == references.len() {
            return Vec::new();
        }
        return vec![cut(&view.target, view.metadata, &stay)];
    }
    let waited_for = with(OwnerState::WaitsForDependents).next().is_some();
    let finalizers = &view.metadata.finalizers;
    let propagation = match waited_for && !view.dependents.is_empty() {
        // The owner waits for this one, so this one waits for its own.
        true => Some(Propagation::Foreground),
        // Finalizers that somebody has set keep their meaning; else its dependents follow in their turn.
        false if finalizers.iter().any(|name| name == ORPHAN || name == FOREGROUND) => None,
        false => Some(Propagation::Background),
    };
    vec![Action::Delete {
        target: view.target.clone(),
        resource_version: Some(view.metadata.resource_version.clone()),
        grace_seconds: None,
        propagation,
        says: None,
    }]
}

fn as_owner(view: &View) -> Decision {
    let has = |name: &str| view.metadata.finalizers.iter().any(|finalizer| finalizer == name);
    let uid = &view.metadata.uid;
    if has(ORPHAN) {
        let cuts = view.dependents.iter().map(|dependent| {
            let mut stay = dependent.metadata.owner_references.clone();
            stay.retain(|reference| reference.uid != *uid);
            cut(&dependent.target, dependent.metadata, &stay)
        });
        return finish(view, ORPHAN, cuts.collect());
    }
    if has(FOREGROUND) {
        let blocking = view.dependents.iter().filter(|dependent| {
            let mut references = dependent.metadata.owner_references.iter();
            references.any(|reference| reference.uid == *uid && reference.block_owner_deletion == Some(true))
        });
        if blocking.count() == 0 {
            return finish(view, FOREGROUND, Vec::new());
        }
        // The dependents' own turn deletes them; their going wakes this owner.
        return Decision::Act(Vec::new());
    }
    Decision::Act(Vec::new())
}

/// Does what is left to do, or takes the finalizer away when a fresh read says that nothing is.
fn finish(view: &View, finalizer: &str, rest: Vec<Action>) -> Decision {
    if !rest.is_empty() {
        return Decision::Act(rest);
    }
    if !view.dependents_are_fresh {
        return Decision::NeedsFreshDependents;
    }
    let mut finalizers = view.metadata.finalizers.clone();
    finalizers.retain(|name| name != finalizer);
    Decision::Act(vec![Action::Patch {
        target: view.target.clone(),
        subresource: None,
        patch: json!({"metadata": {
            "uid": view.metadata.uid,
            "resourceVersion": view.metadata.resource_version,
            "finalizers": finalizers,
        }}),
        says: None,
    }])
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
