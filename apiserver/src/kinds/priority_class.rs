//! PriorityClasses (pkg/apis/scheduling).
//!
//! That no second class is the default for all pods is checked by whoever knows the other classes.

use super::container::one_of;
use super::field::{Errors, Path};
use super::{Rules, Target, metadata, names};
use gantry_proto::meta::v1::StatusCause;
use gantry_proto::scheduling::v1::PriorityClass;

/// What names of the classes that the server itself makes begin with.
const SYSTEM_PREFIX: &str = "system-";
/// Values above are the system's.
const HIGHEST_USER_VALUE: i32 = 1_000_000_000;
/// Where critical components begin.
const SYSTEM_CRITICAL: i32 = 2 * HIGHEST_USER_VALUE;

const PREEMPT_LOWER_PRIORITY: &str = "PreemptLowerPriority";
const NEVER: &str = "Never";

/// A class that every cluster has: name, value and description.
pub type SystemClass = (&'static str, i32, &'static str);

/// The classes of critical components. They are no global defaults.
pub const SYSTEM_CLASSES: &[SystemClass] = &[
    (
        "system-node-critical",
        SYSTEM_CRITICAL + 1000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        SYSTEM_CRITICAL,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

pub struct PriorityClasses;

impl Rules for PriorityClasses {
    type Object = PriorityClass;

    fn set_defaults(&self, class: &mut PriorityClass) {
        class
            .preemption_policy
            .get_or_insert_with(|| PREEMPT_LOWER_PRIORITY.into());
    }

    fn prepare_for_create(&self, class: &mut PriorityClass) {
        metadata::clear_for_create(class.metadata_mut(), 1);
    }

    fn validate(&self, class: &PriorityClass) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_strictly(class.metadata(), false, names::dns_subdomain, &mut errors);
        let name = &class.metadata().name;
        if name.starts_with(SYSTEM_PREFIX) {
            if let Err(error) = is_known_system_class(class) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: \
                     {error}"
                );
                errors.forbidden(&Path::new("metadata.name"), detail);
            }
        } else if class.value > HIGHEST_USER_VALUE {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_VALUE}");
            errors.forbidden(&Path::new("value"), detail);
        }
        if let Some(policy) = &class.preemption_policy {
            one_of(
                policy,
                &[PREEMPT_LOWER_PRIORITY, NEVER],
                &Path::new("preemptionPolicy"),
                &mut errors,
            );
        }
        errors.into_causes()
    }

    fn validate_update(&self, new: &PriorityClass, old: &PriorityClass, _target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if new.value != old.value {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        metadata::immutable(
            &new.preemption_policy,
            &old.preemption_policy,
            &Path::new("preemptionPolicy"),
            &mut errors,
        );
        errors.into_causes()
    }
}

fn is_known_system_class(class: &PriorityClass) -> Result<(), String> {
    let name = &class.metadata().name;
    let Some((_, value, _)) = SYSTEM_CLASSES.iter().find(|(known, _, _)| known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if class.value != *value {
        return Err(format!("value of {name} PriorityClass must be {value}"));
    }
    if class.global_default {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn class(name: &str, value: i32) -> PriorityClass {
        let mut class: PriorityClass =
            serde_json::from_value(json!({"metadata": {"name": name}, "value": value})).expect("class");
        PriorityClasses.set_defaults(&mut class);
        PriorityClasses.prepare_for_create(&mut class);
        class
    }

    #[test]
    fn the_systems_names_and_values_are_reserved() {
        let check = |name: &str, value, expected: &[&str]| {
            assert_eq!(lines(PriorityClasses.validate(&class(name, value))), expected);
        };
        check("high", 1_000_000_000, &[]);
        check("low", -5, &[]);
        check(
            "high",
            1_000_000_001,
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        );
        for (name, value, _) in SYSTEM_CLASSES {
            check(name, *value, &[]);
        }
        check(
            "system-mine",
            1,
            &[
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use \
                 only. error: system-mine is not a known system priority class",
            ],
        );
        check(
            "system-node-critical",
            1,
            &[
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use \
                 only. error: value of system-node-critical PriorityClass must be 2000001000",
            ],
        );
    }

    #[test]
    fn value_and_preemption_policy_never_change() {
        let old = class("a", 1);
        assert_eq!(old.preemption_policy.as_deref(), Some("PreemptLowerPriority"));
        let mut new = class("a", 2);
        new.preemption_policy = Some("Never".into());
        assert_eq!(
            lines(PriorityClasses.validate_update(&new, &old, Target::Main)),
            [
                "value: Forbidden: may not be changed in an update.",
                "preemptionPolicy: Invalid value: \"Never\": field is immutable",
            ]
        );
        let mut described = old.clone();
        described.description = "for tests".into();
        described.global_default = true;
        assert!(
            PriorityClasses
                .validate_update(&described, &old, Target::Main)
                .is_empty()
        );
    }
}
