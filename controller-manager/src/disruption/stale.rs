//! Pods that somebody said would be disrupted, and that are not: after a while the condition is taken back.

use crate::action::{Action, Says, Target, reference_to};
use crate::conditions;
use crate::pod_facts;
use gantry_proto::core::v1::{Pod, PodCondition};
use gantry_proto::policy::v1::PodDisruptionBudget;
use serde_json::json;
use std::time::{Duration, SystemTime};

/// Kubernetes' stalePodDisruptionTimeout.
const STALE_AFTER: Duration = Duration::from_secs(120);
const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// The node agent's own may come long before the deletion.
const BY_NODE_AGENT: &str = "TerminationByKubelet";

/// Whether the pod is said to be disrupted and nobody has asked it to end.
pub fn is_disruption_target(pod: &Pod) -> bool {
    let condition = pod_facts::condition(pod, DISRUPTION_TARGET);
    let is_said = condition.is_some_and(|one| one.status == "True" && one.reason != BY_NODE_AGENT);
    is_said && pod_facts::is_active(pod)
}

/// `budgets` are those that match the pod.
pub fn reconcile_pod(pod: &Pod, budgets: &[&PodDisruptionBudget], now: SystemTime) -> Vec<Action> {
    let mut actions = Vec::new();
    if is_disruption_target(pod) {
        let condition = pod_facts::condition(pod, DISRUPTION_TARGET);
        let since = condition.and_then(|condition| condition.last_transition_time);
        let age = since.map_or(STALE_AFTER, |since| since.elapsed_at(now));
        match STALE_AFTER.checked_sub(age) {
            None | Some(Duration::ZERO) => actions.extend(take_back(pod, now)),
            Some(left) => actions.push(Action::CheckAfter(left)),
        }
    }
    if let [chosen, _, ..] = budgets {
        let metadata = pod.metadata();
        actions.push(Action::Tell {
            says: Says {
                about: reference_to(pod),
                warning: true,
                reason: "MultiplePodDisruptionBudgets",
                message: format!(
                    "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                    metadata.namespace,
                    metadata.name,
                    chosen.metadata().name
                ),
                on_failure: None,
            },
        });
    }
    actions
}

fn take_back(pod: &Pod, now: SystemTime) -> Option<Action> {
    let condition = PodCondition {
        r#type: DISRUPTION_TARGET.into(),
        status: "False".into(),
        ..PodCondition::default()
    };
    let conditions = conditions::of_pod_with(pod, condition, now)?;
    Some(Action::Patch {
        target: Target::of(pod),
        subresource: Some("status"),
        patch: json!({
            "metadata": {"uid": pod.metadata().uid, "resourceVersion": pod.metadata().resource_version},
            "status": {"conditions": conditions},
        }),
        says: None,
    })
}
