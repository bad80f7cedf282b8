//! Pod address ranges: each node gets a part of the cluster's range, and no two nodes the same.

pub mod controller;

use crate::action::{Action, Says, Target, reference_to};
use gantry_proto::core::v1::Node;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The cluster's range and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    cluster: Cidr,
    node_mask_size: u8,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RangesError {
    #[error("a node's mask size of {node} must be from the cluster's {cluster} to 30")]
    MaskSize { node: u8, cluster: u8 },
}

impl Ranges {
    pub fn new(cluster: Cidr, node_mask_size: u8) -> Result<Ranges, RangesError> {
        // No node gets more than a former class A network.
        if !(cluster.prefix_length.max(8)..=30).contains(&node_mask_size) {
            return Err(RangesError::MaskSize {
                node: node_mask_size,
                cluster: cluster.prefix_length,
            });
        }
        Ok(Ranges {
            cluster,
            node_mask_size,
        })
    }

    fn count(&self) -> u32 {
        1 << (self.node_mask_size - self.cluster.prefix_length)
    }

    fn at(&self, index: u32) -> Cidr {
        let first = u32::from(self.cluster.address) + (index << (32 - self.node_mask_size));
        Cidr {
            address: first.into(),
            prefix_length: self.node_mask_size,
        }
    }

    /// The indexes that a range which some node has overlaps.
    fn indexes_of(&self, range: Cidr) -> Option<RangeInclusive<u32>> {
        let shift = 32 - self.node_mask_size;
        let base = u32::from(self.cluster.address);
        let first = u32::from(range.address).max(base);
        let last = range.last().min(self.cluster.last());
        // One that lies outside of the cluster's range overlaps none.
        (first <= last).then(|| (first - base) >> shift..=(last - base) >> shift)
    }
}

/// An IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    address: Ipv4Addr,
    prefix_length: u8,
}

impl Cidr {
    fn last(&self) -> u32 {
        u32::from(self.address) | u32::MAX.checked_shr(u32::from(self.prefix_length)).unwrap_or(0)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an IPv4 range such as 10.244.0.0/16")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    /// Bits behind the prefix are dropped.
    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let error = || CidrError(text.into());
        let (address, prefix_length) = text.split_once('/').ok_or_else(error)?;
        let address: Ipv4Addr = address.parse().map_err(|_| error())?;
        let prefix_length: u8 = prefix_length.parse().map_err(|_| error())?;
        let mask = match prefix_length {
            0 => 0,
            1..=32 => u32::MAX << (32 - prefix_length),
            _ => return Err(error()),
        };
        Ok(Cidr {
            address: (u32::from(address) & mask).into(),
            prefix_length,
        })
    }
}

/// What has been given out, by the node's uid, whether or not the reply to the write came back: a write that
/// lands late must not find its range with another node.
pub type Given = BTreeMap<String, Cidr>;

/// Ranges for the nodes that have none. The one decision over all nodes, so that no two are decided apart.
pub fn allocate(nodes: &[&Node], ranges: &Ranges, given: &Given) -> Vec<(Target, Option<Cidr>)> {
    let mut used: BTreeSet<u32> = BTreeSet::new();
    for node in nodes {
        let spec = node.spec();
        let present = spec
            .pod_cidrs
            .iter()
            .chain([&spec.pod_cidr])
            .filter_map(|cidr| cidr.parse().ok());
        let promised = given.get(&node.metadata().uid).copied();
        for cidr in present.chain(promised) {
            used.extend(ranges.indexes_of(cidr).into_iter().flatten());
        }
    }
    // The range after the highest, and only then gaps: that of a node which was removed a moment ago may still
    // be in somebody's routes.
    let mut next = used.last().map_or(0, |highest| highest + 1);
    let mut allocations = Vec::new();
    for node in nodes {
        let lacks = node.spec().pod_cidr.is_empty() && node.metadata().deletion_timestamp.is_none();
        if !lacks {
            continue;
        }
        if let Some(promised) = given.get(&node.metadata().uid) {
            allocations.push((Target::of(*node), Some(*promised)));
            continue;
        }
        let count = ranges.count();
        let free = (next..count)
            .chain(0..next.min(count))
            .find(|index| !used.contains(index));
        used.extend(free);
        next = free.map_or(next, |free| free + 1);
        allocations.push((Target::of(*node), free.map(|free| ranges.at(free))));
    }
    allocations
}

pub fn reconcile(nodes: &[&Node], ranges: &Ranges, given: &Given) -> Vec<Action> {
    let write = |(target, cidr): (Target, Option<Cidr>)| {
        let node = nodes.iter().find(|node| node.metadata().uid == target.uid)?;
        let Some(cidr) = cidr else {
            let says = Says {
                about: reference_to(*node),
                warning: false,
                reason: "CIDRNotAvailable",
                message: format!("Node {} status is now: CIDRNotAvailable", target.key.name),
                on_failure: None,
            };
            return Some(Action::Tell { says });
        };
        Some(Action::Patch {
            target,
            subresource: None,
            // Conditional, because a podCIDR that is there must never be replaced.
            patch: json!({
                "metadata": {"uid": node.metadata().uid, "resourceVersion": node.metadata().resource_version},
                "spec": {"podCIDR": cidr.to_string(), "podCIDRs": [cidr.to_string()]},
            }),
            says: None,
        })
    };
    allocate(nodes, ranges, given)
        .into_iter()
        .filter_map(write)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, cidr: &str) -> Node {
        let mut node = Node::default();
        node.metadata_mut().name = name.into();
        node.metadata_mut().uid = format!("uid-{name}");
        node.spec_mut().pod_cidr = cidr.into();
        node
    }

    fn ranges(cluster: &str, size: u8) -> Ranges {
        Ranges::new(cluster.parse().unwrap(), size).unwrap()
    }

    fn check(nodes: &[(&str, &str)], given: &[(&str, &str)], ranges: Ranges, expected: &[(&str, &str)]) {
        let nodes: Vec<Node> = nodes.iter().map(|(name, cidr)| node(name, cidr)).collect();
        let given = given
            .iter()
            .map(|(uid, cidr)| (uid.to_string(), cidr.parse().unwrap()))
            .collect();
        let allocated = allocate(&nodes.iter().collect::<Vec<_>>(), &ranges, &given);
        let allocated: Vec<(String, String)> = allocated
            .into_iter()
            .map(|(target, cidr)| {
                (
                    target.key.name,
                    cidr.map_or("none".into(), |cidr| cidr.to_string()),
                )
            })
            .collect();
        let allocated: Vec<(&str, &str)> = allocated.iter().map(|(name, cidr)| (&**name, &**cidr)).collect();
        assert_eq!(allocated, expected);
    }

    #[test]
    fn no_two_nodes_get_the_same_range() {
        let r = ranges("10.244.0.0/16", 24);
        check(
            &[("a", ""), ("b", "")],
            &[],
            r,
            &[("a", "10.244.0.0/24"), ("b", "10.244.1.0/24")],
        );
        check(
            &[("a", "10.244.0.0/24"), ("b", "")],
            &[],
            r,
            &[("b", "10.244.1.0/24")],
        );
        // A gap is filled only when nothing is left behind the highest.
        check(
            &[("a", "10.244.7.0/24"), ("b", "")],
            &[],
            r,
            &[("b", "10.244.8.0/24")],
        );
        check(
            &[("a", "10.244.255.0/24"), ("b", "")],
            &[],
            r,
            &[("b", "10.244.0.0/24")],
        );
        // A larger range that somebody wrote by hand is respected as a whole.
        check(
            &[("a", "10.244.0.0/22"), ("b", "")],
            &[],
            r,
            &[("b", "10.244.4.0/24")],
        );
        check(
            &[("a", "192.168.0.0/24"), ("b", "")],
            &[],
            r,
            &[("b", "10.244.0.0/24")],
        );
        check(&[("a", "nonsense"), ("b", "")], &[], r, &[("b", "10.244.0.0/24")]);
    }

    #[test]
    fn a_range_whose_write_is_in_doubt_stays_with_its_node() {
        let r = ranges("10.244.0.0/16", 24);
        let given = [("uid-b", "10.244.0.0/24")];
        check(
            &[("a", ""), ("b", "")],
            &given,
            r,
            &[("a", "10.244.1.0/24"), ("b", "10.244.0.0/24")],
        );
    }

    #[test]
    fn a_cluster_without_room_says_so() {
        let r = ranges("10.0.0.0/23", 24);
        let full = [("a", "10.0.0.0/24"), ("b", "10.0.1.0/24"), ("c", "")];
        check(&full, &[], r, &[("c", "none")]);
    }

    #[test]
    fn ranges_are_parsed_at_the_edge() {
        assert_eq!(
            "10.244.3.4/16".parse::<Cidr>().unwrap().to_string(),
            "10.244.0.0/16"
        );
        assert_eq!("0.0.0.0/0".parse::<Cidr>().unwrap().last(), u32::MAX);
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/8", "10.0.0/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        let cluster: Cidr = "10.244.0.0/16".parse().unwrap();
        assert!(Ranges::new(cluster, 15).is_err() && Ranges::new(cluster, 31).is_err());
    }
}
