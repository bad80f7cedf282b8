//! What the kernel should hold, as a function of the topology and the node.
//!
//! The frame is a handful of chains that never change. Everything that does change is an [`Item`]: an element
//! of a map or a set, or a Service port's chain, which holds one rule. There is no chain per endpoint.

use crate::service::{Policy, Protocol};
use crate::topology::{BLOCK_SIZE, Placed, Topology};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

/// What matters of the node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The nftables table that is ours.
    pub table: String,
    /// The addresses of all pods. Connections to a Service from elsewhere are masqueraded, so that replies
    /// come back through this node.
    pub cluster_cidr: Option<Cidr>,
    /// Whether packets between two ports of a bridge pass netfilter. Where they do not, a reply between two
    /// pods of this node would miss its translation, so such connections are masqueraded too.
    pub bridge_is_filtered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: Ipv4Addr,
    pub length: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    pub node: Node,
    pub items: Items,
}

pub type Items = BTreeMap<Item, Value>;

/// Something that is in the kernel or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A Service port's chain.
    Chain(Arc<str>),
    /// A map of places to endpoints, by its number: see [`map_of`].
    EndpointMap(Protocol, u32),
    /// The place of an endpoint.
    Endpoint(Protocol, u32),
    /// A Service's address and port.
    Service(Ipv4Addr, Protocol, u16),
    NodePort(Protocol, u16),
    /// Packets to it that no Service port has taken are refused.
    ClusterIp(Ipv4Addr),
    /// An endpoint on this node, which may reach itself through a Service.
    LocalEndpoint(Ipv4Addr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Rule(Rule),
    Goto(Arc<str>),
    Target(Ipv4Addr, u16),
    Member,
}

/// The one rule of a Service port's chain: pick a place, go to the endpoint that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub protocol: Protocol,
    pub policy: Policy,
    /// How many endpoints; at least 1.
    pub count: u32,
    pub first_place: u32,
}

/// Everything the kernel should hold.
pub fn ruleset(topology: &Topology, node: &Node) -> Ruleset {
    let mut claims: HashMap<Item, (u64, Value)> = HashMap::new();
    for (_, placed) in topology.services() {
        for (item, value) in items(placed) {
            let claim = (placed.order, value);
            let first = claims.entry(item).or_insert_with(|| claim.clone());
            if claim.0 < first.0 {
                *first = claim;
            }
        }
    }
    let items = claims
        .into_iter()
        .map(|(item, (_, value))| (item, value))
        .collect();
    Ruleset {
        node: node.clone(),
        items,
    }
}

/// The number of the map that holds a place.
///
/// One map for all would do, but the kernel looks at all elements of a map when a rule comes that uses it, and
/// at all rules when an element comes: a full load of 10,000 Services would take 6 seconds.
pub fn map_of(place: u32) -> u32 {
    const BLOCKS_PER_MAP: u32 = 64;
    place / (BLOCK_SIZE * BLOCKS_PER_MAP)
}

/// One Service's share.
pub fn items(placed: &Placed) -> Items {
    let mut items = Items::new();
    items.extend(
        placed
            .cluster_ips
            .iter()
            .map(|ip| (Item::ClusterIp(*ip), Value::Member)),
    );
    for port in placed.ports.iter().filter(|port| !port.endpoints.is_empty()) {
        let first_place = port.block * BLOCK_SIZE;
        let count = u32::try_from(port.endpoints.len()).unwrap_or(BLOCK_SIZE);
        let rule = Rule {
            protocol: port.protocol,
            policy: placed.policy,
            count,
            first_place,
        };
        items.insert(Item::Chain(port.chain.clone()), Value::Rule(rule));
        items.insert(
            Item::EndpointMap(port.protocol, map_of(first_place)),
            Value::Member,
        );
        let goto = Value::Goto(port.chain.clone());
        for ip in placed.cluster_ips.iter().chain(&placed.external_ips) {
            items.insert(Item::Service(*ip, port.protocol, port.number), goto.clone());
        }
        if let Some(node_port) = port.node_port {
            items.insert(Item::NodePort(port.protocol, node_port), goto);
        }
        for (place, endpoint) in (first_place..).zip(&port.endpoints) {
            items.insert(
                Item::Endpoint(port.protocol, place),
                Value::Target(endpoint.address, endpoint.port),
            );
            if endpoint.local {
                items.insert(Item::LocalEndpoint(endpoint.address), Value::Member);
            }
        }
    }
    items
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            let length = length.parse().ok().filter(|length| *length <= 32)?;
            Some(Cidr {
                address: address.parse().ok()?,
                length,
            })
        };
        parse().ok_or_else(|| format!("{text:?} is not an IPv4 CIDR, such as 10.244.0.0/16"))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}
