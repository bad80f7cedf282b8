//! What the rules mean for a packet: real nft, a real bridge with pods on it, real connections.
//!
//! Needs root, nftables and iproute2.

mod network;

use gantry_proto::Key;
use gantry_proxy::ledger::{Changes, Ledger};
use gantry_proxy::ruleset::{Node, ruleset};
use gantry_proxy::service::{Endpoint, Policy, Port, Protocol, ServiceView};
use gantry_proxy::topology::Topology;
use gantry_proxy::{conntrack, nft, render};
use network::{Namespace, Network, POD_PORT};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const WEB: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 11);
const NODE_PORT: u16 = 30080;
/// A refusal comes at once; whoever gives up waiting takes seconds.
const AT_ONCE: Duration = Duration::from_millis(900);

/// A node whose rules a test changes.
struct Proxy {
    network: Network,
    node: Node,
    topology: Topology,
    ledger: Ledger,
}

impl Proxy {
    fn new(bridge_is_filtered: bool) -> Proxy {
        let network = Network::new(bridge_is_filtered);
        let cluster_cidr = "10.244.0.0/16".parse().ok();
        let node = Node {
            table: "gantry".to_owned(),
            cluster_cidr,
            bridge_is_filtered,
        };
        let proxy = Proxy {
            network,
            node,
            topology: Topology::default(),
            ledger: Ledger::default(),
        };
        proxy.run(render::load(&ruleset(&proxy.topology, &proxy.node)));
        proxy
    }

    /// Programs a change of one Service as the proxy does.
    fn set(&mut self, name: &str, view: Option<&ServiceView>) {
        let replaced = self.topology.replace(&Key::new("default", name), view);
        let mut changes = Changes::default();
        self.ledger.replace(&replaced, &mut changes);
        self.run(render::transaction(&self.node, &changes));
        let frontends = conntrack::changed_frontends(&replaced);
        self.network
            .node
            .run(move || network::block_on(conntrack::forget_stale(frontends)));
    }

    fn run(&self, text: String) {
        let outcome = self.network.node.run(move || network::block_on(nft::run(&text)));
        outcome.unwrap_or_else(|error| panic!("{error}"));
    }

    /// The pods that `count` connections reach, from `namespace` or from the node itself.
    fn reached(&self, from: &Namespace, to: Ipv4Addr, count: usize) -> Vec<String> {
        (0..count).map(|_| self.ask(from, to, 80).unwrap().0).collect()
    }

    /// The pod that answers, and the client's address as it sees it.
    fn ask(&self, from: &Namespace, to: Ipv4Addr, port: u16) -> std::io::Result<(String, Ipv4Addr)> {
        from.run(move || network::ask_by_tcp((to, port)))
    }

    fn refused(&self, from: &Namespace, to: Ipv4Addr, port: u16) {
        let started = Instant::now();
        let error = self.ask(from, to, port).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
        assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    }
}

fn view(ip: Ipv4Addr, pods: &[usize]) -> ServiceView {
    let port = port(Protocol::Tcp, pods);
    ServiceView {
        cluster_ips: vec![ip],
        ports: vec![port],
        ..ServiceView::default()
    }
}

fn port(protocol: Protocol, pods: &[usize]) -> Port {
    let endpoint = |pod: &usize| Endpoint {
        address: Network::pod_address(*pod),
        port: POD_PORT,
        local: true,
    };
    let endpoints = pods.iter().map(endpoint).collect();
    Port {
        name: String::new(),
        protocol,
        number: 80,
        node_port: Some(NODE_PORT),
        endpoints,
    }
}

fn in_turn(reached: &[String], pods: usize) {
    let distinct: BTreeSet<_> = reached[..pods].iter().collect();
    assert_eq!(distinct.len(), pods, "{reached:?}");
    assert!(
        reached
            .iter()
            .zip(&reached[pods..])
            .all(|(one, next)| one == next),
        "{reached:?}"
    );
}

#[test]
fn endpoints_answer_in_turn_from_the_node_and_from_a_pod_and_services_keep_their_own_turn() {
    let mut proxy = Proxy::new(true);
    proxy.set("web", Some(&view(WEB, &[0, 1, 2])));
    proxy.set("other", Some(&view(OTHER, &[0, 1])));
    in_turn(&proxy.reached(&proxy.network.node, WEB, 9), 3);
    in_turn(&proxy.reached(&proxy.network.pods[0], WEB, 9), 3);
    let mixed: Vec<_> = (0..6)
        .map(|_| {
            (
                proxy.reached(&proxy.network.node, WEB, 1),
                proxy.reached(&proxy.network.node, OTHER, 1),
            )
        })
        .collect();
    let (web, other): (Vec<_>, Vec<_>) = mixed.into_iter().unzip();
    in_turn(&web.concat(), 3);
    in_turn(&other.concat(), 2);
}

#[test]
fn changes_reach_the_kernel_one_by_one_and_nothing_is_left_in_the_end() {
    let mut proxy = Proxy::new(true);
    for pods in [&[0][..], &[0, 1], &[1, 2], &[0, 1, 2], &[2], &[], &[1]] {
        proxy.set("web", Some(&view(WEB, pods)));
        if pods.is_empty() {
            proxy.refused(&proxy.network.node, WEB, 80);
            continue;
        }
        let reached: BTreeSet<_> = proxy
            .reached(&proxy.network.node, WEB, pods.len())
            .into_iter()
            .collect();
        let expected: BTreeSet<_> = pods.iter().map(|pod| Network::pod_name(*pod)).collect();
        assert_eq!(reached, expected);
    }
    proxy.set("web", None);
    let left = proxy
        .network
        .node
        .run(|| network::output("nft", &["list", "table", "ip", "gantry"]));
    assert!(!left.contains("svc/") && !left.contains("elements"), "{left}");
    proxy.run(render::unload("gantry"));
    let left = proxy
        .network
        .node
        .run(|| network::output("nft", &["list", "ruleset"]));
    assert_eq!(left, "");
}

#[test]
fn a_service_without_endpoints_and_a_port_that_no_service_has_refuse_at_once() {
    let mut proxy = Proxy::new(true);
    proxy.set("web", Some(&view(WEB, &[])));
    proxy.set("other", Some(&view(OTHER, &[0])));
    for from in [&proxy.network.node, &proxy.network.pods[0]] {
        proxy.refused(from, WEB, 80);
        proxy.refused(from, OTHER, 81);
        assert_eq!(proxy.reached(from, OTHER, 1), ["pod-0"]);
    }
    // The node's own sender is told EPERM before its packet exists.
    let udp = proxy.network.pods[0].run(|| network::ask_by_udp((WEB, 80), None));
    assert_eq!(udp.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_packet_that_connection_tracking_calls_invalid_is_answered_by_no_reset() {
    let mut proxy = Proxy::new(true);
    proxy.set("web", Some(&view(WEB, &[1])));
    let from = Network::pod_address(0);
    let segments = [
        (1000, (WEB, 80), network::SYN_AND_FIN),
        (1001, (WEB, 81), network::SYN),
    ];
    let reset = proxy.network.pods[0].run(move || network::resets(from, &segments));
    assert_eq!(reset, [1001], "only the port that no Service has");
}

#[test]
fn a_table_that_somebody_removed_is_noticed() {
    let proxy = Proxy::new(true);
    let touched = || {
        let touch = || network::block_on(nft::run(&render::touch("gantry")));
        proxy.network.node.run(touch).is_ok()
    };
    assert!(touched());
    proxy.run("flush ruleset".to_owned());
    assert!(!touched());
}

#[test]
fn a_node_port_answers_outside_clients_through_the_node() {
    let mut proxy = Proxy::new(true);
    proxy.set("web", Some(&view(WEB, &[0, 1])));
    let client = &proxy.network.client;
    let (_, source) = proxy.ask(client, Network::NODE, NODE_PORT).unwrap();
    assert_eq!(
        source,
        Network::GATEWAY,
        "a reply must come back through the node"
    );
    assert!(
        proxy
            .ask(&proxy.network.pods[0], Network::NODE, NODE_PORT)
            .is_ok()
    );
    proxy.refused(client, Network::NODE, NODE_PORT + 1);
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    for bridge_is_filtered in [true, false] {
        let mut proxy = Proxy::new(bridge_is_filtered);
        proxy.set("web", Some(&view(WEB, &[0])));
        assert_eq!(proxy.reached(&proxy.network.pods[0], WEB, 2), ["pod-0", "pod-0"]);
    }
}

#[test]
fn pods_of_one_node_reach_each_other_whether_bridges_are_filtered_or_not() {
    for (bridge_is_filtered, source) in [(true, Network::pod_address(0)), (false, Network::GATEWAY)] {
        let mut proxy = Proxy::new(bridge_is_filtered);
        proxy.set("web", Some(&view(WEB, &[1])));
        let seen = proxy.ask(&proxy.network.pods[0], WEB, 80).unwrap();
        assert_eq!(
            seen,
            ("pod-1".to_owned(), source),
            "filtered: {bridge_is_filtered}"
        );
    }
}

#[test]
fn random_reaches_every_endpoint_and_client_address_always_the_same() {
    let mut proxy = Proxy::new(true);
    proxy.set(
        "web",
        Some(&ServiceView {
            policy: Policy::Random,
            ..view(WEB, &[0, 1])
        }),
    );
    proxy.set(
        "other",
        Some(&ServiceView {
            policy: Policy::ClientAddress,
            ..view(OTHER, &[0, 1, 2])
        }),
    );
    // That one of two is never chosen in 64 tries has a chance of 2^-63.
    let reached: BTreeSet<_> = proxy.reached(&proxy.network.node, WEB, 64).into_iter().collect();
    assert_eq!(reached.len(), 2);
    for from in &proxy.network.pods {
        let reached: BTreeSet<_> = proxy.reached(from, OTHER, 8).into_iter().collect();
        assert_eq!(reached.len(), 1);
    }
}

#[test]
fn a_udp_sender_that_keeps_its_port_follows_its_service_to_another_endpoint() {
    let mut proxy = Proxy::new(true);
    let service = |pods: &[usize]| ServiceView {
        cluster_ips: vec![WEB],
        ports: vec![port(Protocol::Udp, pods)],
        ..ServiceView::default()
    };
    let ask = |proxy: &Proxy| {
        proxy
            .network
            .client
            .run(|| network::ask_by_udp((Network::NODE, NODE_PORT), Some(4000)))
    };
    // The sender is there before the Service.
    assert_eq!(ask(&proxy).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    proxy.set("web", Some(&service(&[])));
    assert_eq!(ask(&proxy).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    for pod in [0, 1] {
        proxy.set("web", Some(&service(&[pod])));
        assert_eq!(ask(&proxy).unwrap(), Network::pod_name(pod));
    }
}

#[test]
fn a_connection_that_a_dead_endpoint_does_not_answer_goes_to_another_once_that_one_left() {
    let mut proxy = Proxy::new(true);
    proxy.network.pods[1].run(network::answer_nothing);
    proxy.set("web", Some(&view(WEB, &[1])));
    // The client's address and port do not change: its repeated attempts are the same flow.
    let asking = proxy
        .network
        .node
        .run(|| std::thread::spawn(|| network::ask_by_tcp((WEB, 80))));
    let started = Instant::now();
    while proxy.network.pods[1].run(network::packets_not_answered) == 0 {
        assert!(
            started.elapsed() < network::PATIENCE,
            "nothing came to the endpoint"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    proxy.set("web", Some(&view(WEB, &[0])));
    let (pod, _) = asking.join().unwrap().unwrap();
    assert_eq!(pod, Network::pod_name(0));
}
