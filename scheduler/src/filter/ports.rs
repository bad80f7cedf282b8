//! A port of a node is taken by one pod (plugins/nodeports).

use super::{Filter, RESOLVABLE, Reason, Remedy, Wanted};
use crate::pods::HostPort;
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;

pub const FILTER: Filter = Filter {
    plugin: Plugin::NodePorts,
    concerns: |wanted| !wanted.info.takes.host_ports.is_empty(),
    check: |wanted, node| match taken(wanted, node) {
        Some(_) => RESOLVABLE,
        None => None,
    },
    words: |wanted, node, say| {
        if taken(wanted, node).is_some() {
            say(TEXT);
        }
    },
    explain,
};

const TEXT: &str = "node(s) didn't have free ports for the requested pod ports";

fn taken<'a>(wanted: &'a Wanted, node: &NodeInfo) -> Option<&'a HostPort> {
    let mut ports = wanted.info.takes.host_ports.iter();
    ports.find(|port| node.host_ports.iter().any(|other| other.collides(port)))
}

fn explain(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    let Some(taken) = taken(wanted, node) else {
        return Vec::new();
    };
    vec![Reason {
        text: TEXT.into(),
        detail: format!("host port {}/{} is taken", taken.port, taken.protocol),
        remedy: Remedy::FreePort { port: taken.port },
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_collide_by_protocol_and_address() {
        let port = |protocol: &str, port: i32, address: &str| HostPort {
            protocol: protocol.into(),
            port,
            address: address.into(),
        };
        // The rows are those of HostPortInfo's own test.
        for (a, b, collide) in [
            (port("TCP", 80, "127.0.0.1"), port("TCP", 80, "127.0.0.1"), true),
            (port("TCP", 80, "127.0.0.1"), port("TCP", 80, "127.0.0.2"), false),
            (port("TCP", 80, "127.0.0.1"), port("UDP", 80, "127.0.0.1"), false),
            (port("TCP", 80, "127.0.0.1"), port("TCP", 81, "127.0.0.1"), false),
            (port("TCP", 80, ""), port("TCP", 80, "127.0.0.1"), true),
            (port("TCP", 80, "127.0.0.1"), port("TCP", 80, ""), true),
        ] {
            assert_eq!(
                (a.collides(&b), b.collides(&a)),
                (collide, collide),
                "{a:?} {b:?}"
            );
        }
    }
}
