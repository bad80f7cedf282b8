//! A pod's node selector: every label must be there.

use super::{Reason, Remedy, Wanted};
use crate::snapshot::NodeInfo;

pub fn filter(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    let missing: Vec<String> = wanted
        .spec
        .node_selector
        .iter()
        .filter(|(key, value)| node.labels.get(*key) != Some(value))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let labels = missing.join(",");
    vec![Reason {
        text: "node(s) didn't match Pod's node affinity/selector".into(),
        detail: format!("the node lacks {labels}"),
        remedy: Remedy::Label { labels },
    }]
}
