//! What the writer of a pod, or of a template, is told although it is accepted (pkg/api/pod/warnings.go).

use super::field::{Path, quoted};
use super::{ip, names, unsupported};
use gantry_proto::core::v1::{
    Container, ContainerPort, DownwardApiVolumeFile, KeyToPath, NodeSelectorTerm, PodSpec, VolumeProjection,
};
use gantry_proto::meta::v1::{ObjectMeta, Quantity};
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

const DEPRECATED_NODE_LABELS: &[(&str, &str)] = &[
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    (
        "node-role.kubernetes.io/master",
        "use \"node-role.kubernetes.io/control-plane\" instead",
    ),
];

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
    topology(spec, &spec_path, warnings);
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
    overlapping_paths(spec, warnings);
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
    strange_addresses(spec, &spec_path, warnings);
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

/// Labels of nodes that are out of use, values that no label can have, and constraints that select no pod.
fn topology(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let selector = path.child("nodeSelector");
    for key in spec.node_selector.keys() {
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {message}", selector.key(key)));
        }
    }
    let affinity = spec.affinity().node_affinity();
    let affinity_path = path.child("affinity.nodeAffinity");
    let required = affinity_path.child("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    let terms = &affinity
        .required_during_scheduling_ignored_during_execution()
        .node_selector_terms;
    for (i, term) in terms.iter().enumerate() {
        node_term(term, false, &required.index(i), warnings);
    }
    let preferred = affinity_path.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (i, term) in affinity
        .preferred_during_scheduling_ignored_during_execution
        .iter()
        .enumerate()
    {
        let item = preferred.index(i);
        node_term(term.preference(), true, &item.child("preference"), warnings);
    }
    let spread = path.child("topologySpreadConstraints");
    for (i, constraint) in spec.topology_spread_constraints.iter().enumerate() {
        let item = spread.index(i);
        if let Some(message) = deprecated_label(&constraint.topology_key) {
            let key = &constraint.topology_key;
            warnings.push(format!("{}: {key} is {message}", item.child("topologyKey")));
        }
        if constraint.label_selector.is_none() {
            warnings.push(no_pod(&item));
        }
    }
}

fn node_term(term: &NodeSelectorTerm, checks_values: bool, path: &Path, warnings: &mut Vec<String>) {
    let list = path.child("matchExpressions");
    for (i, requirement) in term.match_expressions.iter().enumerate() {
        let item = list.index(i);
        let key = &requirement.key;
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {key} is {message}", item.child("key")));
        }
        let values = item.child("values");
        for (j, value) in requirement.values.iter().enumerate().filter(|_| checks_values) {
            let messages = names::label_value(value).into_iter();
            warnings.extend(
                messages.map(|message| format!("{}: {value} is invalid, {message}", values.index(j))),
            );
        }
    }
}

fn deprecated_label(key: &str) -> Option<&'static str> {
    let known = DEPRECATED_NODE_LABELS.iter().find(|(label, _)| *label == key);
    known.map(|(_, message)| *message)
}

fn no_pod(path: &Path) -> String {
    let field = path.child("labelSelector");
    format!("{field}: a null labelSelector results in matching no pod")
}

fn strange_addresses(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let servers = path.child("dnsConfig.nameservers");
    for (i, server) in spec.dns_config().nameservers.iter().enumerate() {
        warnings.extend(ip::warning(server, &servers.index(i)));
    }
    let aliases = path.child("hostAliases");
    for (i, alias) in spec.host_aliases.iter().enumerate() {
        warnings.extend(ip::warning(&alias.ip, &aliases.index(i).child("ip")));
    }
}

/// A file that a volume would write twice, or where it needs a folder.
fn overlapping_paths(spec: &PodSpec, warnings: &mut Vec<String>) {
    for volume in &spec.volumes {
        let source = volume.volume_source();
        let mut warn = |what: &str, files: Vec<File>| {
            let mut seen: Vec<File> = Vec::new();
            for file in files {
                for other in seen.iter().filter(|other| file.collides(other)) {
                    let (file, other) = (file.shown(), other.shown());
                    let name = quoted(&volume.name);
                    warnings.push(format!(
                        "volume {name} ({what}): overlapping paths: {file} with {other}"
                    ));
                }
                seen.push(file);
            }
        };
        let config_map = source.config_map();
        let named = format!("ConfigMap {}", quoted(&config_map.local_object_reference().name));
        warn(&named, items(&config_map.items, ""));
        let secret = source.secret();
        let named = format!("Secret {}", quoted(&secret.secret_name));
        warn(&named, items(&secret.items, ""));
        warn("DownwardAPI", downward(&source.downward_api().items, ""));
        let projections = source.projected().sources.iter();
        warn("Projected", projections.clone().flat_map(projected).collect());
        for _ in projections.filter(|projection| **projection == Default::default()) {
            let name = quoted(&volume.name);
            warnings.push(format!("volume {name} (Projected) has no sources provided"));
        }
    }
}

/// A file in a volume, and what it comes from where there can be several.
struct File {
    path: String,
    source: String,
}

impl File {
    fn new(path: &str, source: &str) -> File {
        File {
            path: path.trim_end_matches('/').into(),
            source: source.into(),
        }
    }

    fn collides(&self, other: &File) -> bool {
        let within = |a: &str, b: &str| {
            a.strip_prefix(b)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        !self.path.is_empty()
            && !other.path.is_empty()
            && (within(&self.path, &other.path) || within(&other.path, &self.path))
    }

    fn shown(&self) -> String {
        if self.source.is_empty() {
            quoted(&self.path)
        } else {
            format!("{} ({})", quoted(&self.path), self.source)
        }
    }
}

fn items(items: &[KeyToPath], source: &str) -> Vec<File> {
    items.iter().map(|item| File::new(&item.path, source)).collect()
}

fn downward(items: &[DownwardApiVolumeFile], source: &str) -> Vec<File> {
    items.iter().map(|item| File::new(&item.path, source)).collect()
}

/// Sources that no node here can mount are left out.
fn projected(projection: &VolumeProjection) -> Vec<File> {
    let named = |kind: &str, name: &str| format!("{kind} {}", quoted(name));
    if let Some(map) = projection.config_map.as_ref().filter(|map| !map.items.is_empty()) {
        items(
            &map.items,
            &named("ConfigMap", &map.local_object_reference().name),
        )
    } else if let Some(secret) = projection
        .secret
        .as_ref()
        .filter(|secret| !secret.items.is_empty())
    {
        items(
            &secret.items,
            &named("Secret", &secret.local_object_reference().name),
        )
    } else if let Some(api) = projection
        .downward_api
        .as_ref()
        .filter(|api| !api.items.is_empty())
    {
        downward(&api.items, "DownwardAPI")
    } else if let Some(token) = &projection.service_account_token {
        vec![File::new(&token.path, "ServiceAccountToken")]
    } else {
        Vec::new()
    }
}

/// A selector that is absent selects nothing, which is seldom meant.
fn null_selectors(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let mut warn = |path: &Path, is_null: bool| {
        if is_null {
            warnings.push(no_pod(path));
        }
    };
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
            if let Some(amount) = amounts.get(name).filter(|amount| has_fraction(amount)) {
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

/// Beyond what thousandths can count, nothing is written so finely.
fn has_fraction(amount: &Quantity) -> bool {
    let milli = amount.milli_value();
    milli.unsigned_abs() < i64::MAX.unsigned_abs() && milli % 1000 != 0
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
                // As Go prints the structure.
                warnings.push(format!(
                    "{here}: hostIP set without hostPort: {{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
                    port.name, port.host_port, port.container_port, port.protocol, port.host_ip
                ));
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
