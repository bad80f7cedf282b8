//! The decision: where a pod goes, or why it goes nowhere.
//!
//! ```text
//! Wanted (once per pod) --search--> nodes that fit --choose--> the best of them
//!                                   `-- none: Why, by node
//! ```
//!
//! The parts are functions of their own, so that what others add (plug-ins, preemption) stands between them.

use crate::filter::{self, Filter, Refusal, Wanted};
use crate::profile::{Plugin, PluginSet, nodes_to_find};
use crate::score::{self, Choice};
use crate::snapshot::{NodeInfo, Snapshot};
use gantry_proto::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::profile::Profile;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Bind { node: Arc<str> },
    Unschedulable(Why),
}

/// Why no node will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// How many nodes there are.
    pub nodes: usize,
    /// On how many nodes each reason was given, in kube-scheduler's words.
    pub nodes_by_reason: BTreeMap<String, usize>,
    /// What each node that was looked at answered, by its slot.
    pub refusals: Vec<(u32, Refusal)>,
    /// Whose change could help.
    pub plugins: PluginSet,
    /// A reason that concerns no node in particular.
    pub of_pod: Option<String>,
    /// What came of preemption, in a sentence; empty where nothing is to be said.
    pub preemption: String,
}

/// Chooses the best of the nodes that the pod fits. `tie` chooses among equals, so that pods spread. The whole cluster
/// is counted for this one pod; who decides about many uses [`decide`].
pub fn schedule(pod: &Pod, snapshot: &Snapshot, profile: &Profile, tie: u64) -> Decision {
    decide(&Wanted::of(pod, snapshot, profile), snapshot, 0, tie).0
}

/// The same for a pod about which everything is counted already. The search begins at the `start`-th node; returned is
/// also how many nodes were looked at, by which the next start is further on.
pub fn decide(wanted: &Wanted, snapshot: &Snapshot, start: usize, tie: u64) -> (Decision, usize) {
    let search = search(wanted, snapshot, start);
    let looked_at = search.looked_at();
    let decision = match choose(wanted, &search.nodes, snapshot.len(), &[], tie) {
        Some(node) => Decision::Bind {
            node: node.name.clone(),
        },
        None => Decision::Unschedulable(why(wanted, snapshot, &search)),
    };
    (decision, looked_at)
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Search<'s> {
    pub nodes: Vec<&'s Arc<NodeInfo>>,
    pub refusals: Vec<(u32, Refusal)>,
}

impl Search<'_> {
    pub fn looked_at(&self) -> usize {
        self.nodes.len() + self.refusals.len()
    }
}

/// The nodes that the pod fits, or enough of them, from the `start`-th on. The one that it is nominated to comes first:
/// room was made there.
pub fn search<'s>(wanted: &Wanted, snapshot: &'s Snapshot, start: usize) -> Search<'s> {
    let mut search = Search::default();
    if wanted.impossible().is_some() {
        return search;
    }
    let filters = filter::concerned(wanted);
    let nominated = snapshot.get(&wanted.pod.status().nominated_node_name);
    if let Some(node) = nominated.filter(|node| filter::refusal(&filters, wanted, node).is_none()) {
        search.nodes.push(node);
        return search;
    }
    let enough = match wanted.profile.scores.is_empty() {
        true => 1,
        false => nodes_to_find(wanted.profile.percentage_of_nodes_to_score, snapshot.len()),
    };
    match names(wanted) {
        Some(names) => {
            let named = names.iter().filter_map(|name| snapshot.get(name));
            search.look(&filters, wanted, named, names.len());
        }
        None => {
            search.nodes.reserve(enough);
            search.look(&filters, wanted, snapshot.from(start), enough);
        }
    }
    search
}

/// The only nodes that are looked at, where the pod says them by name.
fn names<'w>(wanted: &'w Wanted) -> Option<&'w filter::RequiredNodeNames> {
    let heeded = wanted.profile.filters.contains(Plugin::NodeAffinity);
    wanted.nodes.names.as_ref().filter(|_| heeded)
}

impl<'s> Search<'s> {
    fn look(
        &mut self,
        filters: &[&Filter],
        wanted: &Wanted,
        nodes: impl Iterator<Item = &'s Arc<NodeInfo>>,
        enough: usize,
    ) {
        for node in nodes {
            match filter::refusal(filters, wanted, node) {
                Some(refusal) => self.refusals.push((node.slot, refusal)),
                None => {
                    self.nodes.push(node);
                    if self.nodes.len() >= enough {
                        return;
                    }
                }
            }
        }
    }
}

/// The best of the nodes that fit: `more` is added to their scores, where somebody else has given some.
pub fn choose<'s>(
    wanted: &Wanted,
    nodes: &[&'s Arc<NodeInfo>],
    all: usize,
    more: &[i64],
    tie: u64,
) -> Option<&'s Arc<NodeInfo>> {
    if nodes.len() <= 1 {
        return nodes.first().copied();
    }
    let mut scores = score::rate(wanted, &Choice { nodes, all });
    for (score, more) in scores.iter_mut().zip(more) {
        *score += more;
    }
    let best = scores.iter().max()?;
    let equals = scores.iter().filter(|score| *score == best).count();
    let chosen = usize::try_from(tie % u64::try_from(equals).ok()?).ok()?;
    let mut equals = nodes.iter().zip(&scores).filter(|(_, score)| *score == best);
    equals.nth(chosen).map(|(node, _)| *node)
}

/// Why a search found nothing.
pub fn why(wanted: &Wanted, snapshot: &Snapshot, search: &Search) -> Why {
    let mut why = Why {
        nodes: snapshot.len(),
        ..Why::default()
    };
    if let Some((plugin, reason)) = wanted.impossible() {
        why.plugins.insert(plugin);
        why.of_pod = Some(reason.into());
        return why;
    }
    if snapshot.is_empty() {
        // Whatever node comes is worth a try.
        why.plugins = wanted.profile.filters;
    }
    let filters = filter::concerned(wanted);
    for (slot, refusal) in &search.refusals {
        let Some(node) = snapshot.at(*slot) else {
            continue;
        };
        filter::words(&filters, wanted, node, &mut |text| why.count(text, 1));
        why.plugins.insert(refusal.plugin);
    }
    why.refusals.clone_from(&search.refusals);
    if names(wanted).is_some() {
        let others = snapshot.len().saturating_sub(search.looked_at());
        why.count("node(s) didn't satisfy plugin(s) [NodeAffinity]", others);
        why.plugins.insert(Plugin::NodeAffinity);
    }
    why
}

impl Why {
    fn count(&mut self, reason: &str, nodes: usize) {
        match self.nodes_by_reason.get_mut(reason) {
            Some(count) => *count += nodes,
            None if nodes > 0 => drop(self.nodes_by_reason.insert(reason.into(), nodes)),
            None => {}
        }
    }

    /// The slots of nodes that could take the pod if other pods were gone.
    pub fn resolvable(&self) -> impl Iterator<Item = u32> {
        let resolvable = self.refusals.iter().filter(|(_, refusal)| refusal.resolvable);
        resolvable.map(|(slot, _)| *slot)
    }

    /// kube-scheduler's sentence, such as `0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient memory.`
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut message = format!("0/{} nodes are available:", self.nodes);
        let mut reasons: Vec<String> = self
            .nodes_by_reason
            .iter()
            .map(|(text, count)| format!("{count} {text}"))
            .collect();
        reasons.sort();
        match &self.of_pod {
            Some(reason) => message += &format!(" {reason}."),
            None if reasons.is_empty() => {}
            None => message += &format!(" {}.", reasons.join(", ")),
        }
        if !self.preemption.is_empty() {
            message += &format!(" {}", self.preemption);
        }
        message
    }
}

#[cfg(test)]
mod tests;
