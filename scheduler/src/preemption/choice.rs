//! On which of several nodes the least is lost.

use super::victims::{Victims, started};
use std::cmp::Reverse;
use std::sync::Arc;

/// The node with the fewest broken budgets; of those the one whose most important victim is the least important; the one
/// with the smallest sum of priorities; the one with the fewest victims; the one whose most important victims have run
/// for the shortest time; the first (pickOneNodeForPreemption).
pub(super) fn best(candidates: Vec<(Arc<str>, Victims)>) -> Option<(Arc<str>, Victims)> {
    candidates.into_iter().min_by_key(|(_, victims)| loss(victims))
}

/// Ordered as candidates are.
type Loss = (usize, i32, i64, usize, Reverse<(i64, i32)>);

fn loss(victims: &Victims) -> Loss {
    let highest = victims
        .pods
        .iter()
        .map(|pod| pod.priority)
        .max()
        .unwrap_or(i32::MIN);
    // Each counts for more than nothing, so that a few of a negative priority are not worth more than one.
    let above_zero = |priority: i32| i64::from(priority) - i64::from(i32::MIN);
    let sum = victims.pods.iter().map(|pod| above_zero(pod.priority)).sum();
    let most_important = victims.pods.iter().filter(|pod| pod.priority == highest);
    let earliest = most_important.map(|pod| started(pod)).min().unwrap_or_default();
    (
        victims.violations,
        highest,
        sum,
        victims.pods.len(),
        Reverse(earliest),
    )
}
