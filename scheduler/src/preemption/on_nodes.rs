//! Preemption by the scheduler's own rules, on the nodes that have refused a pod.

use super::budgets::Budget;
use super::victims::Experiment;
use super::{Candidate, Nominated, Outcome, Preemptor, preempt};
use crate::decision::Why;
use crate::filter::{self, Filter, Wanted};
use crate::pods::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use std::sync::Arc;

/// What preemption does for a pod that fits nowhere; `None` where its profile has none. `nominated` is the node that
/// the pod is nominated to already; `chance` says with which node the search begins.
pub fn make_room(
    wanted: &Wanted,
    snapshot: &Snapshot,
    why: &Why,
    budgets: &[Budget],
    nominated: Option<&str>,
    chance: u64,
) -> Option<Outcome> {
    let arguments = wanted.profile.preemption?;
    let potential: Vec<&Arc<NodeInfo>> = why.resolvable().filter_map(|name| snapshot.get(name)).collect();
    let nominated = nominated
        .and_then(|name| snapshot.get(name))
        .map(|node| Nominated {
            is_lost: !potential.iter().any(|other| other.name == node.name),
            pods: &node.pods,
        });
    let preemptor = Preemptor {
        priority: wanted.info.priority,
        is_modest: wanted.spec.preemption_policy.as_deref() == Some("Never"),
        nominated,
    };
    let filters = filter::concerned(wanted);
    let start = usize::try_from(chance).unwrap_or(0) % potential.len().max(1);
    Some(preempt(
        &preemptor,
        budgets,
        arguments,
        snapshot.len(),
        potential.len(),
        start,
        |number| {
            let node = potential[number];
            Candidate {
                name: node.name.clone(),
                pods: &node.pods,
                experiment: Supposed {
                    wanted,
                    filters: &filters,
                    before: node,
                    node: NodeInfo::clone(node),
                    gone: Vec::new(),
                },
            }
        },
    ))
}

/// A node without some of its pods.
struct Supposed<'w, 'p> {
    wanted: &'w Wanted<'p>,
    filters: &'w [&'static Filter],
    before: &'w NodeInfo,
    node: NodeInfo,
    gone: Vec<Arc<PodInfo>>,
}

impl Experiment for Supposed<'_, '_> {
    fn remove(&mut self, pod: &PodInfo) {
        self.gone.extend(self.node.remove_pod(&pod.uid));
    }

    fn add(&mut self, pod: &PodInfo) {
        if let Some(index) = self.gone.iter().position(|gone| gone.uid == pod.uid) {
            self.node.add_pod(self.gone.swap_remove(index));
        }
    }

    fn fits(&self) -> bool {
        let wanted = self.wanted.supposing(self.before, &self.gone, &[]);
        filter::refusal(self.filters, &wanted, &self.node).is_none()
    }

    fn objections(&self) -> Vec<String> {
        let wanted = self.wanted.supposing(self.before, &self.gone, &[]);
        let mut words = Vec::new();
        filter::words(self.filters, &wanted, &self.node, &mut |text| {
            words.push(text.to_owned())
        });
        words
    }
}
