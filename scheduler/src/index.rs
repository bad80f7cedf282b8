//! The answers to [`Question`]s, kept up to date with every pod and node, so that a decision does not count the whole
//! cluster. A question that is asked for the first time is counted once; the ones that nobody asks any more are
//! forgotten.

use crate::counting::{Carried, Counter, Place, Question, Who, carried};
use crate::domains::{DomainCounts, Tally, Topology};
use crate::labels::{Labels, Selection};
use crate::pods::{PodInfo, PodTerm};
use crate::snapshot::{NodeInfo, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;

/// Questions of pending pods that are kept. At 5,000 nodes told apart by host one takes up to 40 KB, all 40 MB.
const QUESTIONS: usize = 1024;

#[derive(Default)]
pub struct Index {
    topologies: HashMap<Arc<str>, Arc<Topology>>,
    answers: Vec<Option<Answer>>,
    vacant: Vec<usize>,
    number_by_question: HashMap<Arc<Question>, usize>,
    /// Questions about pods that are selected, and about terms that pods carry.
    selecting: ByLabel,
    carried: ByLabel,
    selected_questions: usize,
    clock: u64,
}

struct Answer {
    question: Arc<Question>,
    counts: Arc<DomainCounts>,
    /// By slot, whether the node is among those that are counted; empty where all are.
    included: Vec<bool>,
    /// Pods that carry the term; of the others nobody counts.
    carriers: usize,
    used: u64,
}

/// Numbers of questions by a label that whatever they are about has.
#[derive(Default)]
struct ByLabel {
    numbers_by_label: HashMap<String, HashMap<String, Vec<usize>>>,
    /// Those without such a label.
    others: Vec<usize>,
}

impl Index {
    /// A pod came to a node, or went from it (`-1`).
    pub fn change_pod(&mut self, snapshot: &Snapshot, slot: u32, pod: &PodInfo, times: i32) {
        let namespace_labels = snapshot.surroundings.namespace_labels(&pod.key.namespace);
        let mut numbers = Vec::new();
        self.selecting.find(&pod.labels, |number| numbers.push(number));
        for number in numbers {
            let Some(answer) = self.answers[number].as_mut() else {
                continue;
            };
            let count = answer.question.who.count(pod, namespace_labels);
            if count != 0
                && answer.includes(slot)
                && let Some(topology) = self.topologies.get(&answer.question.topology_key)
                && let Some(domain) = topology.domain_of(slot)
            {
                Arc::make_mut(&mut answer.counts).add_pods(domain, count * times);
            }
        }
        for question in carried(pod) {
            self.change_carrier(snapshot, slot, question, times);
        }
    }

    fn change_carrier(&mut self, snapshot: &Snapshot, slot: u32, question: Question, times: i32) {
        let topology = self.topology(&question.topology_key, snapshot);
        let number = match self.number_by_question.get(&question) {
            Some(number) => *number,
            None if times < 0 => return,
            None => self.insert(question, DomainCounts::default(), Vec::new()),
        };
        let Some(answer) = self.answers[number].as_mut() else {
            return;
        };
        if let Some(domain) = topology.domain_of(slot) {
            Arc::make_mut(&mut answer.counts).add_pods(domain, times);
        }
        answer.carriers = answer.carriers.saturating_add_signed(times as isize);
        if answer.carriers == 0 {
            self.forget(number);
        }
    }

    /// A node came, went, or says something else of itself, as the snapshot shows already. Its pods are those of
    /// `after`, or of `before` when it went.
    pub fn change_node(&mut self, snapshot: &Snapshot, before: Option<&NodeInfo>, after: Option<&NodeInfo>) {
        let Some(node) = after.or(before) else {
            return;
        };
        let slot = node.slot;
        let surroundings = &snapshot.surroundings;
        // Carried terms come and go with the node; where it stays they are moved below.
        if after.is_none() {
            for pod in &node.pods {
                for question in carried(pod) {
                    self.change_carrier(snapshot, slot, question, -1);
                }
            }
        }
        let mut moved: HashMap<Arc<str>, (Option<usize>, Option<usize>)> = HashMap::new();
        for (key, topology) in &mut self.topologies {
            let old = topology.domain_of(slot);
            Arc::make_mut(topology).set_node(slot, after.map(|node| &node.labels));
            moved.insert(key.clone(), (old, topology.domain_of(slot)));
        }
        for answer in self.answers.iter_mut().flatten() {
            let (old, new) = moved
                .get(&answer.question.topology_key)
                .copied()
                .unwrap_or_default();
            let old = old.filter(|_| before.is_some() && answer.includes(slot));
            answer.include(slot, after);
            let new = new.filter(|_| after.is_some() && answer.includes(slot));
            if old == new {
                continue;
            }
            let question = answer.question.clone();
            let count = |pod: &Arc<PodInfo>| match &question.who {
                Who::Selected { .. } => {
                    let labels = surroundings.namespace_labels(&pod.key.namespace);
                    question.who.count(pod, labels)
                }
                Who::Carrying(..) if after.is_some() && before.is_some() => {
                    let same = carried(pod).filter(|other| *other == *question).count();
                    i32::try_from(same).unwrap_or(i32::MAX)
                }
                Who::Carrying(..) => 0,
            };
            let pods: i32 = node.pods.iter().map(count).sum();
            let counts = Arc::make_mut(&mut answer.counts);
            if let Some(domain) = old {
                counts.remove_node(domain);
                counts.add_pods(domain, -pods);
            }
            if let Some(domain) = new {
                counts.add_node(domain);
                counts.add_pods(domain, pods);
            }
        }
        if before.is_none() {
            for pod in &node.pods {
                for question in carried(pod) {
                    self.change_carrier(snapshot, slot, question, 1);
                }
            }
        }
    }

    /// How many values the label has that has the most, those among them that no node has any more.
    pub fn most_domains(&self) -> usize {
        let domains = self.topologies.values().map(|topology| topology.domains());
        domains.max().unwrap_or(0)
    }

    /// The labels of a namespace changed: what was counted by them has to be counted again.
    pub fn change_namespaces(&mut self) {
        let by_namespace = |answer: &Answer| match &answer.question.who {
            Who::Selected { terms, .. } => terms
                .iter()
                .any(|term| term.namespace_selection != Selection::Nothing),
            Who::Carrying(..) => false,
        };
        let numbers: Vec<usize> = (0..self.answers.len())
            .filter(|number| self.answers[*number].as_ref().is_some_and(by_namespace))
            .collect();
        numbers.into_iter().for_each(|number| self.forget(number));
    }

    /// The counter for one decision.
    pub fn over<'a, P>(&'a mut self, snapshot: &'a Snapshot, pods_of: P) -> Indexed<'a, P>
    where
        P: Fn(&str, &mut dyn FnMut(&PodInfo, &str)),
    {
        Indexed {
            index: self,
            snapshot,
            pods_of,
        }
    }

    fn topology(&mut self, key: &Arc<str>, snapshot: &Snapshot) -> Arc<Topology> {
        let topology = self.topologies.entry(key.clone()).or_insert_with(|| {
            let mut topology = Topology::new(key.clone());
            for node in snapshot.nodes() {
                topology.set_node(node.slot, Some(&node.labels));
            }
            Arc::new(topology)
        });
        topology.clone()
    }

    fn insert(&mut self, question: Question, counts: DomainCounts, included: Vec<bool>) -> usize {
        let number = self.vacant.pop().unwrap_or(self.answers.len());
        if number == self.answers.len() {
            self.answers.push(None);
        }
        match &question.who {
            Who::Selected { terms, .. } => {
                self.selected_questions += 1;
                self.selecting.insert(label_of(terms), number);
            }
            Who::Carrying(_, term) => self.carried.insert(term.selection.certain_label(), number),
        }
        let question = Arc::new(question);
        self.number_by_question.insert(question.clone(), number);
        self.answers[number] = Some(Answer {
            question,
            counts: Arc::new(counts),
            included,
            carriers: 0,
            used: self.clock,
        });
        number
    }

    fn forget(&mut self, number: usize) {
        let Some(answer) = self.answers[number].take() else {
            return;
        };
        self.vacant.push(number);
        self.number_by_question.remove(&answer.question);
        match &answer.question.who {
            Who::Selected { terms, .. } => {
                self.selected_questions -= 1;
                self.selecting.remove(label_of(terms), number);
            }
            Who::Carrying(_, term) => self.carried.remove(term.selection.certain_label(), number),
        }
    }

    /// Makes room for a question by forgetting the one that was not asked for the longest.
    fn make_room(&mut self) {
        if self.selected_questions < QUESTIONS {
            return;
        }
        let answers = self.answers.iter().enumerate();
        let asked = answers.filter_map(|(number, answer)| Some((number, answer.as_ref()?)));
        let asked = asked.filter(|(_, answer)| matches!(answer.question.who, Who::Selected { .. }));
        if let Some((number, _)) = asked.min_by_key(|(_, answer)| answer.used) {
            self.forget(number);
        }
    }
}

fn label_of(terms: &[PodTerm]) -> Option<(&str, &str)> {
    terms.iter().find_map(|term| term.selection.certain_label())
}

impl Answer {
    fn includes(&self, slot: u32) -> bool {
        self.included.is_empty() || self.included.get(slot as usize).copied().unwrap_or(false)
    }

    fn include(&mut self, slot: u32, node: Option<&NodeInfo>) {
        if self.question.place == Place::default() {
            return;
        }
        let index = slot as usize;
        if index >= self.included.len() {
            self.included.resize(index + 1, false);
        }
        self.included[index] = node.is_some_and(|node| self.question.place.includes(node));
    }
}

impl ByLabel {
    fn insert(&mut self, label: Option<(&str, &str)>, number: usize) {
        let Some((key, value)) = label else {
            self.others.push(number);
            return;
        };
        let by_value = self.numbers_by_label.entry(key.into()).or_default();
        by_value.entry(value.into()).or_default().push(number);
    }

    fn remove(&mut self, label: Option<(&str, &str)>, number: usize) {
        let Some((key, value)) = label else {
            self.others.retain(|other| *other != number);
            return;
        };
        let Some(by_value) = self.numbers_by_label.get_mut(key) else {
            return;
        };
        if let Some(numbers) = by_value.get_mut(value) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                by_value.remove(value);
            }
        }
        if by_value.is_empty() {
            self.numbers_by_label.remove(key);
        }
    }

    /// Those that may be about something with such labels.
    fn find(&self, labels: &Labels, mut found: impl FnMut(usize)) {
        self.others.iter().for_each(|number| found(*number));
        if self.numbers_by_label.is_empty() {
            return;
        }
        for (key, value) in labels {
            let numbers = self
                .numbers_by_label
                .get(key)
                .and_then(|by_value| by_value.get(value));
            numbers.into_iter().flatten().for_each(|number| found(*number));
        }
    }
}

/// Answers from the index. `P` tells the pods of one namespace (all for an empty name) with the names of their nodes.
pub struct Indexed<'a, P> {
    index: &'a mut Index,
    snapshot: &'a Snapshot,
    pods_of: P,
}

impl<P> Indexed<'_, P>
where
    P: Fn(&str, &mut dyn FnMut(&PodInfo, &str)),
{
    /// Counts for a question that is asked for the first time.
    fn count(&mut self, question: &Question) -> usize {
        let topology = self.index.topology(&question.topology_key, self.snapshot);
        let mut counts = DomainCounts::default();
        let everywhere = question.place == Place::default();
        let mut included = Vec::new();
        for node in self.snapshot.nodes() {
            let is_included = everywhere || question.place.includes(node);
            if !everywhere {
                let index = node.slot as usize;
                if index >= included.len() {
                    included.resize(index + 1, false);
                }
                included[index] = is_included;
            }
            if let Some(domain) = topology.domain_of(node.slot).filter(|_| is_included) {
                counts.add_node(domain);
            }
        }
        let surroundings = &self.snapshot.surroundings;
        let mut add = |pod: &PodInfo, node: &str| {
            let labels = surroundings.namespace_labels(&pod.key.namespace);
            let count = question.who.count(pod, labels);
            if count != 0
                && let Some(slot) = self.snapshot.slot_of(node)
                && (everywhere || included.get(slot as usize) == Some(&true))
                && let Some(domain) = topology.domain_of(slot)
            {
                counts.add_pods(domain, count);
            }
        };
        match namespaces_of(&question.who) {
            Some(namespaces) => namespaces
                .iter()
                .for_each(|namespace| (self.pods_of)(namespace, &mut add)),
            None => (self.pods_of)("", &mut add),
        }
        self.index.make_room();
        self.index.insert(question.clone(), counts, included)
    }
}

/// The namespaces outside of which nothing is counted; `None` where that depends on namespaces' labels.
fn namespaces_of(who: &Who) -> Option<&[String]> {
    match who {
        Who::Selected { terms, .. } => {
            let term = terms
                .iter()
                .find(|term| term.namespace_selection == Selection::Nothing)?;
            Some(&term.namespaces)
        }
        Who::Carrying(..) => None,
    }
}

impl<P> Counter for Indexed<'_, P>
where
    P: Fn(&str, &mut dyn FnMut(&PodInfo, &str)),
{
    fn tally(&mut self, question: &Question) -> Tally {
        self.index.clock += 1;
        let number = match self.index.number_by_question.get(question) {
            Some(number) => *number,
            None => self.count(question),
        };
        let topology = self.index.topology(&question.topology_key, self.snapshot);
        let clock = self.index.clock;
        let counts = self.index.answers[number].as_mut().map(|answer| {
            answer.used = clock;
            answer.counts.clone()
        });
        Tally::new(topology, counts.unwrap_or_default())
    }

    fn said_of(&mut self, pod: &PodInfo, namespace_labels: &Labels) -> Vec<(Carried, Tally)> {
        let mut found = Vec::new();
        if self.index.carried.others.is_empty() && self.index.carried.numbers_by_label.is_empty() {
            return found;
        }
        let index = &*self.index;
        index.carried.find(&pod.labels, |number| {
            let Some(answer) = index.answers[number].as_ref() else {
                return;
            };
            if let Who::Carrying(carried, term) = &answer.question.who
                && term.matches(pod, namespace_labels)
                && let Some(topology) = index.topologies.get(&answer.question.topology_key)
            {
                found.push((*carried, Tally::new(topology.clone(), answer.counts.clone())));
            }
        });
        found
    }
}
