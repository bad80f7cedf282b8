//! Which of the nodes that a pod fits is best.

use crate::filter::{Wanted, tolerates};
use crate::resources::{CPU, MEMORY};
use crate::snapshot::NodeInfo;

/// The best score that one rule gives.
const MAX: i64 = 100;

/// Higher is better: least allocated, few pods of the same controller (weight 2), and few taints that would rather not
/// have the pod (weight 3), weighted as in kube-scheduler.
pub fn score(wanted: &Wanted, node: &NodeInfo) -> i64 {
    least_allocated(wanted, node) + 2 * spread(wanted, node) + 3 * preferred_taints(wanted, node)
}

/// The share of cpu and memory that stays free, 0 to 100 (NodeResourcesFit, LeastAllocated).
fn least_allocated(wanted: &Wanted, node: &NodeInfo) -> i64 {
    let share = |resource: &str| {
        let all = node.allocatable.get(resource);
        let free = all - node.counted.get(resource) - wanted.takes.counted.get(resource);
        if all <= 0 { 0 } else { free.max(0) * MAX / all }
    };
    (share(CPU) + share(MEMORY)) / 2
}

/// 100 without any pod of the same controller, less with each: what takes a node away should not take a whole
/// application along (kube-scheduler's default for PodTopologySpread, with nodes as the only domain).
fn spread(wanted: &Wanted, node: &NodeInfo) -> i64 {
    let controller = wanted.takes.controller.as_ref();
    let siblings = controller.and_then(|controller| node.pods_by_controller.get(controller));
    MAX / (1 + i64::from(siblings.copied().unwrap_or(0)))
}

/// 100 without any PreferNoSchedule taint that the pod does not tolerate, less with each.
fn preferred_taints(wanted: &Wanted, node: &NodeInfo) -> i64 {
    let unwanted = node
        .taints
        .iter()
        .filter(|taint| taint.effect == "PreferNoSchedule")
        .filter(|taint| {
            !wanted
                .spec
                .tolerations
                .iter()
                .any(|toleration| tolerates(toleration, taint))
        })
        .count();
    MAX / (1 + i64::try_from(unwanted).unwrap_or(MAX))
}
