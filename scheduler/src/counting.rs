//! Which pods are counted, on which nodes, and told apart by which label: what spread and affinity between pods ask
//! about the whole cluster. Counted anew from a snapshot here; [`crate::index`] keeps the same numbers up to date.

use crate::domains::{DomainCounts, Tally, Topology};
use crate::filter::tolerates_all;
use crate::labels::{Labels, RequiredNodes};
use crate::pods::{PodInfo, PodTerm};
use crate::snapshot::{NodeInfo, Snapshot, Surroundings};
use gantry_proto::core::v1::Toleration;
use std::collections::HashMap;
use std::sync::Arc;

/// One count by domain. Two questions that are the same share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub who: Who,
    pub place: Place,
    pub topology_key: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// The pods that all of these terms mean.
    Selected {
        terms: Vec<PodTerm>,
        /// Pods that are being deleted too.
        terminating: bool,
    },
    /// How often pods have this term themselves.
    Carrying(Carried, PodTerm),
}

/// What a pod that is there says of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Carried {
    Required,
    RequiredAnti,
    /// With its weight, which is negative where the pod would rather be elsewhere.
    Preferred(i32),
}

/// The nodes whose pods are counted: those that satisfy all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Labels that the node must have.
    pub keys: Vec<Arc<str>>,
    pub nodes: Option<RequiredNodes>,
    /// The node's taints must be tolerated by these.
    pub tolerations: Option<Vec<Toleration>>,
}

impl Place {
    pub fn includes(&self, node: &NodeInfo) -> bool {
        self.keys.iter().all(|key| node.labels.contains_key(&**key))
            && self
                .nodes
                .as_ref()
                .is_none_or(|nodes| nodes.matches(&node.name, &node.labels))
            && self
                .tolerations
                .as_ref()
                .is_none_or(|tolerations| tolerates_all(tolerations, &node.taints))
    }
}

impl Who {
    /// How often a pod counts. `namespace_labels` are those of its namespace.
    pub fn count(&self, pod: &PodInfo, namespace_labels: &Labels) -> i32 {
        match self {
            Who::Selected { terms, terminating } => {
                let counts = (*terminating || !pod.terminating)
                    && terms.iter().all(|term| term.matches(pod, namespace_labels));
                i32::from(counts)
            }
            Who::Carrying(..) => 0,
        }
    }
}

/// Every term that a pod says of others, as a question about who else says it.
pub fn carried(pod: &PodInfo) -> impl Iterator<Item = Question> {
    let terms = pod.affinity.iter().flat_map(|terms| {
        let required = terms.required.iter().map(|term| (Carried::Required, term));
        let anti = terms
            .required_anti
            .iter()
            .map(|term| (Carried::RequiredAnti, term));
        let preferred = terms.preferred.iter();
        let preferred = preferred.map(|(weight, term)| (Carried::Preferred(*weight), term));
        required.chain(anti).chain(preferred)
    });
    terms.map(|(carried, term)| Question {
        who: Who::Carrying(carried, term.pods.clone()),
        place: Place::default(),
        topology_key: term.topology_key.clone(),
    })
}

/// Who answers questions about the whole cluster.
pub trait Counter {
    fn tally(&mut self, question: &Question) -> Tally;

    /// What the pods that are there say of such a pod, and where. `namespace_labels` are those of its namespace.
    fn said_of(&mut self, pod: &PodInfo, namespace_labels: &Labels) -> Vec<(Carried, Tally)>;
}

/// Counts everything anew: for explanations, and to check what is kept up to date.
pub struct Recount<'a> {
    snapshot: &'a Snapshot,
    topologies: HashMap<Arc<str>, Arc<Topology>>,
}

impl<'a> Recount<'a> {
    pub fn new(snapshot: &'a Snapshot) -> Recount<'a> {
        Recount {
            snapshot,
            topologies: HashMap::new(),
        }
    }

    fn topology(&mut self, key: &Arc<str>) -> Arc<Topology> {
        let snapshot = self.snapshot;
        let topology = self.topologies.entry(key.clone()).or_insert_with(|| {
            let mut topology = Topology::new(key.clone());
            for node in snapshot.nodes() {
                topology.set_node(node.slot, Some(&node.labels));
            }
            Arc::new(topology)
        });
        topology.clone()
    }
}

impl Counter for Recount<'_> {
    fn tally(&mut self, question: &Question) -> Tally {
        let topology = self.topology(&question.topology_key);
        let surroundings: &Surroundings = &self.snapshot.surroundings;
        let mut counts = DomainCounts::default();
        for node in self.snapshot.nodes() {
            let Some(domain) = topology.domain_of(node.slot) else {
                continue;
            };
            if !question.place.includes(node) {
                continue;
            }
            counts.add_node(domain);
            let pods = node.pods.iter();
            let count = |pod: &Arc<PodInfo>| {
                let labels = surroundings.namespace_labels(&pod.key.namespace);
                question.who.count(pod, labels)
            };
            counts.add_pods(domain, pods.map(count).sum());
        }
        Tally::new(topology, Arc::new(counts))
    }

    fn said_of(&mut self, pod: &PodInfo, namespace_labels: &Labels) -> Vec<(Carried, Tally)> {
        let mut counts_by_question: HashMap<Question, DomainCounts> = HashMap::new();
        for node in self.snapshot.nodes().filter(|node| node.pods_with_affinity > 0) {
            for question in node.pods.iter().flat_map(|pod| carried(pod)) {
                let Who::Carrying(_, term) = &question.who else {
                    continue;
                };
                if !term.matches(pod, namespace_labels) {
                    continue;
                }
                if let Some(domain) = self.topology(&question.topology_key).domain_of(node.slot) {
                    counts_by_question
                        .entry(question)
                        .or_default()
                        .add_pods(domain, 1);
                }
            }
        }
        let tally = |(question, counts): (Question, DomainCounts)| match question.who {
            Who::Carrying(carried, _) => Some((
                carried,
                Tally::new(self.topology(&question.topology_key), Arc::new(counts)),
            )),
            Who::Selected { .. } => None,
        };
        counts_by_question.into_iter().filter_map(tally).collect()
    }
}
