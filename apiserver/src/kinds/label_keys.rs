//! `matchLabelKeys` and `mismatchLabelKeys`: requirements whose values the pod's own labels give. When a pod is created
//! they are written into the label selectors beside them (pkg/registry/core/pod/strategy.go), so that whoever counts
//! pods knows them already.

use super::field::{Errors, Path};
use super::names;
use gantry_proto::core::v1::{Pod, PodAffinityTerm};
use gantry_proto::meta::v1::{LabelSelector, LabelSelectorRequirement};
use std::collections::{BTreeMap, BTreeSet};

/// Both lists of a term; a topology spread constraint has only the first. `path` is the term's.
pub fn validate(
    matching: &[String],
    mismatching: &[String],
    selector: Option<&LabelSelector>,
    path: &Path,
    errors: &mut Errors,
) {
    let lists = [("matchLabelKeys", matching), ("mismatchLabelKeys", mismatching)];
    for (field, keys) in lists {
        let path = path.child(field);
        if !keys.is_empty() && selector.is_none() {
            errors.forbidden(&path, "must not be specified when labelSelector is not set");
            continue;
        }
        for (i, key) in keys.iter().enumerate() {
            errors.invalid_each(&path.index(i), key, names::qualified(key));
        }
    }
    if let Some(selector) = selector {
        validate_beside(matching, selector, path, errors);
    }
    let list = path.child("matchLabelKeys");
    for (i, key) in matching
        .iter()
        .enumerate()
        .filter(|(_, key)| mismatching.contains(key))
    {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(&list.index(i), key, detail);
    }
}

/// A key that the selector has besides could only narrow down to one value what is one value already. The key's own
/// requirement has been written into the selector by now, so that it is the second one that says so.
fn validate_beside(matching: &[String], selector: &LabelSelector, path: &Path, errors: &mut Errors) {
    let mut seen: BTreeSet<&String> = selector.match_labels.keys().collect();
    for requirement in &selector.match_expressions {
        let key = &requirement.key;
        let place = matching.iter().rposition(|other| other == key);
        if let Some(i) = place.filter(|_| seen.contains(key)) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.invalid(&path.index(i), key, detail);
        }
        seen.insert(key);
    }
}

/// Writes what the keys mean for this pod into its selectors.
pub fn merge(pod: &mut Pod) {
    let labels = pod.metadata().labels.clone();
    let spec = pod.spec_mut();
    for constraint in &mut spec.topology_spread_constraints {
        if let Some(selector) = &mut constraint.label_selector {
            require(selector, &constraint.match_label_keys, "In", &labels);
        }
    }
    let Some(affinity) = &mut spec.affinity else {
        return;
    };
    if let Some(near) = &mut affinity.pod_affinity {
        let preferred = near
            .preferred_during_scheduling_ignored_during_execution
            .iter_mut();
        let preferred = preferred.filter_map(|weighted| weighted.pod_affinity_term.as_mut());
        let required = near
            .required_during_scheduling_ignored_during_execution
            .iter_mut();
        preferred
            .chain(required)
            .for_each(|term| merge_term(term, &labels));
    }
    if let Some(far) = &mut affinity.pod_anti_affinity {
        let preferred = far
            .preferred_during_scheduling_ignored_during_execution
            .iter_mut();
        let preferred = preferred.filter_map(|weighted| weighted.pod_affinity_term.as_mut());
        let required = far.required_during_scheduling_ignored_during_execution.iter_mut();
        preferred
            .chain(required)
            .for_each(|term| merge_term(term, &labels));
    }
}

/// An absent selector selects nothing, whatever the keys.
fn merge_term(term: &mut PodAffinityTerm, labels: &BTreeMap<String, String>) {
    if let Some(selector) = &mut term.label_selector {
        require(selector, &term.match_label_keys, "In", labels);
        require(selector, &term.mismatch_label_keys, "NotIn", labels);
    }
}

fn require(selector: &mut LabelSelector, keys: &[String], operator: &str, labels: &BTreeMap<String, String>) {
    for key in keys {
        if let Some(value) = labels.get(key) {
            selector.match_expressions.push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.into(),
                values: vec![value.clone()],
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_become_requirements_with_the_pods_own_values() {
        let selector = || json!({"matchLabels": {"app": "web"}});
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"labels": {"app": "web", "version": "2"}},
            "spec": {
                "topologySpreadConstraints": [
                    {"labelSelector": selector(), "matchLabelKeys": ["version", "absent"]}, {"matchLabelKeys": ["app"]},
                ],
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"labelSelector": selector(), "mismatchLabelKeys": ["version"]},
                ]}},
            },
        }))
        .expect("pod");
        merge(&mut pod);
        let spec = serde_json::to_value(pod.spec()).expect("json");
        let spread = &spec["topologySpreadConstraints"];
        assert_eq!(
            spread[0]["labelSelector"]["matchExpressions"],
            json!([{"key": "version", "operator": "In", "values": ["2"]}])
        );
        assert!(spread[1].get("labelSelector").is_none());
        let terms = &spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        assert_eq!(
            terms[0]["labelSelector"]["matchExpressions"],
            json!([{"key": "version", "operator": "NotIn", "values": ["2"]}])
        );
    }

    #[test]
    fn a_key_is_in_one_list_and_not_in_the_selector() {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_string()).collect::<Vec<_>>();
        let check =
            |matching: &[&str], mismatching: &[&str], selector: Option<LabelSelector>, expected: &[&str]| {
                let mut errors = Errors::new();
                let (matching, mismatching) = (keys(matching), keys(mismatching));
                validate(
                    &matching,
                    &mismatching,
                    selector.as_ref(),
                    &Path::new("t"),
                    &mut errors,
                );
                assert_eq!(lines(errors.into_causes()), expected);
            };
        let selector = |value| Some(serde_json::from_value::<LabelSelector>(value).expect("selector"));
        check(&["a"], &["b"], selector(json!({})), &[]);
        check(
            &["a"],
            &[],
            None,
            &["t.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"],
        );
        check(
            &["a"],
            &["a"],
            selector(json!({})),
            &[
                "t.matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and mismatchLabelKeys",
            ],
        );
        let merged = json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]});
        check(
            &["a"],
            &[],
            selector(merged),
            &["t[0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector"],
        );
    }
}
