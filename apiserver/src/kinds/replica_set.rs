//! ReplicaSets (pkg/apis/apps).

use super::deployment::{scale, validate_same_selector};
use super::field::{Errors, Path, not_negative};
use super::pod_spec::optional_not_negative;
use super::{Rules, Target, metadata, names, pod_template, pod_warnings, semantic};
use gantry_proto::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use gantry_proto::autoscaling::v1::Scale;
use gantry_proto::meta::v1::StatusCause;

pub struct ReplicaSets;

impl Rules for ReplicaSets {
    type Object = ReplicaSet;

    fn set_defaults(&self, set: &mut ReplicaSet) {
        let spec = set.spec_mut();
        spec.replicas.get_or_insert(1);
        pod_template::set_defaults(spec.template_mut());
    }

    fn prepare_for_create(&self, set: &mut ReplicaSet) {
        metadata::clear_for_create(set.metadata_mut(), 1);
        set.status = None;
    }

    fn prepare_for_update(&self, new: &mut ReplicaSet, old: &ReplicaSet, target: Target) {
        if target == Target::Status {
            metadata::keep_for_status(new.metadata_mut(), old.metadata());
            new.spec.clone_from(&old.spec);
        } else {
            metadata::keep_for_update(new.metadata_mut(), old.metadata());
            new.status.clone_from(&old.status);
        }
    }

    fn generation_changes(&self, new: &ReplicaSet, old: &ReplicaSet) -> bool {
        !semantic::equal(new.spec(), old.spec())
    }

    fn validate(&self, set: &ReplicaSet) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_strictly(set.metadata(), true, names::dns_subdomain, &mut errors);
        validate_spec(set.spec(), &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &ReplicaSet, old: &ReplicaSet, target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if target == Target::Status {
            validate_status(new.status(), &mut errors);
        } else {
            validate_spec(new.spec(), &mut errors);
            validate_same_selector(&new.spec().selector, &old.spec().selector, &mut errors);
        }
        errors.into_causes()
    }

    fn warnings(&self, new: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        if old.is_some_and(|old| semantic::equal(new.spec(), old.spec())) {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        if old.is_none() {
            warnings.extend(pod_warnings::name_is_no_label(
                new.metadata(),
                "used in Pod names and hostnames",
            ));
        }
        let template = new.spec().template();
        pod_warnings::collect(
            template.spec(),
            template.metadata(),
            &Path::new("spec.template"),
            &mut warnings,
        );
        warnings
    }

    fn scale(&self, set: &ReplicaSet) -> Option<Scale> {
        let (spec, status) = (set.spec(), set.status());
        Some(scale(
            set.metadata(),
            spec.replicas,
            status.replicas,
            spec.selector(),
        ))
    }

    fn set_scale(&self, set: &mut ReplicaSet, scale: &Scale) {
        set.spec_mut().replicas = Some(scale.spec().replicas);
    }
}

fn validate_spec(spec: &ReplicaSetSpec, errors: &mut Errors) {
    let path = Path::new("spec");
    optional_not_negative(spec.replicas, &path.child("replicas"), errors);
    not_negative(spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
    let selector = spec.selector.as_ref();
    pod_template::validate_selector(selector, &path.child("selector"), errors);
    pod_template::validate(selector, spec.template(), &path, errors);
}

fn validate_status(status: &ReplicaSetStatus, errors: &mut Errors) {
    let path = Path::new("status");
    let counts = [
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    not_negative(status.replicas, &path.child("replicas"), errors);
    for (field, count) in counts {
        not_negative(count, &path.child(field), errors);
    }
    not_negative(
        status.observed_generation,
        &path.child("observedGeneration"),
        errors,
    );
    optional_not_negative(
        status.terminating_replicas,
        &path.child("terminatingReplicas"),
        errors,
    );
    for (field, count) in counts {
        if count > status.replicas {
            errors.invalid(
                &path.child(field),
                count,
                "cannot be greater than status.replicas",
            );
        }
    }
    if status.available_replicas > status.ready_replicas {
        let detail = "cannot be greater than readyReplicas";
        errors.invalid(
            &path.child("availableReplicas"),
            status.available_replicas,
            detail,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn set() -> ReplicaSet {
        let mut set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "nginx"}]},
                },
            },
        }))
        .expect("replica set");
        ReplicaSets.set_defaults(&mut set);
        ReplicaSets.prepare_for_create(&mut set);
        set
    }

    #[test]
    fn a_minimal_replica_set_is_right() {
        let set = set();
        assert_eq!(set.spec().replicas, Some(1));
        assert_eq!(set.metadata().generation, 1);
        assert!(ReplicaSets.validate(&set).is_empty());
        assert!(ReplicaSets.fields(&set).is_empty());
    }

    #[test]
    fn spec_and_status_are_checked_each_by_its_endpoint() {
        let old = set();
        let mut new = old.clone();
        new.spec_mut().min_ready_seconds = -1;
        new.status_mut().ready_replicas = 1;
        assert_eq!(
            lines(ReplicaSets.validate_update(&new, &old, Target::Main)),
            ["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"]
        );
        assert_eq!(
            lines(ReplicaSets.validate_update(&new, &old, Target::Status)),
            ["status.readyReplicas: Invalid value: 1: cannot be greater than status.replicas"]
        );
    }
}
