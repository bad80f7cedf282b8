//! A cordoned node takes only pods that tolerate it (plugins/nodeunschedulable).

use super::{Filter, Reason, Remedy, UNRESOLVABLE, Wanted, tolerates};
use crate::profile::Plugin;
use crate::snapshot::NodeInfo;
use gantry_proto::core::v1::{Taint, Toleration};

pub const FILTER: Filter = Filter {
    plugin: Plugin::NodeUnschedulable,
    concerns: |_| true,
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

const TEXT: &str = "node(s) were unschedulable";
const TAINT: &str = "node.kubernetes.io/unschedulable";

fn refuses(wanted: &Wanted, node: &NodeInfo) -> bool {
    node.unschedulable && !tolerates_cordon(&wanted.spec.tolerations)
}

/// Whether a pod goes to cordoned nodes too.
pub fn tolerates_cordon(tolerations: &[Toleration]) -> bool {
    let taint = Taint {
        key: TAINT.into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    tolerations.iter().any(|toleration| tolerates(toleration, &taint))
}

fn explain(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    if !refuses(wanted, node) {
        return Vec::new();
    }
    vec![Reason {
        text: TEXT.into(),
        detail: "the node is cordoned".into(),
        remedy: Remedy::Uncordon,
    }]
}
