//! Routes to the pods of other nodes, by way of those nodes.

use crate::network::{Range, v4};
use anyhow::Context as _;
use futures::TryStreamExt as _;
use gantry_proto::core::v1::Node;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Marks our routes in the kernel (rtnetlink(7) leaves the upper numbers to administrators), so that ours and
/// only ours are removed.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(0x67);

/// The gateway of each range.
pub type Routes = BTreeMap<Range, Ipv4Addr>;

/// The routes that this node should have, from all nodes.
pub fn wanted<'a>(own_name: &str, own_ip: Ipv4Addr, nodes: impl IntoIterator<Item = &'a Node>) -> Routes {
    nodes
        .into_iter()
        .filter(|node| node.metadata().name != own_name)
        .filter_map(|node| Some((Range::parse(&node.spec().pod_cidr)?, internal_ip(node)?)))
        .filter(|(_, gateway)| *gateway != own_ip)
        .collect()
}

fn internal_ip(node: &Node) -> Option<Ipv4Addr> {
    let address = node
        .status()
        .addresses
        .iter()
        .find(|address| address.r#type == "InternalIP")?;
    v4(address.address.parse().ok()?)
}

/// What to remove and what to add, so that `present` becomes `wanted`.
pub fn difference(present: &Routes, wanted: &Routes) -> (Routes, Routes) {
    let without = |a: &Routes, b: &Routes| {
        a.iter()
            .filter(|(k, v)| b.get(k) != Some(v))
            .map(|(k, v)| (*k, *v))
            .collect()
    };
    (without(present, wanted), without(wanted, present))
}

/// The kernel's table.
pub struct Table {
    handle: Handle,
}

impl Table {
    pub fn open() -> anyhow::Result<Table> {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening a netlink socket")?;
        tokio::spawn(connection);
        Ok(Table { handle })
    }

    /// Our routes.
    pub async fn present(&self) -> anyhow::Result<Routes> {
        let all = self
            .handle
            .route()
            .get(RouteMessageBuilder::<Ipv4Addr>::new().build())
            .execute();
        let all: Vec<RouteMessage> = all.try_collect().await.context("listing routes")?;
        Ok(all
            .iter()
            .filter(|route| route.header.protocol == PROTOCOL)
            .filter_map(read)
            .collect())
    }

    /// Returns whether anything had to change.
    pub async fn make(&self, wanted: &Routes) -> anyhow::Result<bool> {
        let present = self.present().await?;
        let (removed, added) = difference(&present, wanted);
        for (range, gateway) in &removed {
            let delete = self.handle.route().del(message(*range, *gateway)).execute().await;
            delete.with_context(|| format!("removing the route to {range} via {gateway}"))?;
        }
        for (range, gateway) in &added {
            let add = self
                .handle
                .route()
                .add(message(*range, *gateway))
                .replace()
                .execute()
                .await;
            add.with_context(|| format!("adding the route to {range} via {gateway}"))?;
        }
        Ok(!removed.is_empty() || !added.is_empty())
    }

    /// Removes a link such as our bridge; it need not be there.
    pub async fn remove_link(&self, name: &str) -> anyhow::Result<()> {
        let found = self
            .handle
            .link()
            .get()
            .match_name(name.to_string())
            .execute()
            .try_next()
            .await;
        if let Ok(Some(link)) = found {
            self.handle
                .link()
                .del(link.header.index)
                .execute()
                .await
                .with_context(|| format!("removing {name}"))?;
        }
        Ok(())
    }
}

fn message(range: Range, gateway: Ipv4Addr) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(range.address, range.prefix)
        .gateway(gateway)
        .protocol(PROTOCOL)
        .build()
}

fn read(route: &RouteMessage) -> Option<(Range, Ipv4Addr)> {
    let (mut destination, mut gateway) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(*address),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            _ => {}
        }
    }
    Some((
        Range {
            address: destination?,
            prefix: route.header.destination_prefix_length,
        },
        gateway?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, ip: &str, range: &str) -> Node {
        let value = serde_json::json!({"metadata": {"name": name}, "spec": {"podCIDR": range},
            "status": {"addresses": [{"type": "InternalIP", "address": ip}]}});
        gantry_proto::json::decode_value::<Node>(&value).unwrap().object
    }

    #[test]
    fn other_nodes_that_have_a_range_and_an_address_are_routed_to() {
        let nodes = [
            node("own", "192.0.2.1", "10.244.0.0/24"),
            node("b", "192.0.2.2", "10.244.1.0/24"),
            node("new", "192.0.2.3", ""),
            node("broken", "nowhere", "10.244.3.0/24"),
            node("same machine", "192.0.2.1", "10.244.4.0/24"),
        ];
        let routes = wanted("own", "192.0.2.1".parse().unwrap(), &nodes);
        let expected = [(
            Range::parse("10.244.1.0/24").unwrap(),
            "192.0.2.2".parse().unwrap(),
        )];
        assert_eq!(routes, expected.into());
    }

    #[test]
    fn a_node_that_moved_loses_its_old_route_first() {
        let routes = |list: &[(&str, &str)]| -> Routes {
            list.iter()
                .map(|(range, via)| (Range::parse(range).unwrap(), via.parse().unwrap()))
                .collect()
        };
        let present = routes(&[
            ("10.1.0.0/24", "1.1.1.1"),
            ("10.2.0.0/24", "1.1.1.2"),
            ("10.3.0.0/24", "1.1.1.3"),
        ]);
        let wanted = routes(&[
            ("10.1.0.0/24", "1.1.1.1"),
            ("10.2.0.0/24", "1.1.1.9"),
            ("10.4.0.0/24", "1.1.1.4"),
        ]);
        let removed = routes(&[("10.2.0.0/24", "1.1.1.2"), ("10.3.0.0/24", "1.1.1.3")]);
        let added = routes(&[("10.2.0.0/24", "1.1.1.9"), ("10.4.0.0/24", "1.1.1.4")]);
        assert_eq!(difference(&present, &wanted), (removed, added));
    }
}
