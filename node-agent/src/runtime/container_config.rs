//! A container in CRI's terms.

use crate::pod::environment::expand;
use crate::pod::identity::{container_hash, grace_seconds};
use crate::pod::resources::{CPU_PERIOD, cpu_quota, cpu_shares, limits, oom_score_adjustment, requests};
use crate::runtime::labels;
use crate::runtime::sandbox_config::namespace_options;
use gantry_proto::core::v1::{Container, Pod, SeccompProfile};
use k8s_cri::v1 as cri;

/// What an unprivileged container must not see or change: Kubernetes' lists.
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What a container has that is not in its spec.
#[derive(Clone, Debug, Default)]
pub struct Made {
    pub attempt: u32,
    /// The image's id in the runtime.
    pub image_ref: String,
    pub environment: Vec<(String, String)>,
    pub mounts: Vec<cri::Mount>,
    pub node_memory: i64,
    /// cgroup v2: the kernel can kill all of a container's processes when its memory runs out, or none.
    pub is_unified: bool,
}

pub fn container_config(pod: &Pod, container: &Container, made: Made) -> cri::ContainerConfig {
    let metadata = pod.metadata();
    let lookup = |name: &str| {
        made.environment
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let expanded = |words: &[String]| words.iter().map(|word| expand(word, &lookup)).collect();
    let name = |key: &str, value: &str| (key.to_string(), value.to_string());
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: container.name.clone(),
            attempt: made.attempt,
        }),
        image: Some(cri::ImageSpec {
            image: made.image_ref.clone(),
            user_specified_image: container.image.clone(),
            ..cri::ImageSpec::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone(),
        envs: made
            .environment
            .iter()
            .map(|(key, value)| cri::KeyValue {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
        mounts: made.mounts.clone(),
        labels: [
            name(labels::CONTAINER_NAME, &container.name),
            name(labels::POD_NAME, &metadata.name),
            name(labels::POD_NAMESPACE, &metadata.namespace),
            name(labels::POD_UID, &metadata.uid),
        ]
        .into(),
        annotations: [
            name(labels::HASH, &container_hash(container)),
            name(labels::RESTART_COUNT, &made.attempt.to_string()),
            name(
                labels::TERMINATION_MESSAGE_PATH,
                termination_message_path(container),
            ),
            name(
                labels::TERMINATION_MESSAGE_POLICY,
                &container.termination_message_policy,
            ),
            name(labels::GRACE_PERIOD, &grace_seconds(pod.spec()).to_string()),
        ]
        .into(),
        log_path: log_path(&container.name, made.attempt),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources(pod, container, &made)),
            security_context: Some(security_context(pod, container)),
        }),
        ..cri::ContainerConfig::default()
    }
}

/// Below the pod's log directory.
pub fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

pub fn termination_message_path(container: &Container) -> &str {
    match container.termination_message_path.as_str() {
        "" => "/dev/termination-log",
        path => path,
    }
}

fn resources(pod: &Pod, container: &Container, made: &Made) -> cri::LinuxContainerResources {
    let (requests, limits) = (requests(container.resources()), limits(container.resources()));
    cri::LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: cpu_quota(limits.cpu),
        cpu_shares: cpu_shares(requests.cpu),
        memory_limit_in_bytes: limits.memory.unwrap_or(0),
        oom_score_adj: oom_score_adjustment(pod.spec(), container, made.node_memory),
        // A container that lost one process would only seem to run.
        unified: made
            .is_unified
            .then(|| ("memory.oom.group".to_string(), "1".to_string()))
            .into_iter()
            .collect(),
        ..cri::LinuxContainerResources::default()
    }
}

fn security_context(pod: &Pod, container: &Container) -> cri::LinuxContainerSecurityContext {
    let (of_pod, own) = (pod.spec().security_context(), container.security_context());
    let number = |value: i64| cri::Int64Value { value };
    let is_privileged = own.privileged == Some(true);
    let sees_all = is_privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |paths: &[&str]| match sees_all {
        true => Vec::new(),
        false => paths.iter().map(|path| path.to_string()).collect(),
    };
    let capabilities = own.capabilities.as_ref().map(|capabilities| cri::Capability {
        add_capabilities: capabilities.add.clone(),
        drop_capabilities: capabilities.drop.clone(),
        ..cri::Capability::default()
    });
    let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    cri::LinuxContainerSecurityContext {
        capabilities,
        privileged: is_privileged,
        namespace_options: Some(namespace_options(pod.spec())),
        run_as_user: own.run_as_user.or(of_pod.run_as_user).map(number),
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(number),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: of_pod
            .fs_group
            .into_iter()
            .chain(of_pod.supplemental_groups.clone())
            .collect(),
        no_new_privs: own.allow_privilege_escalation == Some(false) && !is_privileged,
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READ_ONLY_PATHS),
        seccomp: Some(seccomp(profile, is_privileged)),
        ..cri::LinuxContainerSecurityContext::default()
    }
}

/// Without a profile a container is unconfined, as with a kubelet that was not told otherwise.
fn seccomp(profile: Option<&SeccompProfile>, is_privileged: bool) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let (profile_type, localhost_ref) = match profile {
        Some(profile) if !is_privileged && profile.r#type == "RuntimeDefault" => {
            (ProfileType::RuntimeDefault, String::new())
        }
        Some(profile) if !is_privileged && profile.r#type == "Localhost" => (
            ProfileType::Localhost,
            profile.localhost_profile.clone().unwrap_or_default(),
        ),
        _ => (ProfileType::Unconfined, String::new()),
    };
    cri::SecurityProfile {
        profile_type: profile_type as i32,
        localhost_ref,
    }
}

/// Why the container must not run as the user that it would run as; `None` when it may.
pub fn root_is_forbidden(pod: &Pod, container: &Container, image: &cri::Image) -> Option<String> {
    let (of_pod, own) = (pod.spec().security_context(), container.security_context());
    if own.run_as_non_root.or(of_pod.run_as_non_root) != Some(true) {
        return None;
    }
    let place = || {
        format!(
            "(pod: \"{}\", container: {})",
            crate::pod::identity::describe(pod),
            container.name
        )
    };
    match own.run_as_user.or(of_pod.run_as_user) {
        Some(0) => Some(format!(
            "container's runAsUser breaks non-root policy {}",
            place()
        )),
        Some(_) => None,
        None if !image.username.is_empty() => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {}",
            image.username,
            place()
        )),
        None if image.uid.as_ref().is_none_or(|uid| uid.value == 0) => Some(format!(
            "container has runAsNonRoot and image will run as root {}",
            place()
        )),
        None => None,
    }
}
