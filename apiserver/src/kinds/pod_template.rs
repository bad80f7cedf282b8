//! Pod templates: those of Deployments and ReplicaSets, and PodTemplates, which are objects of their own.

use super::field::{Errors, Json, Path};
use super::selector::{self, validate_labels};
use super::{Rules, Target, metadata, names, pod_defaults, pod_spec, pod_warnings, semantic};
use gantry_proto::core::v1::{PodTemplate, PodTemplateSpec};
use gantry_proto::meta::v1::{LabelSelector, StatusCause};

pub struct PodTemplates;

impl Rules for PodTemplates {
    type Object = PodTemplate;

    fn set_defaults(&self, template: &mut PodTemplate) {
        set_defaults(template.template_mut());
    }

    fn prepare_for_create(&self, template: &mut PodTemplate) {
        metadata::clear_for_create(template.metadata_mut(), 1);
    }

    fn generation_changes(&self, new: &PodTemplate, old: &PodTemplate) -> bool {
        !semantic::equal(new.template(), old.template())
    }

    fn validate(&self, template: &PodTemplate) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_strictly(template.metadata(), true, names::dns_subdomain, &mut errors);
        validate_any(template.template(), &Path::new("template"), &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &PodTemplate, old: &PodTemplate, _target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        validate_any(new.template(), &Path::new("template"), &mut errors);
        errors.into_causes()
    }

    fn warnings(&self, new: &PodTemplate, old: Option<&PodTemplate>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none_or(|old| self.generation_changes(new, old)) {
            let template = new.template();
            let path = Path::new("template");
            pod_warnings::collect(template.spec(), template.metadata(), &path, &mut warnings);
        }
        warnings
    }
}

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

/// What must be true of a template that keeps pods running.
fn validate_contents(template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
    validate_any(template, path, errors);
    let spec = template.spec();
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

/// What must be true of any template.
fn validate_any(template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
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
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn template(spec: serde_json::Value) -> PodTemplate {
        let mut template: PodTemplate = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default"}, "template": {"spec": spec},
        }))
        .expect("template");
        PodTemplates.set_defaults(&mut template);
        PodTemplates.prepare_for_create(&mut template);
        template
    }

    #[test]
    fn a_template_of_its_own_need_not_run_for_ever() {
        let job = template(
            json!({"restartPolicy": "Never", "activeDeadlineSeconds": 5, "containers": [{"name": "a", "image": "x"}]}),
        );
        assert!(PodTemplates.validate(&job).is_empty());
        assert_eq!(job.metadata().generation, 1);
        assert_eq!(
            lines(PodTemplates.validate(&template(json!({"containers": []})))),
            ["template.spec.containers: Required value"]
        );
    }

    #[test]
    fn only_a_changed_template_is_a_generation_and_is_warned_of() {
        let containers = json!([{"name": "a", "image": "x"}]);
        let old =
            template(json!({"containers": containers, "nodeSelector": {"beta.kubernetes.io/os": "linux"}}));
        let mut labelled = old.clone();
        labelled.metadata_mut().labels.insert("a".into(), "b".into());
        assert!(!PodTemplates.generation_changes(&labelled, &old));
        assert!(PodTemplates.warnings(&labelled, Some(&old)).is_empty());
        let mut changed = old.clone();
        changed.template_mut().spec_mut().host_network = true;
        assert!(PodTemplates.generation_changes(&changed, &old));
        let warnings = PodTemplates.warnings(&changed, Some(&old));
        assert!(warnings[0].starts_with("template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated"));
    }
}
