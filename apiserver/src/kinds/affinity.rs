//! Affinity to nodes and to other pods.

use super::field::{Errors, Path};
use super::{label_keys, names, selector};
use gantry_proto::core::v1::{
    Affinity, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm,
    WeightedPodAffinityTerm,
};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn validate(affinity: &Affinity, path: &Path, errors: &mut Errors) {
    if let Some(node) = &affinity.node_affinity {
        validate_node(node, &path.child("nodeAffinity"), errors);
    }
    if let Some(pod) = &affinity.pod_affinity {
        let (required, preferred) = (
            &pod.required_during_scheduling_ignored_during_execution,
            &pod.preferred_during_scheduling_ignored_during_execution,
        );
        validate_pods(required, preferred, &path.child("podAffinity"), errors);
    }
    if let Some(pod) = &affinity.pod_anti_affinity {
        let (required, preferred) = (
            &pod.required_during_scheduling_ignored_during_execution,
            &pod.preferred_during_scheduling_ignored_during_execution,
        );
        validate_pods(required, preferred, &path.child("podAntiAffinity"), errors);
    }
}

fn validate_node(affinity: &NodeAffinity, path: &Path, errors: &mut Errors) {
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        let required_path = path.child(REQUIRED);
        let terms = required_path.child("nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            errors.required(&terms, "must have at least one node selector term");
        }
        for (i, term) in required.node_selector_terms.iter().enumerate() {
            validate_term(term, true, &terms.index(i), errors);
        }
    }
    let preferred = path.child(PREFERRED);
    for (i, term) in affinity
        .preferred_during_scheduling_ignored_during_execution
        .iter()
        .enumerate()
    {
        let path = preferred.index(i);
        validate_weight(term.weight, &path, errors);
        validate_term(term.preference(), false, &path.child("preference"), errors);
    }
}

fn validate_weight(weight: i32, path: &Path, errors: &mut Errors) {
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// Preferences of old have values that are no label values, and match nothing.
fn validate_term(term: &NodeSelectorTerm, values_are_labels: bool, path: &Path, errors: &mut Errors) {
    let expressions = path.child("matchExpressions");
    for (i, requirement) in term.match_expressions.iter().enumerate() {
        validate_requirement(requirement, values_are_labels, &expressions.index(i), errors);
    }
    let fields = path.child("matchFields");
    for (i, requirement) in term.match_fields.iter().enumerate() {
        validate_field_requirement(requirement, &fields.index(i), errors);
    }
}

fn validate_requirement(
    requirement: &NodeSelectorRequirement,
    values_are_labels: bool,
    path: &Path,
    errors: &mut Errors,
) {
    let values = path.child("values");
    match (requirement.operator.as_str(), requirement.values.len()) {
        ("In" | "NotIn", 0) => {
            errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'")
        }
        ("In" | "NotIn", _) | ("Exists" | "DoesNotExist", 0) | ("Gt" | "Lt", 1) => {}
        ("Exists" | "DoesNotExist", _) => {
            errors.forbidden(
                &values,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            );
        }
        ("Gt" | "Lt", _) => {
            errors.required(
                &values,
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            );
        }
        (operator, _) => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    errors.invalid_each(
        &path.child("key"),
        &requirement.key,
        names::qualified(&requirement.key),
    );
    if values_are_labels {
        for (i, value) in requirement.values.iter().enumerate() {
            errors.invalid_each(&values.index(i), value, names::label_value(value));
        }
    }
}

fn validate_field_requirement(requirement: &NodeSelectorRequirement, path: &Path, errors: &mut Errors) {
    let values = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" => {
            if requirement.values.len() != 1 {
                let detail =
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.required(&values, detail);
            }
        }
        operator => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    if requirement.key != "metadata.name" {
        errors.invalid(
            &path.child("key"),
            &requirement.key,
            "not a valid field selector key",
        );
        return;
    }
    for (i, value) in requirement.values.iter().enumerate() {
        errors.invalid_each(&values.index(i), value, names::dns_subdomain(value));
    }
}

fn validate_pods(
    required: &[PodAffinityTerm],
    preferred: &[WeightedPodAffinityTerm],
    path: &Path,
    errors: &mut Errors,
) {
    let list = path.child(REQUIRED);
    for (i, term) in required.iter().enumerate() {
        validate_pod_term(term, &list.index(i), errors);
    }
    let list = path.child(PREFERRED);
    for (i, weighted) in preferred.iter().enumerate() {
        let path = list.index(i);
        validate_weight(weighted.weight, &path, errors);
        validate_pod_term(
            weighted.pod_affinity_term(),
            &path.child("podAffinityTerm"),
            errors,
        );
    }
}

fn validate_pod_term(term: &PodAffinityTerm, path: &Path, errors: &mut Errors) {
    for (field, selected) in [
        ("labelSelector", &term.label_selector),
        ("namespaceSelector", &term.namespace_selector),
    ] {
        if let Some(selected) = selected {
            selector::validate(selected, &path.child(field), errors);
        }
    }
    for namespace in &term.namespaces {
        errors.invalid_each(&path.child("namespace"), namespace, names::dns_label(namespace));
    }
    label_keys::validate(
        &term.match_label_keys,
        &term.mismatch_label_keys,
        term.label_selector.as_ref(),
        path,
        errors,
    );
    if term.topology_key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    errors.invalid_each(
        &path.child("topologyKey"),
        &term.topology_key,
        names::qualified(&term.topology_key),
    );
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    #[test]
    fn terms_weights_and_keys_are_checked() {
        let affinity: Affinity = serde_json::from_value(json!({
            "nodeAffinity": {
                REQUIRED: {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "a", "operator": "Gt", "values": []}]},
                    {"matchFields": [{"key": "metadata.uid", "operator": "In", "values": ["x"]}]},
                ]},
                PREFERRED: [{"weight": 0, "preference": {}}],
            },
            "podAntiAffinity": {REQUIRED: [{"topologyKey": "zone", "matchLabelKeys": ["a"]}]},
        }))
        .expect("affinity");
        let mut errors = Errors::new();
        validate(&affinity, &Path::new("affinity"), &mut errors);
        assert_eq!(
            lines(errors.into_causes()),
            [
                "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]\
                 .matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' \
                 or 'Gt'",
                "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1]\
                 .matchFields[0].key: Invalid value: \"metadata.uid\": not a valid field selector key",
                "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: \
                 must be in the range 1-100",
                "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: \
                 Forbidden: must not be specified when labelSelector is not set",
            ]
        );
    }
}
