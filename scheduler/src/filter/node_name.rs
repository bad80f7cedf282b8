//! A pod that names its node in advance fits only that one.

use super::{Reason, Remedy, Wanted};
use crate::snapshot::NodeInfo;

pub fn filter(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    let name = &wanted.spec.node_name;
    if name.is_empty() || *name == node.name {
        return Vec::new();
    }
    vec![Reason {
        text: "node(s) didn't match the requested node name".into(),
        detail: format!("the pod asks for node {name}"),
        remedy: Remedy::None,
    }]
}
