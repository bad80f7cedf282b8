//! Which of the nodes that a pod fits is best.

use crate::filter::{Wanted, tolerates};
use crate::resources::{CPU, MEMORY};
use crate::snapshot::NodeInfo;

/// The best score that one rule gives.
const MAX: i64 = 100;

/// Higher is better: least allocated, and few taints that would rather not have the pod (weight 3, as in
/// kube-scheduler).
pub fn score(wanted: &Wanted, node: &NodeInfo) -> i64 {
    least_allocated(wanted, node) + 3 * preferred_taints(wanted, node)
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
