//! Node lifecycle: a node that has gone silent is said to be, its pods stop being ready, and taints tell the
//! rest of the cluster.
//!
//! ```text
//!  Ready=True --(silent for the grace period)--> Ready=Unknown --> taint unreachable --> pods not ready
//!      ^                                             |                                  (pod_eviction evicts)
//!      `------------(the node agent reports)---------'
//! ```
//!
//! That a node is lost, not ready, or ready again is nobody's wish: each begins a trace, in which the taints, the
//! evictions and the pods' replacement follow.

pub mod controller;
pub mod heartbeats;
mod taints;

use crate::action::{Action, Says, Target, reference_to};
use crate::pod_facts;
use gantry_proto::core::v1::{Node, NodeCondition, Pod};
use gantry_proto::meta::v1::Time;
use serde_json::json;
use std::time::{Duration, SystemTime};

pub use taints::{Evictions, NOT_READY, UNREACHABLE, evictions};

/// A node that has never reported gets longer, as in Kubernetes: it may still be starting.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// What begins a trace.
pub const NODE_LOST: &str = "node.lost";
pub const NODE_NOT_READY: &str = "node.not_ready";
pub const NODE_READY: &str = "node.ready";
/// Reported together with Ready, and as unknown as it once the node is silent.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// All that a decision about one Node looks at.
pub struct View<'a> {
    pub node: &'a Node,
    /// The pods on it.
    pub pods: Vec<&'a Pod>,
    /// For how long this process, able to see, has seen no sign of life.
    pub silence: Duration,
    pub grace: Duration,
    pub evictions: Evictions,
    pub now: SystemTime,
}

pub fn reconcile(view: &View) -> Vec<Action> {
    let node = view.node;
    if node.metadata().deletion_timestamp.is_some() {
        return Vec::new();
    }
    let grace = match ready(node) {
        Some(_) => view.grace,
        None => view.grace.max(STARTUP_GRACE),
    };
    // One write to the node in a round: conditions first, taints follow from them.
    let mut actions = Vec::new();
    if view.silence > grace
        && let Some(silenced) = silence(view)
    {
        let is_news = ready(node).is_none_or(|condition| condition.status != "Unknown");
        actions.extend(is_news.then_some(Action::Begin { what: NODE_LOST }));
        actions.push(silenced);
    } else if let Some(tainted) = taints::in_step(node, view.evictions, view.now) {
        actions.extend(begin(node));
        actions.push(tainted);
    }
    if ready(node).is_some_and(|condition| condition.status == "Unknown") {
        actions.extend(
            view.pods
                .iter()
                .filter(|pod| pod_facts::is_ready(pod))
                .map(|pod| not_ready(pod, view.now)),
        );
    }
    if view.silence <= grace {
        actions.push(Action::CheckAfter(
            grace - view.silence + Duration::from_millis(1),
        ));
    }
    actions
}

/// What a node's own word begins: its agent's reports have no trace. A silent node's taints continue the trace in which
/// this controller said that it is silent.
fn begin(node: &Node) -> Option<Action> {
    let told = ready(node)?.status.as_str();
    let is_tainted = |key: &str| node.spec().taints.iter().any(|taint| taint.key == key);
    let what = match told {
        "True" if is_tainted(NOT_READY) || is_tainted(UNREACHABLE) => NODE_READY,
        "False" if !is_tainted(NOT_READY) => NODE_NOT_READY,
        _ => return None,
    };
    Some(Action::Begin { what })
}

pub fn ready(node: &Node) -> Option<&NodeCondition> {
    node.status()
        .conditions
        .iter()
        .find(|condition| condition.r#type == "Ready")
}

/// Every condition that the node agent keeps becomes Unknown; `None` when all are.
fn silence(view: &View) -> Option<Action> {
    let node = view.node;
    let now = Time::from_system(view.now);
    let mut conditions = node.status().conditions.clone();
    for kind in CONDITIONS {
        match conditions.iter_mut().find(|condition| condition.r#type == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".into();
                condition.reason = "NodeStatusUnknown".into();
                condition.message = "Kubelet stopped posting node status.".into();
                condition.last_transition_time = Some(now);
            }
            None => conditions.push(NodeCondition {
                r#type: kind.into(),
                status: "Unknown".into(),
                reason: "NodeStatusNeverUpdated".into(),
                message: "Kubelet never posted node status.".into(),
                last_heartbeat_time: node.metadata().creation_timestamp,
                last_transition_time: Some(now),
            }),
        }
    }
    if conditions == node.status().conditions {
        return None;
    }
    let was_ready = ready(node).is_none_or(|condition| condition.status != "Unknown");
    let says = was_ready.then(|| Says {
        about: reference_to(node),
        warning: false,
        reason: "NodeNotReady",
        message: format!("Node {} status is now: NodeNotReady", node.metadata().name),
        on_failure: None,
    });
    Some(Action::Patch {
        target: Target::of(node),
        subresource: Some("status"),
        patch: json!({
            "metadata": {"uid": node.metadata().uid, "resourceVersion": node.metadata().resource_version},
            "status": {"conditions": conditions},
        }),
        says,
    })
}

/// A pod that nobody can ask any more is not ready, so that Services stop sending to it.
fn not_ready(pod: &Pod, now: SystemTime) -> Action {
    let mut conditions = pod.status().conditions.clone();
    for condition in conditions
        .iter_mut()
        .filter(|condition| condition.r#type == pod_facts::READY)
    {
        condition.status = "False".into();
        condition.last_transition_time = Some(Time::from_system(now));
    }
    Action::Patch {
        target: Target::of(pod),
        subresource: Some("status"),
        patch: json!({
            "metadata": {"uid": pod.metadata().uid, "resourceVersion": pod.metadata().resource_version},
            "status": {"conditions": conditions},
        }),
        says: Some(Says {
            about: reference_to(pod),
            warning: true,
            reason: "NodeNotReady",
            message: "Node is not ready".into(),
            on_failure: None,
        }),
    }
}

#[cfg(test)]
mod tests;
