//! Pod templates of Deployments and ReplicaSets.

use super::field::{Errors, Json, Path};
use super::selector::{self, validate_labels};
use super::{metadata, pod_defaults, pod_spec};
use gantry_proto::core::v1::PodTemplateSpec;
use gantry_proto::meta::v1::LabelSelector;

pub fn set_defaults(template: &mut PodTemplateSpec) {
    pod_defaults::set_spec_defaults(template.spec_mut());
}

/// The template, and the selector that has to select what it makes. `path` is the spec's.
pub fn validate(
    selector: Option<&LabelSelector>,
    template: &PodTemplateSpec,
    path: &Path,
    errors: &mut Errors,
) {
    let template_path = path.child("template");
    if let Some(selector) = selector.filter(|selector| !selector::is_usable(selector)) {
        errors.invalid(
            &path.child("selector"),
            Json::of(selector),
            "invalid label selector",
        );
        return;
    }
    let labels = &template.metadata().labels;
    // No selector selects nothing, and an empty one everything.
    if !selector.is_some_and(|selector| selector::matches(selector, labels)) {
        let shown = if labels.is_empty() {
            Json::text("null".into())
        } else {
            Json::of(labels)
        };
        let detail = "`selector` does not match template `labels`";
        errors.invalid(&template_path.child("metadata.labels"), shown, detail);
    }
    validate_contents(template, &template_path, errors);
}

/// What must be true of the selector itself.
pub fn validate_selector(selector: Option<&LabelSelector>, path: &Path, errors: &mut Errors) {
    let Some(selector) = selector else {
        errors.required(path, "");
        return;
    };
    selector::validate(selector, path, errors);
    if selector::is_empty(selector) {
        errors.invalid(
            path,
            Json::of(selector),
            "empty selector is invalid for deployment",
        );
    }
}

fn validate_contents(template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
    let metadata = template.metadata();
    validate_labels(&metadata.labels, &path.child("labels"), errors);
    let annotations = path.child("annotations");
    metadata::validate_annotations(&metadata.annotations, &annotations, errors);
    let spec = template.spec();
    pod_spec::validate_annotations(&metadata.annotations, spec, &annotations, errors);
    pod_spec::validate(spec, None, &path.child("spec"), errors);
    if !spec.ephemeral_containers.is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.forbidden(&path.child("spec.ephemeralContainers"), detail);
    }
    if spec.restart_policy != "Always" {
        errors.not_supported(
            &path.child("spec.restartPolicy"),
            &spec.restart_policy,
            &["Always"],
        );
    }
    if spec.active_deadline_seconds.is_some() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&path.child("spec.activeDeadlineSeconds"), detail);
    }
}
