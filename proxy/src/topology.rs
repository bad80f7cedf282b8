//! All Services as the node sees them, each endpoint at a place that stays its own.
//!
//! A rule picks a number below the count of a port's endpoints and looks the endpoint up at that place of the
//! port's block. Places are kept across changes, so that one endpoint replaced by another is one map element
//! replaced, and neither the rule nor its turn is touched.

use crate::service::{Endpoint, Policy, Port, Protocol, ServiceView};
use gantry_proto::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Places of one port, a power of two. Kubernetes is tested to 5,000 pods in one Service.
pub const BLOCK_SIZE: u32 = 1 << 14;
/// Ports that can have a block: places are 32-bit numbers.
pub const BLOCKS: u32 = 1 << (32 - 14);

#[derive(Clone, Debug, Default)]
pub struct Topology {
    services: BTreeMap<Key, Placed>,
    blocks: Numbers,
    next_order: u64,
}

/// A Service with a cluster address, with its endpoints at their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Which of two Services that claim the same address or port came first: the lower number.
    pub order: u64,
    pub cluster_ips: Vec<Ipv4Addr>,
    pub external_ips: Vec<Ipv4Addr>,
    pub policy: Policy,
    pub ports: Vec<PlacedPort>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedPort {
    /// Also the nftables chain's name: `svc/<namespace>/<name>/<protocol>/<number>`.
    pub chain: Arc<str>,
    pub protocol: Protocol,
    pub number: u16,
    pub node_port: Option<u16>,
    /// The first place is `block * BLOCK_SIZE`.
    pub block: u32,
    pub endpoints: Vec<Endpoint>,
}

/// What [`Topology::replace`] did to one Service.
#[derive(Clone, Debug, Default)]
pub struct Replaced {
    pub old: Option<Placed>,
    pub new: Option<Placed>,
    /// Ports or endpoints beyond what fits; they are not served.
    pub dropped: usize,
}

impl Topology {
    /// Puts a Service's present state in the place of its former one; `None` for one that is gone.
    pub fn replace(&mut self, key: &Key, view: Option<&ServiceView>) -> Replaced {
        let old = self.services.remove(key);
        let served = view.filter(|view| !view.cluster_ips.is_empty());
        let mut dropped = 0;
        let new = served.map(|view| self.place(key, view, old.as_ref(), &mut dropped));
        self.release(old.as_ref(), new.as_ref());
        if let Some(new) = &new {
            self.services.insert(key.clone(), new.clone());
        }
        Replaced { old, new, dropped }
    }

    pub fn services(&self) -> impl Iterator<Item = (&Key, &Placed)> {
        self.services.iter()
    }

    fn place(&mut self, key: &Key, view: &ServiceView, old: Option<&Placed>, dropped: &mut usize) -> Placed {
        let order = old.map_or(self.next_order, |old| old.order);
        self.next_order = self.next_order.max(order + 1);
        let mut ports: Vec<PlacedPort> = Vec::with_capacity(view.ports.len());
        for port in &view.ports {
            let chain = chain(key, port);
            if ports.iter().any(|port| port.chain == chain) {
                continue;
            }
            let former = old.and_then(|old| old.ports.iter().find(|former| former.chain == chain));
            let Some(block) = former.map(|port| port.block).or_else(|| self.blocks.take(BLOCKS)) else {
                *dropped += 1;
                continue;
            };
            let mut endpoints = arrange(former.map_or(&[][..], |port| &port.endpoints), &port.endpoints);
            *dropped += endpoints.len().saturating_sub(BLOCK_SIZE as usize);
            endpoints.truncate(BLOCK_SIZE as usize);
            let (protocol, number, node_port) = (port.protocol, port.number, port.node_port);
            ports.push(PlacedPort {
                chain,
                protocol,
                number,
                node_port,
                block,
                endpoints,
            });
        }
        let (cluster_ips, external_ips) = (view.cluster_ips.clone(), view.external_ips.clone());
        Placed {
            order,
            cluster_ips,
            external_ips,
            policy: view.policy,
            ports,
        }
    }

    fn release(&mut self, old: Option<&Placed>, new: Option<&Placed>) {
        let Some(old) = old else { return };
        let kept: BTreeSet<u32> = new
            .iter()
            .flat_map(|new| &new.ports)
            .map(|port| port.block)
            .collect();
        for port in old.ports.iter().filter(|port| !kept.contains(&port.block)) {
            self.blocks.give_back(port.block);
        }
    }
}

fn chain(key: &Key, port: &Port) -> Arc<str> {
    format!(
        "svc/{}/{}/{}/{}",
        key.namespace, key.name, port.protocol, port.number
    )
    .into()
}

/// Keeps every endpoint that stays at its place as far as it can: newcomers fill the holes, and what is left
/// of the holes is filled from the end.
fn arrange(old: &[Endpoint], wanted: &BTreeSet<Endpoint>) -> Vec<Endpoint> {
    let stayed: BTreeSet<Endpoint> = old
        .iter()
        .copied()
        .filter(|endpoint| wanted.contains(endpoint))
        .collect();
    let mut newcomers = wanted.difference(&stayed).copied();
    let mut places: Vec<Option<Endpoint>> = old
        .iter()
        .map(|endpoint| {
            if stayed.contains(endpoint) {
                Some(*endpoint)
            } else {
                newcomers.next()
            }
        })
        .collect();
    places.extend(newcomers.map(Some));
    let mut arranged = Vec::with_capacity(wanted.len());
    let mut end = places.len();
    for place in 0..wanted.len() {
        let here = places.get_mut(place).and_then(Option::take);
        arranged.extend(here.or_else(|| {
            places[..end]
                .iter_mut()
                .enumerate()
                .rev()
                .find_map(|(last, endpoint)| {
                    let endpoint = endpoint.take()?;
                    end = last;
                    Some(endpoint)
                })
        }));
    }
    arranged
}

/// Hands out the lowest free number.
#[derive(Clone, Debug, Default)]
struct Numbers {
    next: u32,
    free: BTreeSet<u32>,
}

impl Numbers {
    fn take(&mut self, limit: u32) -> Option<u32> {
        if let Some(number) = self.free.pop_first() {
            return Some(number);
        }
        (self.next < limit).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn give_back(&mut self, number: u32) {
        self.free.insert(number);
    }
}

#[cfg(test)]
mod tests;
