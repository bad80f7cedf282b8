//! What programs have said of the nodes that a pod fits, and the decision that follows.

use super::shortened;
use crate::decision::{self, Decision, Search, Why};
use crate::filter::{Refusal, Wanted};
use crate::profile::Plugin;
use crate::snapshot::{NodeInfo, Snapshot};
use gantry_proto::scheduler::v1::FilterReply;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A reason in a program's words is so long at most, and different ones are so many of each program; the rest is told
/// in ours. They are counted in a message that is stored with the pod.
const MAX_REASON_BYTES: usize = 200;
const MAX_REASONS: usize = 20;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The nodes that were asked about.
    asked: Vec<Arc<str>>,
    rejected: HashMap<Arc<str>, Rejection>,
    /// Sums of all programs' scores, with their weights.
    scores: HashMap<Arc<str>, i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub plugin: Arc<str>,
    pub reason: Arc<str>,
    /// Whether the node could become fit if pods were gone.
    pub resolvable: bool,
}

impl Verdict {
    pub(super) fn new(asked: Vec<Arc<str>>) -> Verdict {
        Verdict {
            asked,
            ..Verdict::default()
        }
    }

    /// The nodes that nobody has rejected.
    pub(super) fn left(&self) -> Vec<Arc<str>> {
        let left = self
            .asked
            .iter()
            .filter(|name| !self.rejected.contains_key(*name));
        left.cloned().collect()
    }

    /// Takes over an answer, which tells of nodes that were asked about only.
    pub(super) fn reject(&mut self, plugin: &str, reply: FilterReply) {
        let plugin: Arc<str> = plugin.into();
        let unresolvable: HashSet<String> = reply.unresolvable.into_iter().collect();
        let mut known: BTreeSet<Arc<str>> = BTreeSet::new();
        let other: Arc<str> = format!("node(s) were rejected by plugin {plugin:?}").into();
        // In the order of their names, so that the same answer gives the same reasons.
        let rejected: BTreeMap<String, String> = reply.rejected.into_iter().collect();
        for (node, reason) in rejected {
            let reason: Arc<str> = match reason.trim() {
                "" => other.clone(),
                reason => shortened(reason, MAX_REASON_BYTES).into(),
            };
            let reason = match known.get(&reason) {
                Some(known) => known.clone(),
                None if known.len() < MAX_REASONS => {
                    known.insert(reason.clone());
                    reason
                }
                None => other.clone(),
            };
            let resolvable = !unresolvable.contains(&node);
            let rejection = Rejection {
                plugin: plugin.clone(),
                reason,
                resolvable,
            };
            self.rejected.insert(node.into(), rejection);
        }
    }

    pub(super) fn set_scores(&mut self, scores: HashMap<Arc<str>, i64>) {
        self.scores = scores;
    }

    pub fn rejection(&self, node: &str) -> Option<&Rejection> {
        self.rejected.get(node)
    }
}

/// The decision about a pod whose nodes programs have judged. The search begins where the one began whose nodes they
/// were asked about; a node that fits by now and was not asked about waits for the next attempt.
pub fn decide(wanted: &Wanted, snapshot: &Snapshot, start: usize, verdict: &Verdict, tie: u64) -> Decision {
    let search = decision::search(wanted, snapshot, start);
    let asked: HashSet<&str> = verdict.asked.iter().map(|name| &**name).collect();
    let left: Vec<&Arc<NodeInfo>> = search
        .nodes
        .iter()
        .copied()
        .filter(|node| asked.contains(&*node.name) && verdict.rejection(&node.name).is_none())
        .collect();
    let more: Vec<i64> = left
        .iter()
        .map(|node| verdict.scores.get(&node.name).copied().unwrap_or(0))
        .collect();
    match decision::choose(wanted, &left, snapshot.len(), &more, tie) {
        Some(node) => Decision::Bind {
            node: node.name.clone(),
        },
        None => Decision::Unschedulable(why(wanted, snapshot, &search, verdict)),
    }
}

fn why(wanted: &Wanted, snapshot: &Snapshot, search: &Search, verdict: &Verdict) -> Why {
    let mut why = decision::why(wanted, snapshot, search);
    for node in &search.nodes {
        let Some(rejection) = verdict.rejection(&node.name) else {
            continue;
        };
        *why.nodes_by_reason
            .entry(rejection.reason.to_string())
            .or_default() += 1;
        why.plugins.insert(Plugin::Added);
        let refusal = Refusal {
            plugin: Plugin::Added,
            resolvable: rejection.resolvable,
        };
        why.refusals.push((node.slot, refusal));
    }
    why
}
