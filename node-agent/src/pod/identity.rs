//! Names and numbers of a pod's parts.

use crate::pod::plan::{Busy, Subject};
use gantry_proto::core::v1::{Container, Pod, PodSpec};
use std::collections::BTreeMap;

/// The grace period where a pod has none.
const DEFAULT_GRACE_SECONDS: u64 = 30;
/// A year. The API takes any number; times and timeouts that are computed from it do not.
const LONGEST_GRACE_SECONDS: u64 = 365 * 24 * 3600;

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

/// Whether a container runs but does not count as started, because its postStart hook has not ended.
pub fn is_in_post_start(container: &Container, busy: &BTreeMap<Subject, Busy>) -> bool {
    container.lifecycle().post_start.is_some()
        && busy.get(&Subject::Container(container.name.clone())) == Some(&Busy::Starting)
}

/// As the kubelet's messages name a pod: `web_default(0b5c…)`.
pub fn describe(pod: &Pod) -> String {
    let metadata = pod.metadata();
    format!("{}_{}({})", metadata.name, metadata.namespace, metadata.uid)
}

pub fn grace_seconds(spec: &PodSpec) -> u64 {
    spec.termination_grace_period_seconds
        .and_then(grace)
        .unwrap_or(DEFAULT_GRACE_SECONDS)
}

/// A grace period as the API has it, within what can be waited for; `None` for what is none.
pub fn grace(seconds: i64) -> Option<u64> {
    u64::try_from(seconds)
        .ok()
        .map(|seconds| seconds.min(LONGEST_GRACE_SECONDS))
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
