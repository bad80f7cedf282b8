//! What is accepted and stored, but not acted on yet. The README's list is made from these tables by hand;
//! a test compares them.
//!
//! A field is named here as long as no component does what Kubernetes says it does; setting it is answered with
//! a warning, so that nothing is a silent no-op.

use super::field::Path;
use super::{ip, resources, volume};
use gantry_proto::coordination::v1::LeaseSpec;
use gantry_proto::core::v1::{
    Container, EndpointAddress, PodSpec, Secret, ServiceAccount, ServiceSpec, Volume, VolumeProjection,
};
use gantry_proto::discovery::v1::EndpointSlice;
use gantry_proto::networking::v1::ServiceCidr;

/// What every such warning says.
pub const NOT_ACTED_ON: &str = "accepted and stored, but not acted on yet";

/// A field that is not acted on, and when it asks for something.
pub struct Field<T> {
    /// Its JSON path, from the message that it belongs to.
    pub path: &'static str,
    /// Whether it is set to something other than what happens anyway.
    is_set: fn(&T) -> bool,
    /// What happens instead, where that is worth a word.
    note: &'static str,
}

const fn field<T>(path: &'static str, is_set: fn(&T) -> bool) -> Field<T> {
    Field {
        path,
        is_set,
        note: "",
    }
}

const fn noted<T>(path: &'static str, note: &'static str, is_set: fn(&T) -> bool) -> Field<T> {
    Field { path, is_set, note }
}

pub const POD_SPEC: &[Field<PodSpec>] = &[
    field("automountServiceAccountToken", |spec| {
        spec.automount_service_account_token == Some(true)
    }),
    field("ephemeralContainers", |spec: &PodSpec| {
        !spec.ephemeral_containers.is_empty()
    }),
    field("hostUsers", |spec| spec.host_users == Some(false)),
    field("hostnameOverride", |spec| spec.hostname_override.is_some()),
    field("os", |spec| spec.os.as_ref().is_some_and(|os| os.name != "linux")),
    field("resourceClaims", |spec| !spec.resource_claims.is_empty()),
    noted("resources", "counted, not limited", |spec| {
        spec.resources.is_some()
    }),
    noted(
        "runtimeClassName",
        "taken for the name of the runtime's own handler",
        |spec| spec.runtime_class_name.is_some(),
    ),
    field("schedulingGroup", |spec| spec.scheduling_group.is_some()),
    field("serviceAccountName", |spec| {
        !["", "default"].contains(&spec.service_account_name.as_str())
    }),
    field("setHostnameAsFQDN", |spec| {
        spec.set_hostname_as_fqdn == Some(true)
    }),
    field("securityContext.appArmorProfile", |spec| {
        spec.security_context().app_armor_profile.is_some()
    }),
    field("securityContext.fsGroupChangePolicy", |spec| {
        let policy = spec.security_context().fs_group_change_policy.as_deref();
        policy.is_some_and(|policy| policy != "Always")
    }),
    field("securityContext.seLinuxChangePolicy", |spec| {
        spec.security_context().se_linux_change_policy.is_some()
    }),
    field("securityContext.seLinuxOptions", |spec| {
        spec.security_context().se_linux_options.is_some()
    }),
    field("securityContext.supplementalGroupsPolicy", |spec| {
        let policy = spec.security_context().supplemental_groups_policy.as_deref();
        policy.is_some_and(|policy| policy != "Merge")
    }),
    field("securityContext.windowsOptions", |spec| {
        spec.security_context().windows_options.is_some()
    }),
];

pub const CONTAINER: &[Field<Container>] = &[
    field("lifecycle.stopSignal", |container| {
        container.lifecycle().stop_signal.is_some()
    }),
    field("resizePolicy", |container| !container.resize_policy.is_empty()),
    field("resources.claims", |container| {
        !container.resources().claims.is_empty()
    }),
    field("restartPolicyRules", |container| {
        !container.restart_policy_rules.is_empty()
    }),
    field("securityContext.appArmorProfile", |container| {
        container.security_context().app_armor_profile.is_some()
    }),
    field("securityContext.seLinuxOptions", |container| {
        container.security_context().se_linux_options.is_some()
    }),
    field("securityContext.windowsOptions", |container| {
        container.security_context().windows_options.is_some()
    }),
    noted("stdin", "nothing can attach to it", |container| container.stdin),
    field("stdinOnce", |container| container.stdin_once),
    field("volumeDevices", |container| !container.volume_devices.is_empty()),
];

/// Containers that are not initial have, besides, no restart policy of their own.
const PLAIN_CONTAINER: &[Field<Container>] = &[field("restartPolicy", |container| {
    container.restart_policy.is_some()
})];

const INIT_CONTAINER: &[Field<Container>] = &[field("restartPolicy", |container| {
    container.restart_policy.is_some() && !resources::is_sidecar(container)
})];

/// What sessionAffinityConfig.clientIP.timeoutSeconds is defaulted to.
const DEFAULT_TIMEOUT_SECONDS: i32 = 10_800;

pub const SERVICE_SPEC: &[Field<ServiceSpec>] = &[
    noted(
        "type",
        "LoadBalancer: nothing gives it an address; its node ports are served",
        |spec| spec.r#type == "LoadBalancer",
    ),
    field("externalTrafficPolicy", |spec| {
        spec.external_traffic_policy == "Local"
    }),
    field("healthCheckNodePort", |spec| spec.health_check_node_port != 0),
    field("internalTrafficPolicy", |spec| {
        spec.internal_traffic_policy.as_deref() == Some("Local")
    }),
    field("loadBalancerClass", |spec| spec.load_balancer_class.is_some()),
    field("loadBalancerIP", |spec| !spec.load_balancer_ip.is_empty()),
    field("loadBalancerSourceRanges", |spec| {
        !spec.load_balancer_source_ranges.is_empty()
    }),
    noted(
        "sessionAffinityConfig.clientIP.timeoutSeconds",
        "a client stays with a pod by its address, for as long as the pods stay",
        |spec| {
            let timeout = spec.session_affinity_config().client_ip().timeout_seconds;
            spec.session_affinity == "ClientIP"
                && timeout.is_some_and(|seconds| seconds != DEFAULT_TIMEOUT_SECONDS)
        },
    ),
    field("trafficDistribution", |spec| spec.traffic_distribution.is_some()),
];

pub const LEASE_SPEC: &[Field<LeaseSpec>] = &[
    field("preferredHolder", |spec| spec.preferred_holder.is_some()),
    field("strategy", |spec| spec.strategy.is_some()),
];

/// The sources that a node mounts; every other one is not acted on.
pub const VOLUME_SOURCES: &[&str] = &[
    "emptyDir",
    "configMap",
    "secret",
    "hostPath",
    "projected",
    "downwardAPI",
];

/// A source of a projected volume: its name, and whether it is given.
type Projection = (&'static str, fn(&VolumeProjection) -> bool);

/// The sources of a projected volume that a node does not know.
const UNKNOWN_PROJECTIONS: &[Projection] = &[
    ("serviceAccountToken", |source| {
        source.service_account_token.is_some()
    }),
    ("clusterTrustBundle", |source| {
        source.cluster_trust_bundle.is_some()
    }),
    ("podCertificate", |source| source.pod_certificate.is_some()),
];

/// The resources that a node limits; a limit of another is not acted on. Extended ones are counted where pods are
/// placed, which is all that is done about them.
pub const LIMITED_RESOURCES: &[&str] = &["cpu", "memory"];

/// Warnings for a pod's spec at `path`.
pub fn pod_spec(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    collect(POD_SPEC, spec, path, warnings);
    let volumes = path.child("volumes");
    for (i, volume) in spec.volumes.iter().enumerate() {
        volume_source(volume, &volumes.index(i), warnings);
    }
    let list = path.child("initContainers");
    for (i, container) in spec.init_containers.iter().enumerate() {
        collect(INIT_CONTAINER, container, &list.index(i), warnings);
        container_fields(container, &list.index(i), warnings);
    }
    let list = path.child("containers");
    for (i, container) in spec.containers.iter().enumerate() {
        collect(PLAIN_CONTAINER, container, &list.index(i), warnings);
        container_fields(container, &list.index(i), warnings);
    }
}

/// Warnings for a Service's spec at `path`.
pub fn service_spec(spec: &ServiceSpec, path: &Path, warnings: &mut Vec<String>) {
    collect(SERVICE_SPEC, spec, path, warnings);
}

/// Warnings for a Lease's spec at `path`.
pub fn lease_spec(spec: &LeaseSpec, path: &Path, warnings: &mut Vec<String>) {
    collect(LEASE_SPEC, spec, path, warnings);
}

/// Warnings for an EndpointSlice.
pub fn endpoint_slice(slice: &EndpointSlice, warnings: &mut Vec<String>) {
    if slice.address_type == "IPv6" {
        warn(&Path::new("addressType"), "IPv6", warnings);
    }
    let list = Path::new("endpoints");
    for (i, _) in slice
        .endpoints
        .iter()
        .enumerate()
        .filter(|(_, endpoint)| endpoint.hints.is_some())
    {
        warn(&list.index(i).child("hints"), "", warnings);
    }
}

/// Warnings for Endpoints, of which the address at `path` is one.
pub fn endpoint_address(address: &EndpointAddress, path: &Path, warnings: &mut Vec<String>) {
    if ip::is_v6(&address.ip) {
        warn(&path.child("ip"), "IPv6", warnings);
    }
}

/// Warnings for a ServiceCIDR.
pub fn service_cidr(range: &ServiceCidr, warnings: &mut Vec<String>) {
    let list = Path::new("spec.cidrs");
    for (i, cidr) in range.spec().cidrs.iter().enumerate() {
        if ip::family_of_cidr(cidr) == Some(ip::Family::V6) {
            warn(&list.index(i), "IPv6", warnings);
        }
    }
}

/// Warnings for a ServiceAccount.
pub fn service_account(account: &ServiceAccount, warnings: &mut Vec<String>) {
    if account.automount_service_account_token == Some(true) {
        warn(&Path::new("automountServiceAccountToken"), "", warnings);
    }
    if !account.image_pull_secrets.is_empty() {
        let note = "name them in the pods";
        warn(&Path::new("imagePullSecrets"), note, warnings);
    }
}

/// Warnings for a Secret.
pub fn secret(secret: &Secret, warnings: &mut Vec<String>) {
    if secret.r#type == "kubernetes.io/service-account-token" {
        warn(&Path::new("type"), "no token is put into it", warnings);
    }
}

fn collect<T>(fields: &[Field<T>], message: &T, path: &Path, warnings: &mut Vec<String>) {
    for field in fields.iter().filter(|field| (field.is_set)(message)) {
        warn(&path.child(field.path), field.note, warnings);
    }
}

fn warn(path: &Path, note: &str, warnings: &mut Vec<String>) {
    let note = if note.is_empty() {
        String::new()
    } else {
        format!(" ({note})")
    };
    warnings.push(format!("{path}: {NOT_ACTED_ON}{note}"));
}

fn volume_source(volume: &Volume, path: &Path, warnings: &mut Vec<String>) {
    let source = volume.volume_source();
    for name in volume::present(source)
        .into_iter()
        .filter(|name| !VOLUME_SOURCES.contains(name))
    {
        warn(&path.child(name), "", warnings);
    }
    let projected = path.child("projected.sources");
    for (i, projection) in source.projected().sources.iter().enumerate() {
        for (name, _) in UNKNOWN_PROJECTIONS
            .iter()
            .filter(|(_, is_set)| is_set(projection))
        {
            warn(&projected.index(i).child(name), "", warnings);
        }
    }
    if let Some(empty_dir) = &source.empty_dir {
        if empty_dir.size_limit.is_some() && empty_dir.medium != "Memory" {
            warn(&path.child("emptyDir.sizeLimit"), "", warnings);
        }
        if !["", "Memory"].contains(&empty_dir.medium.as_str()) {
            warn(&path.child("emptyDir.medium"), "", warnings);
        }
    }
}

fn container_fields(container: &Container, path: &Path, warnings: &mut Vec<String>) {
    collect(CONTAINER, container, path, warnings);
    let env = path.child("env");
    for (i, _) in container
        .env
        .iter()
        .enumerate()
        .filter(|(_, variable)| variable.value_from().file_key_ref.is_some())
    {
        warn(&env.index(i).child("valueFrom.fileKeyRef"), "", warnings);
    }
    let limits = path.child("resources.limits");
    for name in container
        .resources()
        .limits
        .keys()
        .filter(|name| !LIMITED_RESOURCES.contains(&name.as_str()) && !resources::is_extended(name))
    {
        warn(&limits.key(name), "", warnings);
    }
    let mounts = path.child("volumeMounts");
    for (i, mount) in container.volume_mounts.iter().enumerate() {
        let path = mounts.index(i);
        let recursive = mount.recursive_read_only.as_deref();
        if recursive.is_some_and(|mode| mode != "Disabled") {
            warn(&path.child("recursiveReadOnly"), "", warnings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_acted_on_is_named_by_its_path() {
        let spec: PodSpec = serde_json::from_value(json!({
            "affinity": {}, "topologySpreadConstraints": [{}], "priorityClassName": "high", "overhead": {"cpu": "1"},
            "serviceAccountName": "robot",
            "preemptionPolicy": "Never",
            "schedulingGates": [{"name": "a.b/c"}],
            "securityContext": {
                "fsGroup": 5, "fsGroupChangePolicy": "Always", "seLinuxOptions": {}, "supplementalGroupsPolicy": "Strict",
            },
            "volumes": [
                {"name": "a", "nfs": {"server": "s", "path": "/"}},
                {"name": "b", "emptyDir": {}},
                {"name": "p", "projected": {"sources": [
                    {"secret": {"name": "s"}}, {"serviceAccountToken": {"path": "token"}},
                ]}},
            ],
            "initContainers": [{"name": "i", "restartPolicy": "Always"}],
            "containers": [{
                "name": "c", "tty": true, "stdin": true, "lifecycle": {"stopSignal": "SIGUSR1"},
                "livenessProbe": {"grpc": {"port": 1}},
                "resources": {"limits": {"cpu": "1", "ephemeral-storage": "1Gi", "example.com/gpu": "1"}},
                "volumeMounts": [{"name": "b", "mountPath": "/b", "subPathExpr": "$(X)"}],
            }],
        }))
        .expect("spec");
        let mut warnings = Vec::new();
        pod_spec(&spec, &Path::new("spec.template.spec"), &mut warnings);
        let suffix = ": accepted and stored, but not acted on yet";
        let paths: Vec<String> = warnings
            .iter()
            .map(|warning| warning.replace(suffix, "").replace("spec.template.spec.", ""))
            .collect();
        assert_eq!(
            paths,
            [
                "serviceAccountName",
                "securityContext.seLinuxOptions",
                "securityContext.supplementalGroupsPolicy",
                "volumes[0].nfs",
                "volumes[2].projected.sources[1].serviceAccountToken",
                "containers[0].lifecycle.stopSignal",
                "containers[0].stdin (nothing can attach to it)",
                "containers[0].resources.limits[ephemeral-storage]",
            ]
        );
        assert!(warnings.iter().all(|warning| warning.contains(suffix)));
    }

    #[test]
    fn what_is_not_acted_on_outside_of_specs_is_told_too() {
        let mut warnings = Vec::new();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv6",
            "endpoints": [{"addresses": ["fd00::1"]}, {"addresses": ["fd00::2"], "hints": {}}],
        }))
        .expect("slice");
        endpoint_slice(&slice, &mut warnings);
        let address = |ip: &str| EndpointAddress {
            ip: ip.into(),
            ..EndpointAddress::default()
        };
        for (i, ip) in ["10.0.0.1", "fd00::1"].into_iter().enumerate() {
            endpoint_address(&address(ip), &Path::new("addresses").index(i), &mut warnings);
        }
        let range: ServiceCidr =
            serde_json::from_value(json!({"spec": {"cidrs": ["10.96.0.0/16", "fd00::/112"]}}))
                .expect("range");
        service_cidr(&range, &mut warnings);
        let account: ServiceAccount = serde_json::from_value(json!({
            "automountServiceAccountToken": false, "imagePullSecrets": [{"name": "r"}],
        }))
        .expect("service account");
        service_account(&account, &mut warnings);
        let token: Secret =
            serde_json::from_value(json!({"type": "kubernetes.io/service-account-token"})).expect("secret");
        secret(&token, &mut warnings);
        assert_eq!(
            warnings,
            [
                "addressType: accepted and stored, but not acted on yet (IPv6)",
                "endpoints[1].hints: accepted and stored, but not acted on yet",
                "addresses[1].ip: accepted and stored, but not acted on yet (IPv6)",
                "spec.cidrs[1]: accepted and stored, but not acted on yet (IPv6)",
                "imagePullSecrets: accepted and stored, but not acted on yet (name them in the pods)",
                "type: accepted and stored, but not acted on yet (no token is put into it)",
            ]
        );
    }

    #[test]
    fn the_readme_names_every_field_of_the_tables() {
        let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));
        let (_, table) = readme.split_once("**Accepted and stored").expect("the table");
        let (table, _) = table.split_once("Known differences").expect("its end");
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).collect();
        let check = |object: &str, path: &str| {
            let (row, name) = match path.strip_prefix("securityContext.") {
                Some(name) if object == "pod spec" => ("pod spec.securityContext".to_string(), name),
                Some(name) => (format!("{object} securityContext"), name),
                None => (object.to_string(), path),
            };
            let row = rows.iter().find(|line| line.starts_with(&format!("| {row} |")));
            let row = row.unwrap_or_else(|| panic!("no row for {object} {path}"));
            let words: Vec<&str> = row.split([' ', ',', '(', ')']).collect();
            assert!(words.contains(&name), "{object} {path} is not in {row}");
        };
        POD_SPEC.iter().for_each(|field| check("pod spec", field.path));
        CONTAINER.iter().for_each(|field| check("container", field.path));
        PLAIN_CONTAINER
            .iter()
            .for_each(|field| check("container", field.path));
        SERVICE_SPEC
            .iter()
            .for_each(|field| check("service spec", field.path));
        LEASE_SPEC
            .iter()
            .for_each(|field| check("lease spec", field.path));
    }

    #[test]
    fn paths_in_the_tables_are_fields_of_their_messages() {
        fn check<T: serde::de::DeserializeOwned + gantry_proto::json::Fields>(fields: &[Field<T>]) {
            let pool = gantry_proto::schema::pool();
            for field in fields {
                let mut message = pool.get_message_by_name(T::MESSAGE).expect("message");
                for name in field.path.split('.') {
                    // A probe's handler is inlined into it.
                    let inlined = message
                        .get_field_by_name("handler")
                        .and_then(|f| f.kind().as_message().cloned());
                    let own = message.fields().find(|candidate| candidate.json_name() == name);
                    let inner = inlined.and_then(|handler| handler.fields().find(|f| f.json_name() == name));
                    let found = own
                        .or(inner)
                        .unwrap_or_else(|| panic!("no {} in {}", field.path, T::MESSAGE));
                    if let Some(next) = found.kind().as_message() {
                        message = next.clone();
                    }
                }
            }
        }
        check(POD_SPEC);
        check(CONTAINER);
        check(PLAIN_CONTAINER);
        check(INIT_CONTAINER);
        check(SERVICE_SPEC);
        check(LEASE_SPEC);
    }
}
