//! Disruption budgets: how many of an application's pods may be away because somebody wished so
//! (Kubernetes' pkg/controller/disruption).
//!
//! ```text
//! pods that match -> their workloads' scale -> how many must be healthy -> how many more may go
//!                                                                              |
//! eviction: takes one of these and notes the pod in disruptedPods <------------'
//! ```
//!
//! A pod in `disruptedPods` does not count as healthy until its deletion is seen, or for two minutes: so no eviction is
//! granted twice for one pod's place, however late its deletion is seen.

pub mod controller;
mod expected;
mod stale;
#[cfg(test)]
mod simulation;

use crate::action::{Action, Says, reference_to};
use crate::conditions;
use crate::pod_facts;
use expected::Expected;
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::{Condition, LabelSelector, Time};
use gantry_proto::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use gantry_proto::selector::{ParseError, Selector};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

pub use expected::Workloads;
pub use stale::{is_disruption_target, reconcile_pod};

/// How long a pod whose eviction was granted is given until its deletion is seen; Kubernetes' DeletionTimeout.
const DELETION_TIMEOUT: Duration = Duration::from_secs(120);
/// A budget that could not be worked out, because a workload is not seen yet perhaps, is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";

/// All that a decision about one budget looks at.
pub struct View<'a> {
    pub budget: &'a PodDisruptionBudget,
    /// Those of the namespace.
    pub pods: Vec<&'a Pod>,
    /// Those of the namespace.
    pub workloads: Workloads<'a>,
    pub now: SystemTime,
}

/// Which pods a budget is about: none without a selector, all of the namespace with an empty one.
pub fn selector(budget: &PodDisruptionBudget) -> Result<Option<Selector>, ParseError> {
    let selector = budget.spec().selector.as_ref();
    selector.map(Selector::from_label_selector).transpose()
}

pub fn matches(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = selector(budget).ok().flatten();
    selector.is_some_and(|selector| selector.matches(&pod.metadata().labels))
}

pub fn reconcile(view: &View) -> Vec<Action> {
    let budget = view.budget;
    let selector = match selector(budget) {
        Ok(selector) => selector,
        Err(error) => {
            let says = tell(budget, true, "NoPods", format!("Failed to get pods: {error}"));
            return fail_safe(view, &error.to_string())
                .into_iter()
                .chain([says])
                .collect();
        }
    };
    let selected = |pod: &&Pod| {
        let selector = selector.as_ref();
        selector.is_some_and(|selector| selector.matches(&pod.metadata().labels))
    };
    let pods: Vec<&Pod> = view.pods.iter().copied().filter(selected).collect();
    let mut told = Vec::new();
    if pods.is_empty() {
        told.push(tell(budget, false, "NoPods", "No matching pods found".into()));
    }
    let expected = match expected::expected(budget, &pods, &view.workloads) {
        Ok(expected) => expected,
        Err(error) => {
            let update = fail_safe(view, &error);
            // Once, and not each time that it is looked at again.
            let is_news = update.is_some();
            let message = format!("Failed to calculate the number of expected pods: {error}");
            let says = tell(budget, true, "CalculateExpectedPodCountFailed", message);
            let again = Action::CheckAfter(LOOK_AGAIN);
            let says = is_news.then_some(says);
            return update.into_iter().chain(says).chain([again]).collect();
        }
    };
    if !expected.unmanaged.is_empty() {
        told.push(tell(budget, true, "UnmanagedPods", unmanaged(budget)));
    }
    let disrupted = disrupted(view, &pods);
    told.extend(disrupted.not_deleted.iter().map(|pod| not_deleted(budget, pod)));
    told.extend(disrupted.check_after.map(Action::CheckAfter));
    let status = status(view, &expected, &pods, disrupted.pods);
    update(view, status).into_iter().chain(told).collect()
}

/// Pods whose eviction was granted and whose deletion is not seen yet.
#[derive(Default)]
struct Disrupted<'a> {
    pods: BTreeMap<String, Time>,
    not_deleted: Vec<&'a Pod>,
    check_after: Option<Duration>,
}

fn disrupted<'a>(view: &View, pods: &[&'a Pod]) -> Disrupted<'a> {
    let mut disrupted = Disrupted::default();
    for pod in pods.iter().filter(|pod| !pod_facts::is_terminating(pod)) {
        let name = &pod.metadata().name;
        let Some(granted) = view.budget.status().disrupted_pods.get(name) else {
            continue;
        };
        let expected = granted.to_system() + DELETION_TIMEOUT;
        let Ok(left) = expected.duration_since(view.now) else {
            disrupted.not_deleted.push(pod);
            continue;
        };
        // Just after it, or it would not be over.
        let left = left + Duration::from_millis(1);
        disrupted.check_after = Some(disrupted.check_after.map_or(left, |soonest| soonest.min(left)));
        disrupted.pods.insert(name.clone(), *granted);
    }
    disrupted
}

fn status(
    view: &View,
    expected: &Expected,
    pods: &[&Pod],
    disrupted_pods: BTreeMap<String, Time>,
) -> PodDisruptionBudgetStatus {
    let is_healthy = |pod: &&&Pod| {
        let is_disrupted = disrupted_pods.contains_key(&pod.metadata().name);
        !pod_facts::is_terminating(pod) && !is_disrupted && pod_facts::is_ready(pod)
    };
    let healthy = i32::try_from(pods.iter().filter(is_healthy).count()).unwrap_or(i32::MAX);
    // A budget of no pods allows nothing: its first pods may come before this controller sees them.
    let allowed = match expected.count > 0 {
        true => healthy.saturating_sub(expected.desired_healthy).max(0),
        false => 0,
    };
    let generation = view.budget.metadata().generation;
    let mut conditions = view.budget.status().conditions.clone();
    let (status, reason) = match allowed > 0 {
        true => ("True", "SufficientPods"),
        false => ("False", "InsufficientPods"),
    };
    let condition = Condition {
        r#type: DISRUPTION_ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        observed_generation: generation,
        ..Condition::default()
    };
    conditions::set(&mut conditions, condition, view.now);
    PodDisruptionBudgetStatus {
        observed_generation: generation,
        disrupted_pods,
        disruptions_allowed: allowed,
        current_healthy: healthy,
        desired_healthy: expected.desired_healthy,
        expected_pods: expected.count,
        conditions,
    }
}

/// Where nothing else can be said, no eviction is granted.
fn fail_safe(view: &View, error: &str) -> Option<Action> {
    let mut status = view.budget.status().clone();
    status.disruptions_allowed = 0;
    let condition = Condition {
        r#type: DISRUPTION_ALLOWED.into(),
        status: "False".into(),
        reason: "SyncFailed".into(),
        message: error.into(),
        observed_generation: status.observed_generation,
        ..Condition::default()
    };
    conditions::set(&mut status.conditions, condition, view.now);
    update(view, status)
}

/// The resourceVersion makes it conditional: an eviction that was granted meanwhile is not forgotten.
fn update(view: &View, status: PodDisruptionBudgetStatus) -> Option<Action> {
    if status == *view.budget.status() {
        return None;
    }
    let mut budget = view.budget.clone();
    budget.status = Some(status);
    Some(Action::UpdateStatus {
        object: budget.into(),
    })
}

fn tell(budget: &PodDisruptionBudget, warning: bool, reason: &'static str, message: String) -> Action {
    Action::Tell {
        says: Says {
            about: reference_to(budget),
            warning,
            reason,
            message,
            on_failure: None,
        },
    }
}

fn not_deleted(budget: &PodDisruptionBudget, pod: &Pod) -> Action {
    let metadata = budget.metadata();
    Action::Tell {
        says: Says {
            about: reference_to(pod),
            warning: true,
            reason: "NotDeleted",
            message: format!(
                "Pod was expected by PDB {}/{} to be deleted but it wasn't",
                metadata.namespace, metadata.name
            ),
            on_failure: None,
        },
    }
}

fn unmanaged(budget: &PodDisruptionBudget) -> String {
    let selector = budget
        .spec()
        .selector
        .as_ref()
        .map_or_else(|| "nil".into(), in_go);
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// A selector as Go prints it, which is how Kubernetes' message has it.
fn in_go(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter();
    let labels: String = labels.map(|(name, value)| format!("{name}: {value},")).collect();
    let expressions = selector.match_expressions.iter().map(|expression| {
        format!(
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
            expression.key,
            expression.operator,
            expression.values.join(" ")
        )
    });
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        expressions.collect::<String>()
    )
}

#[cfg(test)]
mod tests;
