//! How full the node would be (plugins/noderesources: LeastAllocated, MostAllocated, RequestedToCapacityRatio).

use super::{Choice, MAX, Score};
use crate::filter::Wanted;
use crate::profile::{Plugin, ResourceWeight, ScoringStrategy};
use crate::resources::{CPU, EPHEMERAL_STORAGE, MEMORY, is_scalar};
use crate::snapshot::NodeInfo;

pub const SCORE: Score = Score {
    plugin: Plugin::NodeResourcesFit,
    rate,
};

fn rate(wanted: &Wanted, choice: &Choice, scores: &mut Vec<i64>) -> bool {
    let arguments = &wanted.profile.node_resources_fit;
    let looked_at = looked_at(wanted, &arguments.resources, true);
    let of_node = |node: &NodeInfo| {
        let (mut sum, mut weights) = (0, 0);
        for resource in &looked_at {
            let all = resource.all(node);
            if all == 0 {
                continue;
            }
            let taken = resource.taken(node) + resource.wanted;
            let score = match &arguments.strategy {
                ScoringStrategy::LeastAllocated => least_allocated(taken, all),
                ScoringStrategy::MostAllocated => most_allocated(taken, all),
                ScoringStrategy::RequestedToCapacityRatio { shape } => ratio(shape, taken, all),
            };
            let counts = score > 0
                || !matches!(
                    arguments.strategy,
                    ScoringStrategy::RequestedToCapacityRatio { .. }
                );
            if counts {
                sum += score * resource.weight;
                weights += resource.weight;
            }
        }
        match (&arguments.strategy, weights) {
            (_, 0) => 0,
            (ScoringStrategy::RequestedToCapacityRatio { .. }, _) => {
                (sum as f64 / weights as f64).round() as i64
            }
            _ => sum / weights,
        }
    };
    scores.extend(choice.nodes.iter().map(|node| of_node(node)));
    true
}

/// A resource that nodes are compared by, so that names are compared once per pod and not once per node.
pub struct LookedAt<'a> {
    kind: Kind<'a>,
    pub weight: i64,
    /// What the pod would take.
    pub wanted: i64,
    /// A container that does not ask counts as something.
    counted: bool,
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    Cpu,
    Memory,
    EphemeralStorage,
    Other(&'a str),
}

/// The resources of a profile, without extended ones that the pod does not ask for.
pub fn looked_at<'a>(wanted: &Wanted, resources: &'a [ResourceWeight], counted: bool) -> Vec<LookedAt<'a>> {
    let takes = &wanted.info.takes;
    let of = |resource: &'a ResourceWeight| {
        let (kind, amount) = match resource.resource.as_str() {
            CPU if counted => (Kind::Cpu, takes.counted.milli_cpu),
            CPU => (Kind::Cpu, takes.requests.milli_cpu),
            MEMORY if counted => (Kind::Memory, takes.counted.memory),
            MEMORY => (Kind::Memory, takes.requests.memory),
            EPHEMERAL_STORAGE => (Kind::EphemeralStorage, takes.requests.ephemeral_storage),
            name => (Kind::Other(name), takes.requests.get(name)),
        };
        LookedAt {
            kind,
            weight: resource.weight,
            wanted: amount,
            counted,
        }
    };
    let matters = |looked_at: &LookedAt| match looked_at.kind {
        Kind::Other(name) => looked_at.wanted != 0 || !is_scalar(name),
        _ => true,
    };
    resources.iter().map(of).filter(matters).collect()
}

impl LookedAt<'_> {
    pub fn all(&self, node: &NodeInfo) -> i64 {
        match self.kind {
            Kind::Cpu => node.allocatable.milli_cpu,
            Kind::Memory => node.allocatable.memory,
            Kind::EphemeralStorage => node.allocatable.ephemeral_storage,
            Kind::Other(name) => node.allocatable.get(name),
        }
    }

    pub fn taken(&self, node: &NodeInfo) -> i64 {
        match self.kind {
            Kind::Cpu if self.counted => node.counted.milli_cpu,
            Kind::Cpu => node.requested.milli_cpu,
            Kind::Memory if self.counted => node.counted.memory,
            Kind::Memory => node.requested.memory,
            Kind::EphemeralStorage => node.requested.ephemeral_storage,
            Kind::Other(name) => node.requested.get(name),
        }
    }
}

fn least_allocated(taken: i64, all: i64) -> i64 {
    if taken > all { 0 } else { (all - taken) * MAX / all }
}

fn most_allocated(taken: i64, all: i64) -> i64 {
    taken.min(all) * MAX / all
}

/// What ten of a shape's points are worth.
const POINT: i64 = MAX / 10;

/// By lines between the points of a shape (helper.BuildBrokenLinearFunction).
fn ratio(shape: &[(i64, i64)], taken: i64, all: i64) -> i64 {
    let utilization = if taken > all { MAX } else { taken * MAX / all };
    let mut before: Option<(i64, i64)> = None;
    for (at, score) in shape.iter().map(|(at, score)| (*at, score * POINT)) {
        if utilization <= at {
            return match before {
                None => score,
                Some((from, low)) => low + (score - low) * (utilization - from) / (at - from).max(1),
            };
        }
        before = Some((at, score));
    }
    before.map_or(0, |(_, score)| score)
}
