//! Who has to go on one node.

use super::budgets::{Budget, split};
use crate::pods::PodInfo;
use std::cmp::Reverse;
use std::sync::Arc;

/// A node of which it can be supposed that pods are not there. All that decides about the pod must see what is supposed.
pub trait Experiment {
    fn remove(&mut self, pod: &PodInfo);
    fn add(&mut self, pod: &PodInfo);
    fn fits(&self) -> bool;
    /// The reasons why the pod would not fit, in the words that are told of a node.
    fn objections(&self) -> Vec<String>;
}

/// Pods that would have to go, the most important first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Victims {
    pub pods: Vec<Arc<PodInfo>>,
    /// How many of them go although a disruption budget does not allow it.
    pub violations: usize,
}

pub(super) const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// The pods of less than `priority` of whom, taken one by one from the most important, none can stay: first those whose
/// going would break a budget are spared, then the others. Fails with why the pod would not fit even if all went
/// (SelectVictimsOnNode).
pub fn victims(
    node: &mut impl Experiment,
    pods: &[Arc<PodInfo>],
    priority: i32,
    budgets: &[Budget],
) -> Result<Victims, Vec<String>> {
    let mut lesser: Vec<Arc<PodInfo>> = pods
        .iter()
        .filter(|pod| pod.priority < priority)
        .cloned()
        .collect();
    if lesser.is_empty() {
        return Err(vec![NO_VICTIMS.into()]);
    }
    for pod in &lesser {
        node.remove(pod);
    }
    if !node.fits() {
        return Err(node.objections());
    }
    lesser.sort_by_cached_key(|pod| importance(pod));
    let (breaking, others) = split(&lesser, budgets);
    let mut victims = Victims::default();
    let mut cannot_stay = |pod: &Arc<PodInfo>| {
        node.add(pod);
        let fits = node.fits();
        if !fits {
            node.remove(pod);
            victims.pods.push(pod.clone());
        }
        !fits
    };
    let violations = breaking.iter().filter(|pod| cannot_stay(pod)).count();
    others.iter().for_each(|pod| {
        cannot_stay(pod);
    });
    if victims.pods.is_empty() {
        // It would fit with all of them there: then a filter that is not steady refused it before.
        return Err(vec![NO_VICTIMS.into()]);
    }
    victims.violations = violations;
    victims.pods.sort_by_cached_key(|pod| importance(pod));
    Ok(victims)
}

/// Orders pods from the most important: by priority, then by how long they have run (util.MoreImportantPod).
fn importance(pod: &PodInfo) -> (Reverse<i32>, (i64, i32), gantry_proto::Key) {
    (Reverse(pod.priority), started(pod), pod.key.clone())
}

/// A pod that its node has not taken up yet starts now, later than all others.
pub(super) fn started(pod: &PodInfo) -> (i64, i32) {
    pod.started
        .as_ref()
        .map_or((i64::MAX, i32::MAX), |time| (time.seconds, time.nanos))
}
