//! Pods near that the pod would rather have, or not have, and that would rather have it, or not
//! (plugins/interpodaffinity/scoring.go).

use super::{Choice, MAX, Score};
use crate::filter::Wanted;
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;

pub const SCORE: Score = Score {
    plugin: Plugin::InterPodAffinity,
    rate,
};

fn rate(wanted: &Wanted, choice: &Choice, scores: &mut Vec<i64>) -> bool {
    let preferred = &wanted.pods.preferred;
    if preferred.iter().all(|(_, tally)| tally.total() == 0) {
        return false;
    }
    let worth = |node: &NodeInfo| {
        let near = preferred
            .iter()
            .map(|(weight, tally)| weight * i64::from(tally.at(node.slot).unwrap_or(0)));
        near.sum::<i64>()
    };
    scores.extend(choice.nodes.iter().map(|node| worth(node)));
    let (least, most) = scores.iter().fold((i64::MAX, i64::MIN), |(least, most), score| {
        (least.min(*score), most.max(*score))
    });
    if most == least {
        scores.clear();
        return false;
    }
    for score in scores {
        *score = (MAX as f64 * ((*score - least) as f64 / (most - least) as f64)) as i64;
    }
    true
}
