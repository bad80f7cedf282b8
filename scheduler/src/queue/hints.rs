//! Whether an event could help a pod, in the eyes of the rule that refused it (each plug-in's EventsToRegister and
//! QueueingHintFn). A rule that says no wrongly would let a pod wait up to five minutes; one that says yes wrongly
//! costs one decision.

use super::events::Event;
use crate::filter::{SpreadRule, spread_rules, tolerates_all, tolerates_cordon};
use crate::labels::{NodeTerms, RequiredNodes};
use crate::pods::{AffinityTerm, PodInfo};
use crate::profile::{Plugin, PluginSet, Profile};
use crate::resources::Resources;
use crate::snapshot::{NodeInfo, Surroundings};
use gantry_proto::core::v1::{Pod, Toleration};
use std::sync::Arc;

/// What is kept of a pod that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    pub info: Arc<PodInfo>,
    tolerations: Vec<Toleration>,
    nodes: Option<RequiredNodes>,
    added_nodes: Option<NodeTerms>,
    spread: Vec<SpreadRule>,
}

impl Pending {
    pub fn of(pod: &Pod, surroundings: &Surroundings, profile: &Profile) -> Pending {
        let (mut spread, _) = spread_rules(pod, surroundings, profile);
        spread.retain(|rule| rule.hard);
        Pending {
            info: Arc::new(PodInfo::of(pod)),
            tolerations: pod.spec().tolerations.clone(),
            nodes: RequiredNodes::of(pod.spec()),
            added_nodes: profile.node_affinity.required.as_ref().map(NodeTerms::of),
            spread,
        }
    }

    /// Whether any of the rules that refused the pod thinks that the event could help.
    pub fn is_helped(&self, by: &Event, refused: PluginSet, surroundings: &Surroundings) -> bool {
        // Who was refused by nobody failed for another reason, which anything may have taken away.
        if refused.is_empty() || matches!(by, Event::Anything) {
            return true;
        }
        refused.iter().any(|plugin| self.helps(plugin, by, surroundings))
    }

    fn helps(&self, plugin: Plugin, event: &Event, surroundings: &Surroundings) -> bool {
        match plugin {
            Plugin::NodeUnschedulable => match event {
                Event::NodeAdded(node) => !node.unschedulable,
                Event::NodeChanged { before, after } => before.unschedulable && !after.unschedulable,
                _ => false,
            },
            Plugin::NodeName => matches!(event, Event::NodeAdded(_)),
            Plugin::TaintToleration => {
                let tolerated = |node: &NodeInfo| tolerates_all(&self.tolerations, &node.taints);
                became(event, tolerated)
            }
            Plugin::NodeAffinity => became(event, |node| self.matches_node(node)),
            Plugin::NodePorts => match event {
                Event::NodeAdded(_) => true,
                Event::PodWent(pod) => shares_port(&self.info, pod),
                _ => false,
            },
            Plugin::NodeResourcesFit => self.fit_is_helped(event),
            Plugin::PodTopologySpread => self.spread_is_helped(event),
            Plugin::InterPodAffinity => self.affinity_is_helped(event, surroundings),
            // Who does not tell what helps may be helped by anything.
            Plugin::Added => true,
            Plugin::SchedulingGates
            | Plugin::PrioritySort
            | Plugin::DefaultPreemption
            | Plugin::NodeResourcesBalancedAllocation
            | Plugin::ImageLocality
            | Plugin::DefaultBinder => false,
        }
    }

    fn matches_node(&self, node: &NodeInfo) -> bool {
        let required = self.nodes.as_ref();
        let added = self.added_nodes.as_ref();
        required.is_none_or(|nodes| nodes.matches(&node.name, &node.labels))
            && added.is_none_or(|nodes| nodes.matches(&node.name, &node.labels))
    }

    fn fit_is_helped(&self, event: &Event) -> bool {
        let requests = &self.info.takes.requests;
        let fits_empty = |node: &NodeInfo| {
            requests
                .iter()
                .all(|(name, amount)| amount <= node.allocatable.get(name))
        };
        match event {
            Event::NodeAdded(node) => fits_empty(node),
            Event::NodeChanged { before, after } => {
                fits_empty(after) && has_less(requests, &before.allocatable, &after.allocatable)
            }
            Event::PodWent(_) => true,
            Event::PodChanged { before, after } => {
                has_less(requests, &after.takes.requests, &before.takes.requests)
            }
            Event::NodeRemoved(_) | Event::PodCame(_) | Event::Anything => false,
        }
    }

    fn spread_is_helped(&self, event: &Event) -> bool {
        let counts = |pod: &PodInfo, rule: &SpreadRule| rule.selection.matches(&pod.labels);
        let any = |pod: &PodInfo| {
            pod.key.namespace == self.info.key.namespace && self.spread.iter().any(|rule| counts(pod, rule))
        };
        let has_labels = |node: &NodeInfo| {
            self.spread
                .iter()
                .all(|rule| node.labels.contains_key(&*rule.topology_key))
        };
        match event {
            Event::PodCame(pod) | Event::PodWent(pod) => any(pod),
            Event::PodChanged { before, after } => {
                before.key.namespace == self.info.key.namespace
                    && self
                        .spread
                        .iter()
                        .any(|rule| counts(before, rule) != counts(after, rule))
            }
            Event::NodeAdded(node) | Event::NodeRemoved(node) => has_labels(node),
            Event::NodeChanged { before, after } => {
                let moved = |rule: &SpreadRule| {
                    before.labels.get(&*rule.topology_key) != after.labels.get(&*rule.topology_key)
                };
                has_labels(before) != has_labels(after)
                    || has_labels(after) && (before.taints != after.taints || self.spread.iter().any(moved))
            }
            Event::Anything => true,
        }
    }

    fn affinity_is_helped(&self, event: &Event, surroundings: &Surroundings) -> bool {
        let (near, apart): (&[AffinityTerm], &[AffinityTerm]) = match &self.info.affinity {
            Some(terms) => (&terms.required, &terms.required_anti),
            None => (&[], &[]),
        };
        let matches = |term: &AffinityTerm, pod: &PodInfo| {
            let labels = surroundings.namespace_labels(&pod.key.namespace);
            term.pods.matches(pod, labels)
        };
        let is_wanted = |pod: &PodInfo| !near.is_empty() && near.iter().all(|term| matches(term, pod));
        let is_unwanted = |pod: &PodInfo| apart.iter().any(|term| matches(term, pod));
        match event {
            Event::PodCame(pod) => is_wanted(pod),
            Event::PodChanged { before, after } => {
                !is_wanted(before) && is_wanted(after) || is_unwanted(before) && !is_unwanted(after)
            }
            Event::PodWent(pod) => {
                let mut its_terms = pod.affinity.iter().flat_map(|terms| &terms.required_anti);
                is_unwanted(pod) || its_terms.any(|term| matches(term, &self.info))
            }
            Event::NodeAdded(node) => {
                !apart.is_empty() || near.iter().any(|term| node.labels.contains_key(&*term.topology_key))
                    // A node without the label is where nobody objects.
                    || near.is_empty()
            }
            Event::NodeChanged { before, after } => {
                // Who was refused by others' terms does not know their labels.
                let changed = |term: &AffinityTerm| {
                    before.labels.get(&*term.topology_key) != after.labels.get(&*term.topology_key)
                };
                near.iter().chain(apart).any(changed)
                    || near.is_empty() && apart.is_empty() && before.labels != after.labels
            }
            Event::NodeRemoved(_) => false,
            Event::Anything => true,
        }
    }

    /// Whether a change of the pod itself could help it.
    pub fn is_helped_by_its_change(&self, after: &Pending, refused: PluginSet) -> bool {
        refused.iter().any(|plugin| match plugin {
            Plugin::NodeUnschedulable => {
                self.tolerations.len() != after.tolerations.len() && tolerates_cordon(&after.tolerations)
            }
            Plugin::TaintToleration => self.tolerations.len() != after.tolerations.len(),
            Plugin::NodeAffinity => self.nodes != after.nodes,
            Plugin::NodeResourcesFit => {
                let (before, after) = (&self.info.takes.requests, &after.info.takes.requests);
                has_less(before, after, before)
            }
            Plugin::PodTopologySpread => {
                let honors_taints = after.spread.iter().any(|rule| rule.honor_taints);
                self.info.labels != after.info.labels
                    || honors_taints && self.tolerations.len() != after.tolerations.len()
            }
            Plugin::InterPodAffinity => self.info.labels != after.info.labels,
            Plugin::Added => self != after,
            _ => false,
        })
    }
}

/// The rules that may think that an event helps.
pub fn listeners(event: &Event) -> PluginSet {
    match event {
        Event::PodCame(_) => {
            PluginSet::of(&[Plugin::PodTopologySpread, Plugin::InterPodAffinity, Plugin::Added])
        }
        Event::PodChanged { .. } => PluginSet::of(&[
            Plugin::NodeResourcesFit,
            Plugin::PodTopologySpread,
            Plugin::InterPodAffinity,
            Plugin::Added,
        ]),
        Event::PodWent(_) => PluginSet::of(&[
            Plugin::NodePorts,
            Plugin::NodeResourcesFit,
            Plugin::PodTopologySpread,
            Plugin::InterPodAffinity,
            Plugin::Added,
        ]),
        Event::NodeRemoved(_) => PluginSet::of(&[Plugin::PodTopologySpread, Plugin::Added]),
        Event::NodeAdded(_) | Event::NodeChanged { .. } | Event::Anything => {
            Plugin::ALL.into_iter().collect()
        }
    }
}

/// Whether a node that was not right is right now.
fn became(event: &Event, is_right: impl Fn(&NodeInfo) -> bool) -> bool {
    match event {
        Event::NodeAdded(node) => is_right(node),
        Event::NodeChanged { before, after } => !is_right(before) && is_right(after),
        _ => false,
    }
}

/// Whether one of two has less of anything that is asked for.
fn has_less(asked: &Resources, one: &Resources, other: &Resources) -> bool {
    let mut asked = asked.iter().filter(|(_, amount)| *amount > 0);
    asked.any(|(name, _)| one.get(name) < other.get(name))
}

fn shares_port(one: &PodInfo, other: &PodInfo) -> bool {
    let mut ports = one.takes.host_ports.iter();
    ports.any(|port| other.takes.host_ports.iter().any(|taken| taken.collides(port)))
}
