//! Leases.

use super::field::{Errors, Path};
use super::{Rules, Target, metadata, names, unsupported};
use gantry_proto::coordination::v1::{Lease, LeaseSpec};
use gantry_proto::meta::v1::StatusCause;

pub struct Leases;

impl Rules for Leases {
    type Object = Lease;

    fn validate(&self, lease: &Lease) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate(lease.metadata(), true, names::dns_subdomain, &mut errors);
        validate_spec(lease.spec(), &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &Lease, old: &Lease, _target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update(new.metadata(), old.metadata(), &mut errors);
        validate_spec(new.spec(), &mut errors);
        errors.into_causes()
    }

    fn warnings(&self, new: &Lease, old: Option<&Lease>) -> Vec<String> {
        let spec = new.spec();
        if old.is_some_and(|old| old.spec().strategy == spec.strategy) {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        unsupported::lease_spec(spec, &Path::new("spec"), &mut warnings);
        warnings
    }

    /// Two holders must not overwrite each other unseen.
    fn allows_unconditional_update(&self) -> bool {
        false
    }
}

fn validate_spec(spec: &LeaseSpec, errors: &mut Errors) {
    let path = Path::new("spec");
    if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
        errors.invalid(
            &path.child("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        );
    }
    if let Some(transitions) = spec.lease_transitions.filter(|transitions| *transitions < 0) {
        errors.invalid(
            &path.child("leaseTransitions"),
            transitions,
            "must be greater than or equal to 0",
        );
    }
    let strategy = spec.strategy.as_deref();
    if let Some(strategy) = strategy {
        let path = path.child("strategy.strategy");
        if strategy.contains('/') {
            errors.invalid_each(&path, strategy, names::qualified(strategy));
        } else if strategy != "OldestEmulationVersion" {
            errors.not_supported(&path, strategy, &["OldestEmulationVersion"]);
        }
    }
    if spec
        .preferred_holder
        .as_ref()
        .is_some_and(|holder| !holder.is_empty())
        && strategy.is_none_or(str::is_empty)
    {
        errors.forbidden(
            &path.child("preferredHolder"),
            "may only be specified if `strategy` is defined",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_positive_and_counts_not_negative() {
        let lease: Lease = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "b"},
            "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1, "preferredHolder": "x"},
        }))
        .expect("lease");
        assert_eq!(
            lines(Leases.validate(&lease)),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
                "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
            ]
        );
    }
}
