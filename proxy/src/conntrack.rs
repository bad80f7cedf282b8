//! Flows that the kernel would go on sending where they went before, though nothing is there any more.
//!
//! A UDP sender that keeps its port keeps its connection tracking entry, and with it the endpoint, for as long
//! as it sends. A TCP connection that was answered ends by itself, and should reach its endpoint until then. One that
//! a dead endpoint never answered is tracked for two minutes: its client's repeated attempts go there, and so does a
//! new connection that happens to get its port.

use crate::service::Protocol;
use crate::topology::{Placed, Replaced};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What clients send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    pub protocol: Protocol,
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
    // A TCP connection to a frontend without endpoints was refused, and so there is none.
    let had_endpoints =
        |frontend: &Frontend| old.get(frontend).is_some_and(|endpoints| !endpoints.is_empty());
    changed.retain(|frontend, _| frontend.protocol != Protocol::Tcp || had_endpoints(frontend));
    changed
}

/// One Service's UDP and TCP frontends, each with its endpoints.
pub fn frontends(placed: &Placed) -> EndpointsByFrontend {
    let mut frontends = EndpointsByFrontend::new();
    let tracked = [Protocol::Udp, Protocol::Tcp];
    for port in placed
        .ports
        .iter()
        .filter(|port| tracked.contains(&port.protocol))
    {
        let protocol = port.protocol;
        let endpoints: BTreeSet<Ipv4Addr> = port.endpoints.iter().map(|endpoint| endpoint.address).collect();
        let addresses = placed.cluster_ips.iter().chain(&placed.external_ips);
        let own = addresses.map(|address| Frontend {
            protocol,
            address: Some(*address),
            port: port.number,
        });
        let node_port = port.node_port.map(|port| Frontend {
            protocol,
            address: None,
            port,
        });
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
        Ok(Ok(count)) => tracing::debug!(count, "flows to endpoints that left are forgotten"),
        Ok(Err(error)) => tracing::warn!(%error, "flows to endpoints that left may go on"),
        Err(error) => tracing::error!(%error, "forgetting flows failed"),
    }
}

mod netlink;

#[cfg(test)]
mod tests;
