//! Conditions of the common form (apimachinery's apis/meta/v1/validation).

use super::field::{Errors, Path};
use super::names::{self, Messages};
use gantry_proto::meta::v1::Condition;
use std::collections::BTreeSet;

const REASON_MAX: usize = 1 << 10;
const MESSAGE_MAX: usize = 32 << 10;
const REASON_FORMAT: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";

/// All conditions of a list, whose types are distinct.
pub fn validate_all(conditions: &[Condition], list: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = list.index(i);
        if !seen.insert(&condition.r#type) {
            errors.duplicate(&path.child("type"), &condition.r#type);
        }
        validate(condition, &path, errors);
    }
}

fn validate(condition: &Condition, path: &Path, errors: &mut Errors) {
    errors.invalid_each(
        &path.child("type"),
        &condition.r#type,
        names::qualified(&condition.r#type),
    );
    let statuses = ["False", "True", "Unknown"];
    if !statuses.contains(&condition.status.as_str()) {
        errors.not_supported(&path.child("status"), &condition.status, &statuses);
    }
    if condition.observed_generation < 0 {
        errors.invalid(
            &path.child("observedGeneration"),
            condition.observed_generation,
            "must be greater than or equal to zero",
        );
    }
    if condition.last_transition_time.is_none() {
        errors.required(&path.child("lastTransitionTime"), "");
    }
    let reason = path.child("reason");
    if condition.reason.is_empty() {
        errors.required(&reason, "");
    } else {
        errors.invalid_each(&reason, &condition.reason, wrong_reason(&condition.reason));
        if condition.reason.len() > REASON_MAX {
            errors.too_long(&reason, REASON_MAX);
        }
    }
    if condition.message.len() > MESSAGE_MAX {
        errors.too_long(&path.child("message"), MESSAGE_MAX);
    }
}

fn wrong_reason(reason: &str) -> Messages {
    let (first, last) = (reason.bytes().next(), reason.bytes().next_back());
    let is_end = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let right = first.is_some_and(|b| b.is_ascii_alphabetic())
        && last.is_some_and(is_end)
        && reason.bytes().all(|b| is_end(b) || b == b',' || b == b':');
    if right {
        return Messages::new();
    }
    vec![names::regex_error(
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
         characters or '_,:', and must end with an alphanumeric character or '_'",
        REASON_FORMAT,
        &[
            "my_name",
            "MY_NAME",
            "MyName",
            "ReasonA,ReasonB",
            "ReasonA:ReasonB",
        ],
    )]
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    #[test]
    fn each_has_a_type_of_its_own_a_status_a_time_and_a_reason() {
        let conditions: Vec<Condition> = serde_json::from_value(json!([
            {"type": "Ready", "status": "True", "reason": "A:b_", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Ready", "status": "Yes", "reason": "", "observedGeneration": -1},
            {"type": "x/Other", "status": "Unknown", "reason": "1", "message": "m".repeat(MESSAGE_MAX + 1),
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]))
        .expect("conditions");
        let mut errors = Errors::new();
        validate_all(&conditions, &Path::new("c"), &mut errors);
        let got = lines(errors.into_causes());
        assert_eq!(
            got[..5],
            [
                "c[1].type: Duplicate value: \"Ready\"",
                "c[1].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
                "c[1].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
                "c[1].lastTransitionTime: Required value",
                "c[1].reason: Required value",
            ]
        );
        assert!(got[5].starts_with("c[2].reason: Invalid value: \"1\": a condition reason must start with"));
        assert_eq!(got[6], "c[2].message: Too long: may not be more than 32768 bytes");
        assert_eq!(got.len(), 7);
    }
}
