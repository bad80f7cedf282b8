//! Which of the nodes that a pod fits is best. Each score is one file and one line in [`SCORES`].

mod taints;
mod node_affinity;
mod fit;
mod topology_spread;
mod pod_affinity;
mod balanced;
mod images;

use crate::filter::Wanted;
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;
use std::sync::Arc;

/// The best score that one rule gives.
pub const MAX: i64 = 100;

/// The nodes that are compared, and how many there are in all.
pub struct Choice<'a> {
    pub nodes: &'a [&'a Arc<NodeInfo>],
    pub all: usize,
}

/// One rule about which of several nodes is better.
pub struct Score {
    pub plugin: Plugin,
    /// Gives each node 0 to [`MAX`], which is comparable between nodes of this choice; `false`, and nothing given,
    /// where the rule has nothing to tell them apart by.
    pub rate: fn(&Wanted, &Choice, &mut Vec<i64>) -> bool,
}

pub const SCORES: &[Score] = &[
    taints::SCORE,
    node_affinity::SCORE,
    fit::SCORE,
    topology_spread::SCORE,
    pod_affinity::SCORE,
    balanced::SCORE,
    images::SCORE,
];

/// Each node's scores, weighted as the profile says, and summed.
pub fn rate(wanted: &Wanted, choice: &Choice) -> Vec<i64> {
    let mut sums = vec![0; choice.nodes.len()];
    let mut scores = Vec::with_capacity(choice.nodes.len());
    for (plugin, weight) in &wanted.profile.scores {
        let Some(score) = SCORES.iter().find(|score| score.plugin == *plugin) else {
            continue;
        };
        scores.clear();
        if (score.rate)(wanted, choice, &mut scores) {
            for (sum, score) in sums.iter_mut().zip(&scores) {
                *sum += score * weight;
            }
        }
    }
    sums
}

/// Stretches scores to [`MAX`], or turns them round where less is better (helper.DefaultNormalizeScore).
fn stretch(scores: &mut [i64], less_is_better: bool) {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let stretched = if most == 0 { 0 } else { MAX * *score / most };
        *score = if less_is_better {
            MAX - stretched
        } else {
            stretched
        };
    }
}

#[cfg(test)]
mod tests;
