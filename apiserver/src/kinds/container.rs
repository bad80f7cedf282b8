//! Containers, plain and initial.

use super::field::{Errors, Path};
use super::resources::is_sidecar;
use super::volume::ByName;
use super::{environment, names, ports, probe, resources, security, volume_mounts};
use gantry_proto::core::v1::{Container, ContainerResizePolicy, PodSpec};
use std::collections::BTreeSet;

const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const RESTART_ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];
const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// What the containers of one pod have in common.
pub struct Pod<'a> {
    pub spec: &'a PodSpec,
    pub volumes: ByName<'a>,
    pub claims: BTreeSet<&'a str>,
}

impl Pod<'_> {
    fn host_users(&self) -> bool {
        self.spec.host_users != Some(false)
    }
}

pub fn validate_all(pod: &Pod, list: &Path, errors: &mut Errors) {
    let containers = &pod.spec.containers;
    if containers.is_empty() {
        errors.required(list, "");
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        let path = list.index(i);
        validate(container, pod, &path, errors);
        if !seen.insert(&container.name) {
            errors.duplicate(&path.child("name"), &container.name);
        }
        validate_running(container, pod, &path, errors);
        validate_restart_policy(container, &path, errors);
    }
    ports::validate_host_ports(containers, list, errors);
}

pub fn validate_all_initial(pod: &Pod, list: &Path, errors: &mut Errors) {
    let mut seen: BTreeSet<&String> = pod
        .spec
        .containers
        .iter()
        .map(|container| &container.name)
        .collect();
    for (i, container) in pod.spec.init_containers.iter().enumerate() {
        let path = list.index(i);
        validate(container, pod, &path, errors);
        validate_restart_policy(container, &path, errors);
        if seen.contains(&container.name) {
            errors.duplicate(&path.child("name"), &container.name);
        } else if !container.name.is_empty() {
            seen.insert(&container.name);
        }
        ports::validate_host_ports(std::slice::from_ref(container), list, errors);
        if is_sidecar(container) {
            validate_running(container, pod, &path, errors);
        } else {
            refuse_running(container, &path, errors);
        }
    }
}

/// What containers of every sort have.
fn validate(container: &Container, pod: &Pod, path: &Path, errors: &mut Errors) {
    let name = path.child("name");
    if container.name.is_empty() {
        errors.required(&name, "");
    } else {
        errors.invalid_each(&name, &container.name, names::dns_label(&container.name));
    }
    if container.image.is_empty() {
        errors.required(&path.child("image"), "");
    }
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(
        &container.termination_message_policy,
        &policies,
        &path.child("terminationMessagePolicy"),
        errors,
    );
    ports::validate_container_ports(&container.ports, &path.child("ports"), errors);
    environment::validate(&container.env, &path.child("env"), errors);
    environment::validate_from(&container.env_from, &path.child("envFrom"), errors);
    volume_mounts::validate(container, &pod.volumes, &path.child("volumeMounts"), errors);
    volume_mounts::validate_devices(container, &pod.volumes, &path.child("volumeDevices"), errors);
    one_of(
        &container.image_pull_policy,
        &["Always", "IfNotPresent", "Never"],
        &path.child("imagePullPolicy"),
        errors,
    );
    resources::validate_container(
        container.resources(),
        &pod.claims,
        &path.child("resources"),
        errors,
    );
    validate_resize(
        &container.resize_policy,
        &pod.spec.restart_policy,
        &path.child("resizePolicy"),
        errors,
    );
    if let Some(context) = &container.security_context {
        security::validate_container(context, pod.host_users(), &path.child("securityContext"), errors);
    }
}

pub fn one_of(value: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(path, "");
    } else if !supported.contains(&value) {
        errors.not_supported(path, value, supported);
    }
}

/// What a container has that runs as long as its pod.
fn validate_running(container: &Container, pod: &Pod, path: &Path, errors: &mut Errors) {
    if let Some(lifecycle) = &container.lifecycle {
        let grace_seconds = pod.spec.termination_grace_period_seconds;
        probe::validate_lifecycle(lifecycle, grace_seconds, &path.child("lifecycle"), errors);
    }
    for (field, probe, kind) in [
        ("livenessProbe", &container.liveness_probe, probe::Kind::Liveness),
        (
            "readinessProbe",
            &container.readiness_probe,
            probe::Kind::Readiness,
        ),
        ("startupProbe", &container.startup_probe, probe::Kind::Startup),
    ] {
        if let Some(probe) = probe {
            probe::validate(probe, kind, &path.child(field), errors);
        }
    }
}

fn refuse_running(container: &Container, path: &Path, errors: &mut Errors) {
    for (field, present) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if present {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.forbidden(&path.child(field), detail);
        }
    }
    let list = path.child("resizePolicy");
    for (i, policy) in container.resize_policy.iter().enumerate() {
        if policy.restart_policy == "RestartContainer" {
            let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            errors.invalid(
                &list.index(i).child("restartPolicy"),
                &policy.restart_policy,
                detail,
            );
        }
    }
}

/// A container's own restart policy and rules (KEP-5307).
fn validate_restart_policy(container: &Container, path: &Path, errors: &mut Errors) {
    let rules = &container.restart_policy_rules;
    let policy = path.child("restartPolicy");
    match container.restart_policy.as_deref() {
        None if rules.is_empty() => return,
        None => errors.required(&policy, "must specify restartPolicy when restart rules are used"),
        Some(value) if !RESTART_POLICIES.contains(&value) => {
            errors.not_supported(&policy, value, RESTART_POLICIES)
        }
        Some(_) => {}
    }
    let list = path.child("restartPolicyRules");
    if rules.len() > RESTART_RULES_MAX {
        errors.too_many(&list, rules.len(), RESTART_RULES_MAX);
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = list.index(i);
        if !RESTART_ACTIONS.contains(&rule.action.as_str()) {
            errors.not_supported(&path.child("action"), &rule.action, RESTART_ACTIONS);
        }
        let Some(codes) = &rule.exit_codes else {
            errors.required(&path.child("exitCodes"), "must be specified");
            continue;
        };
        if !["In", "NotIn"].contains(&codes.operator.as_str()) {
            errors.not_supported(
                &path.child("exitCodes.operator"),
                &codes.operator,
                &["In", "NotIn"],
            );
        }
        if codes.values.len() > EXIT_CODES_MAX {
            errors.too_many(
                &path.child("exitCodes.values"),
                codes.values.len(),
                EXIT_CODES_MAX,
            );
        }
    }
}

fn validate_resize(policies: &[ContainerResizePolicy], pod_restarts: &str, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, policy) in policies.iter().enumerate() {
        if !seen.insert(&policy.resource_name) {
            errors.duplicate(&path.index(i), &policy.resource_name);
        }
        one_of(&policy.resource_name, &["cpu", "memory"], path, errors);
        one_of(
            &policy.restart_policy,
            &["NotRequired", "RestartContainer"],
            path,
            errors,
        );
        if pod_restarts == "Never" && policy.restart_policy != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.invalid(path, &policy.restart_policy, detail);
        }
    }
}

/// What is checked of a pod's containers but not of a template's.
pub fn validate_images(containers: &[Container], list: &Path, errors: &mut Errors) {
    for (i, container) in containers.iter().enumerate() {
        validate_image(&container.image, &list.index(i), errors);
    }
}

pub fn validate_image(image: &str, path: &Path, errors: &mut Errors) {
    if image.trim() != image {
        errors.invalid(
            &path.child("image"),
            image,
            "must not have leading or trailing whitespace",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::super::pod_defaults;
    use super::*;
    use serde_json::json;

    fn check(value: serde_json::Value, expected: &[&str]) {
        let mut spec: PodSpec = serde_json::from_value(value).expect("spec");
        pod_defaults::set_spec_defaults(&mut spec);
        let pod = Pod {
            spec: &spec,
            volumes: ByName::new(),
            claims: BTreeSet::new(),
        };
        let mut errors = Errors::new();
        validate_all(&pod, &Path::new("spec.containers"), &mut errors);
        validate_all_initial(&pod, &Path::new("spec.initContainers"), &mut errors);
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn a_container_has_a_name_of_its_own_and_an_image() {
        check(json!({"containers": [{"name": "a", "image": "x"}]}), &[]);
        check(json!({}), &["spec.containers: Required value"]);
        check(
            json!({
                "containers": [{"name": "a", "image": "x"}, {"name": "a"}],
                "initContainers": [{"name": "a", "image": "x"}, {"image": "x", "imagePullPolicy": "Sometimes"}],
            }),
            &[
                "spec.containers[1].image: Required value",
                "spec.containers[1].name: Duplicate value: \"a\"",
                "spec.initContainers[0].name: Duplicate value: \"a\"",
                "spec.initContainers[1].name: Required value",
                "spec.initContainers[1].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \
                 \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        );
    }

    #[test]
    fn host_ports_are_taken_once() {
        check(
            json!({"containers": [
                {"name": "a", "image": "x", "ports": [{"containerPort": 80, "hostPort": 80}]},
                {"name": "b", "image": "x", "ports": [{"containerPort": 81, "hostPort": 80}]},
            ]}),
            &["spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//80\""],
        );
    }

    #[test]
    fn only_sidecars_among_init_containers_are_probed() {
        let probe = json!({"tcpSocket": {"port": 80}});
        let containers = json!([{"name": "a", "image": "x"}]);
        check(
            json!({"containers": containers, "initContainers": [{"name": "i", "image": "x", "readinessProbe": probe}]}),
            &[
                "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without \
               restartPolicy=Always",
            ],
        );
        check(
            json!({"containers": containers, "initContainers": [
                {"name": "i", "image": "x", "readinessProbe": probe, "restartPolicy": "Always"},
            ]}),
            &[],
        );
    }
}
