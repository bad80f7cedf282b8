//! Pods that belong together are to be spread evenly over zones, hosts or the like (plugins/podtopologyspread). The
//! scores read what is counted here too.

use super::{Filter, RESOLVABLE, Reason, Remedy, UNRESOLVABLE, Wanted, WantedNodes};
use crate::counting::{Counter, Place, Question, Who};
use crate::domains::Tally;
use crate::labels::{Labels, Requirement, Selection};
use crate::pods::{PodInfo, PodTerm};
use crate::profile::{DefaultConstraints, Plugin, Profile};
use crate::snapshot::{NodeInfo, Surroundings};
use gantry_proto::core::v1::{Pod, TopologySpreadConstraint};
use std::sync::Arc;

pub const FILTER: Filter = Filter {
    plugin: Plugin::PodTopologySpread,
    concerns: |wanted| !wanted.spread.hard.is_empty(),
    check: |wanted, node| match first_broken(wanted, node)? {
        (_, Broken::MissingLabel) => UNRESOLVABLE,
        (_, Broken::Skew(_)) => RESOLVABLE,
    },
    words: |wanted, node, say| {
        if let Some((_, broken)) = first_broken(wanted, node) {
            say(broken.text());
        }
    },
    explain,
};

/// What a pod asks about being spread, with what is so now.
#[derive(Clone, Debug, Default)]
pub struct WantedSpread {
    /// Must hold.
    pub hard: Vec<SpreadConstraint>,
    /// Should hold.
    pub soft: Vec<SpreadConstraint>,
    /// Whether a node that lacks the label of any of the soft ones has no part in any of them.
    pub all_labels: bool,
}

#[derive(Clone, Debug)]
pub struct SpreadConstraint {
    pub rule: SpreadRule,
    pub tally: Tally,
    place: Place,
    /// 1 where the pod itself is among those that are counted.
    itself: i32,
    /// What the emptiest domain has; 0 where there are too few.
    least: i32,
}

/// A constraint, read.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadRule {
    pub topology_key: Arc<str>,
    pub max_skew: i32,
    pub selection: Selection,
    pub min_domains: i32,
    pub honor_affinity: bool,
    pub honor_taints: bool,
    /// DoNotSchedule rather than ScheduleAnyway.
    pub hard: bool,
}

/// A pod's constraints, or those that are meant where it has none; and whether they are the system's.
pub fn spread_rules(pod: &Pod, surroundings: &Surroundings, profile: &Profile) -> (Vec<SpreadRule>, bool) {
    let own = &pod.spec().topology_spread_constraints;
    if !own.is_empty() {
        let labels = &pod.metadata().labels;
        return (
            own.iter()
                .map(|constraint| SpreadRule::of(constraint, labels))
                .collect(),
            false,
        );
    }
    if matches!(&profile.pod_topology_spread, DefaultConstraints::List(list) if list.is_empty()) {
        return (Vec::new(), false);
    }
    let selection = surroundings.default_selection(pod);
    if selection.is_everything() {
        return (Vec::new(), false);
    }
    match &profile.pod_topology_spread {
        DefaultConstraints::System => (system_rules(&selection).into(), true),
        DefaultConstraints::List(list) => {
            let rule = |constraint: &TopologySpreadConstraint| SpreadRule {
                selection: selection.clone(),
                ..SpreadRule::of(constraint, &pod.metadata().labels)
            };
            (list.iter().map(rule).collect(), false)
        }
    }
}

/// kube-scheduler's systemDefaultConstraints.
fn system_rules(selection: &Selection) -> [SpreadRule; 2] {
    let rule = |topology_key: &str, max_skew| SpreadRule {
        topology_key: topology_key.into(),
        max_skew,
        selection: selection.clone(),
        min_domains: 1,
        honor_affinity: true,
        honor_taints: false,
        hard: false,
    };
    [rule(HOSTNAME, 3), rule("topology.kubernetes.io/zone", 5)]
}

/// The label by which hosts are told apart.
pub const HOSTNAME: &str = "kubernetes.io/hostname";

impl SpreadRule {
    fn of(constraint: &TopologySpreadConstraint, labels: &Labels) -> SpreadRule {
        let equal = constraint.match_label_keys.iter();
        let equal = equal.filter_map(|key| Some(Requirement::equals(key, labels.get(key)?)));
        let policy = |policy: &Option<String>, default: bool| match policy.as_deref() {
            Some(policy) => policy == "Honor",
            None => default,
        };
        SpreadRule {
            topology_key: constraint.topology_key.as_str().into(),
            max_skew: constraint.max_skew,
            selection: Selection::of(constraint.label_selector.as_ref()).and(equal),
            min_domains: constraint.min_domains.unwrap_or(1),
            honor_affinity: policy(&constraint.node_affinity_policy, true),
            honor_taints: policy(&constraint.node_taints_policy, false),
            hard: constraint.when_unsatisfiable != "ScheduleAnyway",
        }
    }
}

impl WantedSpread {
    pub fn of(
        counter: &mut dyn Counter,
        pod: &Pod,
        info: &PodInfo,
        nodes: &WantedNodes,
        surroundings: &Surroundings,
        profile: &Profile,
    ) -> WantedSpread {
        let (rules, by_system) = spread_rules(pod, surroundings, profile);
        if rules.is_empty() {
            return WantedSpread::default();
        }
        let (hard, soft): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| rule.hard);
        // A node without a zone is still worth spreading over by its name, where nobody asked for zones.
        let all_labels = !by_system;
        let mut count = |rules: Vec<SpreadRule>, all_labels: bool| {
            let all_keys = |rule: &SpreadRule| match all_labels {
                true => rules.iter().map(|rule| rule.topology_key.clone()).collect(),
                false => vec![rule.topology_key.clone()],
            };
            let keys: Vec<Vec<Arc<str>>> = rules.iter().map(all_keys).collect();
            let rules = rules.into_iter().zip(keys);
            let constraint = |(rule, keys)| SpreadConstraint::of(counter, rule, keys, pod, info, nodes);
            rules.map(constraint).collect::<Vec<_>>()
        };
        WantedSpread {
            hard: count(hard, true),
            soft: count(soft, all_labels),
            all_labels,
        }
    }

    /// Supposes that a pod came to a node, or went from it (`-1`).
    pub fn suppose(&mut self, wanted: &PodInfo, node: &NodeInfo, pod: &PodInfo, times: i32) {
        if pod.key.namespace != wanted.key.namespace {
            return;
        }
        for constraint in &mut self.hard {
            if constraint.rule.selection.matches(&pod.labels) && constraint.place.includes(node) {
                constraint.tally.suppose(node.slot, times);
                constraint.measure();
            }
        }
    }
}

impl SpreadConstraint {
    fn of(
        counter: &mut dyn Counter,
        rule: SpreadRule,
        keys: Vec<Arc<str>>,
        pod: &Pod,
        info: &PodInfo,
        nodes: &WantedNodes,
    ) -> SpreadConstraint {
        let place = Place {
            // A single key is that of the topology, and nodes without it are in no domain anyway.
            keys: if keys.len() > 1 { keys } else { Vec::new() },
            nodes: nodes.required.clone().filter(|_| rule.honor_affinity),
            tolerations: rule.honor_taints.then(|| pod.spec().tolerations.clone()),
        };
        // As in kube-scheduler an empty selector counts nobody, though it means the pod itself.
        let counted = match rule.selection.is_everything() {
            true => Selection::Nothing,
            false => rule.selection.clone(),
        };
        let question = Question {
            who: Who::Selected {
                terms: vec![PodTerm::within(&info.key.namespace, counted)],
                terminating: false,
            },
            place: place.clone(),
            topology_key: rule.topology_key.clone(),
        };
        let mut constraint = SpreadConstraint {
            tally: counter.tally(&question),
            itself: i32::from(rule.selection.matches(&info.labels)),
            rule,
            place,
            least: 0,
        };
        constraint.measure();
        constraint
    }

    fn measure(&mut self) {
        if self.rule.hard {
            let (domains, least) = self.tally.least();
            let enough = i32::try_from(domains).is_ok_and(|domains| domains >= self.rule.min_domains);
            self.least = if enough { least } else { 0 };
        }
    }
}

#[derive(Clone, Copy)]
enum Broken {
    MissingLabel,
    /// By how much the node's domain would be fuller than the emptiest.
    Skew(i32),
}

impl Broken {
    fn text(self) -> &'static str {
        match self {
            Broken::MissingLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Broken::Skew(_) => "node(s) didn't match pod topology spread constraints",
        }
    }
}

fn first_broken<'w>(wanted: &'w Wanted, node: &NodeInfo) -> Option<(&'w SpreadConstraint, Broken)> {
    wanted.spread.hard.iter().find_map(|constraint| {
        let broken = match constraint.tally.at(node.slot) {
            None => Broken::MissingLabel,
            Some(pods) => {
                let skew = pods + constraint.itself - constraint.least;
                if skew <= constraint.rule.max_skew {
                    return None;
                }
                Broken::Skew(skew)
            }
        };
        Some((constraint, broken))
    })
}

fn explain(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    let Some((constraint, broken)) = first_broken(wanted, node) else {
        return Vec::new();
    };
    let (key, most) = (&constraint.rule.topology_key, constraint.rule.max_skew);
    let (detail, remedy) = match broken {
        Broken::MissingLabel => (
            format!("the node lacks the label {key}"),
            Remedy::Label {
                labels: key.to_string(),
            },
        ),
        Broken::Skew(skew) => (
            format!(
                "{key}={} would be {skew} ahead of the emptiest, at most {most} is allowed",
                node.labels.get(&**key).map_or("", String::as_str)
            ),
            Remedy::Relax {
                change: format!(
                    "raised maxSkew over {key} from {most} to {skew} (or let it be ScheduleAnyway)"
                ),
            },
        ),
    };
    vec![Reason {
        text: broken.text().into(),
        detail,
        remedy,
    }]
}
