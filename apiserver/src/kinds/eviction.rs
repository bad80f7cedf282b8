//! Evictions (pkg/registry/core/pod/storage/eviction.go): whether a pod may be made to leave, and what is written
//! before it is deleted.
//!
//! An eviction is carried out so: [`validate`] it; read the pod, and the budgets of its namespace; [`decide`]; write
//! the budget's status where one is given (read again and decide again where that conflicts); [`mark`] the pod;
//! delete it with [`delete_options`].

use super::selector;
use gantry_proto::core::v1::{Pod, PodCondition};
use gantry_proto::kinds::Kind as _;
use gantry_proto::meta::v1::{Condition, DeleteOptions, Status, StatusCause, StatusDetails, Time};
use gantry_proto::policy::v1::{Eviction, PodDisruptionBudget, PodDisruptionBudgetStatus};
use gantry_proto::status::Reason;

/// A budget that waits for so many evictions to be confirmed grants no more: its controller does not keep up.
const DISRUPTED_PODS_MAX: usize = 2000;
/// What a client is told to wait for a budget that is still being worked out.
const RETRY_AFTER_SECONDS: i32 = 10;

const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";
const INSUFFICIENT_PODS: &str = "InsufficientPods";
const SYNC_FAILED: &str = "SyncFailed";

/// What an eviction that is granted asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// To delete the pod. Where `this_version` is set only the version that was judged may be deleted (unless the
    /// request names another): it might since have become ready, and count.
    Delete { this_version: bool },
    /// To write this status to the budget, on the condition that nobody else did, and then to delete the pod.
    Count {
        budget: &'a PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    },
}

/// What is wrong with an eviction of the pod `name`.
pub fn validate(eviction: &Eviction, name: &str) -> Result<(), Status> {
    if eviction.metadata().name != name {
        let message = "name in URL does not match name in Eviction object";
        return Err(Status::failure(Reason::BadRequest, message));
    }
    let options = eviction.delete_options();
    if options.ignore_store_read_error_with_cluster_breaking_potential == Some(true) {
        let cause = StatusCause {
            reason: "FieldValueInvalid".into(),
            message: "Invalid value: true: can not be set for pod eviction, try after removing the option"
                .into(),
            field: "deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential".into(),
        };
        return Err(Status::invalid(Eviction::INFO, name, vec![cause]));
    }
    Ok(())
}

/// How the pod is deleted. `dry_run` is the request's.
pub fn delete_options(eviction: &Eviction, dry_run: bool) -> DeleteOptions {
    let mut options = eviction.delete_options().clone();
    if dry_run && options.dry_run.is_empty() {
        options.dry_run.push("All".into());
    }
    options
}

/// What becomes of the eviction of `pod`. `budgets` are those of its namespace, `now` is when it was asked for.
pub fn decide<'a>(
    pod: &Pod,
    budgets: impl IntoIterator<Item = &'a PodDisruptionBudget>,
    now: Time,
) -> Result<Verdict<'a>, Status> {
    if is_beyond_budgets(pod) {
        return Ok(Verdict::Delete {
            this_version: pod.status().phase == "Pending" && pod.metadata().deletion_timestamp.is_none(),
        });
    }
    let mut selecting = budgets.into_iter().filter(|budget| selects(budget, pod));
    let Some(budget) = selecting.next() else {
        return Ok(Verdict::Delete { this_version: false });
    };
    if selecting.next().is_some() {
        return Err(Status {
            status: "Failure".into(),
            message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
                .into(),
            code: 500,
            ..Status::default()
        });
    }
    if !is_ready(pod) && may_lose_unready(budget) {
        return Ok(Verdict::Delete { this_version: true });
    }
    let status = count(budget, &pod.metadata().name, now)?;
    Ok(Verdict::Count { budget, status })
}

/// What a client is told of a pod that became ready between verdict and deletion, or of a budget that its controller
/// has not looked at yet: that it may try again.
pub fn try_again(budget: &str) -> Status {
    let message = format!("The disruption budget {budget} is still being processed by the server.");
    violation(message, RETRY_AFTER_SECONDS)
}

/// What a client is told when too many others wrote the budget.
pub fn conflicts(budget: &str) -> Status {
    let message = format!("Timeout: couldn't update PodDisruptionBudget \"{budget}\" due to conflicts");
    let mut status = Status::failure(Reason::Timeout, message);
    status.details = Some(StatusDetails {
        retry_after_seconds: RETRY_AFTER_SECONDS,
        ..StatusDetails::default()
    });
    status
}

/// Says in the pod why it is going to be deleted.
pub fn mark(pod: &mut Pod, now: Time) {
    let mut condition = PodCondition {
        r#type: "DisruptionTarget".into(),
        status: "True".into(),
        reason: "EvictionByEvictionAPI".into(),
        message: "Eviction API: evicting".into(),
        last_transition_time: Some(now),
        ..PodCondition::default()
    };
    let conditions = &mut pod.status_mut().conditions;
    match conditions
        .iter_mut()
        .find(|other| other.r#type == condition.r#type)
    {
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time;
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// A pod that does not run, or is going already, is missed by nobody.
fn is_beyond_budgets(pod: &Pod) -> bool {
    ["Succeeded", "Failed", "Pending"].contains(&pod.status().phase.as_str())
        || pod.metadata().deletion_timestamp.is_some()
}

/// Whether the budget is about the pod.
pub fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let usable = budget
        .spec()
        .selector
        .as_ref()
        .filter(|selector| selector::is_usable(selector));
    usable.is_some_and(|selector| selector::matches(selector, &pod.metadata().labels))
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status().conditions.iter();
    conditions.any(|condition| condition.r#type == "Ready" && condition.status == "True")
}

/// Whether a pod that is not ready goes without being counted: its budget says so, or has what it needs without it.
fn may_lose_unready(budget: &PodDisruptionBudget) -> bool {
    let status = budget.status();
    budget.spec().unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow")
        || status.current_healthy >= status.desired_healthy && status.desired_healthy > 0
}

/// The budget's status with one more eviction granted, or why there is none to grant.
fn count(budget: &PodDisruptionBudget, pod: &str, now: Time) -> Result<PodDisruptionBudgetStatus, Status> {
    let (name, mut status) = (&budget.metadata().name, budget.status().clone());
    if status.observed_generation < budget.metadata().generation {
        return Err(try_again(name));
    }
    if status.disruptions_allowed < 0 {
        return Err(forbidden(name, "pdb disruptions allowed is negative"));
    }
    if status.disrupted_pods.len() > DISRUPTED_PODS_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(forbidden(name, why));
    }
    if status.disruptions_allowed == 0 {
        return Err(violation(why_not(name, &status), 0));
    }
    status.disruptions_allowed -= 1;
    if status.disruptions_allowed == 0 {
        tell_insufficient(&mut status, now);
    }
    status.disrupted_pods.insert(pod.to_string(), now);
    Ok(status)
}

fn why_not(name: &str, status: &PodDisruptionBudgetStatus) -> String {
    let told = status
        .conditions
        .iter()
        .find(|condition| condition.r#type == DISRUPTION_ALLOWED)
        .filter(|condition| condition.status == "False" && !condition.message.is_empty());
    match told {
        // Where its controller failed, the counts are not to be trusted.
        Some(told) if told.reason == SYNC_FAILED => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            told.message
        ),
        _ if status.current_healthy <= status.desired_healthy => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status.desired_healthy, status.current_healthy
        ),
        Some(told) => format!(
            "The disruption budget {name} does not allow evicting pods currently ({}): {}",
            told.reason, told.message
        ),
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

fn tell_insufficient(status: &mut PodDisruptionBudgetStatus, now: Time) {
    let new = Condition {
        r#type: DISRUPTION_ALLOWED.into(),
        status: "False".into(),
        reason: INSUFFICIENT_PODS.into(),
        observed_generation: status.observed_generation,
        last_transition_time: Some(now),
        ..Condition::default()
    };
    let mut conditions = status.conditions.iter_mut();
    match conditions.find(|old| old.r#type == new.r#type) {
        Some(old) => {
            let since = if old.status == new.status {
                old.last_transition_time
            } else {
                new.last_transition_time
            };
            *old = Condition {
                last_transition_time: since,
                ..new
            };
        }
        None => status.conditions.push(new),
    }
}

fn violation(why: String, retry_after_seconds: i32) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::failure(Reason::TooManyRequests, message);
    status.details = Some(StatusDetails {
        retry_after_seconds,
        causes: vec![StatusCause {
            reason: "DisruptionBudget".into(),
            message: why,
            field: String::new(),
        }],
        ..StatusDetails::default()
    });
    status
}

/// Kubernetes names the resource in the singular here.
fn forbidden(name: &str, why: &str) -> Status {
    let message = format!("poddisruptionbudget.policy \"{name}\" is forbidden: {why}");
    let mut status = Status::failure(Reason::Forbidden, message);
    status.details = Some(StatusDetails {
        name: name.into(),
        group: "policy".into(),
        kind: "poddisruptionbudget".into(),
        ..StatusDetails::default()
    });
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: Time = Time {
        seconds: 1_800_000_000,
        nanos: 0,
    };

    fn pod(phase: &str, ready: bool) -> Pod {
        let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "labels": {"app": "web"}}, "status": {"phase": phase, "conditions": conditions},
        }))
        .expect("pod")
    }

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        let mut budget: PodDisruptionBudget =
            serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec, "status": status}))
                .expect("budget");
        budget
            .spec_mut()
            .selector
            .get_or_insert_default()
            .match_labels
            .insert("app".into(), "web".into());
        budget
    }

    /// What a client is told: the code, and the cause or else the message.
    fn told(verdict: Result<Verdict, Status>) -> (i32, String) {
        let status = verdict.expect_err("refused");
        let cause = status.details().causes.first();
        (
            status.code,
            cause.map_or(status.message.clone(), |cause| cause.message.clone()),
        )
    }

    #[test]
    fn pods_that_nobody_would_miss_go_whatever_the_budget() {
        let exhausted = budget(json!({}), json!({"disruptionsAllowed": 0, "desiredHealthy": 1}));
        let check = |pod: &Pod, this_version| {
            assert_eq!(
                decide(pod, [&exhausted], NOW),
                Ok(Verdict::Delete { this_version })
            );
        };
        check(&pod("Succeeded", false), false);
        check(&pod("Failed", false), false);
        check(&pod("Pending", false), true);
        let mut going = pod("Running", true);
        going.metadata_mut().deletion_timestamp = Some(NOW);
        check(&going, false);
        let mut other = pod("Running", true);
        other.metadata_mut().labels.clear();
        check(&other, false);
    }

    #[test]
    fn a_granted_eviction_is_counted_in_its_budget() {
        let two = budget(
            json!({}),
            json!({"disruptionsAllowed": 2, "currentHealthy": 3, "desiredHealthy": 1}),
        );
        let Ok(Verdict::Count { status, .. }) = decide(&pod("Running", true), [&two], NOW) else {
            panic!("not granted");
        };
        assert_eq!(
            (status.disruptions_allowed, status.disrupted_pods["web-1"]),
            (1, NOW)
        );
        assert!(status.conditions.is_empty());
        let mut one = two.clone();
        one.status = Some(status);
        let Ok(Verdict::Count { status, .. }) = decide(&pod("Running", true), [&one], NOW) else {
            panic!("not granted");
        };
        assert_eq!(status.disruptions_allowed, 0);
        let told = &status.conditions[0];
        assert_eq!(
            (
                &*told.r#type,
                &*told.status,
                &*told.reason,
                told.last_transition_time
            ),
            ("DisruptionAllowed", "False", "InsufficientPods", Some(NOW))
        );
    }

    #[test]
    fn an_eviction_beyond_the_budget_is_refused_with_the_reason() {
        let check = |status: Value, code, cause: &str| {
            let budget = budget(json!({}), status);
            assert_eq!(
                told(decide(&pod("Running", true), [&budget], NOW)),
                (code, cause.to_string())
            );
        };
        check(
            json!({"currentHealthy": 1, "desiredHealthy": 2}),
            429,
            "The disruption budget web needs 2 healthy pods and has 1 currently",
        );
        check(
            json!({"currentHealthy": 2, "desiredHealthy": 1}),
            429,
            "The disruption budget web does not allow evicting pods currently",
        );
        let failed = json!([{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "why"}]);
        check(
            json!({"conditions": failed}),
            429,
            "The disruption budget web does not allow evicting pods currently because it failed sync: why",
        );
        check(
            json!({"disruptionsAllowed": -1}),
            403,
            "poddisruptionbudget.policy \"web\" is forbidden: pdb disruptions allowed is negative",
        );
        let mut unseen = budget(json!({}), json!({"disruptionsAllowed": 1}));
        unseen.metadata_mut().generation = 1;
        let refused = decide(&pod("Running", true), [&unseen], NOW).expect_err("refused");
        assert_eq!(refused.details().retry_after_seconds, 10);
        assert_eq!(
            told(Err(refused)),
            (
                429,
                "The disruption budget web is still being processed by the server.".into()
            )
        );
        let (first, second) = (budget(json!({}), json!({})), budget(json!({}), json!({})));
        let refused = decide(&pod("Running", true), [&first, &second], NOW).expect_err("refused");
        assert_eq!((refused.code, &*refused.reason), (500, ""));
    }

    #[test]
    fn pods_that_are_not_ready_go_where_the_budget_can_do_without_them() {
        let unready = pod("Running", false);
        let healthy = budget(json!({}), json!({"currentHealthy": 1, "desiredHealthy": 1}));
        let this_version = true;
        assert_eq!(
            decide(&unready, [&healthy], NOW),
            Ok(Verdict::Delete { this_version })
        );
        let starved = |policy: Value| budget(policy, json!({"currentHealthy": 0, "desiredHealthy": 1}));
        assert_eq!(told(decide(&unready, [&starved(json!({}))], NOW)).0, 429);
        let always = starved(json!({"unhealthyPodEvictionPolicy": "AlwaysAllow"}));
        assert_eq!(
            decide(&unready, [&always], NOW),
            Ok(Verdict::Delete { this_version })
        );
    }

    #[test]
    fn a_pod_is_marked_once_and_keeps_the_time() {
        let mut pod = pod("Running", true);
        mark(&mut pod, NOW);
        let once = pod.clone();
        mark(
            &mut pod,
            Time {
                seconds: NOW.seconds + 5,
                ..NOW
            },
        );
        assert_eq!(pod, once);
        assert_eq!(pod.status().conditions[1].reason, "EvictionByEvictionAPI");
    }

    #[test]
    fn an_eviction_names_its_pod_and_hides_no_unreadable_one() {
        let eviction: Eviction =
            serde_json::from_value(json!({"metadata": {"name": "a"}})).expect("eviction");
        assert!(validate(&eviction, "a").is_ok());
        let error = validate(&eviction, "b").expect_err("another pod");
        assert_eq!(
            error.message,
            "name in URL does not match name in Eviction object"
        );
        assert_eq!(delete_options(&eviction, true).dry_run, ["All"]);
        let mut forced = eviction;
        forced
            .delete_options_mut()
            .ignore_store_read_error_with_cluster_breaking_potential = Some(true);
        assert_eq!(validate(&forced, "a").expect_err("refused").reason, "Invalid");
    }
}
