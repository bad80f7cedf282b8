//! Namespace: one that is being deleted takes all that is in it along (Kubernetes' pkg/controller/namespace/deletion).
//!
//! ```text
//! deletionTimestamp -> delete the pods -> no pod left -> delete everything else -> nothing left -> finalize
//! ```
//!
//! No apiserver lets anything in once the deletion is stored: each creation compares that in its transaction. So what a
//! fresh list does not show is not there, and will not be. (Kubernetes waits five seconds before it begins.)
//!
//! Pods go first, so that what they rely on (their Secrets, their Services) outlives them.

pub mod controller;

use crate::action::{Action, Attempt, Failure, Propagation, Target};
use gantry_proto::core::v1::{Namespace, NamespaceCondition};
use gantry_proto::meta::v1::Time;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The finalizer in a namespace's spec that this controller takes away.
pub const FINALIZER: &str = "kubernetes";
/// While something is left, the namespace is looked at again after this, if nothing that went has woken it before: a
/// dozen small lists.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// All that a decision about one Namespace looks at.
pub struct View<'a> {
    pub namespace: &'a Namespace,
    /// What is in it, by fresh reads; only its pods where there are any.
    pub contents: Vec<Content>,
    /// Namespaced kinds that the apiserver has and this process does not know.
    pub unknown_kinds: Vec<String>,
    /// What could not be read.
    pub errors: Vec<String>,
    /// How long its pods may take to end, from the namespace's deletion on.
    pub pods_grace: Duration,
    pub failure: Option<&'a Failure>,
    pub now: SystemTime,
}

/// An object in the namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub target: Target,
    pub is_terminating: bool,
    pub finalizers: Vec<String>,
}

pub fn reconcile(view: &View) -> Vec<Action> {
    let namespace = view.namespace;
    let finalizers = &namespace.spec().finalizers;
    let is_ending = namespace.metadata().deletion_timestamp.is_some();
    if !is_ending || !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        return Vec::new();
    }
    if view.contents.is_empty() && view.unknown_kinds.is_empty() && view.errors.is_empty() {
        let mut finalized = namespace.clone();
        finalized
            .spec_mut()
            .finalizers
            .retain(|finalizer| finalizer != FINALIZER);
        return vec![Action::Finalize { namespace: finalized }];
    }
    let present = view.contents.iter().filter(|content| !content.is_terminating);
    let mut actions: Vec<Action> = present
        .map(|content| Action::Delete {
            target: content.target.clone(),
            resource_version: None,
            grace_seconds: None,
            propagation: Some(Propagation::Background),
            says: None,
        })
        .collect();
    match view.failure {
        // A failure ends a round: one that persists must not keep the status from telling it.
        Some(_) => actions.splice(0..0, status(view)).for_each(drop),
        None => actions.extend(status(view)),
    }
    actions.push(Action::WakeAfter(LOOK_AGAIN));
    actions
}

/// What failed, and what should have gone by now and has not.
fn content_failure(view: &View) -> Option<String> {
    let mut errors = view.errors.clone();
    let failure = view.failure.filter(|failure| failure.of == Attempt::Delete);
    errors.extend(failure.map(|failure| failure.message.clone()));
    let deleted = view.namespace.metadata().deletion_timestamp.as_ref();
    let age = deleted.map_or(Duration::ZERO, |deleted| deleted.elapsed_at(view.now));
    let mut stuck_by_kind: BTreeMap<String, bool> = BTreeMap::new();
    for content in view.contents.iter().filter(|content| content.is_terminating) {
        let kind = content.target.kind;
        let gets_time = kind.kind == "Pod" && age < view.pods_grace;
        let gvr = format!("{}/{}, Resource={}", kind.group, kind.version, kind.resource);
        let is_stuck = stuck_by_kind.entry(gvr).or_insert(!gets_time);
        *is_stuck &= content.finalizers.is_empty();
    }
    let namespace = &view.namespace.metadata().name;
    let stuck = stuck_by_kind.into_iter().filter(|(_, is_stuck)| *is_stuck);
    errors.extend(
        stuck.map(|(gvr, _)| {
            format!("unexpected items still remain in namespace: {namespace} for gvr: {gvr}")
        }),
    );
    errors.sort();
    let message = || {
        format!(
            "Failed to delete all resource types, {} remaining: {}",
            errors.len(),
            errors.join(", ")
        )
    };
    (!errors.is_empty()).then(message)
}

/// Says what the deletion waits for.
fn status(view: &View) -> Option<Action> {
    let namespace = view.namespace;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for content in &view.contents {
        let kind = content.target.kind;
        *counts
            .entry(format!("{}.{}", kind.resource, kind.group))
            .or_default() += 1;
        for finalizer in &content.finalizers {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts.join(", ")
    };
    let remaining = counts
        .iter()
        .map(|(kind, count)| format!("{kind} has {count} resource instances"));
    let remaining = sorted(remaining.collect());
    let held = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"));
    let held = sorted(held.collect());
    let condition =
        |kind: &str, is_true: Option<String>, reasons: [&str; 2], fine: &str| NamespaceCondition {
            r#type: kind.into(),
            status: if is_true.is_some() { "True" } else { "False" }.into(),
            reason: reasons[usize::from(is_true.is_none())].into(),
            message: is_true.unwrap_or_else(|| fine.into()),
            ..NamespaceCondition::default()
        };
    let unknown = (!view.unknown_kinds.is_empty()).then(|| {
        format!(
            "Discovery failed for some groups, {} failing: unknown kinds {}",
            view.unknown_kinds.len(),
            view.unknown_kinds.join(", ")
        )
    });
    let failure = content_failure(view);
    let mut conditions = vec![
        condition(
            "NamespaceDeletionDiscoveryFailure",
            unknown,
            ["DiscoveryFailed", "ResourcesDiscovered"],
            "All resources successfully discovered",
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ["GroupVersionParsingFailed", "ParsedGroupVersions"],
            "All legacy kube types successfully parsed",
        ),
        condition(
            "NamespaceDeletionContentFailure",
            failure,
            ["ContentDeletionFailed", "ContentDeleted"],
            "All content successfully deleted, may be waiting on finalization",
        ),
        condition(
            "NamespaceContentRemaining",
            (!remaining.is_empty()).then(|| format!("Some resources are remaining: {remaining}")),
            ["SomeResourcesRemain", "ContentRemoved"],
            "All content successfully removed",
        ),
        condition(
            "NamespaceFinalizersRemaining",
            (!held.is_empty())
                .then(|| format!("Some content in the namespace has finalizers remaining: {held}")),
            ["SomeFinalizersRemain", "ContentHasNoFinalizers"],
            "All content-preserving finalizers finished",
        ),
    ];
    let before = &namespace.status().conditions;
    for condition in &mut conditions {
        let same = before
            .iter()
            .find(|one| one.r#type == condition.r#type && one.status == condition.status);
        let since = same.and_then(|one| one.last_transition_time);
        condition.last_transition_time = Some(since.unwrap_or_else(|| Time::from_system(view.now)));
    }
    let others = before
        .iter()
        .filter(|one| conditions.iter().all(|own| own.r#type != one.r#type));
    let mut all: Vec<NamespaceCondition> = others.cloned().collect();
    all.extend(conditions);
    let mut object = namespace.clone();
    object.status_mut().phase = "Terminating".into();
    object.status_mut().conditions = all;
    (object.status() != namespace.status()).then(|| Action::UpdateStatus {
        object: object.into(),
    })
}

#[cfg(test)]
mod tests;
