//! Whether a pod fits a node. Each filter is one file and one line in [`FILTERS`].

mod node_name;
mod unschedulable;
mod taints;
mod node_selector;
mod ports;
mod fit;

use crate::snapshot::{NodeInfo, Taken};
use gantry_proto::core::v1::{Pod, PodSpec};

pub use taints::tolerates;

/// A pod with what every filter needs of it, computed once per decision.
pub struct Wanted<'a> {
    pub spec: &'a PodSpec,
    pub takes: Taken,
}

impl<'a> Wanted<'a> {
    pub fn of(pod: &'a Pod) -> Wanted<'a> {
        let spec = pod.spec();
        Wanted {
            spec,
            takes: Taken::of(pod),
        }
    }
}

/// Why a pod does not fit a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// In kube-scheduler's words.
    pub text: String,
    /// What was asked for and what there is.
    pub detail: String,
    /// What would have to change on the pod's side for this reason to go away.
    pub remedy: Remedy,
}

/// The change that would make a reason go away, ordered by how small it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Ask for no more than this of a resource.
    Request {
        resource: String,
        at_most: i64,
        wanted: i64,
    },
    /// Tolerate a taint, or have it removed.
    Tolerate {
        taint: String,
    },
    /// Give the node these labels, or drop them from the pod's selector.
    Label {
        labels: String,
    },
    FreePort {
        port: i32,
    },
    Uncordon,
    /// Nothing about this node helps.
    None,
}

type Filter = fn(&Wanted, &NodeInfo) -> Vec<Reason>;

/// In the order in which kube-scheduler runs them: the first that objects gives the node's reasons.
const FILTERS: &[Filter] = &[
    unschedulable::filter,
    node_name::filter,
    taints::filter,
    node_selector::filter,
    ports::filter,
    fit::filter,
];

/// The reasons of the first filter that objects; none when the pod fits.
pub fn objections(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    FILTERS
        .iter()
        .map(|filter| filter(wanted, node))
        .find(|reasons| !reasons.is_empty())
        .unwrap_or_default()
}

/// The reasons of all filters, for an explanation.
pub fn all_objections(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    FILTERS.iter().flat_map(|filter| filter(wanted, node)).collect()
}
