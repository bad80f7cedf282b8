//! Pod garbage: pods that nobody can look after any more, and ended ones beyond a threshold
//! (Kubernetes' pkg/controller/podgc).
//!
//! ```text
//! bound to a node that is gone for 40 s          -> Failed, DisruptionTarget, removed
//! ending on a node that is out of service        -> Failed, removed
//! ending and never bound                         -> Failed, removed
//! ended, and more of them than the threshold     -> the oldest are removed
//! ```

pub mod controller;

use crate::action::{Action, Target};
use crate::conditions;
use crate::node_lifecycle;
use crate::pod_facts;
use gantry_proto::core::v1::{Node, Pod, PodCondition};
use serde_json::json;
use std::time::{Duration, SystemTime};

/// How many ended pods are kept for people to look at; Kubernetes' --terminated-pod-gc-threshold. None go where it is 0.
pub const DEFAULT_THRESHOLD: usize = 12_500;
/// How long a node must be gone before its pods are taken for lost: it may be registering anew.
pub const QUARANTINE: Duration = Duration::from_secs(40);
/// On a node of which somebody knows that it will not come back as it was.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What is known about the node that a pod is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is there, or the pod is not bound to one.
    Present,
    /// It is there, is not ready, and somebody has said that it is out of service.
    OutOfService,
    /// A fresh read has shown that there is none; the cache has shown none for this long.
    Gone { since: Duration },
}

/// Whether the pods of the node may be taken for ended once they are told to end.
pub fn is_out_of_service(node: &Node) -> bool {
    let is_ready = node_lifecycle::ready(node).is_some_and(|condition| condition.status == "True");
    let mut taints = node.spec().taints.iter();
    !is_ready && taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

pub fn reconcile(pod: &Pod, node: NodeState, now: SystemTime) -> Vec<Action> {
    let is_ending = pod_facts::is_terminating(pod);
    match node {
        NodeState::Gone { since } if since < QUARANTINE => vec![Action::WakeAfter(QUARANTINE - since)],
        NodeState::Gone { .. } => remove(
            pod,
            conditions::of_pod_with(pod, node_is_gone(), now)
                .or_else(|| Some(pod.status().conditions.clone())),
        ),
        NodeState::OutOfService if is_ending => remove(pod, None),
        // Nobody but us will finish the deletion of a pod that never came to a node.
        NodeState::Present if pod.spec().node_name.is_empty() && is_ending => remove(pod, None),
        NodeState::OutOfService | NodeState::Present => Vec::new(),
    }
}

/// The oldest of the ended pods, beyond `threshold`; before them those that their node had no room for.
pub fn beyond_threshold(pods: &[&Pod], threshold: usize) -> Vec<Action> {
    if threshold == 0 {
        return Vec::new();
    }
    let finished = |pod: &&Pod| pod_facts::is_finished(pod);
    let mut ended: Vec<&Pod> = pods.iter().copied().filter(finished).collect();
    let excess = ended.len().saturating_sub(threshold);
    if excess == 0 {
        return Vec::new();
    }
    ended.sort_by_cached_key(|pod| {
        let metadata = pod.metadata();
        let is_evicted = pod.status().phase == "Failed" && pod.status().reason == "Evicted";
        let created = metadata
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.seconds);
        (
            !is_evicted,
            created,
            metadata.name.clone(),
            metadata.namespace.clone(),
        )
    });
    let oldest = ended.into_iter().take(excess);
    // One that somebody holds by a finalizer is on its way.
    oldest
        .filter(|pod| !pod_facts::is_terminating(pod))
        .map(force_delete)
        .collect()
}

fn node_is_gone() -> PodCondition {
    PodCondition {
        r#type: "DisruptionTarget".into(),
        status: "True".into(),
        reason: "DeletionByPodGC".into(),
        message: "PodGC: node no longer exists".into(),
        ..PodCondition::default()
    }
}

/// Fails the pod, where it has not ended: no node agent will say so any more.
fn remove(pod: &Pod, conditions: Option<Vec<PodCondition>>) -> Vec<Action> {
    let mut actions = Vec::new();
    if !pod_facts::is_finished(pod) {
        let mut status = json!({"phase": "Failed", "observedGeneration": pod.metadata().generation});
        if let Some(conditions) = conditions {
            status["conditions"] = json!(conditions);
        }
        actions.push(Action::Patch {
            target: Target::of(pod),
            subresource: Some("status"),
            patch: json!({
                "metadata": {"uid": pod.metadata().uid, "resourceVersion": pod.metadata().resource_version},
                "status": status,
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
    use gantry_proto::core::v1::{NodeCondition, Taint};
    use gantry_proto::meta::v1::Time;

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
        let condition = &patch["status"]["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["reason"]),
            (&"DisruptionTarget".into(), &"DeletionByPodGC".into())
        );
        lost.status_mut().phase = "Succeeded".into();
        assert_eq!(reconcile(&lost, gone(40), now), [force_delete(&lost)]);
    }

    #[test]
    fn a_deleted_pod_that_was_never_bound_is_removed() {
        let mut waiting = pod("a", "Pending", 0);
        let decide = |pod: &Pod, node: NodeState| reconcile(pod, node, SystemTime::UNIX_EPOCH);
        assert_eq!(decide(&waiting, NodeState::Present), []);
        waiting.metadata_mut().deletion_timestamp = Some(Time::default());
        let actions = decide(&waiting, NodeState::Present);
        let [Action::Patch { patch, .. }, delete] = &actions[..] else {
            panic!("{actions:?}")
        };
        let status = &patch["status"];
        assert_eq!(
            (&status["phase"], status.get("conditions")),
            (&"Failed".into(), None)
        );
        assert_eq!(*delete, force_delete(&waiting));
        waiting.spec_mut().node_name = "n1".into();
        assert_eq!(decide(&waiting, NodeState::Present), []);
    }

    #[test]
    fn a_pod_that_is_to_end_on_a_node_out_of_service_is_removed() {
        let mut node = Node::default();
        assert!(!is_out_of_service(&node));
        node.spec_mut().taints.push(Taint {
            key: OUT_OF_SERVICE.into(),
            effect: "NoExecute".into(),
            ..Taint::default()
        });
        assert!(is_out_of_service(&node));
        node.status_mut().conditions.push(NodeCondition {
            r#type: "Ready".into(),
            status: "True".into(),
            ..NodeCondition::default()
        });
        assert!(!is_out_of_service(&node));
        let mut bound = pod("a", "Running", 0);
        bound.spec_mut().node_name = "n1".into();
        let decide = |pod: &Pod| reconcile(pod, NodeState::OutOfService, SystemTime::UNIX_EPOCH).len();
        assert_eq!(decide(&bound), 0);
        bound.metadata_mut().deletion_timestamp = Some(Time::default());
        assert_eq!(decide(&bound), 2);
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
        // A threshold of none keeps all.
        assert_eq!(names(0), Vec::<String>::new());
    }

    #[test]
    fn those_that_their_node_had_no_room_for_go_first() {
        let mut evicted = pod("evicted", "Failed", 9);
        evicted.status_mut().reason = "Evicted".into();
        let old = pod("old", "Failed", 1);
        let mut ending = pod("ending", "Failed", 0);
        ending.metadata_mut().deletion_timestamp = Some(Time::default());
        assert_eq!(beyond_threshold(&[&old, &evicted], 1), [force_delete(&evicted)]);
        // It counts, and is on its way.
        assert_eq!(beyond_threshold(&[&old, &ending], 1), []);
    }
}
