//! Whether the pod makes the node's resources used more evenly (plugins/noderesources/balanced_allocation.go).

use super::fit::looked_at;
use super::{Choice, MAX, Score};
use crate::filter::Wanted;
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;

pub const SCORE: Score = Score {
    plugin: Plugin::NodeResourcesBalancedAllocation,
    rate,
};

fn rate(wanted: &Wanted, choice: &Choice, scores: &mut Vec<i64>) -> bool {
    let resources = looked_at(wanted, &wanted.profile.balanced_allocation, false);
    // Pods that ask for nothing would all go where it is even already.
    if resources.iter().all(|resource| resource.wanted == 0) {
        return false;
    }
    let of_node = |node: &NodeInfo| {
        let (mut with, mut without) = (Shares::default(), Shares::default());
        for resource in &resources {
            let all = resource.all(node);
            if all != 0 {
                let taken = resource.taken(node);
                with.add((taken + resource.wanted) as f64 / all as f64);
                without.add(taken as f64 / all as f64);
            }
        }
        MAX / 2 + (MAX / 2 + with.evenness() - without.evenness()) / 2
    };
    scores.extend(choice.nodes.iter().map(|node| of_node(node)));
    true
}

/// Shares of resources that are in use, without keeping them: their number, sum, and the sum of their squares; and the
/// first two, with which nearly all there is to tell is told exactly.
#[derive(Default)]
struct Shares {
    first: [f64; 2],
    more: Vec<f64>,
    number: usize,
}

impl Shares {
    fn add(&mut self, share: f64) {
        let share = share.min(1.0);
        match self.first.get_mut(self.number) {
            Some(first) => *first = share,
            None => self.more.push(share),
        }
        self.number += 1;
    }

    /// [`MAX`] where all are the same, less with their standard deviation.
    fn evenness(&self) -> i64 {
        let deviation = match self.number {
            0 | 1 => 0.0,
            2 => ((self.first[0] - self.first[1]) / 2.0).abs(),
            number => {
                let all = || self.first.iter().chain(&self.more);
                let mean = all().sum::<f64>() / number as f64;
                let squares = all().map(|share| (share - mean) * (share - mean)).sum::<f64>();
                (squares / number as f64).sqrt()
            }
        };
        ((1.0 - deviation) * MAX as f64) as i64
    }
}
