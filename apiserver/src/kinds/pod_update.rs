//! What may change in a pod that exists (ValidatePodUpdate).

use super::field::{Errors, Json, Path, inclusive_range, quoted};
use super::{container, difference, scheduling, semantic};
use gantry_proto::core::v1::{
    Container, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodSchedulingGate, PodSpec,
    Toleration,
};
use std::collections::{BTreeMap, BTreeSet};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const PATH: Path = Path::new("spec");

pub fn validate(new: &PodSpec, old: &PodSpec, errors: &mut Errors) {
    for (field, new, old) in [
        ("containers", &new.containers, &old.containers),
        ("initContainers", &new.init_containers, &old.init_containers),
    ] {
        let list = PATH.child(field);
        if new.len() != old.len() {
            errors.forbidden(&list, "pod updates may not add or remove containers");
            return;
        }
        for (i, container) in new.iter().enumerate() {
            if container.image.is_empty() {
                errors.required(&list.index(i).child("image"), "");
            }
            container::validate_image(&container.image, &list.index(i), errors);
        }
    }
    if !validate_deadline(new.active_deadline_seconds, old.active_deadline_seconds, errors) {
        return;
    }
    validate_tolerations(&new.tolerations, &old.tolerations, errors);
    validate_gates(&new.scheduling_gates, &old.scheduling_gates, errors);
    if semantic::equal(new, old) {
        return;
    }
    let rest = with_changes_undone(new, old, errors);
    if !semantic::equal(&rest, old) {
        let diff = difference::of(old, &rest);
        errors.forbidden(
            &PATH,
            format!("pod updates may not change fields other than {UPDATABLE}\n{diff}"),
        );
    }
}

/// The new spec with every change undone that is allowed: what still differs from the old one is not.
fn with_changes_undone(new: &PodSpec, old: &PodSpec, errors: &mut Errors) -> PodSpec {
    let mut rest = new.clone();
    let restore = |containers: &mut [Container], old: &[Container]| {
        for (container, old) in containers.iter_mut().zip(old) {
            container.image.clone_from(&old.image);
        }
    };
    restore(&mut rest.containers, &old.containers);
    restore(&mut rest.init_containers, &old.init_containers);
    rest.active_deadline_seconds = old.active_deadline_seconds;
    rest.scheduling_gates.clone_from(&old.scheduling_gates);
    rest.tolerations.clone_from(&old.tolerations);
    if old
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 0)
        && rest.termination_grace_period_seconds == Some(1)
    {
        rest.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    // As long as a pod is held back, where it may go can be narrowed.
    if !old.scheduling_gates.is_empty() {
        validate_narrower(&rest, old, errors);
        rest.node_selector.clone_from(&old.node_selector);
        let old_affinity = old.affinity().node_affinity.clone();
        if rest.affinity().node_affinity != old_affinity {
            rest.affinity_mut().node_affinity = old_affinity;
            if old.affinity.is_none() && rest.affinity == Some(Default::default()) {
                rest.affinity = None;
            }
        }
    }
    rest
}

/// Returns whether the rest is worth looking at.
fn validate_deadline(new: Option<i64>, old: Option<i64>, errors: &mut Errors) -> bool {
    let path = PATH.child("activeDeadlineSeconds");
    let most = i64::from(i32::MAX);
    match (new, old) {
        (Some(new), _) if !(0..=most).contains(&new) => {
            errors.invalid(&path, new, inclusive_range(0, most));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.invalid(&path, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(&path, new, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn validate_tolerations(new: &[Toleration], old: &[Toleration], errors: &mut Errors) {
    let path = PATH.child("tolerations");
    let same = |a: &Toleration, b: &Toleration| {
        (&a.key, &a.operator, &a.value, &a.effect) == (&b.key, &b.operator, &b.value, &b.effect)
    };
    if old.iter().any(|old| !new.iter().any(|new| same(new, old))) {
        errors.forbidden(
            &path,
            "existing toleration can not be modified except its tolerationSeconds",
        );
        return;
    }
    scheduling::validate_tolerations(new, &path, errors);
}

fn validate_gates(new: &[PodSchedulingGate], old: &[PodSchedulingGate], errors: &mut Errors) {
    let known: BTreeSet<&String> = old.iter().map(|gate| &gate.name).collect();
    let list = PATH.child("schedulingGates");
    for (i, gate) in new
        .iter()
        .enumerate()
        .filter(|(_, gate)| !known.contains(&gate.name))
    {
        let detail = format!(
            "only deletion is allowed, but found new scheduling gate '{}'",
            gate.name
        );
        errors.forbidden(&list.index(i).child("name"), detail);
    }
}

fn validate_narrower(new: &PodSpec, old: &PodSpec, errors: &mut Errors) {
    let keeps = |new: &BTreeMap<String, String>, old: &BTreeMap<String, String>| {
        old.iter().all(|(key, value)| new.get(key) == Some(value))
    };
    if !keeps(&new.node_selector, &old.node_selector) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        let shown = if new.node_selector.is_empty() {
            Json::text("null".into())
        } else {
            Json::of(&new.node_selector)
        };
        errors.invalid(&PATH.child("nodeSelector"), shown, detail);
    }
    let terms = |affinity: &NodeAffinity| -> Vec<NodeSelectorTerm> {
        let required = &affinity.required_during_scheduling_ignored_during_execution;
        required
            .as_ref()
            .map(|required| required.node_selector_terms.clone())
            .unwrap_or_default()
    };
    let (new_terms, old_terms) = (
        terms(new.affinity().node_affinity()),
        terms(old.affinity().node_affinity()),
    );
    let path =
        PATH.child("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    if old_terms.is_empty() {
        return;
    }
    if new_terms.len() != old_terms.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let terms: Vec<String> = new_terms.iter().map(shown_term).collect();
        errors.invalid(&path, Json::text(format!("[{}]", terms.join(","))), detail);
        return;
    }
    for (i, (new, old)) in new_terms.iter().zip(&old_terms).enumerate() {
        let was_empty = old.match_expressions.is_empty() && old.match_fields.is_empty();
        let is_empty = new.match_expressions.is_empty() && new.match_fields.is_empty();
        // An empty term matches nothing, so adding to it would widen.
        let adds = was_empty == is_empty
            && new.match_expressions.starts_with(&old.match_expressions)
            && new.match_fields.starts_with(&old.match_fields);
        if !adds {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.invalid(&path.index(i), Json::text(shown_term(new)), detail);
        }
    }
}

/// The names are those of Go's internal types.
fn shown_term(term: &NodeSelectorTerm) -> String {
    let list = |requirements: &[NodeSelectorRequirement]| {
        if requirements.is_empty() {
            return "null".to_string();
        }
        let shown = requirements.iter().map(|requirement| {
            let values = match &requirement.values[..] {
                [] => "null".to_string(),
                values => serde_json::to_string(values).unwrap_or_default(),
            };
            let (key, operator) = (quoted(&requirement.key), quoted(&requirement.operator));
            format!("{{\"Key\":{key},\"Operator\":{operator},\"Values\":{values}}}")
        });
        format!("[{}]", shown.collect::<Vec<_>>().join(","))
    };
    format!(
        "{{\"MatchExpressions\":{},\"MatchFields\":{}}}",
        list(&term.match_expressions),
        list(&term.match_fields)
    )
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::{Value, json};

    fn check(change: Value, expected: &[&str]) {
        let old = json!({
            "containers": [{"name": "a", "image": "x:1"}],
            "activeDeadlineSeconds": 60,
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "terminationGracePeriodSeconds": -1,
        });
        let mut new = old.clone();
        for (field, value) in change.as_object().expect("object") {
            new[field] = value.clone();
        }
        let spec = |value: Value| serde_json::from_value::<PodSpec>(value).expect("spec");
        let mut errors = Errors::new();
        validate(&spec(new), &spec(old), &mut errors);
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn images_deadlines_tolerations_and_a_negative_grace_may_change() {
        check(json!({}), &[]);
        check(
            json!({"containers": [{"name": "a", "image": "x:2"}], "activeDeadlineSeconds": 30}),
            &[],
        );
        check(json!({"terminationGracePeriodSeconds": 1}), &[]);
        check(
            json!({"tolerations": [
                {"key": "j", "operator": "Exists"},
                {"key": "k", "operator": "Exists"},
            ]}),
            &[],
        );
    }

    #[test]
    fn everything_else_stays_and_the_difference_is_shown() {
        check(
            json!({"nodeName": "n"}),
            &[
                "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
               `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
               existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
               previously negative)\n@@ -8,6 +8,7 @@\n  ],\n  \"terminationGracePeriodSeconds\": -1,\n  \
               \"activeDeadlineSeconds\": 60,\n+ \"nodeName\": \"n\",\n  \"tolerations\": [\n   {\n    \"key\": \
               \"k\",\n",
            ],
        );
        check(
            json!({"containers": []}),
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        );
        check(
            json!({"activeDeadlineSeconds": 61}),
            &["spec.activeDeadlineSeconds: Invalid value: 61: must be less than or equal to previous value"],
        );
        check(
            json!({"tolerations": []}),
            &[
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ],
        );
        check(
            json!({"schedulingGates": [{"name": "g"}]}),
            &[
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'",
            ],
        );
    }
}
