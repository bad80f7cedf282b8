//! Connections without an end of their own, which the kernel would go on sending where they went before.
//!
//! A UDP sender that keeps its port keeps its connection tracking entry, and with it the endpoint, for as long
//! as it sends. TCP needs nothing: its connections end, and those under way should reach their endpoint.

use crate::service::Protocol;
use crate::topology::{PlacedPort, Replaced};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// UDP flows to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleFlow {
    /// Where the sender sends to; `None` for a node port, which any address of the node has.
    pub destination: Option<Ipv4Addr>,
    pub port: u16,
    /// Where the packets go. `None`: where they were sent to, because the port had no endpoint.
    pub endpoint: Option<Ipv4Addr>,
}

/// Flows to endpoints that left, and flows that began before there was an endpoint.
pub fn stale_flows(replaced: &Replaced) -> Vec<StaleFlow> {
    let Some(old) = &replaced.old else {
        return Vec::new();
    };
    let mut flows = Vec::new();
    for port in old.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
        let new = replaced
            .new
            .iter()
            .flat_map(|new| &new.ports)
            .find(|new| new.chain == port.chain);
        let remaining = new.map(addresses).unwrap_or_default();
        let left = addresses(port)
            .into_iter()
            .filter(|address| !remaining.contains(address))
            .map(Some);
        let began_early = (port.endpoints.is_empty() && !remaining.is_empty()).then_some(None);
        for endpoint in left.chain(began_early) {
            let services = old.cluster_ips.iter().chain(&old.external_ips);
            flows.extend(services.map(|ip| StaleFlow {
                destination: Some(*ip),
                port: port.number,
                endpoint,
            }));
            flows.extend(port.node_port.map(|port| StaleFlow {
                destination: None,
                port,
                endpoint,
            }));
        }
    }
    flows
}

fn addresses(port: &PlacedPort) -> BTreeSet<Ipv4Addr> {
    port.endpoints.iter().map(|endpoint| endpoint.address).collect()
}

/// Makes the kernel forget the flows. Failing is logged: the rules are right, and the flows end some day.
pub async fn forget(flows: Vec<StaleFlow>) {
    if flows.is_empty() {
        return;
    }
    let outcome = tokio::task::spawn_blocking(move || netlink::forget(&flows)).await;
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
