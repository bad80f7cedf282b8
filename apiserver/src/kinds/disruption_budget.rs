//! PodDisruptionBudgets (pkg/apis/policy).

use super::deployment::{validate_at_most_all, validate_int_or_percent};
use super::field::{Errors, Json, Path, not_negative, quoted};
use super::{Rules, Target, condition, metadata, names, selector, semantic};
use gantry_proto::meta::v1::{LabelSelector, StatusCause};
use gantry_proto::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use serde::Serialize;

const UNHEALTHY_POD_POLICIES: &[&str] = &["AlwaysAllow", "IfHealthyBudget"];
/// A label that only v1beta1's selectors mean something by: v1 drops it from those that people write.
const OLD_EMPTY_SELECTOR: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

pub struct DisruptionBudgets;

impl Rules for DisruptionBudgets {
    type Object = PodDisruptionBudget;

    fn set_defaults(&self, budget: &mut PodDisruptionBudget) {
        if let Some(selector) = &mut budget.spec_mut().selector
            && !is_old_match_none(selector)
        {
            selector
                .match_expressions
                .retain(|requirement| requirement.key != OLD_EMPTY_SELECTOR);
        }
    }

    fn prepare_for_create(&self, budget: &mut PodDisruptionBudget) {
        metadata::clear_for_create(budget.metadata_mut(), 1);
        budget.status = None;
    }

    fn prepare_for_update(&self, new: &mut PodDisruptionBudget, old: &PodDisruptionBudget, target: Target) {
        metadata::keep_for_update(new.metadata_mut(), old.metadata());
        if target == Target::Status {
            new.spec.clone_from(&old.spec);
        } else {
            new.status.clone_from(&old.status);
        }
    }

    fn generation_changes(&self, new: &PodDisruptionBudget, old: &PodDisruptionBudget) -> bool {
        !semantic::equal(new.spec(), old.spec())
    }

    fn validate(&self, budget: &PodDisruptionBudget) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate_spec(budget.spec(), false, &mut errors);
        if errors.is_empty() {
            // Kubernetes has no rule of its own for a budget's name, only what is true of every object's.
            metadata::validate(budget.metadata(), true, names::path_segment, &mut errors);
        }
        errors.into_causes()
    }

    fn validate_update(
        &self,
        new: &PodDisruptionBudget,
        old: &PodDisruptionBudget,
        target: Target,
    ) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update(new.metadata(), old.metadata(), &mut errors);
        if target == Target::Status {
            validate_status(new.status(), &mut errors);
        } else {
            let unusable = old
                .spec()
                .selector
                .as_ref()
                .is_some_and(|old| !selector::is_usable(old));
            validate_spec(new.spec(), unusable, &mut errors);
        }
        errors.into_causes()
    }

    /// Evictions count the status down: two writers must not overwrite each other unseen.
    fn allows_unconditional_update(&self) -> bool {
        false
    }
}

/// The selector that matched nothing in v1beta1, which v1 keeps.
fn is_old_match_none(selector: &LabelSelector) -> bool {
    selector.match_labels.is_empty()
        && matches!(&selector.match_expressions[..], [only]
            if only.key == OLD_EMPTY_SELECTOR && only.operator == "Exists" && only.values.is_empty())
}

fn validate_spec(spec: &PodDisruptionBudgetSpec, any_values: bool, errors: &mut Errors) {
    let path = Path::new("spec");
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.invalid(&path, shown(spec), detail);
    }
    let amounts = [
        ("minAvailable", &spec.min_available),
        ("maxUnavailable", &spec.max_unavailable),
    ];
    for (field, value) in amounts {
        if let Some(value) = value {
            validate_int_or_percent(value, &path.child(field), errors);
            validate_at_most_all(value, &path.child(field), errors);
        }
    }
    if let Some(selector) = &spec.selector {
        selector::validate_leniently(selector, any_values, &path.child("selector"), errors);
    }
    if let Some(policy) = &spec.unhealthy_pod_eviction_policy
        && !UNHEALTHY_POD_POLICIES.contains(&policy.as_str())
    {
        let path = path.child("unhealthyPodEvictionPolicy");
        errors.not_supported(&path, policy, UNHEALTHY_POD_POLICIES);
    }
}

/// The names are those of Go's internal type.
fn shown(spec: &PodDisruptionBudgetSpec) -> Json {
    fn json<T: Serialize>(value: &T) -> String {
        serde_json::to_string(value).unwrap_or_default()
    }
    let policy = spec.unhealthy_pod_eviction_policy.as_deref();
    Json::text(format!(
        "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
        json(&spec.min_available),
        json(&spec.selector),
        json(&spec.max_unavailable),
        policy.map_or("null".to_string(), quoted),
    ))
}

fn validate_status(status: &PodDisruptionBudgetStatus, errors: &mut Errors) {
    let path = Path::new("status");
    condition::validate_all(&status.conditions, &path.child("conditions"), errors);
    for (field, count) in [
        ("disruptionsAllowed", status.disruptions_allowed),
        ("currentHealthy", status.current_healthy),
        ("desiredHealthy", status.desired_healthy),
        ("expectedPods", status.expected_pods),
    ] {
        not_negative(count, &path.child(field), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::{Value, json};

    fn budget(spec: Value) -> PodDisruptionBudget {
        let mut budget: PodDisruptionBudget = serde_json::from_value(
            json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}),
        )
        .expect("budget");
        DisruptionBudgets.set_defaults(&mut budget);
        DisruptionBudgets.prepare_for_create(&mut budget);
        budget
    }

    #[test]
    fn a_budget_says_how_many_may_go_or_how_many_must_stay() {
        let check = |spec: Value, expected: &[&str]| {
            assert_eq!(lines(DisruptionBudgets.validate(&budget(spec))), expected);
        };
        check(json!({}), &[]);
        check(json!({"minAvailable": 1, "selector": {}}), &[]);
        check(
            json!({"maxUnavailable": "100%", "unhealthyPodEvictionPolicy": "AlwaysAllow"}),
            &[],
        );
        check(
            json!({"maxUnavailable": 1, "minAvailable": "50%"}),
            &[
                "spec: Invalid value: {\"MinAvailable\":\"50%\",\"Selector\":null,\"MaxUnavailable\":1,\
                 \"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set",
            ],
        );
        check(
            json!({"minAvailable": "101%"}),
            &["spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"],
        );
        check(
            json!({"minAvailable": -1, "unhealthyPodEvictionPolicy": "Never"}),
            &[
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \
                 \"IfHealthyBudget\"",
            ],
        );
        check(
            json!({"minAvailable": "half"}),
            &[
                "spec.minAvailable: Invalid value: \"half\": a valid percent string must be a numeric string followed by \
               an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            ],
        );
    }

    #[test]
    fn spec_and_status_change_each_at_its_own_endpoint() {
        let old = budget(json!({"minAvailable": 1}));
        let mut new = budget(json!({"minAvailable": 2}));
        new.status_mut().disruptions_allowed = 3;
        let mut status = new.clone();
        DisruptionBudgets.prepare_for_update(&mut new, &old, Target::Main);
        assert_eq!(new.status, old.status);
        assert!(DisruptionBudgets.generation_changes(&new, &old));
        DisruptionBudgets.prepare_for_update(&mut status, &old, Target::Status);
        assert_eq!(
            (status.spec.as_ref(), status.status().disruptions_allowed),
            (old.spec.as_ref(), 3)
        );
        status.status_mut().current_healthy = -1;
        assert_eq!(
            lines(DisruptionBudgets.validate_update(&status, &old, Target::Status)),
            ["status.currentHealthy: Invalid value: -1: must be greater than or equal to 0"]
        );
        assert!(!DisruptionBudgets.allows_unconditional_update());
    }

    #[test]
    fn a_label_of_v1beta1_is_dropped_from_selectors_but_for_the_one_that_matches_nothing() {
        let old = json!({"key": OLD_EMPTY_SELECTOR, "operator": "Exists"});
        let kept = budget(json!({"selector": {"matchExpressions": [old]}}));
        assert_eq!(kept.spec().selector().match_expressions.len(), 1);
        let mixed = budget(json!({"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [old]}}));
        assert!(mixed.spec().selector().match_expressions.is_empty());
    }
}
