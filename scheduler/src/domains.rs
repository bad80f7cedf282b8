//! How many pods there are in each zone, on each host, or by whatever else nodes are told apart.

use crate::labels::Labels;
use std::collections::HashMap;
use std::sync::Arc;

/// The values that one label of nodes has, numbered. Nodes are known by their slots, see
/// [`crate::snapshot::NodeInfo::slot`].
#[derive(Clone, Debug, Default)]
pub struct Topology {
    key: Arc<str>,
    domain_by_slot: Vec<u32>,
    domain_by_value: HashMap<Box<str>, u32>,
}

/// A node without the label is in no domain.
const NOWHERE: u32 = u32::MAX;

impl Topology {
    pub fn new(key: Arc<str>) -> Topology {
        Topology {
            key,
            ..Topology::default()
        }
    }

    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// How many domains have ever been seen. Their numbers are below.
    pub fn domains(&self) -> usize {
        self.domain_by_value.len()
    }

    pub fn domain_of(&self, slot: u32) -> Option<usize> {
        match self.domain_by_slot.get(slot as usize) {
            None | Some(&NOWHERE) => None,
            Some(domain) => Some(*domain as usize),
        }
    }

    /// Takes over a node's labels; `None` when it is gone. Returns true when its domain is another now.
    pub fn set_node(&mut self, slot: u32, labels: Option<&Labels>) -> bool {
        let domain = match labels.and_then(|labels| labels.get(&*self.key)) {
            None => NOWHERE,
            Some(value) => match self.domain_by_value.get(value.as_str()) {
                Some(domain) => *domain,
                None => {
                    let domain = u32::try_from(self.domain_by_value.len()).unwrap_or(NOWHERE);
                    self.domain_by_value.insert(value.as_str().into(), domain);
                    domain
                }
            },
        };
        let index = slot as usize;
        if index >= self.domain_by_slot.len() {
            self.domain_by_slot.resize(index + 1, NOWHERE);
        }
        std::mem::replace(&mut self.domain_by_slot[index], domain) != domain
    }
}

/// Numbers by domain.
#[derive(Clone, Debug, Default)]
pub struct DomainCounts {
    pods: Vec<i32>,
    /// Nodes that are counted at all; a domain without one is not there.
    nodes: Vec<u32>,
    total: i64,
}

impl DomainCounts {
    pub fn add_pods(&mut self, domain: usize, pods: i32) {
        grow(&mut self.pods, domain);
        self.pods[domain] += pods;
        self.total += i64::from(pods);
    }

    pub fn add_node(&mut self, domain: usize) {
        grow(&mut self.nodes, domain);
        self.nodes[domain] += 1;
    }

    pub fn remove_node(&mut self, domain: usize) {
        if let Some(nodes) = self.nodes.get_mut(domain) {
            *nodes = nodes.saturating_sub(1);
        }
    }

    pub fn pods(&self, domain: usize) -> i32 {
        self.pods.get(domain).copied().unwrap_or(0)
    }

    /// Over all domains.
    pub fn total(&self) -> i64 {
        self.total
    }

    /// How many domains there are, and the least pods that one of them has; 0 where there is none.
    pub fn least(&self, more: &[(usize, i32)]) -> (usize, i32) {
        let (mut domains, mut least) = (0, i32::MAX);
        for (domain, nodes) in self.nodes.iter().enumerate() {
            if *nodes > 0 {
                domains += 1;
                least = least.min(self.pods(domain));
            }
        }
        // What changes few domains is looked at apart, so that the loop above stays cheap.
        if !more.is_empty() && domains > 0 {
            let all = self.nodes.iter().enumerate().filter(|(_, nodes)| **nodes > 0);
            least = all
                .map(|(domain, _)| self.pods(domain) + sum(more, domain))
                .min()
                .unwrap_or(0);
        }
        (domains, if domains == 0 { 0 } else { least })
    }

    /// Domains with something in them, for comparing.
    #[cfg(test)]
    pub fn by_value(&self, topology: &Topology) -> std::collections::BTreeMap<String, (i32, u32)> {
        let nodes = |domain: usize| self.nodes.get(domain).copied().unwrap_or(0);
        topology
            .domain_by_value
            .iter()
            .map(|(value, domain)| (value.to_string(), *domain as usize))
            .map(|(value, domain)| (value, (self.pods(domain), nodes(domain))))
            .filter(|(_, counts)| *counts != (0, 0))
            .collect()
    }
}

fn grow<T: Clone + Default>(numbers: &mut Vec<T>, index: usize) {
    if index >= numbers.len() {
        numbers.resize(index + 1, T::default());
    }
}

fn sum(more: &[(usize, i32)], domain: usize) -> i32 {
    more.iter()
        .filter(|(other, _)| *other == domain)
        .map(|(_, pods)| pods)
        .sum()
}

/// Counts by domain as one decision sees them: the shared ones, and what a thought experiment changes.
#[derive(Clone, Debug)]
pub struct Tally {
    pub topology: Arc<Topology>,
    pub counts: Arc<DomainCounts>,
    changes: Vec<(usize, i32)>,
}

impl Tally {
    pub fn new(topology: Arc<Topology>, counts: Arc<DomainCounts>) -> Tally {
        Tally {
            topology,
            counts,
            changes: Vec::new(),
        }
    }

    /// How many there are in the domain of a node; `None` for a node in no domain.
    pub fn at(&self, slot: u32) -> Option<i32> {
        let domain = self.topology.domain_of(slot)?;
        let pods = self.counts.pods(domain);
        Some(match self.changes.is_empty() {
            true => pods,
            false => pods + sum(&self.changes, domain),
        })
    }

    /// How many domains there are, and the least that one of them has.
    pub fn least(&self) -> (usize, i32) {
        self.counts.least(&self.changes)
    }

    pub fn total(&self) -> i64 {
        let changed: i64 = self.changes.iter().map(|(_, pods)| i64::from(*pods)).sum();
        self.counts.total() + changed
    }

    /// Supposes so many more, or fewer, at a node.
    pub fn suppose(&mut self, slot: u32, pods: i32) {
        if let Some(domain) = self.topology.domain_of(slot) {
            self.changes.push((domain, pods));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_counted_in_the_domain_of_their_node() {
        let mut topology = Topology::new("zone".into());
        let zone = |value: &str| -> Labels { [("zone".to_string(), value.to_string())].into() };
        for (slot, labels) in [(0, zone("a")), (1, zone("b")), (2, Labels::new())] {
            topology.set_node(slot, Some(&labels));
        }
        let mut counts = DomainCounts::default();
        for slot in 0..2 {
            let domain = topology.domain_of(slot).unwrap();
            counts.add_node(domain);
            counts.add_pods(domain, 3 - i32::try_from(slot).unwrap());
        }
        let mut tally = Tally::new(Arc::new(topology), Arc::new(counts));
        assert_eq!([tally.at(0), tally.at(1), tally.at(2)], [Some(3), Some(2), None]);
        assert_eq!((tally.least(), tally.total()), ((2, 2), 5));
        tally.suppose(0, -2);
        tally.suppose(2, 7);
        assert_eq!((tally.at(0), tally.least(), tally.total()), (Some(1), (2, 1), 3));
    }
}
