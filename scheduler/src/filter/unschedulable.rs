//! A cordoned node takes only pods that tolerate it.

use super::{Reason, Remedy, Wanted, tolerates};
use crate::snapshot::NodeInfo;
use gantry_proto::core::v1::Taint;

const TAINT: &str = "node.kubernetes.io/unschedulable";

pub fn filter(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    let taint = Taint {
        key: TAINT.into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    if !node.unschedulable
        || wanted
            .spec
            .tolerations
            .iter()
            .any(|toleration| tolerates(toleration, &taint))
    {
        return Vec::new();
    }
    vec![Reason {
        text: "node(s) were unschedulable".into(),
        detail: "the node is cordoned".into(),
        remedy: Remedy::Uncordon,
    }]
}
