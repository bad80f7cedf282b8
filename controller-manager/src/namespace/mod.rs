//! Namespace: one that is being deleted takes all that is in it along.
//!
//! ```text
//! deletionTimestamp -> delete every object of every namespaced kind -> nothing left -> finalize
//! ```

pub mod controller;

use crate::action::{Action, Attempt, Failure, Propagation, Target};
use gantry_proto::core::v1::{Namespace, NamespaceCondition};
use gantry_proto::meta::v1::Time;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The finalizer in a namespace's spec that this controller takes away.
pub const FINALIZER: &str = "kubernetes";
/// While something is left, the namespace is looked at again after this: a dozen small lists.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// All that a decision about one Namespace looks at.
pub struct View<'a> {
    pub namespace: &'a Namespace,
    /// What is in it, by a fresh read; empty where the namespace is not being deleted.
    pub contents: Vec<Content>,
    /// Namespaced kinds that the apiserver has and this process does not know.
    pub unknown_kinds: Vec<String>,
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
    if namespace.metadata().deletion_timestamp.is_none() {
        return Vec::new();
    }
    if !namespace
        .spec()
        .finalizers
        .iter()
        .any(|finalizer| finalizer == FINALIZER)
    {
        return Vec::new();
    }
    if view.contents.is_empty() && view.unknown_kinds.is_empty() {
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

/// Says what the deletion waits for.
fn status(view: &View) -> Option<Action> {
    let namespace = view.namespace;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for content in &view.contents {
        *counts.entry(content.target.kind.group_resource()).or_default() += 1;
        for finalizer in &content.finalizers {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let remaining = counts
        .iter()
        .map(|(kind, count)| format!("{kind} has {count} resource instances"));
    let remaining = remaining.collect::<Vec<_>>().join(", ");
    let held = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"));
    let held = held.collect::<Vec<_>>().join(", ");
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
    let failure = view.failure.filter(|failure| failure.of == Attempt::Delete);
    let failure = failure.map(|failure| {
        let left = view.contents.len();
        format!(
            "Failed to delete all resource types, {left} remaining: {}",
            failure.message
        )
    });
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
mod tests {
    use super::*;
    use gantry_proto::core::v1::{ConfigMap, Pod};
    use gantry_proto::{Key, Kind};

    fn namespace(terminating: bool, finalizers: &[&str]) -> Namespace {
        let mut namespace = Namespace::default();
        namespace.metadata_mut().name = "team".into();
        namespace.metadata_mut().deletion_timestamp = terminating.then(Time::default);
        namespace.spec_mut().finalizers = finalizers.iter().map(|name| name.to_string()).collect();
        namespace
    }

    fn content<K: Kind>(name: &str, is_terminating: bool, finalizers: &[&str]) -> Content {
        Content {
            target: Target {
                kind: K::INFO,
                key: Key::new("team", name),
                uid: name.into(),
            },
            is_terminating,
            finalizers: finalizers.iter().map(|name| name.to_string()).collect(),
        }
    }

    fn decide(namespace: &Namespace, contents: Vec<Content>, unknown: &[&str]) -> Vec<Action> {
        reconcile(&View {
            namespace,
            contents,
            unknown_kinds: unknown.iter().map(|name| name.to_string()).collect(),
            failure: None,
            now: SystemTime::UNIX_EPOCH,
        })
    }

    #[test]
    fn only_an_empty_namespace_that_is_being_deleted_is_finalized() {
        assert_eq!(decide(&namespace(false, &[FINALIZER]), vec![], &[]), []);
        assert_eq!(decide(&namespace(true, &["other"]), vec![], &[]), []);
        let expected = namespace(true, &["other"]);
        let decided = decide(&namespace(true, &[FINALIZER, "other"]), vec![], &[]);
        assert_eq!(decided, [Action::Finalize { namespace: expected }]);
        let blocked = decide(&namespace(true, &[FINALIZER]), vec![], &["widgets.example.com"]);
        assert!(
            !blocked
                .iter()
                .any(|action| matches!(action, Action::Finalize { .. })),
            "{blocked:?}"
        );
    }

    #[test]
    fn a_deletion_that_fails_is_told_before_it_is_tried_again() {
        let failure = Failure {
            of: Attempt::Delete,
            message: "denied".into(),
        };
        let actions = reconcile(&View {
            namespace: &namespace(true, &[FINALIZER]),
            contents: vec![content::<Pod>("a", false, &[])],
            unknown_kinds: vec![],
            failure: Some(&failure),
            now: SystemTime::UNIX_EPOCH,
        });
        let [
            Action::UpdateStatus {
                object: crate::action::Object::Namespace(told),
            },
            Action::Delete { .. },
            ..,
        ] = &actions[..]
        else {
            panic!("{actions:?}")
        };
        let conditions = &told.status().conditions;
        let failed = conditions
            .iter()
            .find(|one| one.r#type == "NamespaceDeletionContentFailure")
            .map(|one| (one.status.as_str(), one.message.as_str()));
        let message = "Failed to delete all resource types, 1 remaining: denied";
        assert_eq!(failed, Some(("True", message)));
    }

    #[test]
    fn contents_are_deleted_once_and_what_is_waited_for_is_told() {
        let contents = vec![
            content::<Pod>("a", false, &[]),
            content::<Pod>("b", true, &["example.com/hold"]),
            content::<ConfigMap>("c", false, &[]),
        ];
        let actions = decide(&namespace(true, &[FINALIZER]), contents, &[]);
        let deleted: Vec<&str> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Delete { target, .. } => Some(target.key.name.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(deleted, ["a", "c"]);
        let Some(Action::UpdateStatus {
            object: crate::action::Object::Namespace(told),
        }) = actions
            .iter()
            .find(|action| matches!(action, Action::UpdateStatus { .. }))
        else {
            panic!("{actions:?}")
        };
        let messages: Vec<&str> = told
            .status()
            .conditions
            .iter()
            .filter(|condition| condition.status == "True")
            .map(|condition| condition.message.as_str())
            .collect();
        assert_eq!(
            messages,
            [
                "Some resources are remaining: configmaps has 1 resource instances, pods has 2 resource instances",
                "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
            ]
        );
        assert_eq!(actions.last(), Some(&Action::WakeAfter(LOOK_AGAIN)));
    }
}
