//! Which pods have to go so that a more important one, which fits nowhere, gets a node.
//!
//! Decided here is who goes and where the pod is meant to run then; [`eviction`] does it. The pod itself stays pending:
//! it is nominated to the node, others of its priority or less leave the room alone, and it is decided about again when
//! its victims are gone.
//!
//! The order of all rules is kube-scheduler's (pkg/scheduler/framework/preemption, plugins/defaultpreemption): on each
//! node nobody goes whose staying leaves room enough, disruption budgets are broken only where nothing else helps, and of
//! the nodes the one is taken where the least is lost.

mod budgets;
mod victims;
mod choice;
mod on_nodes;
pub mod eviction;

pub use budgets::Budget;
pub use on_nodes::make_room;
use victims::NO_VICTIMS;
pub use victims::{Experiment, Victims, victims};

use crate::pods::PodInfo;
use crate::profile;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who wants room.
#[derive(Clone, Copy, Debug)]
pub struct Preemptor<'a> {
    pub priority: i32,
    /// Its spec.preemptionPolicy is Never.
    pub is_modest: bool,
    /// The node that it was nominated to, where there is one, and what that node says of it now.
    pub nominated: Option<Nominated<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Nominated<'a> {
    /// Nobody's going would make it fit there any more.
    pub is_lost: bool,
    /// The pods on that node.
    pub pods: &'a [Arc<PodInfo>],
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// These go, and the pod is nominated to the node.
    Evict { node: Arc<str>, victims: Victims },
    /// Not now: it waits for victims, or wants none. A nomination stays as it is.
    NotEligible { why: &'static str },
    /// No node would help. A nomination is taken back.
    NoHelp { why: String },
}

impl Outcome {
    /// Its victims are being told to go (DefaultPreemption's PreEnqueue).
    pub const UNDER_WAY: Outcome = Outcome::NotEligible {
        why: "waiting for the preemption for this pod to be finished",
    };

    /// What is appended to the message that says why the pod fits nowhere; empty where pods are evicted.
    pub fn message(&self) -> String {
        match self {
            Outcome::Evict { .. } => String::new(),
            Outcome::NotEligible { why } => format!("preemption: {why}"),
            Outcome::NoHelp { why } => format!("preemption: {why}"),
        }
    }
}

const NEVER: &str = "not eligible due to preemptionPolicy=Never.";
const VICTIMS_TERMINATE: &str = "not eligible due to a terminating pod on the nominated node.";

/// Why a pod must not preempt others now (PodEligibleToPreemptOthers).
pub fn not_eligible(preemptor: &Preemptor) -> Option<&'static str> {
    if preemptor.is_modest {
        return Some(NEVER);
    }
    let nominated = preemptor.nominated.filter(|nominated| !nominated.is_lost)?;
    let is_going = |pod: &Arc<PodInfo>| pod.priority < preemptor.priority && pod.is_preempted;
    nominated.pods.iter().any(is_going).then_some(VICTIMS_TERMINATE)
}

/// A node that pods could leave.
pub struct Candidate<'a, F> {
    pub name: &'a Arc<str>,
    pub pods: &'a [Arc<PodInfo>],
    /// Begins the thought experiment, for which the node is copied.
    pub suppose: F,
}

/// Tries the nodes that something else than their own nature keeps the pod from, beginning with the one that `start`
/// says, until there are candidates enough, and takes the best of them.
///
/// `potential` counts those nodes, `all` the cluster's; `candidate` gives one of them.
pub fn preempt<'a, E: Experiment, F: FnOnce() -> E>(
    preemptor: &Preemptor,
    budgets: &[Budget],
    arguments: profile::Preemption,
    all: usize,
    potential: usize,
    start: usize,
    mut candidate: impl FnMut(usize) -> Candidate<'a, F>,
) -> Outcome {
    if let Some(why) = not_eligible(preemptor) {
        return Outcome::NotEligible { why };
    }
    let enough = candidates_wanted(arguments, potential);
    let (mut kind, mut breaking) = (Vec::new(), Vec::new());
    let mut nodes_by_refusal: BTreeMap<String, usize> = BTreeMap::new();
    let (mut refused, mut without_victims) = (0, 0);
    for number in 0..potential {
        let Candidate { name, pods, suppose } = candidate((start + number) % potential);
        // Most nodes of a cluster whose pods are all alike.
        if pods.iter().all(|pod| pod.priority >= preemptor.priority) {
            without_victims += 1;
            continue;
        }
        match victims(&mut suppose(), pods, preemptor.priority, budgets) {
            Ok(victims) => {
                let found = match victims.violations {
                    0 => &mut kind,
                    _ => &mut breaking,
                };
                found.push((name.clone(), victims));
            }
            Err(reasons) => {
                refused += 1;
                for reason in reasons {
                    *nodes_by_refusal.entry(reason).or_default() += 1;
                }
            }
        }
        if !kind.is_empty() && kind.len() + breaking.len() >= enough {
            break;
        }
    }
    kind.append(&mut breaking);
    match choice::best(kind) {
        Some((node, victims)) => Outcome::Evict { node, victims },
        None => {
            let not_helpful = all - refused - without_victims;
            for (reason, nodes) in [(NOT_HELPFUL, not_helpful), (NO_VICTIMS, without_victims)] {
                if nodes > 0 {
                    *nodes_by_refusal.entry(reason.into()).or_default() += nodes;
                }
            }
            let mut texts: Vec<String> = nodes_by_refusal
                .iter()
                .map(|(reason, nodes)| format!("{nodes} {reason}"))
                .collect();
            texts.sort();
            let why = format!("0/{all} nodes are available: {}.", texts.join(", "));
            Outcome::NoHelp { why }
        }
    }
}

/// What is said of nodes that no pod's going would change.
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";

/// After how many nodes that would do the search ends (calculateNumCandidates).
fn candidates_wanted(arguments: profile::Preemption, potential: usize) -> usize {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let share = potential * size(arguments.min_candidate_nodes_percentage) / 100;
    share
        .max(size(arguments.min_candidate_nodes_absolute))
        .min(potential)
}

#[cfg(test)]
mod tests;
