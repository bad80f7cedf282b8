//! Nodes that the pod, or the profile, would rather have (plugins/nodeaffinity).

use super::{Choice, Score, stretch};
use crate::filter::Wanted;
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;

pub const SCORE: Score = Score {
    plugin: Plugin::NodeAffinity,
    rate,
};

fn rate(wanted: &Wanted, choice: &Choice, scores: &mut Vec<i64>) -> bool {
    let preferred = &wanted.nodes.preferred;
    if preferred.is_empty() {
        return false;
    }
    let weight = |node: &NodeInfo| {
        let matching = preferred
            .iter()
            .filter(|(_, terms)| terms.matches(&node.name, &node.labels));
        matching.map(|(weight, _)| weight).sum::<i64>()
    };
    scores.extend(choice.nodes.iter().map(|node| weight(node)));
    stretch(scores, false);
    true
}
