use super::*;
use crate::ruleset::{Node, ruleset};
use crate::service::{Endpoint, Policy, Port, Protocol, ServiceView};
use crate::topology::Topology;
use gantry_proto::Key;
use proptest::prelude::*;
use std::net::Ipv4Addr;

/// The kernel, as far as changes are concerned: it refuses what starts from another state.
fn apply(kernel: &mut Items, changes: &Changes) -> Result<(), String> {
    for (item, change) in &changes.by_item {
        if kernel.get(item) != change.old.as_ref() {
            return Err(format!(
                "{item:?}: {change:?}, but the kernel holds {:?}",
                kernel.get(item)
            ));
        }
        match &change.new {
            Some(value) => drop(kernel.insert(item.clone(), value.clone())),
            None => drop(kernel.remove(item)),
        }
    }
    Ok(())
}

/// Few names, addresses and ports, so that Services collide in all of them.
fn views() -> impl Strategy<Value = Option<ServiceView>> {
    let endpoint = (0_u8..4, any::<bool>());
    let endpoint = endpoint.prop_map(|(last, local)| Endpoint {
        address: [10, 0, 0, last].into(),
        port: 80,
        local,
    });
    let port = (
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)],
        1_u16..3,
        proptest::option::of(1_u16..3),
        proptest::collection::btree_set(endpoint, 0..4),
    );
    let port = port.prop_map(|(protocol, number, node_port, endpoints)| Port {
        name: String::new(),
        protocol,
        number,
        node_port,
        endpoints,
    });
    let ports = proptest::collection::vec(port, 0..3);
    let policy = prop_oneof![Just(Policy::RoundRobin), Just(Policy::Random)];
    let view = (proptest::collection::vec(0_u8..3, 0..2), policy, ports);
    proptest::option::of(view.prop_map(|(ips, policy, ports)| {
        ServiceView {
            cluster_ips: ips
                .into_iter()
                .map(|last| Ipv4Addr::new(10, 96, 0, last))
                .collect(),
            policy,
            ports,
            ..ServiceView::default()
        }
    }))
}

proptest! {
    #[test]
    fn applying_changes_leads_to_the_ruleset_however_they_are_batched(
        rounds in proptest::collection::vec(proptest::collection::vec((0_u8..4, views()), 1..4), 1..12),
    ) {
        let node = Node { table: "gantry".to_owned(), cluster_cidr: None, bridge_is_filtered: true };
        let (mut topology, mut ledger, mut kernel) = (Topology::default(), Ledger::default(), Items::new());
        for round in rounds {
            let before = ruleset(&topology, &node).items;
            let mut changes = Changes::default();
            for (name, view) in round {
                let replaced = topology.replace(&Key::new("default", name.to_string()), view.as_ref());
                ledger.replace(&replaced, &mut changes);
            }
            let after = ruleset(&topology, &node).items;
            prop_assert_eq!(&changes, &Changes::between(&before, &after));
            apply(&mut kernel, &changes).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&kernel, &after);
        }
    }
}

#[test]
fn one_endpoint_in_the_place_of_another_changes_one_element() {
    let view = |pods: &[u8]| ServiceView {
        cluster_ips: vec![Ipv4Addr::new(10, 96, 0, 1)],
        ports: vec![Port {
            name: String::new(),
            protocol: Protocol::Tcp,
            number: 80,
            node_port: None,
            endpoints: pods
                .iter()
                .map(|last| Endpoint {
                    address: Ipv4Addr::new(10, 0, 0, *last),
                    port: 80,
                    local: false,
                })
                .collect(),
        }],
        ..ServiceView::default()
    };
    let (mut topology, mut ledger) = (Topology::default(), Ledger::default());
    let key = Key::new("default", "web");
    ledger.replace(
        &topology.replace(&key, Some(&view(&[1, 2, 3]))),
        &mut Changes::default(),
    );
    let mut changes = Changes::default();
    ledger.replace(&topology.replace(&key, Some(&view(&[2, 3, 4]))), &mut changes);
    assert_eq!(
        changes.by_item.keys().collect::<Vec<_>>(),
        [&Item::Endpoint(Protocol::Tcp, 0)]
    );
}

#[test]
fn a_service_that_came_later_never_takes_an_address_from_one_that_has_it() {
    let shared = Ipv4Addr::new(192, 0, 2, 1);
    let mut topology = Topology::default();
    let mut place = |name: &str, present: bool| {
        let view = present.then(|| ServiceView {
            cluster_ips: vec![shared],
            ..ServiceView::default()
        });
        topology.replace(&Key::new("default", name), view.as_ref());
        let orders = topology
            .services()
            .map(|(key, placed)| (placed.order, key.name.clone()));
        orders.min().map(|(_, name)| name)
    };
    place("a", true);
    place("b", true);
    assert_eq!(place("a", false).as_deref(), Some("b"));
    assert_eq!(place("a", true).as_deref(), Some("b"), "a is a new Service");
}
