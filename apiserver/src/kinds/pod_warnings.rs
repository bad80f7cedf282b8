//! What the writer of a pod, or of a template, is told although it is accepted (pkg/api/pod/warnings.go).

use super::field::{Path, quoted};
use super::{names, unsupported};
use gantry_proto::core::v1::{Container, ContainerPort, PodSpec};
use gantry_proto::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};

const DEPRECATED_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";

const DEPRECATED_VOLUMES: &[(&str, &str)] = &[
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// `path` is empty for a pod, and the template's otherwise.
pub fn collect(spec: &PodSpec, metadata: &ObjectMeta, path: &Path, warnings: &mut Vec<String>) {
    let spec_path = path.child("spec");
    let annotations_path = path.child("metadata");
    let annotations_path = annotations_path.child("annotations");
    for (key, message) in DEPRECATED_ANNOTATIONS {
        if metadata.annotations.contains_key(*key) {
            warnings.push(format!("{}: {message}", annotations_path.key(key)));
        }
    }
    let volumes = spec_path.child("volumes");
    for (i, volume) in spec.volumes.iter().enumerate() {
        for present in super::volume::present(volume.volume_source()) {
            if let Some((_, message)) = DEPRECATED_VOLUMES.iter().find(|(name, _)| *name == present) {
                warnings.push(format!("{}: {message}", volumes.index(i).child(present)));
            }
        }
    }
    for volume in &spec.volumes {
        let sources = &volume.volume_source().projected().sources;
        for _ in sources.iter().filter(|source| **source == Default::default()) {
            warnings.push(format!(
                "volume {} (Projected) has no sources provided",
                quoted(&volume.name)
            ));
        }
    }
    repeated_names(spec, &spec_path, warnings);
    if spec.security_context().seccomp_profile.is_none() && metadata.annotations.contains_key(SECCOMP_POD) {
        let field = annotations_path.key(SECCOMP_POD);
        warnings.push(format!(
            "{field}: non-functional in v1.27+; use the \"seccompProfile\" field instead"
        ));
    }
    each_container(spec, &spec_path, &mut |container, path| {
        fractional_bytes(container, path, warnings);
        hidden_variables(container, path, warnings);
    });
    overlapping_ports(spec, &spec_path, warnings);
    if spec
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 0)
    {
        let field = spec_path.child("terminationGracePeriodSeconds");
        warnings.push(format!(
            "{field}: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    null_selectors(spec, &spec_path, warnings);
    unsupported::pod_spec(spec, &spec_path, warnings);
}

/// A name that is no DNS label makes surprising hostnames.
pub fn name_is_no_label(metadata: &ObjectMeta, used: &str) -> Option<String> {
    let messages = names::dns_label(&metadata.name);
    // Go prints a list of strings in brackets, with spaces between.
    (!messages.is_empty()).then(|| {
        format!(
            "metadata.name: this is {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        )
    })
}

fn each_container(spec: &PodSpec, path: &Path, visit: &mut dyn FnMut(&Container, &Path)) {
    for (field, containers) in [
        ("initContainers", &spec.init_containers),
        ("containers", &spec.containers),
    ] {
        let list = path.child(field);
        for (i, container) in containers.iter().enumerate() {
            visit(container, &list.index(i));
        }
    }
}

/// A selector that is absent selects nothing, which is seldom meant.
fn null_selectors(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let mut warn = |path: &Path, is_null: bool| {
        if is_null {
            let field = path.child("labelSelector");
            warnings.push(format!(
                "{field}: a null labelSelector results in matching no pod"
            ));
        }
    };
    let spread = path.child("topologySpreadConstraints");
    for (i, constraint) in spec.topology_spread_constraints.iter().enumerate() {
        warn(&spread.index(i), constraint.label_selector.is_none());
    }
    let (with, apart) = (
        spec.affinity().pod_affinity(),
        spec.affinity().pod_anti_affinity(),
    );
    for (field, required, preferred) in [
        (
            "affinity.podAffinity",
            &with.required_during_scheduling_ignored_during_execution,
            &with.preferred_during_scheduling_ignored_during_execution,
        ),
        (
            "affinity.podAntiAffinity",
            &apart.required_during_scheduling_ignored_during_execution,
            &apart.preferred_during_scheduling_ignored_during_execution,
        ),
    ] {
        let field = path.child(field);
        let list = field.child("requiredDuringSchedulingIgnoredDuringExecution");
        for (i, term) in required.iter().enumerate() {
            warn(&list.index(i), term.label_selector.is_none());
        }
        let list = field.child("preferredDuringSchedulingIgnoredDuringExecution");
        for (i, weighted) in preferred.iter().enumerate() {
            let item = list.index(i);
            warn(
                &item.child("podAffinityTerm"),
                weighted.pod_affinity_term().label_selector.is_none(),
            );
        }
    }
}

fn repeated_names(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let aliases = path.child("hostAliases");
    let mut seen = BTreeSet::new();
    for (i, alias) in spec.host_aliases.iter().enumerate() {
        if !seen.insert(&alias.ip) {
            warnings.push(format!(
                "{}: duplicate ip {}",
                aliases.index(i).child("ip"),
                quoted(&alias.ip)
            ));
        }
    }
    let secrets = path.child("imagePullSecrets");
    let mut seen = BTreeSet::new();
    for (i, secret) in spec.image_pull_secrets.iter().enumerate() {
        if !seen.insert(&secret.name) {
            warnings.push(format!(
                "{}: duplicate name {}",
                secrets.index(i).child("name"),
                quoted(&secret.name)
            ));
        }
    }
    for (i, _) in spec
        .image_pull_secrets
        .iter()
        .enumerate()
        .filter(|(_, secret)| secret.name.is_empty())
    {
        warnings.push(format!(
            "{}: invalid empty name \"\"",
            secrets.index(i).child("name")
        ));
    }
}

fn fractional_bytes(container: &Container, path: &Path, warnings: &mut Vec<String>) {
    let resources = container.resources();
    for name in ["memory", "ephemeral-storage"] {
        for (field, amounts) in [
            ("resources.limits", &resources.limits),
            ("resources.requests", &resources.requests),
        ] {
            if let Some(amount) = amounts
                .get(name)
                .filter(|amount| amount.milli_value() % 1000 != 0)
            {
                let shown = quoted(&amount.to_string());
                let field = path.child(field);
                warnings.push(format!(
                    "{}: fractional byte value {shown} is invalid, must be an integer",
                    field.key(name)
                ));
            }
        }
    }
}

fn hidden_variables(container: &Container, path: &Path, warnings: &mut Vec<String>) {
    let list = path.child("env");
    let mut seen = BTreeSet::new();
    for (i, variable) in container.env.iter().enumerate() {
        if seen.insert(&variable.name) {
            continue;
        }
        // A definition that adds to the one before is meant.
        let reference = format!("$({})", variable.name);
        let extends = variable.value_from.is_none()
            && variable.value != reference
            && variable.value.contains(&reference);
        if !extends {
            warnings.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                list.index(i),
                quoted(&variable.name)
            ));
        }
    }
}

fn overlapping_ports(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let mut by_number: BTreeMap<String, Vec<(String, ContainerPort)>> = BTreeMap::new();
    each_container(spec, path, &mut |container, path| {
        let list = path.child("ports");
        for (i, port) in container.ports.iter().enumerate() {
            let here = list.index(i).to_string();
            if !port.host_ip.is_empty() && port.host_port == 0 {
                warnings.push(format!("{here}: hostIP set without hostPort: {}", port.host_ip));
            }
            let others = by_number
                .entry(format!("{}/{}", port.container_port, port.protocol))
                .or_default();
            for (there, other) in others.iter() {
                if let Some(how) = overlap(port, other) {
                    warnings.push(format!("{here}: {how} port definition with {there}"));
                }
            }
            others.push((here, port.clone()));
        }
    });
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    each_container(spec, path, &mut |container, path| {
        let list = path.child("ports");
        for (i, port) in container
            .ports
            .iter()
            .enumerate()
            .filter(|(_, port)| !port.name.is_empty())
        {
            let here = list.index(i).to_string();
            match by_name.get(&port.name) {
                Some(there) => warnings.push(format!(
                    "{here}: duplicate port name {} with {there}, services and probes that select ports by name will \
                     use {there}",
                    quoted(&port.name)
                )),
                None => {
                    by_name.insert(port.name.clone(), here);
                }
            }
        }
    });
}

fn overlap(a: &ContainerPort, b: &ContainerPort) -> Option<&'static str> {
    if a.host_ip == b.host_ip && a.host_port == b.host_port {
        Some("duplicate")
    } else if a.host_port == 0 || b.host_port == 0 {
        Some("overlapping")
    } else if a.host_port == b.host_port && a.host_ip.is_empty() != b.host_ip.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn repetitions_and_deprecations_are_told() {
        let spec: PodSpec = serde_json::from_value(json!({
            "terminationGracePeriodSeconds": -1,
            "containers": [{
                "name": "a",
                "ports": [
                    {"name": "web", "containerPort": 80, "protocol": "TCP"},
                    {"name": "web", "containerPort": 80, "protocol": "TCP"},
                ],
                "env": [{"name": "P", "value": "a"}, {"name": "P", "value": "$(P):b"}, {"name": "P", "value": "c"}],
                "resources": {"limits": {"memory": "100m"}},
            }],
        }))
        .expect("spec");
        let metadata = ObjectMeta {
            annotations: [(
                "scheduler.alpha.kubernetes.io/critical-pod".to_string(),
                String::new(),
            )]
            .into(),
            ..Default::default()
        };
        let mut warnings = Vec::new();
        collect(&spec, &metadata, &Path::new(""), &mut warnings);
        assert_eq!(
            warnings,
            [
                "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \
                 \"priorityClassName\" field instead",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an \
                 integer",
                "spec.containers[0].env[2]: hides previous definition of \"P\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[0].ports[1]: duplicate port name \"web\" with spec.containers[0].ports[0], services \
                 and probes that select ports by name will use spec.containers[0].ports[0]",
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as \
                 1",
            ]
        );
    }
}
