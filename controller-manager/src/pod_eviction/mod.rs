//! Eviction: a pod leaves a node whose NoExecute taints it does not tolerate, or no longer.

pub mod controller;
mod noticed;

use crate::action::{Action, Says, Target, reference_to};
use crate::conditions;
use crate::node_lifecycle::{NOT_READY, UNREACHABLE};
use crate::pod_facts;
use gantry_proto::core::v1::{Pod, PodCondition, Taint, Toleration};
use gantry_proto::meta::v1::Time;
use serde_json::json;
use std::time::{Duration, SystemTime};

/// How long a pod that says nothing about it stays on a node that is not ready or not reachable (Kubernetes'
/// admission plugin DefaultTolerationSeconds writes this into each pod).
const DEFAULT_TOLERATION: Duration = Duration::from_secs(300);

/// `taints` are those of the pod's node; one that says not since when it is there counts from now on. `was_to_go` says
/// that the last decision gave the pod a time.
pub fn reconcile(pod: &Pod, taints: &[Taint], was_to_go: bool, now: SystemTime) -> Vec<Action> {
    if pod_facts::is_terminating(pod) {
        return Vec::new();
    }
    match stay(pod, taints, now) {
        Stay::ForGood if was_to_go => vec![Action::Tell {
            says: tell(pod, "Cancelling deletion of Pod"),
        }],
        Stay::ForGood => Vec::new(),
        Stay::For(time) if !time.is_zero() => vec![Action::WakeAfter(time)],
        Stay::For(_) => evict(pod, now),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    ForGood,
    For(Duration),
}

fn stay(pod: &Pod, taints: &[Taint], now: SystemTime) -> Stay {
    let evicting = taints.iter().filter(|taint| taint.effect == "NoExecute");
    let on_node = on_node_since(pod).map(|since| since.elapsed_at(now));
    let ends = evicting.filter_map(|taint| {
        let allowed = tolerated_for(&pod.spec().tolerations, taint)?;
        let tainted = taint
            .time_added
            .as_ref()
            .map_or(Duration::ZERO, |added| added.elapsed_at(now));
        // A pod that came to a tainted node may stay for as long as one that was there, or its successor, coming to
        // the same node, would be evicted at once, and so on.
        let together = on_node.map_or(tainted, |on_node| on_node.min(tainted));
        Some(allowed.saturating_sub(together))
    });
    ends.min().map_or(Stay::ForGood, Stay::For)
}

fn on_node_since(pod: &Pod) -> Option<Time> {
    let assigned = pod_facts::condition(pod, "PodScheduled").filter(|condition| condition.status == "True");
    let assigned = assigned.and_then(|condition| condition.last_transition_time);
    assigned.or(pod.metadata().creation_timestamp)
}

/// How long the pod tolerates the taint, by the first toleration that does; `None` for good.
fn tolerated_for(tolerations: &[Toleration], taint: &Taint) -> Option<Duration> {
    let Some(first) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
        let by_default = taint.key == NOT_READY || taint.key == UNREACHABLE;
        return Some(if by_default {
            DEFAULT_TOLERATION
        } else {
            Duration::ZERO
        });
    };
    // A negative time is none.
    let seconds = first.toleration_seconds?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    if !toleration.key.is_empty() && toleration.key != taint.key {
        return false;
    }
    match toleration.operator.as_str() {
        "" | "Equal" => !toleration.key.is_empty() && toleration.value == taint.value,
        "Exists" => true,
        _ => false,
    }
}

fn evict(pod: &Pod, now: SystemTime) -> Vec<Action> {
    let condition = PodCondition {
        r#type: "DisruptionTarget".into(),
        status: "True".into(),
        reason: "DeletionByTaintManager".into(),
        message: "Taint manager: deleting due to NoExecute taint".into(),
        ..PodCondition::default()
    };
    let mut actions = Vec::new();
    if let Some(conditions) = conditions::of_pod_with(pod, condition, now) {
        actions.push(Action::Patch {
            target: Target::of(pod),
            subresource: Some("status"),
            patch: json!({
                "metadata": {"uid": pod.metadata().uid, "resourceVersion": pod.metadata().resource_version},
                "status": {"conditions": conditions},
            }),
            says: None,
        });
    }
    actions.push(Action::Delete {
        target: Target::of(pod),
        resource_version: None,
        grace_seconds: None,
        propagation: None,
        says: Some(tell(pod, "Marking for deletion Pod")),
    });
    actions
}

fn tell(pod: &Pod, what: &str) -> Says {
    let metadata = pod.metadata();
    Says {
        about: reference_to(pod),
        warning: false,
        reason: "TaintManagerEviction",
        message: format!("{what} {}/{}", metadata.namespace, metadata.name),
        on_failure: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn taint(key: &str, effect: &str, added: u64) -> Taint {
        Taint {
            key: key.into(),
            effect: effect.into(),
            time_added: Some(Time::from_system(at(added))),
            ..Taint::default()
        }
    }

    fn toleration(key: &str, operator: &str, effect: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: key.into(),
            operator: operator.into(),
            effect: effect.into(),
            toleration_seconds: seconds,
            ..Toleration::default()
        }
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates() {
        let check = |tolerations: &[Toleration], taints: &[Taint], now: u64, expected: Option<u64>| {
            let mut pod = Pod::default();
            pod.spec_mut().tolerations = tolerations.to_vec();
            let expected = expected.map_or(Stay::ForGood, |seconds| Stay::For(Duration::from_secs(seconds)));
            assert_eq!(
                stay(&pod, taints, at(now)),
                expected,
                "{tolerations:?} {taints:?} {now}"
            );
        };
        let lost = [
            taint(UNREACHABLE, "NoSchedule", 100),
            taint(UNREACHABLE, "NoExecute", 100),
        ];
        check(&[], &[], 100, None);
        check(&[], &[taint("full", "NoSchedule", 100)], 100, None);
        check(&[], &[taint("dedicated", "NoExecute", 100)], 100, Some(0));
        check(&[], &lost, 100, Some(300));
        check(&[], &lost, 399, Some(1));
        check(&[], &lost, 400, Some(0));
        check(
            &[toleration(UNREACHABLE, "Exists", "NoExecute", Some(10))],
            &lost,
            105,
            Some(5),
        );
        check(
            &[toleration(UNREACHABLE, "Exists", "NoExecute", None)],
            &lost,
            9999,
            None,
        );
        check(&[toleration("", "Exists", "", None)], &lost, 9999, None);
        check(&[toleration("", "", "", None)], &lost, 100, Some(300));
        check(
            &[toleration(UNREACHABLE, "Exists", "NoSchedule", None)],
            &lost,
            100,
            Some(300),
        );
        check(
            &[toleration(UNREACHABLE, "Exists", "NoExecute", Some(-1))],
            &lost,
            100,
            Some(0),
        );
        let two = [
            taint(NOT_READY, "NoExecute", 100),
            taint("dedicated", "NoExecute", 100),
        ];
        check(
            &[toleration("dedicated", "Exists", "", None)],
            &two,
            100,
            Some(300),
        );
    }

    #[test]
    fn a_pod_that_comes_to_a_tainted_node_may_stay_as_long_as_one_that_was_there() {
        let mut pod = Pod::default();
        pod.metadata_mut().creation_timestamp = Some(Time::from_system(at(1000)));
        pod.spec_mut().tolerations = vec![toleration("dedicated", "Exists", "NoExecute", Some(60))];
        let taints = [taint("dedicated", "NoExecute", 0)];
        let check = |pod: &Pod, now: u64, expected: u64| {
            let expected = Stay::For(Duration::from_secs(expected));
            assert_eq!(stay(pod, &taints, at(now)), expected, "{now}");
        };
        check(&pod, 1010, 50);
        pod.status_mut().conditions.push(PodCondition {
            r#type: "PodScheduled".into(),
            status: "True".into(),
            last_transition_time: Some(Time::from_system(at(1030))),
            ..PodCondition::default()
        });
        check(&pod, 1040, 50);
        check(&pod, 1090, 0);
    }

    #[test]
    fn an_eviction_says_why_before_it_deletes() {
        let mut pod = Pod::default();
        pod.spec_mut().node_name = "n1".into();
        let taints = [taint("dedicated", "NoExecute", 0)];
        let actions = reconcile(&pod, &taints, false, at(10));
        let [
            Action::Patch { patch, .. },
            Action::Delete {
                grace_seconds: None, ..
            },
        ] = &actions[..]
        else {
            panic!("{actions:?}")
        };
        assert_eq!(
            patch["status"]["conditions"][0]["reason"],
            "DeletionByTaintManager"
        );
        pod.metadata_mut().deletion_timestamp = Some(Time::default());
        assert_eq!(reconcile(&pod, &taints, false, at(10)), []);
    }

    #[test]
    fn one_that_may_stay_after_all_is_told_of() {
        let mut pod = Pod::default();
        (pod.metadata_mut().namespace, pod.metadata_mut().name) = ("default".into(), "a".into());
        assert_eq!(reconcile(&pod, &[], false, at(10)), []);
        let actions = reconcile(&pod, &[], true, at(10));
        let [Action::Tell { says }] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(
            (says.reason, says.message.as_str()),
            ("TaintManagerEviction", "Cancelling deletion of Pod default/a")
        );
    }

    #[test]
    fn the_first_toleration_that_fits_counts_and_a_pod_that_has_ended_goes_too() {
        let taints = [taint("dedicated", "NoExecute", 0)];
        let mut pod = Pod::default();
        pod.spec_mut().tolerations = vec![
            toleration("dedicated", "Exists", "", None),
            toleration("dedicated", "Exists", "NoExecute", Some(5)),
        ];
        assert_eq!(stay(&pod, &taints, at(10)), Stay::ForGood);
        pod.spec_mut().tolerations.clear();
        pod.status_mut().phase = "Succeeded".into();
        assert_eq!(reconcile(&pod, &taints, false, at(10)).len(), 2);
    }
}
