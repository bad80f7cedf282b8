//! What is accepted and stored, but not acted on yet. The README's list is made from these tables by hand.
//!
//! A field is named here as long as no component does what Kubernetes says it does; setting it is answered with
//! a warning, so that nothing is a silent no-op.

use super::field::Path;
use super::{resources, volume};
use gantry_proto::coordination::v1::LeaseSpec;
use gantry_proto::core::v1::{Container, PodSpec, ServiceSpec, Volume};

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
    field("affinity", |spec| spec.affinity.is_some()),
    field("automountServiceAccountToken", |spec| {
        spec.automount_service_account_token == Some(true)
    }),
    field("ephemeralContainers", |spec: &PodSpec| {
        !spec.ephemeral_containers.is_empty()
    }),
    field("hostUsers", |spec| spec.host_users == Some(false)),
    field("hostnameOverride", |spec| spec.hostname_override.is_some()),
    field("os", |spec| spec.os.as_ref().is_some_and(|os| os.name != "linux")),
    field("overhead", |spec| !spec.overhead.is_empty()),
    field("preemptionPolicy", |spec| spec.preemption_policy.is_some()),
    field("priority", |spec| {
        spec.priority.is_some_and(|priority| priority != 0)
    }),
    field("priorityClassName", |spec| !spec.priority_class_name.is_empty()),
    field("resourceClaims", |spec| !spec.resource_claims.is_empty()),
    field("resources", |spec| spec.resources.is_some()),
    field("runtimeClassName", |spec| spec.runtime_class_name.is_some()),
    field("schedulingGates", |spec| !spec.scheduling_gates.is_empty()),
    field("schedulingGroup", |spec| spec.scheduling_group.is_some()),
    field("serviceAccountName", |spec| {
        !["", "default"].contains(&spec.service_account_name.as_str())
    }),
    field("setHostnameAsFQDN", |spec| {
        spec.set_hostname_as_fqdn == Some(true)
    }),
    field("topologySpreadConstraints", |spec| {
        !spec.topology_spread_constraints.is_empty()
    }),
    field("securityContext.appArmorProfile", |spec| {
        spec.security_context().app_armor_profile.is_some()
    }),
    field("securityContext.fsGroupChangePolicy", |spec| {
        spec.security_context().fs_group_change_policy.is_some()
    }),
    field("securityContext.seLinuxChangePolicy", |spec| {
        spec.security_context().se_linux_change_policy.is_some()
    }),
    field("securityContext.seLinuxOptions", |spec| {
        spec.security_context().se_linux_options.is_some()
    }),
    field("securityContext.supplementalGroupsPolicy", |spec| {
        spec.security_context().supplemental_groups_policy.is_some()
    }),
    field("securityContext.windowsOptions", |spec| {
        spec.security_context().windows_options.is_some()
    }),
];

pub const CONTAINER: &[Field<Container>] = &[
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
    noted("type", "LoadBalancer: only its node ports are served", |spec| {
        spec.r#type == "LoadBalancer"
    }),
    field("externalIPs", |spec| !spec.external_ips.is_empty()),
    field("externalTrafficPolicy", |spec| {
        spec.external_traffic_policy == "Local"
    }),
    field("healthCheckNodePort", |spec| spec.health_check_node_port != 0),
    field("internalTrafficPolicy", |spec| {
        spec.internal_traffic_policy.as_deref() == Some("Local")
    }),
    field("ipFamilies", |spec| {
        spec.ip_families.iter().any(|family| family == "IPv6")
    }),
    field("ipFamilyPolicy", |spec| {
        spec.ip_family_policy
            .as_deref()
            .is_some_and(|policy| policy != "SingleStack")
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

/// The resources that a node limits; a limit of another is not acted on.
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
        .filter(|name| !LIMITED_RESOURCES.contains(&name.as_str()))
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
            "affinity": {},
            "serviceAccountName": "robot",
            "securityContext": {"fsGroup": 5, "seLinuxOptions": {}},
            "volumes": [{"name": "a", "nfs": {"server": "s", "path": "/"}}, {"name": "b", "emptyDir": {}}],
            "initContainers": [{"name": "i", "restartPolicy": "Always"}],
            "containers": [{
                "name": "c", "tty": true, "stdin": true, "lifecycle": {},
                "livenessProbe": {"grpc": {"port": 1}},
                "resources": {"limits": {"cpu": "1", "ephemeral-storage": "1Gi"}},
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
                "affinity",
                "serviceAccountName",
                "securityContext.seLinuxOptions",
                "volumes[0].nfs",
                "containers[0].stdin (nothing can attach to it)",
                "containers[0].resources.limits[ephemeral-storage]",
            ]
        );
        assert!(warnings.iter().all(|warning| warning.contains(suffix)));
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
