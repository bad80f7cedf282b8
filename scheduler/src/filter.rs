//! Whether a pod fits a node. Each filter is one file and one line in [`FILTERS`].

mod node_name;
mod unschedulable;
mod taints;
mod node_affinity;
mod ports;
mod fit;
mod topology_spread;
mod pod_affinity;

use crate::counting::{Counter, Recount};
use crate::labels::NodeTerms;
use crate::pods::PodInfo;
use crate::profile::{Plugin, Profile};
use crate::snapshot::{NodeInfo, Snapshot, Surroundings};
use gantry_proto::core::v1::{Pod, PodSpec};
use std::borrow::Cow;
use std::sync::Arc;

pub use node_affinity::{RequiredNodeNames, WantedNodes};
pub use pod_affinity::WantedPods;
pub use taints::{tolerates, tolerates_all};
pub use topology_spread::{SpreadConstraint, SpreadRule, WantedSpread, spread_rules};
pub use unschedulable::tolerates_cordon;

/// A pod with what every rule needs of it and of the cluster, computed once per decision (PreFilter and PreScore).
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub pod: &'a Pod,
    pub spec: &'a PodSpec,
    pub profile: &'a Profile,
    pub info: Arc<PodInfo>,
    pub nodes: WantedNodes,
    /// What the profile asks of nodes for every pod.
    pub added_nodes: Option<NodeTerms>,
    pub spread: WantedSpread,
    pub pods: WantedPods,
    surroundings: Surroundings,
}

impl<'a> Wanted<'a> {
    /// Counts the whole cluster for this pod; who decides about many asks an index, see [`Wanted::counted_by`].
    pub fn of(pod: &'a Pod, snapshot: &Snapshot, profile: &'a Profile) -> Wanted<'a> {
        Wanted::counted_by(&mut Recount::new(snapshot), pod, &snapshot.surroundings, profile)
    }

    pub fn counted_by(
        counter: &mut dyn Counter,
        pod: &'a Pod,
        surroundings: &Surroundings,
        profile: &'a Profile,
    ) -> Wanted<'a> {
        let info = Arc::new(PodInfo::of(pod));
        let nodes = WantedNodes::of(pod.spec(), profile);
        Wanted {
            spread: WantedSpread::of(counter, pod, &info, &nodes, surroundings, profile),
            pods: WantedPods::of(counter, &info, surroundings, profile),
            added_nodes: profile.node_affinity.required.as_ref().map(NodeTerms::of),
            nodes,
            pod,
            spec: pod.spec(),
            profile,
            info,
            surroundings: surroundings.clone(),
        }
    }

    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Why the pod fits no node whatever the nodes are like, where that is so (a refusal by PreFilter).
    pub fn impossible(&self) -> Option<(Plugin, &'static str)> {
        let named = self.profile.filters.contains(Plugin::NodeAffinity) && self.nodes.names_conflict();
        named.then_some((Plugin::NodeAffinity, node_affinity::CONFLICT))
    }

    /// The same, supposing that some pods had gone from a node and others had come to it.
    pub fn supposing(&self, node: &NodeInfo, gone: &[Arc<PodInfo>], come: &[Arc<PodInfo>]) -> Wanted<'a> {
        let mut wanted = self.clone();
        gone.iter().for_each(|pod| wanted.suppose(node, pod, -1));
        come.iter().for_each(|pod| wanted.suppose(node, pod, 1));
        wanted
    }

    /// Supposes that a pod came to a node, or went from it (`-1`). The node itself is the caller's to change.
    pub fn suppose(&mut self, node: &NodeInfo, pod: &PodInfo, times: i32) {
        let own = self.surroundings.namespace_labels(&self.info.key.namespace);
        let its = self.surroundings.namespace_labels(&pod.key.namespace);
        self.spread.suppose(&self.info, node, pod, times);
        self.pods.suppose(&self.info, node, pod, own, its, times);
    }
}

/// A node's answer to a pod that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub plugin: Plugin,
    /// False where the node would refuse the pod even if other pods were gone (UnschedulableAndUnresolvable).
    pub resolvable: bool,
}

/// Why a pod does not fit a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// In kube-scheduler's words.
    pub text: Cow<'static, str>,
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
    /// Ask for less in another way, said after "if you".
    Relax {
        change: String,
    },
    /// Nothing about this node helps.
    None,
}

/// One rule about nodes.
pub struct Filter {
    pub plugin: Plugin,
    /// False where the rule has nothing to say about a pod, whatever the node (PreFilter's Skip).
    pub concerns: fn(&Wanted) -> bool,
    /// `None` where the pod fits, and otherwise whether that could change if other pods were gone. It is asked for
    /// every node and pod: it does not allocate.
    pub check: fn(&Wanted, &NodeInfo) -> Option<Resolvable>,
    /// The texts of the reasons, where the pod does not fit: for counting them.
    pub words: fn(&Wanted, &NodeInfo, Say),
    /// The reasons with all that is to say about them.
    pub explain: fn(&Wanted, &NodeInfo) -> Vec<Reason>,
}

/// Who is told each text.
type Say<'s> = &'s mut dyn FnMut(&str);
type Resolvable = bool;
const RESOLVABLE: Option<Resolvable> = Some(true);
const UNRESOLVABLE: Option<Resolvable> = Some(false);

/// In the order in which kube-scheduler runs them: the first that objects gives the node's reasons.
pub const FILTERS: &[Filter] = &[
    unschedulable::FILTER,
    node_name::FILTER,
    taints::FILTER,
    node_affinity::FILTER,
    ports::FILTER,
    fit::FILTER,
    topology_spread::FILTER,
    pod_affinity::FILTER,
];

/// The filters that have something to say about a pod.
pub fn concerned(wanted: &Wanted) -> Vec<&'static Filter> {
    let on = |filter: &&Filter| wanted.profile.filters.contains(filter.plugin) && (filter.concerns)(wanted);
    FILTERS.iter().filter(on).collect()
}

/// The first refusal. A pod has to fit as the node is, and also if the pods of its own or a higher priority that are
/// about to come there were there already (RunFilterPluginsWithNominatedPods).
pub fn refusal(filters: &[&Filter], wanted: &Wanted, node: &NodeInfo) -> Option<Refusal> {
    if !node.nominated.is_empty()
        && let Some((wanted, node)) = with_nominated(wanted, node)
        && let Some(refusal) = first_refusal(filters, &wanted, &node)
    {
        return Some(refusal);
    }
    first_refusal(filters, wanted, node)
}

fn first_refusal(filters: &[&Filter], wanted: &Wanted, node: &NodeInfo) -> Option<Refusal> {
    filters.iter().find_map(|filter| {
        (filter.check)(wanted, node).map(|resolvable| Refusal {
            plugin: filter.plugin,
            resolvable,
        })
    })
}

/// `None` where no pod that is about to come matters to this one.
fn with_nominated<'a>(wanted: &Wanted<'a>, node: &NodeInfo) -> Option<(Wanted<'a>, NodeInfo)> {
    let matters = |pod: &&Arc<PodInfo>| pod.priority >= wanted.info.priority && pod.uid != wanted.info.uid;
    let come: Vec<Arc<PodInfo>> = node.nominated.iter().filter(matters).cloned().collect();
    if come.is_empty() {
        return None;
    }
    let wanted = wanted.supposing(node, &[], &come);
    let mut node = node.clone();
    come.into_iter().for_each(|pod| node.add_pod(pod));
    Some((wanted, node))
}

/// The texts of the first filter's reasons that objects; none when the pod fits.
pub fn words(filters: &[&Filter], wanted: &Wanted, node: &NodeInfo, say: &mut dyn FnMut(&str)) {
    let refusing = |wanted: &Wanted, node: &NodeInfo| -> Option<&Filter> {
        filters
            .iter()
            .find(|filter| (filter.check)(wanted, node).is_some())
            .copied()
    };
    if !node.nominated.is_empty()
        && let Some((wanted, node)) = with_nominated(wanted, node)
        && let Some(filter) = refusing(&wanted, &node)
    {
        (filter.words)(&wanted, &node, say);
    } else if let Some(filter) = refusing(wanted, node) {
        (filter.words)(wanted, node, say);
    }
}

/// The reasons of all filters, for an explanation.
pub fn all_objections(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    concerned(wanted)
        .into_iter()
        .flat_map(|filter| (filter.explain)(wanted, node))
        .collect()
}
