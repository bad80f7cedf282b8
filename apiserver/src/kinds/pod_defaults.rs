//! What a pod, or a pod template, has when its writer did not say (pkg/apis/core/v1/defaults.go and what
//! zz_generated.defaults.go reaches).

use super::resources;
use gantry_proto::core::v1::{
    Container, ContainerPort, EnvVar, HttpGetAction, LifecycleHandler, Pod, PodSecurityContext, PodSpec,
    Probe, ProbeHandler, ResourceRequirements, Volume, VolumeSource,
};

const GRACE_SECONDS: i64 = 30;
const FILE_MODE: i32 = 0o644;
const TOKEN_SECONDS: i64 = 3600;
const IMAGE_NAME_MAX: usize = 255;
const IMAGE_TAG_MAX: usize = 128;

/// Defaults of a pod. A template gets fewer: see [`set_spec_defaults`].
pub fn set_pod_defaults(pod: &mut Pod) {
    let spec = pod.spec_mut();
    for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
        if let Some(resources) = &mut container.resources {
            request_limits(resources);
        }
    }
    default_pod_requests(spec);
    spec.enable_service_links.get_or_insert(true);
    if spec.host_network {
        for port in containers(spec)
            .flat_map(|container| &mut container.ports)
            .filter(|port| port.host_port == 0)
        {
            port.host_port = port.container_port;
        }
    }
    set_spec_defaults(spec);
    // Of a pod, but not of a template.
    if spec
        .termination_grace_period_seconds
        .is_some_and(|seconds| seconds < 0)
    {
        spec.termination_grace_period_seconds = Some(1);
    }
    let status = pod.status_mut();
    // The two forms of the addresses say the same; where they differ, the older one is believed.
    if !status.pod_ip.is_empty()
        && status
            .pod_ips
            .first()
            .is_none_or(|first| first.ip != status.pod_ip)
    {
        status.pod_ips = vec![gantry_proto::core::v1::PodIp {
            ip: status.pod_ip.clone(),
        }];
    } else if let Some(first) = status.pod_ips.first() {
        status.pod_ip.clone_from(&first.ip);
    }
}

/// Defaults of a pod's spec, also inside a template.
pub fn set_spec_defaults(spec: &mut PodSpec) {
    default_text(&mut spec.dns_policy, "ClusterFirst");
    default_text(&mut spec.restart_policy, "Always");
    spec.security_context
        .get_or_insert_with(PodSecurityContext::default);
    spec.termination_grace_period_seconds.get_or_insert(GRACE_SECONDS);
    default_text(&mut spec.scheduler_name, "default-scheduler");
    // `serviceAccount` is the old name of the same field.
    if spec.service_account_name.is_empty() {
        spec.service_account_name.clone_from(&spec.service_account);
    }
    spec.service_account.clone_from(&spec.service_account_name);
    for volume in &mut spec.volumes {
        set_volume_defaults(volume);
    }
    for container in containers(spec) {
        set_container_defaults(container);
    }
    resources::set_defaults(&mut spec.overhead);
    if let Some(resources) = &mut spec.resources {
        set_resource_defaults(resources);
    }
}

pub fn set_probe_defaults(probe: &mut Probe) {
    for (value, default) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        if *value == 0 {
            *value = default;
        }
    }
    let Some(ProbeHandler { http_get, grpc, .. }) = &mut probe.handler else {
        return;
    };
    if let Some(http_get) = http_get {
        set_http_defaults(http_get);
    }
    if let Some(grpc) = grpc {
        grpc.service.get_or_insert_default();
    }
}

/// Ephemeral containers are only ever added by a subresource that is not served, so they have no defaults here.
fn containers(spec: &mut PodSpec) -> impl Iterator<Item = &mut Container> {
    spec.init_containers.iter_mut().chain(&mut spec.containers)
}

fn default_text(text: &mut String, default: &str) {
    if text.is_empty() {
        *text = default.to_string();
    }
}

/// What is limited but not requested is requested up to its limit.
fn request_limits(resources: &mut ResourceRequirements) {
    for (name, limit) in &resources.limits {
        resources
            .requests
            .entry(name.clone())
            .or_insert_with(|| limit.clone());
    }
}

/// Where the pod as a whole has limits, it requests what its containers request together, else its limits.
fn default_pod_requests(spec: &mut PodSpec) {
    if spec.resources().limits.is_empty() {
        return;
    }
    let needed = resources::aggregate_requests(spec);
    let Some(of_pod) = &mut spec.resources else {
        return;
    };
    for (name, quantity) in needed
        .into_iter()
        .filter(|(name, _)| name == "cpu" || name == "memory")
    {
        of_pod.requests.entry(name).or_insert(quantity);
    }
    for (name, limit) in of_pod
        .limits
        .iter()
        .filter(|(name, _)| resources::is_of_pods(name))
    {
        of_pod
            .requests
            .entry(name.clone())
            .or_insert_with(|| limit.clone());
    }
}

fn set_resource_defaults(resources: &mut ResourceRequirements) {
    resources::set_defaults(&mut resources.limits);
    resources::set_defaults(&mut resources.requests);
}

fn set_container_defaults(container: &mut Container) {
    if container.image_pull_policy.is_empty() {
        container.image_pull_policy = pull_policy(&container.image).into();
    }
    default_text(&mut container.termination_message_path, "/dev/termination-log");
    default_text(&mut container.termination_message_policy, "File");
    for ContainerPort { protocol, .. } in &mut container.ports {
        default_text(protocol, "TCP");
    }
    for variable in &mut container.env {
        set_variable_defaults(variable);
    }
    if let Some(resources) = &mut container.resources {
        set_resource_defaults(resources);
    }
    for probe in [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ]
    .into_iter()
    .flatten()
    {
        set_probe_defaults(probe);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        for hook in [&mut lifecycle.post_start, &mut lifecycle.pre_stop] {
            if let Some(LifecycleHandler {
                http_get: Some(http_get),
                ..
            }) = hook
            {
                set_http_defaults(http_get);
            }
        }
    }
}

fn set_variable_defaults(variable: &mut EnvVar) {
    let Some(source) = &mut variable.value_from else {
        return;
    };
    if let Some(field) = &mut source.field_ref {
        default_text(&mut field.api_version, "v1");
    }
    if let Some(file) = &mut source.file_key_ref {
        file.optional.get_or_insert(false);
    }
}

fn set_http_defaults(http_get: &mut HttpGetAction) {
    default_text(&mut http_get.path, "/");
    default_text(&mut http_get.scheme, "HTTP");
}

/// A tag that moves is pulled each time. An image whose name cannot be read is left to the node to complain of.
fn pull_policy(image: &str) -> &'static str {
    match image_tag(image) {
        Some("latest") => "Always",
        _ => "IfNotPresent",
    }
}

/// The tag of an image's reference: `latest` where it has neither tag nor digest, nothing where it is no reference
/// (the grammar of distribution's reference package).
fn image_tag(image: &str) -> Option<&str> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let first = path.split('/').next().unwrap_or_default();
    let is_domain = path.contains('/')
        && (first.contains(['.', ':'])
            || first == "localhost"
            || first.bytes().any(|b| b.is_ascii_uppercase()));
    let rest = if is_domain {
        path.split_once('/').map_or("", |(_, rest)| rest)
    } else {
        path
    };
    // The path is measured without the host, and with the folder that a short name leaves out.
    let left_out = if path.contains('/') { 0 } else { "library/".len() };
    let readable = rest.len() + left_out <= IMAGE_NAME_MAX
        && (!is_domain || is_image_domain(first))
        && rest.split('/').all(is_image_component)
        && tag.is_none_or(is_image_tag)
        && digest.is_none_or(|digest| digest.contains(':'));
    match (readable, tag, digest) {
        (false, ..) | (true, None, Some(_)) => None,
        (true, Some(tag), _) => Some(tag),
        (true, None, None) => Some("latest"),
    }
}

/// Lower case letters and digits, in groups that `.`, `_`, `__` or dashes separate.
fn is_image_component(text: &str) -> bool {
    let is_letter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let framed = bytes.first().is_some_and(is_letter) && bytes.last().is_some_and(is_letter);
    framed
        && text
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

/// A host's name, with a port or without.
fn is_image_domain(text: &str) -> bool {
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        let framed = !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        framed && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_image_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let starts = text.bytes().next().is_some_and(is_word);
    starts && text.len() <= IMAGE_TAG_MAX && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

fn set_volume_defaults(volume: &mut Volume) {
    let source = volume.volume_source_mut();
    if *source == VolumeSource::default() {
        source.empty_dir = Some(Default::default());
    }
    if let Some(host_path) = &mut source.host_path {
        host_path.r#type.get_or_insert_default();
    }
    if let Some(secret) = &mut source.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(config_map) = &mut source.config_map {
        config_map.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(downward) = &mut source.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        for field in downward
            .items
            .iter_mut()
            .filter_map(|file| file.field_ref.as_mut())
        {
            default_text(&mut field.api_version, "v1");
        }
    }
    if let Some(projected) = &mut source.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        for projection in &mut projected.sources {
            for file in projection
                .downward_api
                .iter_mut()
                .flat_map(|downward| &mut downward.items)
            {
                if let Some(field) = &mut file.field_ref {
                    default_text(&mut field.api_version, "v1");
                }
            }
            if let Some(token) = &mut projection.service_account_token {
                token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
            }
        }
    }
    if let Some(image) = &mut source.image
        && image.pull_policy.is_empty()
    {
        image.pull_policy = pull_policy(&image.reference).into();
    }
    set_network_volume_defaults(source);
}

/// Sources that no node here can mount, filled in all the same: what is stored is what Kubernetes stores.
fn set_network_volume_defaults(source: &mut VolumeSource) {
    if let Some(iscsi) = &mut source.iscsi {
        default_text(&mut iscsi.iscsi_interface, "default");
    }
    if let Some(rbd) = &mut source.rbd {
        default_text(&mut rbd.pool, "rbd");
        default_text(&mut rbd.user, "admin");
        default_text(&mut rbd.keyring, "/etc/ceph/keyring");
    }
    if let Some(disk) = &mut source.azure_disk {
        disk.caching_mode.get_or_insert_with(|| "ReadWrite".into());
        disk.fs_type.get_or_insert_with(|| "ext4".into());
        disk.read_only.get_or_insert(false);
        disk.kind.get_or_insert_with(|| "Shared".into());
    }
    if let Some(scale_io) = &mut source.scale_io {
        default_text(&mut scale_io.storage_mode, "ThinProvisioned");
        default_text(&mut scale_io.fs_type, "xfs");
    }
    if let Some(template) = source
        .ephemeral
        .as_mut()
        .and_then(|ephemeral| ephemeral.volume_claim_template.as_mut())
    {
        let spec = template.spec_mut();
        spec.volume_mode.get_or_insert_with(|| "Filesystem".into());
        if let Some(claimed) = &mut spec.resources {
            resources::set_defaults(&mut claimed.limits);
            resources::set_defaults(&mut claimed.requests);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_latest_tag_is_pulled_always() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
            ("Nginx", "IfNotPresent"),
            ("Registry.example.com/a__b/c-d", "Always"),
            ("../x", "IfNotPresent"),
            ("a..b", "IfNotPresent"),
            ("a:", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_minimal_pod_is_completed() {
        let mut pod: Pod = serde_json::from_value(json!({"spec": {
            "hostNetwork": true,
            "serviceAccount": "robot",
            "containers": [{
                "name": "a", "image": "nginx",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "0.5", "memory": "64Mi"}, "requests": {"cpu": "250m"}},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "readinessProbe": {"grpc": {"port": 80}, "periodSeconds": 5},
                "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
            }],
            "volumes": [
                {"name": "none"},
                {"name": "host", "hostPath": {"path": "/x"}},
                {"name": "map", "configMap": {"name": "m"}},
                {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            ],
        }}))
        .expect("pod");
        set_pod_defaults(&mut pod);
        let once = pod.clone();
        set_pod_defaults(&mut pod);
        assert_eq!(pod, once, "defaulting twice is defaulting once");
        assert_eq!(
            serde_json::to_value(pod.spec()).expect("json"),
            json!({
                "volumes": [
                    {"name": "none", "emptyDir": {}},
                    {"name": "host", "hostPath": {"path": "/x", "type": ""}},
                    {"name": "map", "configMap": {"name": "m", "defaultMode": 420}},
                    {"name": "all", "projected": {"defaultMode": 420, "sources": [
                        {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                    ]}},
                ],
                "containers": [{
                    "name": "a", "image": "nginx", "imagePullPolicy": "Always",
                    "ports": [{"hostPort": 80, "containerPort": 80, "protocol": "TCP"}],
                    "resources": {
                        "limits": {"cpu": "500m", "memory": "64Mi"},
                        "requests": {"cpu": "250m", "memory": "64Mi"},
                    },
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}],
                    "livenessProbe": {
                        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
                        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                    },
                    "readinessProbe": {
                        "grpc": {"port": 80, "service": ""},
                        "timeoutSeconds": 1, "periodSeconds": 5, "successThreshold": 1, "failureThreshold": 3,
                    },
                    "lifecycle": {"preStop": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}}},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }],
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30,
                "dnsPolicy": "ClusterFirst",
                "serviceAccountName": "robot",
                "serviceAccount": "robot",
                "hostNetwork": true,
                "securityContext": {},
                "schedulerName": "default-scheduler",
                "enableServiceLinks": true,
            })
        );
    }
}
