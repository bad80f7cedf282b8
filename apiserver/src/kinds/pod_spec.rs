//! What is wrong with a pod's spec, also inside a template (ValidatePodSpec).

use super::container::{self, one_of};
use super::field::{Errors, Json, Path, inclusive_range, not_negative, quoted};
use super::selector::validate_labels;
use super::{affinity, ip, names, resources, scheduling, security, volume};
use gantry_proto::core::v1::{EnvVar, PodDnsConfig, PodSpec, ResourceRequirements, VolumeSource};
use gantry_proto::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};

const NAMESERVERS_MAX: usize = 3;
const SEARCH_PATHS_MAX: usize = 32;
const SEARCH_CHARACTERS_MAX: usize = 2048;
const HOSTNAME_MAX: usize = 64;
const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// `pod` is the pod's metadata; a template has none.
pub fn validate(spec: &PodSpec, pod: Option<&ObjectMeta>, path: &Path, errors: &mut Errors) {
    if spec.termination_grace_period_seconds.is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::validate(&spec.volumes, pod, &path.child("volumes"), errors);
    let claims = validate_claims(spec, &path.child("resourceClaims"), errors);
    let shared = container::Pod {
        spec,
        volumes,
        claims,
    };
    container::validate_all(&shared, &path.child("containers"), errors);
    container::validate_all_initial(&shared, &path.child("initContainers"), errors);
    resources::validate_pod(spec, &path.child("resources"), errors);
    validate_host_network(spec, pod.is_some(), path, errors);
    one_of(
        &spec.restart_policy,
        RESTART_POLICIES,
        &path.child("restartPolicy"),
        errors,
    );
    one_of(&spec.dns_policy, DNS_POLICIES, &path.child("dnsPolicy"), errors);
    validate_labels(&spec.node_selector, &path.child("nodeSelector"), errors);
    security::validate_pod(spec, &path.child("securityContext"), errors);
    if let Some(affinity) = &spec.affinity {
        affinity::validate(affinity, &path.child("affinity"), errors);
    }
    validate_dns(
        spec.dns_config.as_ref(),
        &spec.dns_policy,
        &path.child("dnsConfig"),
        errors,
    );
    validate_gates(spec, path, errors);
    scheduling::validate_spread(
        &spec.topology_spread_constraints,
        &path.child("topologySpreadConstraints"),
        errors,
    );
    validate_host_users(spec, path, errors);
    validate_names(spec, path, errors);
    if let Some(seconds) = spec.active_deadline_seconds {
        let range = 1..=i64::from(i32::MAX);
        if !range.contains(&seconds) {
            let detail = inclusive_range(*range.start(), *range.end());
            errors.invalid(&path.child("activeDeadlineSeconds"), seconds, detail);
        }
    }
    for (field, name) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if !name.is_empty() {
            errors.invalid_each(&path.child(field), name, names::dns_label(name));
        }
    }
    scheduling::validate_tolerations(&spec.tolerations, &path.child("tolerations"), errors);
    validate_host_aliases(spec, &path.child("hostAliases"), errors);
    validate_classes(spec, path, errors);
    validate_os(spec, path, errors);
    validate_variable_files(spec, path, errors);
}

fn validate_claims<'a>(spec: &'a PodSpec, list: &Path, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (i, claim) in spec.resource_claims.iter().enumerate() {
        let path = list.index(i);
        if claim.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !seen.insert(claim.name.as_str()) {
            errors.duplicate(&path.child("name"), &claim.name);
        } else {
            errors.invalid_each(&path.child("name"), &claim.name, names::dns_label(&claim.name));
        }
        let sources = [
            ("resourceClaimName", &claim.resource_claim_name),
            ("resourceClaimTemplateName", &claim.resource_claim_template_name),
        ];
        match sources.iter().filter(|(_, name)| name.is_some()).count() {
            0 => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                // The names are those of Go's internal type.
                let shown = format!(
                    "{{\"Name\":{},\"ResourceClaimName\":null,\"ResourceClaimTemplateName\":null}}",
                    quoted(&claim.name)
                );
                errors.invalid(&path, Json::text(shown), detail);
            }
            1 => {}
            _ => errors.invalid(
                &path,
                Json::of(claim),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
        }
        for (field, name) in sources {
            if let Some(name) = name {
                errors.invalid_each(&path.child(field), name, names::dns_subdomain(name));
            }
        }
    }
    seen
}

/// On the host's network a container's port is the host's.
fn validate_host_network(spec: &PodSpec, is_pod: bool, path: &Path, errors: &mut Errors) {
    if !spec.host_network {
        return;
    }
    let list = path.child("containers");
    for (i, container) in spec.containers.iter().enumerate() {
        let container_path = list.index(i);
        let ports = container_path.child("ports");
        for (j, port) in container.ports.iter().enumerate() {
            if (is_pod || port.host_port != 0) && port.host_port != port.container_port {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&ports.index(j).child("hostPort"), port.host_port, detail);
            }
        }
    }
}

fn validate_dns(config: Option<&PodDnsConfig>, policy: &str, path: &Path, errors: &mut Errors) {
    let nameservers = path.child("nameservers");
    if policy == "None" {
        if config.is_none() {
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if config.is_some_and(|config| config.nameservers.is_empty()) {
            errors.required(
                &nameservers,
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
            return;
        }
    }
    let Some(config) = config else { return };
    if config.nameservers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.invalid(&nameservers, Json::of(&config.nameservers), detail);
    }
    for (i, server) in config.nameservers.iter().enumerate() {
        ip::validate(server, &[], &nameservers.index(i), errors);
    }
    let searches = path.child("searches");
    if config.searches.len() > SEARCH_PATHS_MAX {
        let detail = format!("must not have more than {SEARCH_PATHS_MAX} search paths");
        errors.invalid(&searches, Json::of(&config.searches), detail);
    }
    if config.searches.join(" ").len() > SEARCH_CHARACTERS_MAX {
        let detail = format!(
            "must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list"
        );
        errors.invalid(&searches, Json::of(&config.searches), detail);
    }
    for (i, search) in config
        .searches
        .iter()
        .enumerate()
        .filter(|(_, search)| *search != ".")
    {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.invalid_each(
            &searches.index(i),
            search,
            names::dns_subdomain_with_underscore(search),
        );
    }
    let options = path.child("options");
    for (i, _) in config
        .options
        .iter()
        .enumerate()
        .filter(|(_, option)| option.name.is_empty())
    {
        errors.required(&options.index(i), "must not be empty");
    }
}

fn validate_gates(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let readiness = path.child("readinessGates");
    for (i, gate) in spec.readiness_gates.iter().enumerate() {
        let condition = &gate.condition_type;
        errors.invalid_each(
            &readiness.index(i).child("conditionType"),
            condition,
            names::qualified(condition),
        );
    }
    let scheduling = path.child("schedulingGates");
    let mut seen = BTreeSet::new();
    for (i, gate) in spec.scheduling_gates.iter().enumerate() {
        errors.invalid_each(&scheduling.index(i), &gate.name, names::qualified(&gate.name));
        if !seen.insert(&gate.name) {
            errors.duplicate(&scheduling.index(i), &gate.name);
        }
    }
}

fn validate_host_users(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if spec.host_users != Some(false) {
        return;
    }
    let detail = "when `hostUsers` is false";
    for (field, shared) in [
        ("hostNetwork", spec.host_network),
        ("HostPID", spec.host_pid),
        ("HostIPC", spec.host_ipc),
    ] {
        if shared {
            errors.forbidden(&path.child(field), detail);
        }
    }
    for (field, containers) in [
        ("initContainers", &spec.init_containers),
        ("containers", &spec.containers),
    ] {
        let list = path.child(field);
        for (i, _) in containers
            .iter()
            .enumerate()
            .filter(|(_, container)| !container.volume_devices.is_empty())
        {
            errors.forbidden(&list.index(i).child("volumeDevices"), detail);
        }
    }
}

fn validate_names(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if let Some(hostname) = &spec.hostname_override {
        let field = path.child("hostnameOverride");
        if spec.set_hostname_as_fqdn == Some(true) {
            errors.forbidden(&field, "may not be specified when setHostnameAsFQDN is true");
        }
        if spec.host_network {
            errors.forbidden(&field, "may not be specified when hostNetwork is true");
        }
        if hostname.len() > HOSTNAME_MAX {
            errors.too_long(&field, HOSTNAME_MAX);
        }
        errors.invalid_each(&field, hostname, names::dns_subdomain(hostname));
    }
    for (field, name) in [
        ("serviceAccountName", &spec.service_account_name),
        ("nodeName", &spec.node_name),
    ] {
        if !name.is_empty() {
            errors.invalid_each(&path.child(field), name, names::dns_subdomain(name));
        }
    }
}

fn validate_host_aliases(spec: &PodSpec, list: &Path, errors: &mut Errors) {
    for (i, alias) in spec.host_aliases.iter().enumerate() {
        let path = list.index(i);
        ip::validate(&alias.ip, &[], &path.child("ip"), errors);
        let hostnames = path.child("hostnames");
        for (j, hostname) in alias.hostnames.iter().enumerate() {
            errors.invalid_each(&hostnames.index(j), hostname, names::dns_subdomain(hostname));
        }
    }
}

fn validate_classes(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if !spec.priority_class_name.is_empty() {
        let messages = names::dns_subdomain(&spec.priority_class_name);
        errors.invalid_each(
            &path.child("priorityClassName"),
            &spec.priority_class_name,
            messages,
        );
    }
    if let Some(class) = &spec.runtime_class_name {
        errors.invalid_each(
            &path.child("runtimeClassName"),
            class,
            names::dns_subdomain(class),
        );
    }
    if let Some(policy) = &spec.preemption_policy {
        one_of(
            policy,
            &["PreemptLowerPriority", "Never"],
            &path.child("preemptionPolicy"),
            errors,
        );
    }
    if !spec.overhead.is_empty() {
        // Kubernetes checks it as if it were a container's limits.
        let limits = ResourceRequirements {
            limits: spec.overhead.clone(),
            ..ResourceRequirements::default()
        };
        resources::validate_container(&limits, &BTreeSet::new(), &path.child("overhead"), errors);
    }
}

fn validate_os(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(os) = &spec.os else { return };
    match os.name.as_str() {
        "" => errors.required(&path.child("os.name"), ""),
        "linux" => {
            let detail = "windows options cannot be set for a linux pod";
            if spec.security_context().windows_options.is_some() {
                errors.forbidden(&path.child("securityContext.windowsOptions"), detail);
            }
            for (field, containers) in [
                ("initContainers", &spec.init_containers),
                ("containers", &spec.containers),
            ] {
                let list = path.child(field);
                for (i, container) in containers.iter().enumerate() {
                    if container.security_context().windows_options.is_some() {
                        errors.forbidden(&list.index(i).child("securityContext.windowsOptions"), detail);
                    }
                }
            }
        }
        "windows" => {}
        other => errors.not_supported(&path.child("os"), other, &["linux", "windows"]),
    }
}

/// Variables that are read from a file need a volume that the pod writes itself.
fn validate_variable_files(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let sources: BTreeMap<&str, &VolumeSource> = spec
        .volumes
        .iter()
        .map(|volume| (volume.name.as_str(), volume.volume_source()))
        .collect();
    for (field, containers) in [
        ("initContainers", &spec.init_containers),
        ("containers", &spec.containers),
    ] {
        let list = path.child(field);
        for (i, container) in containers.iter().enumerate() {
            let container_path = list.index(i);
            let variables = container_path.child("env");
            for (j, variable) in container.env.iter().enumerate() {
                validate_variable_file(variable, &sources, &variables.index(j), errors);
            }
        }
    }
}

fn validate_variable_file(
    variable: &EnvVar,
    sources: &BTreeMap<&str, &VolumeSource>,
    path: &Path,
    errors: &mut Errors,
) {
    let Some(file) = &variable.value_from().file_key_ref else {
        return;
    };
    let path = path.child("valueFrom.fileKeyRef.volumeName");
    match sources.get(file.volume_name.as_str()) {
        None => errors.not_found(&path, &file.volume_name, ""),
        Some(source) if source.empty_dir.is_none() => {
            errors.invalid(
                &path,
                &file.volume_name,
                "referenced volume must be of type emptyDir",
            );
        }
        Some(_) => {}
    }
}

/// Annotations that mean something to pods.
pub fn validate_annotations(
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
    path: &Path,
    errors: &mut Errors,
) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    if let Some(value) = annotations.get(MIRROR).filter(|_| spec.node_name.is_empty()) {
        errors.invalid(
            &path.key(MIRROR),
            value,
            "must set spec.nodeName if mirror pod annotation is set",
        );
    }
    // No plus sign, and no leading zero that no minus sign comes before.
    let is_cost = |value: &String| {
        let plain = value == "0" || !value.starts_with(['0', '+']);
        plain && value.parse::<i32>().is_ok()
    };
    if let Some(value) = annotations.get(DELETION_COST).filter(|value| !is_cost(value)) {
        errors.invalid(&path.key(DELETION_COST), value, "must be a 32bit integer");
    }
    validate_seccomp_annotations(annotations, path, errors);
}

/// What seccompProfile was before it was a field. The profiles are no longer looked at, but still checked.
fn validate_seccomp_annotations(annotations: &BTreeMap<String, String>, path: &Path, errors: &mut Errors) {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let about_seccomp = |key: &String| key == POD || key.starts_with(CONTAINER);
    for (key, profile) in annotations.iter().filter(|(key, _)| about_seccomp(key)) {
        let path = path.child(key);
        if let Some(file) = profile.strip_prefix("localhost/") {
            volume::validate_descending(file, &path, errors);
        } else if !["runtime/default", "docker/default", "unconfined"].contains(&profile.as_str()) {
            errors.invalid(&path, profile, "must be a valid seccomp profile");
        }
    }
}

/// A count that may be absent.
pub fn optional_not_negative(value: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(value) = value {
        not_negative(value, path, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::super::pod_defaults;
    use super::*;
    use serde_json::json;

    fn check(mut value: serde_json::Value, expected: &[&str]) {
        value["containers"] = json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}]);
        let mut spec: PodSpec = serde_json::from_value(value).expect("spec");
        pod_defaults::set_spec_defaults(&mut spec);
        let mut errors = Errors::new();
        validate(
            &spec,
            Some(&ObjectMeta::default()),
            &Path::new("spec"),
            &mut errors,
        );
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn policies_are_known() {
        check(json!({}), &[]);
        check(
            json!({"restartPolicy": "Sometimes", "dnsPolicy": "Magic"}),
            &[
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \
                 \"Never\"",
                "spec.dnsPolicy: Unsupported value: \"Magic\": supported values: \"ClusterFirstWithHostNet\", \
                 \"ClusterFirst\", \"Default\", \"None\"",
            ],
        );
    }

    #[test]
    fn dns_is_configured_where_nothing_else_configures_it() {
        check(
            json!({"dnsPolicy": "None"}),
            &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        );
        check(
            json!({"dnsConfig": {"nameservers": ["1.1.1.1", "x"], "searches": ["_a.b.", "."], "options": [{}]}}),
            &[
                "spec.dnsConfig.nameservers[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
                 2001:db8::ffff)",
                "spec.dnsConfig.options[0]: Required value: must not be empty",
            ],
        );
    }

    #[test]
    fn host_namespaces_fit_together() {
        check(
            json!({"hostNetwork": true}),
            &[
                "spec.containers[0].ports[0].hostPort: Invalid value: 0: must match `containerPort` when `hostNetwork` \
               is true",
            ],
        );
        check(
            json!({"hostPID": true, "shareProcessNamespace": true, "hostUsers": false}),
            &[
                "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID \
                 cannot both be enabled",
                "spec.HostPID: Forbidden: when `hostUsers` is false",
            ],
        );
    }

    #[test]
    fn names_deadlines_and_classes_are_checked() {
        check(
            json!({"activeDeadlineSeconds": 0, "hostname": "a.b", "preemptionPolicy": "Ask", "os": {"name": "plan9"}}),
            &[
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
                "spec.hostname: Invalid value: \"a.b\": must not contain dots",
                "spec.preemptionPolicy: Unsupported value: \"Ask\": supported values: \"PreemptLowerPriority\", \
                 \"Never\"",
                "spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\"",
            ],
        );
    }

    #[test]
    fn a_deletion_cost_is_a_whole_number() {
        for (value, is_right) in [
            ("10", true),
            ("-5", true),
            ("0", true),
            ("+1", false),
            ("01", false),
            ("x", false),
        ] {
            let annotations =
                BTreeMap::from([("controller.kubernetes.io/pod-deletion-cost".into(), value.into())]);
            let mut errors = Errors::new();
            validate_annotations(
                &annotations,
                &PodSpec::default(),
                &Path::new("metadata.annotations"),
                &mut errors,
            );
            assert_eq!(errors.is_empty(), is_right, "{value}");
        }
    }
}
