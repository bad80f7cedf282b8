//! A port of a node is taken by one pod.

use super::{Reason, Remedy, Wanted};
use crate::snapshot::NodeInfo;

pub fn filter(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    let Some(taken) = wanted
        .takes
        .host_ports
        .iter()
        .find(|port| node.has_port_conflict(port))
    else {
        return Vec::new();
    };
    vec![Reason {
        text: "node(s) didn't have free ports for the requested pod ports".into(),
        detail: format!("host port {}/{} is taken", taken.port, taken.protocol),
        remedy: Remedy::FreePort { port: taken.port },
    }]
}
