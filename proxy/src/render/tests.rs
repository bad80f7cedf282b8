use super::*;
use crate::ledger::Ledger;
use crate::ruleset::ruleset;
use crate::service::{Endpoint, Port, Protocol, ServiceView};
use crate::topology::Topology;
use expect_test::{Expect, expect};
use gantry_proto::Key;
use std::net::Ipv4Addr;

fn node() -> Node {
    let cluster_cidr = "10.244.0.0/16".parse().ok();
    Node {
        table: "gantry".to_owned(),
        cluster_cidr,
        bridge_is_filtered: true,
    }
}

fn view(pods: &[u8]) -> ServiceView {
    let endpoint = |last: &u8| Endpoint {
        address: [10, 244, 1, *last].into(),
        port: 8080,
        local: *last == 1,
    };
    ServiceView {
        cluster_ips: vec![Ipv4Addr::new(10, 96, 0, 10)],
        ports: vec![Port {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            number: 80,
            node_port: Some(30080),
            endpoints: pods.iter().map(endpoint).collect(),
        }],
        ..ServiceView::default()
    }
}

/// The transaction from the first state to the second.
fn check(old: Option<ServiceView>, new: Option<ServiceView>, expected: Expect) {
    let (mut topology, mut ledger, key) =
        (Topology::default(), Ledger::default(), Key::new("default", "web"));
    ledger.replace(&topology.replace(&key, old.as_ref()), &mut Changes::default());
    let mut changes = Changes::default();
    ledger.replace(&topology.replace(&key, new.as_ref()), &mut changes);
    expected.assert_eq(&transaction(&node(), &changes));
}

#[test]
fn a_transaction_names_only_what_changes() {
    check(
        None,
        Some(view(&[1, 2])),
        expect![[r#"
            add map ip gantry endpoints_tcp_0 { typeof numgen inc mod 2 : ip daddr . tcp dport; }
            add chain ip gantry svc/default/web/tcp/80
            add rule ip gantry svc/default/web/tcp/80 meta l4proto tcp dnat ip to numgen inc mod 2 offset 0 map @endpoints_tcp_0
            add element ip gantry services { 10.96.0.10 . tcp . 80 : goto svc/default/web/tcp/80 }
            add element ip gantry node_ports { tcp . 30080 : goto svc/default/web/tcp/80 }
            add element ip gantry endpoints_tcp_0 { 0 : 10.244.1.1 . 8080, 1 : 10.244.1.2 . 8080 }
            add element ip gantry cluster_ips { 10.96.0.10 }
            add element ip gantry local_endpoints { 10.244.1.1 . 10.244.1.1 }
        "#]],
    );
    check(
        Some(view(&[2, 3, 4])),
        Some(view(&[2, 4, 5])),
        expect![[r#"
            delete element ip gantry endpoints_tcp_0 { 1 }
            add element ip gantry endpoints_tcp_0 { 1 : 10.244.1.5 . 8080 }
        "#]],
    );
    check(
        Some(view(&[2, 3])),
        Some(view(&[2, 3, 4])),
        expect![[r#"
            flush chain ip gantry svc/default/web/tcp/80
            add rule ip gantry svc/default/web/tcp/80 meta l4proto tcp dnat ip to numgen inc mod 3 offset 0 map @endpoints_tcp_0
            add element ip gantry endpoints_tcp_0 { 2 : 10.244.1.4 . 8080 }
        "#]],
    );
    check(
        Some(view(&[2])),
        Some(view(&[])),
        expect![[r#"
            delete element ip gantry services { 10.96.0.10 . tcp . 80 }
            delete element ip gantry node_ports { tcp . 30080 }
            delete element ip gantry endpoints_tcp_0 { 0 }
            flush chain ip gantry svc/default/web/tcp/80
            delete chain ip gantry svc/default/web/tcp/80
            delete map ip gantry endpoints_tcp_0
        "#]],
    );
    check(
        Some(view(&[])),
        None,
        expect![[r#"
            delete element ip gantry cluster_ips { 10.96.0.10 }
        "#]],
    );
    check(
        Some(view(&[2])),
        Some(ServiceView {
            policy: Policy::Random,
            ..view(&[2])
        }),
        expect![[r#"
            flush chain ip gantry svc/default/web/tcp/80
            add rule ip gantry svc/default/web/tcp/80 meta l4proto tcp dnat ip to numgen random mod 1 offset 0 map @endpoints_tcp_0
        "#]],
    );
    check(Some(view(&[2])), Some(view(&[2])), expect![[""]]);
}

#[test]
fn a_full_load_replaces_the_table() {
    let mut topology = Topology::default();
    topology.replace(&Key::new("default", "web"), Some(&view(&[2])));
    let expected = expect![[r#"
        add table ip gantry
        delete table ip gantry
        table ip gantry {
          comment "Gantry: Services on this node"
          map services {
            type ipv4_addr . inet_proto . inet_service : verdict
            comment "Service address and port : where its rule is"
          }
          map node_ports {
            type inet_proto . inet_service : verdict
            comment "node port : where its Service's rule is"
          }
          set cluster_ips {
            type ipv4_addr
            comment "what no Service port has taken is refused"
          }
          set local_endpoints {
            type ipv4_addr . ipv4_addr
            comment "may be reached from this node's pods through a Service"
          }
          chain prerouting {
            type nat hook prerouting priority -100; policy accept;
            jump find_service
          }
          chain output {
            type nat hook output priority -100; policy accept;
            jump find_service
          }
          chain find_service {
            ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
            ip daddr . meta l4proto . th dport vmap @services
            meta mark set meta mark | 0x4000
            fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @node_ports
            meta mark set meta mark & 0xffffbfff
          }
          chain postrouting {
            type nat hook postrouting priority 100; policy accept;
            meta mark & 0x4000 == 0x4000 meta mark set meta mark & 0xffffbfff masquerade fully-random
            ct status dnat ip saddr . ip daddr @local_endpoints masquerade fully-random
          }
          chain refuse_forwarded {
            type filter hook forward priority 0; policy accept;
            ct state invalid drop
            ct state new ip daddr @cluster_ips goto refuse
          }
          chain refuse_own {
            type filter hook output priority 0; policy accept;
            ct state new ip daddr @cluster_ips goto refuse
          }
          chain refuse {
            meta l4proto tcp reject with tcp reset
            reject with icmp port-unreachable
          }
          chain touched {
            comment "always empty: flushing it tells whether the table is there"
          }
        }
        add map ip gantry endpoints_tcp_0 { typeof numgen inc mod 2 : ip daddr . tcp dport; }
        add chain ip gantry svc/default/web/tcp/80
        add rule ip gantry svc/default/web/tcp/80 meta l4proto tcp dnat ip to numgen inc mod 1 offset 0 map @endpoints_tcp_0
        add element ip gantry services { 10.96.0.10 . tcp . 80 : goto svc/default/web/tcp/80 }
        add element ip gantry node_ports { tcp . 30080 : goto svc/default/web/tcp/80 }
        add element ip gantry endpoints_tcp_0 { 0 : 10.244.1.2 . 8080 }
        add element ip gantry cluster_ips { 10.96.0.10 }
    "#]];
    expected.assert_eq(&load(&ruleset(&topology, &node())));
}

#[test]
fn without_bridge_filtering_connections_between_pods_of_the_node_are_masqueraded() {
    let text = frame(&Node {
        bridge_is_filtered: false,
        ..node()
    });
    let rule = "ct status dnat ip saddr 10.244.0.0/16 ip daddr @local_endpoints masquerade fully-random\n";
    assert!(text.contains(rule), "{text}");
}
