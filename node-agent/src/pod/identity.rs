//! Names and numbers of a pod's parts.

use gantry_proto::core::v1::{Container, Pod, PodSpec};

/// The grace period where a pod has none.
const DEFAULT_GRACE_SECONDS: u64 = 30;

/// A container's spec as far as its change needs a restart: its name and image, as the kubelet has it. Kept
/// as a label of the container, so that a restarted agent knows whether it still fits.
pub fn container_hash(container: &Container) -> String {
    // FNV-1a: the same on every build, which std's hasher does not promise.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in container.name.bytes().chain([0]).chain(container.image.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// An init container that keeps running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// As the kubelet's messages name a pod: `web_default(0b5c…)`.
pub fn describe(pod: &Pod) -> String {
    let metadata = pod.metadata();
    format!("{}_{}({})", metadata.name, metadata.namespace, metadata.uid)
}

pub fn grace_seconds(spec: &PodSpec) -> u64 {
    spec.termination_grace_period_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(DEFAULT_GRACE_SECONDS)
}

pub fn find_container<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a Container> {
    spec.init_containers
        .iter()
        .chain(&spec.containers)
        .find(|container| container.name == name)
}

/// As events point at a container: `spec.containers{web}`.
pub fn field_path(spec: &PodSpec, name: &str) -> String {
    let list = match spec
        .init_containers
        .iter()
        .any(|container| container.name == name)
    {
        true => "initContainers",
        false => "containers",
    };
    format!("spec.{list}{{{name}}}")
}

/// The host name inside the pod: the first 63 characters of its name unless the spec has one.
pub fn hostname(pod: &Pod) -> String {
    let spec = pod.spec();
    let name = match spec.hostname.as_str() {
        "" => &pod.metadata().name,
        name => name,
    };
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_string()
}
