//! Taints that say what a node's conditions say.

use super::ready;
use crate::action::{Action, Target};
use gantry_proto::core::v1::{Node, Taint};
use gantry_proto::meta::v1::Time;
use serde_json::json;
use std::time::SystemTime;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// Conditions other than Ready, their bad value and their taint.
const BY_CONDITION: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Brings the taints that this controller keeps in step; `None` when they are. Others are left as they are.
pub fn in_step(node: &Node, evictions: Evictions, now: SystemTime) -> Option<Action> {
    let present = &node.spec().taints;
    let desired = desired(node, evictions);
    let is_kept =
        |taint: &Taint| !is_ours(taint) || desired.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut taints: Vec<Taint> = present.iter().filter(|taint| is_kept(taint)).cloned().collect();
    for (key, effect) in desired {
        if !taints
            .iter()
            .any(|taint| taint.key == key && taint.effect == effect)
        {
            taints.push(Taint {
                key: key.into(),
                effect: effect.into(),
                value: String::new(),
                // From here the pods' tolerationSeconds count.
                time_added: Some(Time::from_system(now)),
            });
        }
    }
    if taints == *present {
        return None;
    }
    Some(Action::Patch {
        target: Target::of(node),
        subresource: None,
        patch: json!({
            "metadata": {"uid": node.metadata().uid, "resourceVersion": node.metadata().resource_version},
            "spec": {"taints": taints},
        }),
        says: None,
    })
}

fn desired(node: &Node, evictions: Evictions) -> Vec<(&'static str, &'static str)> {
    let mut desired = Vec::new();
    let key = match ready(node).map(|condition| condition.status.as_str()) {
        Some("True") => None,
        Some("Unknown") => Some(UNREACHABLE),
        // A node that has not reported yet takes no pods either.
        Some(_) | None => Some(NOT_READY),
    };
    if let Some(key) = key {
        desired.push((key, NO_SCHEDULE));
        let is_present = node
            .spec()
            .taints
            .iter()
            .any(|taint| taint.effect == NO_EXECUTE && is_not_ready_taint(taint));
        let evicts = match evictions {
            Evictions::Allowed => true,
            Evictions::Held => is_present,
            Evictions::Lifted => false,
        };
        if ready(node).is_some() && evicts {
            desired.push((key, NO_EXECUTE));
        }
    }
    for (kind, key) in BY_CONDITION {
        let mut conditions = node.status().conditions.iter();
        if conditions.any(|condition| condition.r#type == kind && condition.status == "True") {
            desired.push((key, NO_SCHEDULE));
        }
    }
    if node.spec().unschedulable {
        desired.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    desired
}

fn is_not_ready_taint(taint: &Taint) -> bool {
    taint.key == NOT_READY || taint.key == UNREACHABLE
}

fn is_ours(taint: &Taint) -> bool {
    is_not_ready_taint(taint)
        || taint.effect == NO_SCHEDULE
            && (taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, key)| taint.key == *key))
}

/// Whether pods may be evicted from nodes that are not ready. When all nodes are gone, or most of them, it is
/// more likely that we are cut off; evicting would help nobody (Kubernetes' zone states).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evictions {
    Allowed,
    /// Partial disruption of a cluster of up to 50 nodes: no new ones.
    Held,
    /// Full disruption: not even those that have begun. Nodes are found silent one after the other, and the first were
    /// taken for lost before it showed that all are.
    Lifted,
}

pub fn evictions<'a>(nodes: impl Iterator<Item = &'a Node>) -> Evictions {
    const UNHEALTHY_PERCENT: usize = 55;
    const LARGE_CLUSTER: usize = 50;
    let (mut total, mut unready) = (0, 0);
    for node in nodes {
        total += 1;
        unready += usize::from(ready(node).is_none_or(|condition| condition.status != "True"));
    }
    let most = unready > 2 && unready * 100 >= total * UNHEALTHY_PERCENT && total <= LARGE_CLUSTER;
    match (unready == total, most) {
        (true, _) => Evictions::Lifted,
        (false, true) => Evictions::Held,
        (false, false) => Evictions::Allowed,
    }
}
