//! A scheduler's configuration, as far as decisions depend on it: which rules are on, how much each counts, and what
//! they are told (kube-scheduler's KubeSchedulerProfile, kubescheduler.config.k8s.io/v1).

use gantry_proto::core::v1::{NodeSelector, PreferredSchedulingTerm, TopologySpreadConstraint};

/// The rules that apply to the pods which ask for this scheduler by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The pods whose spec.schedulerName is this one are ours.
    pub scheduler_name: String,
    /// Which filters are on. They run in the order of `crate::filter::FILTERS`.
    pub filters: PluginSet,
    /// Which scores are on, and what each is multiplied with.
    pub scores: Vec<(Plugin, i64)>,
    /// Whether pods of lower priority may be evicted for one that fits nowhere.
    pub preemption: Option<Preemption>,
    /// After how many nodes that fit no more are looked at, in percent of all; `None` and 0 mean fewer with more
    /// nodes, see [`nodes_to_find`].
    pub percentage_of_nodes_to_score: Option<u32>,
    pub node_affinity: AddedAffinity,
    pub node_resources_fit: FitArguments,
    pub balanced_allocation: Vec<ResourceWeight>,
    pub inter_pod_affinity: InterPodAffinityArguments,
    pub pod_topology_spread: DefaultConstraints,
}

/// The rules under kube-scheduler's names, in the order in which its default profile names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Plugin {
    SchedulingGates,
    PrioritySort,
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    PodTopologySpread,
    InterPodAffinity,
    DefaultPreemption,
    NodeResourcesBalancedAllocation,
    ImageLocality,
    DefaultBinder,
    /// A program that somebody added. It does not tell what would help, so every event may.
    Added,
}

impl Plugin {
    pub const ALL: [Plugin; 15] = [
        Plugin::SchedulingGates,
        Plugin::PrioritySort,
        Plugin::NodeUnschedulable,
        Plugin::NodeName,
        Plugin::TaintToleration,
        Plugin::NodeAffinity,
        Plugin::NodePorts,
        Plugin::NodeResourcesFit,
        Plugin::PodTopologySpread,
        Plugin::InterPodAffinity,
        Plugin::DefaultPreemption,
        Plugin::NodeResourcesBalancedAllocation,
        Plugin::ImageLocality,
        Plugin::DefaultBinder,
        Plugin::Added,
    ];

    /// As it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Plugin::SchedulingGates => "SchedulingGates",
            Plugin::PrioritySort => "PrioritySort",
            Plugin::NodeUnschedulable => "NodeUnschedulable",
            Plugin::NodeName => "NodeName",
            Plugin::TaintToleration => "TaintToleration",
            Plugin::NodeAffinity => "NodeAffinity",
            Plugin::NodePorts => "NodePorts",
            Plugin::NodeResourcesFit => "NodeResourcesFit",
            Plugin::PodTopologySpread => "PodTopologySpread",
            Plugin::InterPodAffinity => "InterPodAffinity",
            Plugin::DefaultPreemption => "DefaultPreemption",
            Plugin::NodeResourcesBalancedAllocation => "NodeResourcesBalancedAllocation",
            Plugin::ImageLocality => "ImageLocality",
            Plugin::DefaultBinder => "DefaultBinder",
            Plugin::Added => "Extender",
        }
    }

    pub fn named(name: &str) -> Option<Plugin> {
        Plugin::ALL.into_iter().find(|plugin| plugin.name() == name)
    }
}

/// Some of the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PluginSet(u32);

impl PluginSet {
    pub fn of(plugins: &[Plugin]) -> PluginSet {
        plugins.iter().copied().collect()
    }

    pub fn insert(&mut self, plugin: Plugin) {
        self.0 |= 1 << plugin as u32;
    }

    pub fn remove(&mut self, plugin: Plugin) {
        self.0 &= !(1 << plugin as u32);
    }

    pub fn contains(self, plugin: Plugin) -> bool {
        self.0 & 1 << plugin as u32 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Plugin> {
        Plugin::ALL
            .into_iter()
            .filter(move |plugin| self.contains(*plugin))
    }
}

impl FromIterator<Plugin> for PluginSet {
    fn from_iter<I: IntoIterator<Item = Plugin>>(plugins: I) -> PluginSet {
        let mut set = PluginSet::default();
        plugins.into_iter().for_each(|plugin| set.insert(plugin));
        set
    }
}

/// DefaultPreemptionArgs: how many nodes are tried before the best of them is taken, as a share of all and at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preemption {
    pub min_candidate_nodes_percentage: u32,
    pub min_candidate_nodes_absolute: u32,
}

/// NodeAffinityArgs: what every pod of the profile is told beside its own affinity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AddedAffinity {
    pub required: Option<NodeSelector>,
    pub preferred: Vec<PreferredSchedulingTerm>,
}

/// NodeResourcesFitArgs.
#[derive(Clone, Debug, PartialEq)]
pub struct FitArguments {
    /// Extended resources that are not looked at, such as ones that an added program looks after.
    pub ignored_resources: Vec<String>,
    /// The same by what stands before the slash.
    pub ignored_resource_groups: Vec<String>,
    pub strategy: ScoringStrategy,
    pub resources: Vec<ResourceWeight>,
}

/// What a node with more taken of it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScoringStrategy {
    LeastAllocated,
    MostAllocated,
    /// Points of (utilization 0 to 100, score 0 to 10), ordered by utilization, with lines between them.
    RequestedToCapacityRatio {
        shape: Vec<(i64, i64)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceWeight {
    pub resource: String,
    pub weight: i64,
}

/// InterPodAffinityArgs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterPodAffinityArguments {
    /// What the required affinity of a pod that is there counts for one that would satisfy it, 0 to 100.
    pub hard_pod_affinity_weight: i32,
    pub ignore_preferred_terms_of_existing_pods: bool,
}

/// PodTopologySpreadArgs: the constraints of pods that have none themselves and belong to a Service or a controller.
#[derive(Clone, Debug, PartialEq)]
pub enum DefaultConstraints {
    /// Over hosts with a skew of 3 and over zones with one of 5, where it can be had.
    System,
    /// These. They have no selector: it is that of the pod's Services and controller.
    List(Vec<TopologySpreadConstraint>),
}

impl Profile {
    /// kube-scheduler's default profile under another name (pkg/scheduler/apis/config/v1/default_plugins.go).
    pub fn named(scheduler_name: impl Into<String>) -> Profile {
        Profile {
            scheduler_name: scheduler_name.into(),
            filters: PluginSet::of(&[
                Plugin::NodeUnschedulable,
                Plugin::NodeName,
                Plugin::TaintToleration,
                Plugin::NodeAffinity,
                Plugin::NodePorts,
                Plugin::NodeResourcesFit,
                Plugin::PodTopologySpread,
                Plugin::InterPodAffinity,
            ]),
            scores: vec![
                (Plugin::TaintToleration, 3),
                (Plugin::NodeAffinity, 2),
                (Plugin::NodeResourcesFit, 1),
                (Plugin::PodTopologySpread, 2),
                (Plugin::InterPodAffinity, 2),
                (Plugin::NodeResourcesBalancedAllocation, 1),
                (Plugin::ImageLocality, 1),
            ],
            preemption: Some(Preemption::default()),
            percentage_of_nodes_to_score: None,
            node_affinity: AddedAffinity::default(),
            node_resources_fit: FitArguments::default(),
            balanced_allocation: cpu_and_memory(),
            inter_pod_affinity: InterPodAffinityArguments::default(),
            pod_topology_spread: DefaultConstraints::System,
        }
    }
}

impl Default for Profile {
    fn default() -> Profile {
        Profile::named("default-scheduler")
    }
}

impl Default for Preemption {
    fn default() -> Preemption {
        Preemption {
            min_candidate_nodes_percentage: 10,
            min_candidate_nodes_absolute: 100,
        }
    }
}

impl Default for FitArguments {
    fn default() -> FitArguments {
        FitArguments {
            ignored_resources: Vec::new(),
            ignored_resource_groups: Vec::new(),
            strategy: ScoringStrategy::LeastAllocated,
            resources: cpu_and_memory(),
        }
    }
}

impl Default for InterPodAffinityArguments {
    fn default() -> InterPodAffinityArguments {
        InterPodAffinityArguments {
            hard_pod_affinity_weight: 1,
            ignore_preferred_terms_of_existing_pods: false,
        }
    }
}

/// The resources that scores look at unless told otherwise.
pub fn cpu_and_memory() -> Vec<ResourceWeight> {
    ["cpu", "memory"]
        .map(|resource| ResourceWeight {
            resource: resource.into(),
            weight: 1,
        })
        .into()
}

/// So many nodes are always worth looking at, and so many percent of a large cluster at least.
const FEWEST_NODES: usize = 100;
const FEWEST_PERCENT: usize = 5;

/// After how many nodes that fit the search ends: all of a small cluster, half of a larger one, and one percent less
/// with every 125 nodes more (numFeasibleNodesToFind).
pub fn nodes_to_find(percentage: Option<u32>, nodes: usize) -> usize {
    if nodes < FEWEST_NODES {
        return nodes;
    }
    let percent = match percentage {
        None | Some(0) => 50_usize.saturating_sub(nodes / 125).max(FEWEST_PERCENT),
        Some(percent) => usize::try_from(percent).unwrap_or(100).min(100),
    };
    (nodes * percent / 100).max(FEWEST_NODES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_of_more_nodes_are_looked_at_unless_told_otherwise() {
        // numFeasibleNodesToFind's own table (schedule_one_test.go).
        for (percentage, nodes, expected) in [
            (None, 10, 10),
            (Some(40), 10, 10),
            (None, 1000, 420),
            (Some(40), 1000, 400),
            (None, 5000, 500),
            (None, 6000, 300),
            (Some(40), 6000, 2400),
            (None, 150, 100),
        ] {
            assert_eq!(
                nodes_to_find(percentage, nodes),
                expected,
                "{percentage:?} of {nodes}"
            );
        }
    }

    #[test]
    fn a_plugin_is_found_by_its_name_and_a_set_holds_what_was_put_into_it() {
        for plugin in Plugin::ALL {
            assert_eq!(Plugin::named(plugin.name()), Some(plugin));
        }
        let mut set = PluginSet::of(&[Plugin::NodeName, Plugin::Added]);
        assert!(set.contains(Plugin::Added) && !set.contains(Plugin::NodePorts));
        set.remove(Plugin::Added);
        assert_eq!(set.iter().collect::<Vec<_>>(), [Plugin::NodeName]);
    }
}
