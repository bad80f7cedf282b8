//! Revisions: what a ReplicaSet carries for `rollout history` and `rollout undo`, and how long it is kept.

use super::fleet::{desired, size};
use super::hash::POD_TEMPLATE_HASH;
use super::rolling::fences;
use crate::action::{Action, Target};
use crate::ownership::controller_reference;
use gantry_proto::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use gantry_proto::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// The deployment's annotations that say something about the deployment only.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// The revision-history annotation keeps the newest revisions that fit into this many characters, as in
/// Kubernetes.
const MAX_HISTORY_CHARACTERS: usize = 2000;
/// An object's name that is also a label value, which pods' names need to be.
const MAX_NAME: usize = 63;

pub fn replica_set_name(deployment: &str, hash: &str) -> String {
    let room = MAX_NAME.saturating_sub(hash.len() + 1);
    let end = deployment.floor_char_boundary(room);
    format!("{}-{hash}", &deployment[..end])
}

pub fn new_replica_set(
    deployment: &Deployment,
    name: &str,
    hash: &str,
    replicas: i32,
    old: &[&ReplicaSet],
) -> ReplicaSet {
    let mut template = deployment.spec().template().clone();
    template
        .metadata_mut()
        .labels
        .insert(POD_TEMPLATE_HASH.into(), hash.into());
    let mut selector = deployment.spec().selector().clone();
    selector
        .match_labels
        .insert(POD_TEMPLATE_HASH.into(), hash.into());
    let mut annotations = copied_annotations(deployment);
    annotations.insert(REVISION.into(), next_revision(old).to_string());
    let sizes = size_annotations(deployment);
    annotations.extend(sizes.into_iter().map(|(name, value)| (name.to_string(), value)));
    ReplicaSet {
        metadata: Some(ObjectMeta {
            name: name.into(),
            namespace: deployment.metadata().namespace.clone(),
            labels: template.metadata().labels.clone(),
            annotations,
            owner_references: vec![controller_reference(deployment)],
            ..ObjectMeta::default()
        }),
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: deployment.spec().min_ready_seconds,
            selector: Some(selector),
            template: Some(template),
        }),
        status: None,
    }
}

/// By what size the ReplicaSets were last sized.
pub fn size_annotations(deployment: &Deployment) -> BTreeMap<&'static str, String> {
    let desired = desired(deployment);
    let largest = desired + fences(deployment).surge;
    [
        (DESIRED_REPLICAS, desired.to_string()),
        (MAX_REPLICAS, largest.to_string()),
    ]
    .into()
}

/// What brings the new ReplicaSet's annotations and minReadySeconds in step with the deployment; `None` when
/// they are. A rollback shows here: the ReplicaSet's revision becomes the highest, its former one history.
pub fn in_step(deployment: &Deployment, new: &ReplicaSet, old: &[&ReplicaSet]) -> Option<Action> {
    let present = &new.metadata().annotations;
    let mut changed: Map<String, Value> = copied_annotations(deployment)
        .into_iter()
        .filter(|(name, value)| present.get(name) != Some(value))
        .map(|(name, value)| (name, value.into()))
        .collect();
    let next = next_revision(old);
    let revision = revision_of(new.metadata());
    if revision.unwrap_or(0) < next {
        changed.insert(REVISION.into(), next.to_string().into());
        if let Some(former) = revision {
            let history = history(present.get(REVISION_HISTORY).map_or("", String::as_str), former);
            changed.insert(REVISION_HISTORY.into(), history.into());
        }
    }
    let min_ready_seconds = deployment.spec().min_ready_seconds;
    if changed.is_empty() && new.spec().min_ready_seconds == min_ready_seconds {
        return None;
    }
    Some(Action::Patch {
        target: Target::of(new),
        subresource: None,
        patch: json!({
            "metadata": {
                "uid": new.metadata().uid,
                "resourceVersion": new.metadata().resource_version,
                "annotations": changed,
            },
            "spec": {"minReadySeconds": min_ready_seconds},
        }),
        says: None,
    })
}

/// The deployment's revision is that of its new ReplicaSet; `None` when it already says so.
pub fn own_revision(deployment: &Deployment, new: &ReplicaSet) -> Option<Action> {
    let revision = new.metadata().annotations.get(REVISION)?;
    if deployment.metadata().annotations.get(REVISION) == Some(revision) {
        return None;
    }
    Some(Action::Patch {
        target: Target::of(deployment),
        // As Kubernetes does it: bookkeeping must not look like a new wish (metadata.generation).
        subresource: Some("status"),
        patch: json!({"metadata": {"uid": deployment.metadata().uid, "annotations": {REVISION: revision}}}),
        says: None,
    })
}

/// Deletes old ReplicaSets, oldest revision first, beyond revisionHistoryLimit. One that has or may still get
/// pods stays, and counts.
pub fn clean_up(deployment: &Deployment, old: &[&ReplicaSet]) -> Vec<Action> {
    let Some(limit) = deployment
        .spec()
        .revision_history_limit
        .filter(|limit| *limit != i32::MAX)
    else {
        return Vec::new();
    };
    let mut kept: Vec<&ReplicaSet> = old
        .iter()
        .copied()
        .filter(|old| old.metadata().deletion_timestamp.is_none())
        .collect();
    let excess = kept.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    kept.sort_by_key(|old| revision_of(old.metadata()).unwrap_or(0));
    kept.into_iter()
        .take(excess)
        .filter(|old| {
            let status = old.status();
            status.replicas == 0 && size(old) == 0 && old.metadata().generation <= status.observed_generation
        })
        .map(|old| Action::Delete {
            target: Target::of(old),
            resource_version: Some(old.metadata().resource_version.clone()),
            grace_seconds: None,
            propagation: None,
            says: None,
        })
        .collect()
}

fn copied_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut annotations = deployment.metadata().annotations.clone();
    annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
    annotations
}

fn next_revision(old: &[&ReplicaSet]) -> i64 {
    old.iter()
        .filter_map(|old| revision_of(old.metadata()))
        .max()
        .unwrap_or(0)
        .max(0)
        .saturating_add(1)
}

fn revision_of(metadata: &ObjectMeta) -> Option<i64> {
    metadata.annotations.get(REVISION)?.parse().ok()
}

fn history(present: &str, former: i64) -> String {
    let mut revisions: Vec<String> = present
        .split(',')
        .filter(|revision| !revision.is_empty())
        .map(str::to_string)
        .collect();
    revisions.push(former.to_string());
    let mut length: usize = revisions.iter().map(|revision| revision.len() + 1).sum();
    let mut dropped = 0;
    while length > MAX_HISTORY_CHARACTERS && dropped + 1 < revisions.len() {
        length -= revisions[dropped].len() + 1;
        dropped += 1;
    }
    revisions[dropped..].join(",")
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{deployment, replica_set};
    use super::*;

    fn with_revision(name: &str, replicas: i32, revision: &str) -> ReplicaSet {
        let mut replica_set = replica_set(name, replicas, replicas);
        replica_set
            .metadata_mut()
            .annotations
            .insert(REVISION.into(), revision.into());
        replica_set
    }

    #[test]
    fn a_rollback_gives_the_old_replica_set_the_highest_revision() {
        let deployment = deployment(3, "1", "0");
        let new = with_revision("new", 0, "1");
        let old = with_revision("old", 3, "2");
        let Some(Action::Patch { patch, .. }) = in_step(&deployment, &new, &[&old]) else {
            panic!("no patch")
        };
        assert_eq!(
            patch["metadata"]["annotations"],
            json!({REVISION: "3", REVISION_HISTORY: "1"})
        );
        let newest = with_revision("new", 0, "3");
        assert_eq!(in_step(&deployment, &newest, &[&old]), None);
    }

    #[test]
    fn annotations_of_the_deployment_reach_the_replica_set_except_its_own_business() {
        let mut deployment = deployment(3, "1", "0");
        let annotations = &mut deployment.metadata_mut().annotations;
        annotations.insert("kubernetes.io/change-cause".into(), "a better image".into());
        annotations.insert(NOT_COPIED[0].into(), "{}".into());
        annotations.insert(REVISION.into(), "9".into());
        let new = new_replica_set(&deployment, "web-abc", "abc", 2, &[]);
        let expected = [
            ("kubernetes.io/change-cause", "a better image"),
            (REVISION, "1"),
            (DESIRED_REPLICAS, "3"),
            (MAX_REPLICAS, "4"),
        ];
        let expected: BTreeMap<_, _> = expected.map(|(k, v)| (k.to_string(), v.to_string())).into();
        assert_eq!(new.metadata().annotations, expected);
        assert_eq!(new.spec().selector().match_labels[POD_TEMPLATE_HASH], "abc");
        assert_eq!(new.spec().template().metadata().labels[POD_TEMPLATE_HASH], "abc");
    }

    #[test]
    fn only_empty_replica_sets_beyond_the_limit_go_and_the_oldest_first() {
        let mut deployment = deployment(3, "1", "0");
        deployment.spec_mut().revision_history_limit = Some(1);
        let sets = [
            with_revision("r3", 0, "3"),
            with_revision("r1", 0, "1"),
            with_revision("r2", 1, "2"),
        ];
        let deleted: Vec<String> = clean_up(&deployment, &sets.each_ref()[..])
            .into_iter()
            .map(|action| match action {
                Action::Delete { target, .. } => target.key.name,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(deleted, ["r1"]);
    }

    #[test]
    fn a_long_name_leaves_room_for_the_hash() {
        assert_eq!(replica_set_name("web", "bcdfg"), "web-bcdfg");
        let long = replica_set_name(&"a".repeat(253), "bcdfg");
        assert_eq!(long.len(), 63);
        assert!(long.ends_with("a-bcdfg"));
    }

    #[test]
    fn history_forgets_the_oldest_when_it_grows_too_long() {
        assert_eq!(history("", 1), "1");
        assert_eq!(history("1,2", 5), "1,2,5");
        let long = (1..600).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let kept = history(&long, 600);
        assert!(
            kept.len() <= MAX_HISTORY_CHARACTERS && kept.ends_with(",599,600"),
            "{kept}"
        );
    }
}
