//! Labels and label selectors (apimachinery's apis/meta/v1/validation).

use super::field::{Errors, Path};
use super::names;
use gantry_proto::meta::v1::{LabelSelector, LabelSelectorRequirement};
use std::collections::BTreeMap;

pub fn validate_labels(labels: &BTreeMap<String, String>, path: &Path, errors: &mut Errors) {
    for (key, value) in labels {
        errors.invalid_each(path, key, names::qualified(key));
        errors.invalid_each(path, value, names::label_value(value));
    }
}

pub fn validate(selector: &LabelSelector, path: &Path, errors: &mut Errors) {
    validate_leniently(selector, false, path, errors);
}

/// [`validate`], in which the requirements' values may be those of no label where `any_values` says so: an object
/// that had such a selector before may keep it.
pub fn validate_leniently(selector: &LabelSelector, any_values: bool, path: &Path, errors: &mut Errors) {
    validate_labels(&selector.match_labels, &path.child("matchLabels"), errors);
    let expressions = path.child("matchExpressions");
    for (i, requirement) in selector.match_expressions.iter().enumerate() {
        let path = expressions.index(i);
        validate_requirement(requirement, &path, errors);
        let values = path.child("values");
        for (i, value) in requirement.values.iter().enumerate().filter(|_| !any_values) {
            errors.invalid_each(&values.index(i), value, names::label_value(value));
        }
    }
}

fn validate_requirement(requirement: &LabelSelectorRequirement, path: &Path, errors: &mut Errors) {
    let values = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" => {
            if requirement.values.is_empty() {
                errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
        }
        "Exists" | "DoesNotExist" => {
            if !requirement.values.is_empty() {
                errors.forbidden(
                    &values,
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
        }
        operator => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    errors.invalid_each(
        &path.child("key"),
        &requirement.key,
        names::qualified(&requirement.key),
    );
}

/// Whether the selector can be evaluated: its operators are known and have the values they need, and its keys and
/// values are those of labels.
pub fn is_usable(selector: &LabelSelector) -> bool {
    let mut errors = Errors::new();
    validate(selector, &Path::new(""), &mut errors);
    errors.is_empty()
}

pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.is_empty() && selector.match_expressions.is_empty()
}

/// Whether a usable selector selects an object with these labels.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector
        .match_labels
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator.as_str() {
                "In" => value.is_some_and(|value| requirement.values.contains(value)),
                "NotIn" => value.is_none_or(|value| !requirement.values.contains(value)),
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

/// The selector in kubectl's text form, as the scale subresource shows it: requirements sorted by key.
pub fn text(selector: &LabelSelector) -> String {
    let mut parts: Vec<(String, String)> = selector
        .match_labels
        .iter()
        .map(|(key, value)| (key.clone(), format!("{key}={value}")))
        .collect();
    for requirement in &selector.match_expressions {
        let key = &requirement.key;
        let mut values = requirement.values.clone();
        values.sort();
        let values = values.join(",");
        let part = match requirement.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            _ => format!("!{key}"),
        };
        parts.push((key.clone(), part));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    parts
        .into_iter()
        .map(|(_, part)| part)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn selector(value: serde_json::Value) -> LabelSelector {
        serde_json::from_value(value).expect("selector")
    }

    #[test]
    fn requirements_need_the_values_that_their_operator_needs() {
        let selector = selector(json!({"matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "b", "operator": "Exists", "values": ["x"]},
            {"key": "c", "operator": "Near", "values": ["-"]},
        ]}));
        let mut errors = Errors::new();
        validate(&selector, &Path::new("spec.selector"), &mut errors);
        let got = lines(errors.into_causes());
        assert_eq!(
            got[..3],
            [
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' \
                 or 'NotIn'",
                "spec.selector.matchExpressions[1].values: Forbidden: may not be specified when `operator` is \
                 'Exists' or 'DoesNotExist'",
                "spec.selector.matchExpressions[2].operator: Invalid value: \"Near\": not a valid selector operator",
            ]
        );
        assert!(
            got[3].starts_with(
                "spec.selector.matchExpressions[2].values[0]: Invalid value: \"-\": a valid label"
            )
        );
        assert!(!is_usable(&selector));
    }

    #[test]
    fn a_selector_matches_and_prints_as_kubectl_prints_it() {
        let selector = selector(json!({"matchLabels": {"app": "x"}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["b", "a"]},
            {"key": "a", "operator": "DoesNotExist"},
        ]}));
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect()
        };
        assert!(matches(&selector, &labels(&[("app", "x")])));
        assert!(!matches(&selector, &labels(&[("app", "x"), ("tier", "a")])));
        assert!(!matches(&selector, &labels(&[("app", "y")])));
        assert_eq!(text(&selector), "!a,app=x,tier notin (a,b)");
    }
}
