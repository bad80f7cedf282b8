use super::*;
use crate::service::{Endpoint, Port, ServiceView};
use crate::topology::Topology;
use gantry_proto::Key;

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

fn flows(protocol: Protocol, old: &[u8], new: &[u8]) -> Vec<StaleFlow> {
    let view = |pods: &[u8]| ServiceView {
        cluster_ips: vec![SERVICE],
        ports: vec![Port {
            name: String::new(),
            protocol,
            number: 53,
            node_port: Some(30053),
            endpoints: pods
                .iter()
                .map(|last| Endpoint {
                    address: pod(*last),
                    port: 53,
                    local: false,
                })
                .collect(),
        }],
        ..ServiceView::default()
    };
    let mut topology = Topology::default();
    let key = Key::new("default", "dns");
    topology.replace(&key, Some(&view(old)));
    stale_flows(&topology.replace(&key, Some(&view(new))))
}

fn pod(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn both(endpoint: Option<Ipv4Addr>) -> Vec<StaleFlow> {
    vec![
        StaleFlow {
            destination: Some(SERVICE),
            port: 53,
            endpoint,
        },
        StaleFlow {
            destination: None,
            port: 30053,
            endpoint,
        },
    ]
}

#[test]
fn only_udp_flows_to_endpoints_that_left_or_to_none_are_stale() {
    assert_eq!(flows(Protocol::Udp, &[1, 2], &[2, 3]), both(Some(pod(1))));
    assert_eq!(flows(Protocol::Udp, &[], &[2]), both(None));
    assert_eq!(flows(Protocol::Udp, &[1], &[1, 2]), []);
    assert_eq!(flows(Protocol::Tcp, &[1, 2], &[2]), []);
}
