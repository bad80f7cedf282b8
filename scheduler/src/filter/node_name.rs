//! A pod that names its node in advance fits only that one (plugins/nodename).

use super::{Filter, Reason, Remedy, UNRESOLVABLE, Wanted};
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;

pub const FILTER: Filter = Filter {
    plugin: Plugin::NodeName,
    concerns: |wanted| !wanted.spec.node_name.is_empty(),
    check: |wanted, node| {
        if refuses(wanted, node) { UNRESOLVABLE } else { None }
    },
    words: |wanted, node, say| {
        if refuses(wanted, node) {
            say(TEXT);
        }
    },
    explain,
};

const TEXT: &str = "node(s) didn't match the requested node name";

fn refuses(wanted: &Wanted, node: &NodeInfo) -> bool {
    wanted.spec.node_name != *node.name
}

fn explain(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    if !refuses(wanted, node) {
        return Vec::new();
    }
    vec![Reason {
        text: TEXT.into(),
        detail: format!("the pod asks for node {}", wanted.spec.node_name),
        remedy: Remedy::None,
    }]
}
