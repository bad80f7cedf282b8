use super::*;
use crate::service::{Endpoint, Port, ServiceView};
use crate::topology::Topology;
use gantry_proto::Key;

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

fn view(protocol: Protocol, pods: &[u8]) -> ServiceView {
    let endpoint = |last: &u8| Endpoint {
        address: [10, 0, 0, *last].into(),
        port: 53,
        local: false,
    };
    ServiceView {
        cluster_ips: vec![SERVICE],
        ports: vec![Port {
            name: String::new(),
            protocol,
            number: 53,
            node_port: Some(30053),
            endpoints: pods.iter().map(endpoint).collect(),
        }],
        ..ServiceView::default()
    }
}

#[test]
fn flows_are_looked_at_when_endpoints_left_or_the_first_ones_came() {
    let check_for =
        |protocols: &[Protocol], old: Option<&[u8]>, new: Option<&[u8]>, expected: Option<&[u8]>| {
            for &protocol in protocols {
                let (mut topology, key) = (Topology::default(), Key::new("default", "dns"));
                topology.replace(&key, old.map(|pods| view(protocol, pods)).as_ref());
                let replaced = topology.replace(&key, new.map(|pods| view(protocol, pods)).as_ref());
                let endpoints = expected.map(|pods| {
                    let pods = pods.iter().map(|last| Ipv4Addr::new(10, 0, 0, *last));
                    pods.collect::<BTreeSet<_>>()
                });
                let frontends = [(Some(SERVICE), 53), (None, 30053)];
                let frontends = frontends.map(|(address, port)| Frontend {
                    protocol,
                    address,
                    port,
                });
                let expected: EndpointsByFrontend = endpoints
                    .into_iter()
                    .flat_map(|endpoints| frontends.map(|frontend| (frontend, endpoints.clone())))
                    .collect();
                assert_eq!(
                    changed_frontends(&replaced),
                    expected,
                    "{protocol} {old:?} {new:?}"
                );
            }
        };
    let check = |old, new, expected| check_for(&[Protocol::Udp, Protocol::Tcp], old, new, expected);
    check(Some(&[1, 2]), Some(&[2, 3]), Some(&[2, 3]));
    check(Some(&[1, 2]), Some(&[]), Some(&[]));
    check(Some(&[1]), None, Some(&[]));
    check(Some(&[1]), Some(&[1, 2]), None);
    check(Some(&[1]), Some(&[1]), None);
    check_for(&[Protocol::Udp], Some(&[]), Some(&[2]), Some(&[2]));
    check_for(&[Protocol::Tcp], Some(&[]), Some(&[2]), None);
    // A sender may have been there before the Service was.
    check_for(&[Protocol::Udp], None, Some(&[1]), Some(&[1]));
    check_for(&[Protocol::Tcp], None, Some(&[1]), None);
    check_for(&[Protocol::Sctp], Some(&[1]), None, None);
}
