//! Taints, tolerations and the spread over topologies.

use super::field::{Errors, Json, Path, positive, quoted};
use super::{label_keys, names, selector};
use gantry_proto::core::v1::{Taint, Toleration, TopologySpreadConstraint};
use std::collections::BTreeSet;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub fn validate_tolerations(tolerations: &[Toleration], list: &Path, errors: &mut Errors) {
    for (i, toleration) in tolerations.iter().enumerate() {
        validate_toleration(toleration, &list.index(i), errors);
    }
}

fn validate_toleration(toleration: &Toleration, path: &Path, errors: &mut Errors) {
    let operator = path.child("operator");
    if toleration.key.is_empty() {
        if toleration.operator != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&operator, &toleration.operator, detail);
        }
    } else {
        errors.invalid_each(
            &path.child("key"),
            &toleration.key,
            names::qualified(&toleration.key),
        );
    }
    let effect = path.child("effect");
    if toleration.toleration_seconds.is_some() && toleration.effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid(&effect, &toleration.effect, detail);
    }
    match toleration.operator.as_str() {
        "Equal" | "" => {
            let messages = names::label_value(&toleration.value);
            if !messages.is_empty() {
                errors.invalid(&operator, &toleration.value, messages.join(";"));
            }
        }
        "Exists" => {
            if !toleration.value.is_empty() {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.invalid(&operator, &toleration.value, detail);
            }
        }
        // Comparisons are behind a gate that is off, yet Kubernetes names them.
        other @ ("Lt" | "Gt") => errors.not_supported(&operator, other, &["Equal", "Exists", "Lt", "Gt"]),
        other => errors.not_supported(&operator, other, &["Equal", "Exists"]),
    }
    if !toleration.effect.is_empty() && !EFFECTS.contains(&toleration.effect.as_str()) {
        errors.not_supported(&effect, &toleration.effect, EFFECTS);
    }
}

pub fn validate_taints(taints: &[Taint], list: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let path = list.index(i);
        errors.invalid_each(&path.child("key"), &taint.key, names::qualified(&taint.key));
        let messages = names::label_value(&taint.value);
        if !messages.is_empty() {
            errors.invalid(&path.child("value"), &taint.value, messages.join(";"));
        }
        if taint.effect.is_empty() {
            errors.required(&path.child("effect"), "");
        } else if !EFFECTS.contains(&taint.effect.as_str()) {
            errors.not_supported(&path.child("effect"), &taint.effect, EFFECTS);
        }
        if !seen.insert((&taint.key, &taint.effect)) {
            // The names are those of Go's internal type.
            let shown = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{}}}",
                quoted(&taint.key),
                quoted(&taint.value),
                quoted(&taint.effect),
                serde_json::to_string(&taint.time_added).unwrap_or_default()
            );
            errors.duplicate_because(
                &path,
                Json::text(shown),
                "taints must be unique by key and effect pair",
            );
        }
    }
}

pub fn validate_spread(constraints: &[TopologySpreadConstraint], list: &Path, errors: &mut Errors) {
    for (i, constraint) in constraints.iter().enumerate() {
        let path = list.index(i);
        positive(constraint.max_skew, &path.child("maxSkew"), errors);
        if constraint.topology_key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        let when = constraint.when_unsatisfiable.as_str();
        if when != "DoNotSchedule" && when != "ScheduleAnyway" {
            errors.not_supported(
                &path.child("whenUnsatisfiable"),
                when,
                &["DoNotSchedule", "ScheduleAnyway"],
            );
        }
        let repeated = constraints[i + 1..]
            .iter()
            .any(|other| other.topology_key == constraint.topology_key && other.when_unsatisfiable == when);
        if repeated {
            let both = path.child("{topologyKey, whenUnsatisfiable}");
            errors.duplicate(&both, format!("{{{}, {when}}}", constraint.topology_key));
        }
        if let Some(domains) = constraint.min_domains {
            positive(domains, &path.child("minDomains"), errors);
            if when != "DoNotSchedule" {
                let detail =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.invalid(&path.child("minDomains"), domains, detail);
            }
        }
        for (field, policy) in [
            ("nodeAffinityPolicy", &constraint.node_affinity_policy),
            ("nodeTaintsPolicy", &constraint.node_taints_policy),
        ] {
            if let Some(policy) = policy
                .as_deref()
                .filter(|policy| !["Honor", "Ignore"].contains(policy))
            {
                errors.not_supported(&path.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        let selected = constraint.label_selector.as_ref();
        label_keys::validate(&constraint.match_label_keys, &[], selected, &path, errors);
        if let Some(selected) = selected {
            selector::validate(selected, &path.child("labelSelector"), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_are_complete_and_consistent() {
        let tolerations: Vec<Toleration> = serde_json::from_value(json!([
            {"operator": "Exists"},
            {"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5},
            {"value": "b"},
            {"key": "a", "operator": "Exists", "value": "b", "effect": "Never", "tolerationSeconds": 5},
            {"key": "a", "operator": "Near"},
        ]))
        .expect("tolerations");
        let mut errors = Errors::new();
        validate_tolerations(&tolerations, &Path::new("t"), &mut errors);
        assert_eq!(
            lines(errors.into_causes()),
            [
                "t[2].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \
                 \"match all values and all keys\"",
                "t[3].effect: Invalid value: \"Never\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                "t[3].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
                "t[3].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \
                 \"NoExecute\"",
                "t[4].operator: Unsupported value: \"Near\": supported values: \"Equal\", \"Exists\"",
            ]
        );
    }

    #[test]
    fn taints_are_unique_by_key_and_effect() {
        let taint = |effect: &str| Taint {
            key: "a".into(),
            effect: effect.into(),
            ..Taint::default()
        };
        let mut errors = Errors::new();
        let taints = [
            taint("NoSchedule"),
            taint("NoExecute"),
            taint("NoSchedule"),
            taint(""),
        ];
        validate_taints(&taints, &Path::new("metadata.taints"), &mut errors);
        assert_eq!(
            lines(errors.into_causes()),
            [
                "metadata.taints[2]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\
                 \"TimeAdded\":null}: taints must be unique by key and effect pair",
                "metadata.taints[3].effect: Required value",
            ]
        );
    }

    #[test]
    fn spread_constraints_do_not_repeat() {
        let constraint = |when: &str| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "zone".into(),
            when_unsatisfiable: when.into(),
            ..Default::default()
        };
        let mut errors = Errors::new();
        validate_spread(
            &[constraint("DoNotSchedule"), constraint("DoNotSchedule")],
            &Path::new("s"),
            &mut errors,
        );
        assert_eq!(
            lines(errors.into_causes()),
            ["s[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, DoNotSchedule}\""]
        );
    }
}
