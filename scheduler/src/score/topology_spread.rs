//! Few pods of the same kind in the node's zone, on its host, or the like (plugins/podtopologyspread/scoring.go).

use super::{Choice, MAX, Score};
use crate::filter::{SpreadConstraint, Wanted};
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;

pub const SCORE: Score = Score {
    plugin: Plugin::PodTopologySpread,
    rate,
};

/// The label by which hosts are told apart: there are as many as nodes.
const HOSTNAME: &str = "kubernetes.io/hostname";

fn rate(wanted: &Wanted, choice: &Choice, scores: &mut Vec<i64>) -> bool {
    let constraints = &wanted.spread.soft;
    if constraints.is_empty() {
        return false;
    }
    // A node without all the labels gets nothing, and says nothing about the others.
    let lacks = |node: &NodeInfo| {
        wanted.spread.all_labels
            && constraints
                .iter()
                .any(|constraint| constraint.tally.at(node.slot).is_none())
    };
    let rated = choice.nodes.iter().filter(|node| !lacks(node)).count();
    let weights: Vec<f64> = constraints
        .iter()
        .map(|constraint| weight(constraint, choice, rated, &lacks))
        .collect();
    let pods = |node: &NodeInfo| {
        let mut sum = 0.0;
        for (constraint, weight) in constraints.iter().zip(&weights) {
            if let Some(pods) = constraint.tally.at(node.slot) {
                sum += f64::from(pods) * weight + f64::from(constraint.rule.max_skew - 1);
            }
        }
        sum.round() as i64
    };
    let (mut fewest, mut most) = (i64::MAX, 0);
    for node in choice.nodes {
        if lacks(node) {
            scores.push(LACKS);
            continue;
        }
        let pods = pods(node);
        (fewest, most) = (fewest.min(pods), most.max(pods));
        scores.push(pods);
    }
    for score in scores {
        *score = match *score {
            LACKS => 0,
            _ if most == 0 => MAX,
            pods => MAX * (most + fewest - pods) / most,
        };
    }
    true
}

const LACKS: i64 = -1;

/// More domains make each of them count more, or many hosts would drown few zones.
fn weight(
    constraint: &SpreadConstraint,
    choice: &Choice,
    rated: usize,
    lacks: &impl Fn(&NodeInfo) -> bool,
) -> f64 {
    let topology = &constraint.tally.topology;
    let domains = match &**topology.key() {
        HOSTNAME => rated,
        _ => {
            let mut seen = vec![false; topology.domains() + 1];
            for node in choice.nodes.iter().filter(|node| !lacks(node)) {
                // Those without the label are a domain of their own.
                seen[topology.domain_of(node.slot).unwrap_or(topology.domains())] = true;
            }
            seen.into_iter().filter(|seen| *seen).count()
        }
    };
    ((domains + 2) as f64).ln()
}
