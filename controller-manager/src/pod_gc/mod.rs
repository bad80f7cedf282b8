//! Pod garbage: pods that nobody can look after any more, and ended ones beyond a threshold.

pub mod controller;

use crate::action::{Action, Target};
use crate::pod_facts;
use gantry_proto::core::v1::{Pod, PodCondition};
use gantry_proto::meta::v1::Time;
use serde_json::json;
use std::time::{Duration, SystemTime};

/// How many ended pods are kept for people to look at; Kubernetes' --terminated-pod-gc-threshold.
pub const DEFAULT_THRESHOLD: usize = 12_500;
/// How long a node must be gone before its pods are taken for lost: it may be registering anew.
pub const QUARANTINE: Duration = Duration::from_secs(40);

/// What is known about the node that a pod is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is there, or the pod is not bound to one.
    Present,
    /// A fresh read has shown that there is none; the cache has shown none for this long.
    Gone { since: Duration },
}

pub fn reconcile(pod: &Pod, node: NodeState, now: SystemTime) -> Vec<Action> {
    match node {
        NodeState::Gone { since } if since < QUARANTINE => vec![Action::WakeAfter(QUARANTINE - since)],
        NodeState::Gone { .. } => lost(pod, now),
        // Nobody but us will finish the deletion of a pod that never came to a node.
        NodeState::Present if pod.spec().node_name.is_empty() && pod_facts::is_terminating(pod) => {
            vec![force_delete(pod)]
        }
        NodeState::Present => Vec::new(),
    }
}

/// The oldest of the ended pods, beyond `threshold`.
pub fn beyond_threshold(pods: &[&Pod], threshold: usize) -> Vec<Action> {
    let mut ended: Vec<&Pod> = pods
        .iter()
        .copied()
        .filter(|pod| pod_facts::is_finished(pod) && !pod_facts::is_terminating(pod))
        .collect();
    let excess = ended.len().saturating_sub(threshold);
    ended.sort_by_key(|pod| {
        let metadata = pod.metadata();
        let created = metadata
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.seconds);
        (created, metadata.namespace.clone(), metadata.name.clone())
    });
    ended.into_iter().take(excess).map(force_delete).collect()
}

fn lost(pod: &Pod, now: SystemTime) -> Vec<Action> {
    let mut actions = Vec::new();
    if !pod_facts::is_finished(pod) {
        let mut conditions = pod.status().conditions.clone();
        conditions.retain(|condition| condition.r#type != "DisruptionTarget");
        conditions.push(PodCondition {
            r#type: "DisruptionTarget".into(),
            status: "True".into(),
            reason: "DeletionByPodGC".into(),
            message: "PodGC: node no longer exists".into(),
            last_transition_time: Some(Time::from_system(now)),
            ..PodCondition::default()
        });
        actions.push(Action::Patch {
            target: Target::of(pod),
            subresource: Some("status"),
            patch: json!({
                "metadata": {"uid": pod.metadata().uid, "resourceVersion": pod.metadata().resource_version},
                "status": {"phase": "Failed", "conditions": conditions},
            }),
            says: None,
        });
    }
    actions.push(force_delete(pod));
    actions
}

fn force_delete(pod: &Pod) -> Action {
    Action::Delete {
        target: Target::of(pod),
        resource_version: None,
        grace_seconds: Some(0),
        propagation: None,
        says: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, phase: &str, created: i64) -> Pod {
        let mut pod = Pod::default();
        pod.metadata_mut().name = name.into();
        pod.metadata_mut().creation_timestamp = Some(Time {
            seconds: created,
            nanos: 0,
        });
        pod.status_mut().phase = phase.into();
        pod
    }

    #[test]
    fn pods_of_a_node_that_is_gone_are_failed_and_removed_after_a_while() {
        let mut lost = pod("a", "Running", 0);
        lost.spec_mut().node_name = "n1".into();
        let gone = |seconds: u64| NodeState::Gone {
            since: Duration::from_secs(seconds),
        };
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(reconcile(&lost, NodeState::Present, now), []);
        assert_eq!(
            reconcile(&lost, gone(10), now),
            [Action::WakeAfter(Duration::from_secs(30))]
        );
        let actions = reconcile(&lost, gone(40), now);
        let [
            Action::Patch { patch, .. },
            Action::Delete {
                grace_seconds: Some(0),
                ..
            },
        ] = &actions[..]
        else {
            panic!("{actions:?}")
        };
        assert_eq!(patch["status"]["phase"], "Failed");
        lost.status_mut().phase = "Succeeded".into();
        assert_eq!(reconcile(&lost, gone(40), now), [force_delete(&lost)]);
    }

    #[test]
    fn a_deleted_pod_that_was_never_bound_is_removed() {
        let mut waiting = pod("a", "Pending", 0);
        assert_eq!(
            reconcile(&waiting, NodeState::Present, SystemTime::UNIX_EPOCH),
            []
        );
        waiting.metadata_mut().deletion_timestamp = Some(Time::default());
        assert_eq!(
            reconcile(&waiting, NodeState::Present, SystemTime::UNIX_EPOCH),
            [force_delete(&waiting)]
        );
    }

    #[test]
    fn the_oldest_ended_pods_go_beyond_the_threshold() {
        let pods = [
            pod("new", "Failed", 3),
            pod("old", "Succeeded", 1),
            pod("runs", "Running", 0),
            pod("mid", "Failed", 2),
        ];
        let all: Vec<&Pod> = pods.iter().collect();
        let names = |threshold: usize| -> Vec<String> {
            beyond_threshold(&all, threshold)
                .into_iter()
                .map(|action| match action {
                    Action::Delete { target, .. } => target.key.name,
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        assert_eq!(names(3), Vec::<String>::new());
        assert_eq!(names(1), ["old", "mid"]);
    }
}
