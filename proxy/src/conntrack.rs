//! Connections without an end of their own, which the kernel would go on sending where they went before.
//!
//! A UDP sender that keeps its port keeps its connection tracking entry, and with it the endpoint, for as long
//! as it sends. TCP needs nothing: its connections end, and those under way should reach their endpoint.

use crate::service::Protocol;
use crate::topology::{Placed, Replaced};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What UDP senders send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// `None` for a node port, which any address of the node has.
    pub address: Option<Ipv4Addr>,
    pub port: u16,
}

/// Where flows may go on to. All others to the same frontend are to be forgotten: those to endpoints that left,
/// and those that began before there was an endpoint or a Service and go to the frontend's own address.
pub type EndpointsByFrontend = BTreeMap<Frontend, BTreeSet<Ipv4Addr>>;

/// The frontends to which flows may have become stale.
pub fn changed_frontends(replaced: &Replaced) -> EndpointsByFrontend {
    let old = replaced.old.as_ref().map(frontends).unwrap_or_default();
    let mut changed = replaced.new.as_ref().map(frontends).unwrap_or_default();
    for (frontend, endpoints) in &old {
        let now = changed.entry(*frontend).or_default();
        // A Service that only gains endpoints has no flows elsewhere.
        if !endpoints.is_empty() && endpoints.is_subset(now) {
            changed.remove(frontend);
        }
    }
    changed
}

/// One Service's UDP frontends, each with its endpoints.
pub fn frontends(placed: &Placed) -> EndpointsByFrontend {
    let mut frontends = EndpointsByFrontend::new();
    for port in placed.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
        let endpoints: BTreeSet<Ipv4Addr> = port.endpoints.iter().map(|endpoint| endpoint.address).collect();
        let addresses = placed.cluster_ips.iter().chain(&placed.external_ips);
        let own = addresses.map(|address| Frontend {
            address: Some(*address),
            port: port.number,
        });
        let node_port = port.node_port.map(|port| Frontend { address: None, port });
        frontends.extend(own.chain(node_port).map(|frontend| (frontend, endpoints.clone())));
    }
    frontends
}

/// Makes the kernel forget stale flows. Failing is logged: the rules are right, and the flows end some day.
pub async fn forget_stale(endpoints_by_frontend: EndpointsByFrontend) {
    if endpoints_by_frontend.is_empty() {
        return;
    }
    let outcome = tokio::task::spawn_blocking(move || netlink::forget_stale(&endpoints_by_frontend)).await;
    match outcome {
        Ok(Ok(0)) => {}
        Ok(Ok(count)) => tracing::debug!(count, "UDP flows to endpoints that left are forgotten"),
        Ok(Err(error)) => tracing::warn!(%error, "UDP flows to endpoints that left may go on"),
        Err(error) => tracing::error!(%error, "forgetting UDP flows failed"),
    }
}

mod netlink;

#[cfg(test)]
mod tests;
