//! What a deletion does to an object, and when an update ends one.

use std::time::SystemTime;

use gantry_proto::core::v1::Namespace;
use gantry_proto::meta::v1::{DeleteOptions, ObjectMeta, Time};

pub(super) const ORPHAN: &str = "orphan";
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// What a deletion does to an object.
#[derive(Debug, PartialEq)]
pub(super) enum Fate {
    /// It goes at once.
    Remove,
    /// It stays as this until somebody lets it go.
    Stay(Box<ObjectMeta>),
    /// It is on its way already.
    Unchanged,
}

/// How objects of a kind go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// The grace period of an object whose deletion has two phases: it is marked first, and goes once its node has
    /// confirmed. `None` for a kind without. In seconds.
    pub grace_seconds: Option<i64>,
    /// Whether the garbage collector looks after its dependents.
    pub has_dependents: bool,
}

/// Whether an update that leaves the object like this ends it: it was marked for deletion, its grace period is over,
/// and nobody holds it any more (apiserver/pkg/registry/generic/registry/store.go, ShouldDeleteDuringUpdate).
pub(super) fn ends_by_update(new: &ObjectMeta, old: &ObjectMeta) -> bool {
    new.finalizers.is_empty()
        && old.deletion_timestamp.is_some()
        && old.deletion_grace_period_seconds.unwrap_or(0) == 0
}

/// Decides what a deletion does (apiserver/pkg/registry/rest/delete.go and generic/registry/store.go).
pub(super) fn fate(metadata: &ObjectMeta, options: &DeleteOptions, manner: Manner, now: SystemTime) -> Fate {
    let mut next = metadata.clone();
    let going = metadata.deletion_timestamp.as_ref();
    let present = metadata.deletion_grace_period_seconds.unwrap_or(0);
    let graceful = match (manner.grace_seconds, going) {
        (None, _) => false,
        (Some(seconds), None) => {
            mark(&mut next, seconds, now);
            true
        }
        // The node was told to end it at once, and it goes at once.
        (Some(_), Some(_)) if present == 0 => false,
        (Some(_), Some(deletion)) => match options.grace_period_seconds {
            Some(wanted) if wanted < present => {
                shorten(&mut next, deletion, present, wanted, now);
                true
            }
            // Neither a longer grace period nor other finalizers: it is on its way.
            _ => return Fate::Unchanged,
        },
    };
    if manner.has_dependents {
        next.finalizers = deletion_finalizers(metadata, options);
    }
    let held = !next.finalizers.is_empty();
    if held && !graceful {
        mark_as_deleting(&mut next, now);
    }
    let waits = graceful && next.deletion_grace_period_seconds.unwrap_or(0) > 0;
    if !held && !waits {
        Fate::Remove
    } else if next == *metadata {
        Fate::Unchanged
    } else {
        Fate::Stay(Box::new(next))
    }
}

/// The first phase begins.
fn mark(metadata: &mut ObjectMeta, seconds: i64, now: SystemTime) {
    let mut deletion = Time::from_system(now);
    deletion.seconds = deletion.seconds.saturating_add(seconds);
    metadata.deletion_timestamp = Some(deletion);
    metadata.deletion_grace_period_seconds = Some(seconds);
    count_as_change(metadata);
}

/// The grace period becomes shorter, counted from where it began, but does not end in the past. A node that is still
/// to end the pod has a second for it.
fn shorten(metadata: &mut ObjectMeta, deletion: &Time, present: i64, wanted: i64, now: SystemTime) {
    let now = Time::from_system(now);
    let mut shortened = Time {
        seconds: deletion.seconds.saturating_sub(present).saturating_add(wanted),
        nanos: deletion.nanos,
    };
    let mut seconds = wanted;
    if (shortened.seconds, shortened.nanos) < (now.seconds, now.nanos) {
        shortened = now;
        seconds = wanted.min(1);
    }
    metadata.deletion_timestamp = Some(shortened);
    metadata.deletion_grace_period_seconds = Some(seconds);
}

/// Only finalizers hold it.
fn mark_as_deleting(metadata: &mut ObjectMeta, now: SystemTime) {
    let now = Time::from_system(now);
    if metadata.deletion_timestamp.is_none() {
        count_as_change(metadata);
    }
    let lies_ahead = |deletion: &Time| (deletion.seconds, deletion.nanos) > (now.seconds, now.nanos);
    if metadata.deletion_timestamp.as_ref().is_none_or(lies_ahead) {
        metadata.deletion_timestamp = Some(now);
    }
    metadata.deletion_grace_period_seconds = Some(0);
}

/// Deletion is a wish like another, where wishes are counted.
fn count_as_change(metadata: &mut ObjectMeta) {
    if metadata.generation > 0 {
        metadata.generation += 1;
    }
}

/// The finalizers that the garbage collector must act on, as a deletion asks for them
/// (generic/registry/store.go, deletionFinalizersForGarbageCollection). Every kind that we have lets its dependents be
/// deleted in the background when nobody says otherwise.
fn deletion_finalizers(metadata: &ObjectMeta, options: &DeleteOptions) -> Vec<String> {
    // What is on the object counts by what comes first.
    let own = metadata
        .finalizers
        .iter()
        .find(|name| [ORPHAN, FOREGROUND].contains(&name.as_str()));
    let (orphan, foreground) = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(orphan), _) => (orphan, false),
        (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
        (None, None) => {
            let is = |wanted| own.is_some_and(|name| name == wanted);
            (is(ORPHAN), is(FOREGROUND))
        }
    };
    with_finalizers(metadata, orphan, foreground)
}

/// The finalizers with those of the garbage collector as they are to be. An order that nobody asked to change stays, so
/// that nothing is written for it.
fn with_finalizers(metadata: &ObjectMeta, orphan: bool, foreground: bool) -> Vec<String> {
    let own = &metadata.finalizers;
    let kept = own.iter().filter(|name| *name != ORPHAN && *name != FOREGROUND);
    let mut finalizers: Vec<String> = kept.cloned().collect();
    let wanted = [(orphan, ORPHAN), (foreground, FOREGROUND)];
    let wanted = wanted.iter().filter(|(wanted, _)| *wanted);
    finalizers.extend(wanted.map(|(_, name)| (*name).to_owned()));
    let same = finalizers.len() == own.len() && finalizers.iter().all(|name| own.contains(name));
    if same { own.clone() } else { finalizers }
}

/// What a deletion does to a namespace (pkg/registry/core/namespace/storage, Delete): it is marked first whatever holds
/// it, and goes when its spec has no finalizer any more. `Stay` comes with the phase Terminating.
pub(super) fn fate_of_namespace(namespace: &Namespace, options: &DeleteOptions, now: SystemTime) -> Fate {
    let metadata = namespace.metadata();
    if metadata.deletion_timestamp.is_none() {
        let mut next = metadata.clone();
        next.deletion_timestamp = Some(Time::from_system(now));
        next.finalizers = namespace_finalizers(metadata, options);
        return Fate::Stay(Box::new(next));
    }
    if !namespace.spec().finalizers.is_empty() {
        return Fate::Unchanged;
    }
    let manner = Manner {
        grace_seconds: None,
        has_dependents: true,
    };
    fate(metadata, options, manner, now)
}

/// Like [`deletion_finalizers`]; only that not to orphan means to wait here.
fn namespace_finalizers(metadata: &ObjectMeta, options: &DeleteOptions) -> Vec<String> {
    let has = |name: &str| metadata.finalizers.iter().any(|own| own == name);
    let (orphan, foreground) = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(orphan), _) => (orphan, !orphan),
        (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
        (None, None) => (has(ORPHAN), has(FOREGROUND)),
    };
    with_finalizers(metadata, orphan, foreground)
}

#[cfg(test)]
mod tests;
