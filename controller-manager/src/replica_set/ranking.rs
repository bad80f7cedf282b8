//! Which pods go first when there are too many: those whose loss is felt least (Kubernetes'
//! pkg/controller/controller_utils.go, ActivePodsWithRanks).

use crate::pod_facts;
use gantry_proto::core::v1::Pod;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods of `active` to delete. `related` are the pods of the same workload, `active` included:
/// where many of them share a node, one of those goes.
pub fn first_to_go<'a>(active: &[&'a Pod], related: &[&Pod], count: usize, now: SystemTime) -> Vec<&'a Pod> {
    if count >= active.len() {
        return active.to_vec();
    }
    let mut pods_by_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in related {
        *pods_by_node.entry(pod.spec().node_name.as_str()).or_default() += 1;
    }
    let neighbours = |pod: &Pod| {
        pods_by_node
            .get(pod.spec().node_name.as_str())
            .copied()
            .unwrap_or(0)
    };
    let mut pods = active.to_vec();
    pods.sort_by_cached_key(|pod| rank(pod, neighbours(pod), now));
    pods.truncate(count);
    pods
}

/// Sorts first what goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_assigned: bool,
    phase: u8,
    is_ready: bool,
    deletion_cost: i32,
    neighbours: Reverse<usize>,
    ready_for: Age,
    restarts: Reverse<i32>,
    age: Age,
    uid: String,
}

/// The order of magnitude of a duration, so that a scale-down does not always take the newest pods.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Age(Option<u32>);

impl Age {
    fn of(age: Option<Duration>) -> Age {
        Age(age.and_then(|age| age.as_nanos().checked_ilog2()))
    }
}

fn rank(pod: &Pod, neighbours: usize, now: SystemTime) -> Rank {
    let metadata = pod.metadata();
    let cost = metadata
        .annotations
        .get(DELETION_COST)
        .and_then(|cost| cost.parse().ok());
    let ready_for = pod_facts::ready_since(pod).map(|since| now.duration_since(since).unwrap_or_default());
    let restarts = pod
        .status()
        .container_statuses
        .iter()
        .map(|status| status.restart_count)
        .max();
    Rank {
        is_assigned: !pod.spec().node_name.is_empty(),
        phase: match pod.status().phase.as_str() {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        },
        is_ready: pod_facts::is_ready(pod),
        deletion_cost: cost.unwrap_or(0),
        neighbours: Reverse(neighbours),
        ready_for: Age::of(ready_for),
        restarts: Reverse(restarts.unwrap_or(0)),
        age: Age::of(
            metadata
                .creation_timestamp
                .as_ref()
                .map(|created| created.elapsed_at(now)),
        ),
        uid: metadata.uid.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::core::v1::{ContainerStatus, PodCondition};
    use gantry_proto::meta::v1::Time;

    const NOW: Duration = Duration::from_secs(100_000);

    fn at(seconds_ago: u64) -> Time {
        Time::from_system(SystemTime::UNIX_EPOCH + NOW - Duration::from_secs(seconds_ago))
    }

    fn running(name: &str, node: &str, ready_for: Option<u64>) -> Pod {
        let mut pod = Pod::default();
        pod.metadata_mut().name = name.into();
        pod.metadata_mut().uid = name.into();
        pod.metadata_mut().creation_timestamp = Some(at(50_000));
        pod.spec_mut().node_name = node.into();
        pod.status_mut().phase = "Running".into();
        pod.status_mut().conditions.push(PodCondition {
            r#type: "Ready".into(),
            status: if ready_for.is_some() { "True" } else { "False" }.into(),
            last_transition_time: ready_for.map(at),
            ..PodCondition::default()
        });
        pod
    }

    #[test]
    fn the_pod_that_is_missed_least_goes_first() {
        let with = |mut pod: Pod, change: fn(&mut Pod)| {
            change(&mut pod);
            pod
        };
        let ready = || running("ready", "n1", Some(1000));
        let check = |goes: Pod, stays: Pod, why: &str| {
            let goes = with(goes, |pod| pod.metadata_mut().name = "goes".into());
            let all = [&stays, &goes];
            let chosen = first_to_go(&all, &all, 1, SystemTime::UNIX_EPOCH + NOW);
            assert_eq!(chosen[0].metadata().name, "goes", "{why}");
        };
        check(
            running("a", "", None),
            running("b", "n1", None),
            "unassigned before assigned",
        );
        let pending = with(running("a", "n1", None), |pod| {
            pod.status_mut().phase = "Pending".into()
        });
        check(pending, running("b", "n2", None), "pending before running");
        check(running("a", "n1", None), ready(), "not ready before ready");
        let cheap = with(running("a", "n2", Some(1000)), |pod| {
            pod.metadata_mut()
                .annotations
                .insert(DELETION_COST.into(), "-5".into());
        });
        check(cheap, ready(), "cheap before dear");
        check(
            running("a", "n2", Some(10)),
            ready(),
            "ready for a short time before ready for long",
        );
        let restarted = with(running("a", "n2", Some(1000)), |pod| {
            pod.status_mut().container_statuses = vec![ContainerStatus {
                restart_count: 3,
                ..ContainerStatus::default()
            }];
        });
        check(restarted, ready(), "restarted before steady");
        let young = with(running("a", "n2", Some(1000)), |pod| {
            pod.metadata_mut().creation_timestamp = Some(at(2000));
        });
        check(young, ready(), "young before old");
    }

    #[test]
    fn of_equal_pods_one_that_shares_its_node_goes() {
        let pods = [
            running("a", "n1", Some(1000)),
            running("b", "n2", Some(1000)),
            running("c", "n2", Some(1000)),
            running("d", "n3", Some(1000)),
        ];
        let all: Vec<&Pod> = pods.iter().collect();
        let chosen = first_to_go(&all, &all, 1, SystemTime::UNIX_EPOCH + NOW);
        assert_eq!(chosen[0].spec().node_name, "n2");
    }
}
