//! Reading what the runtime has of a pod.

use crate::pod::observed::{Exit, Instance, Observed, Sandbox, State};
use crate::runtime::{Result, Runtime, labels};
use k8s_cri::v1 as cri;
use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Kubernetes shows at most this much of a termination message, and this much of a log in its place.
const MESSAGE_BYTES: u64 = 4096;
const LOG_TAIL_BYTES: u64 = 2048;
const LOG_TAIL_LINES: usize = 80;

/// Looks at one pod, and remembers what cannot change any more.
#[derive(Default)]
pub struct Observer {
    exited: HashMap<String, Instance>,
    ips: HashMap<String, Vec<String>>,
}

impl Observer {
    pub async fn observe(&mut self, runtime: &Runtime, uid: &str) -> Result<Observed> {
        let selector: HashMap<String, String> = [(labels::POD_UID.to_string(), uid.to_string())].into();
        let of_pod = cri::PodSandboxFilter {
            label_selector: selector.clone(),
            ..cri::PodSandboxFilter::default()
        };
        let mut sandboxes = Vec::new();
        for sandbox in runtime.sandboxes(Some(of_pod)).await? {
            sandboxes.push(self.sandbox(runtime, sandbox).await?);
        }
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.attempt, sandbox.created_at)));
        let of_pod = cri::ContainerFilter {
            label_selector: selector,
            ..cri::ContainerFilter::default()
        };
        let mut containers: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
        for container in runtime.containers(Some(of_pod)).await? {
            if let Some(instance) = self.instance(runtime, container).await? {
                containers
                    .entry(instance.name.clone())
                    .or_default()
                    .push(instance);
            }
        }
        for runs in containers.values_mut() {
            runs.sort_by_key(|run| std::cmp::Reverse((run.created_at, run.attempt)));
        }
        self.exited.retain(|id, run| {
            containers
                .get(&run.name)
                .is_some_and(|runs| runs.iter().any(|r| r.id == *id))
        });
        self.ips
            .retain(|id, _| sandboxes.iter().any(|sandbox| sandbox.id == *id));
        Ok(Observed {
            sandboxes,
            containers,
        })
    }

    /// Reads how the container ended once more: the reason may have come after the end.
    pub fn forget(&mut self, id: &str) {
        self.exited.remove(id);
    }

    async fn sandbox(&mut self, runtime: &Runtime, listed: cri::PodSandbox) -> Result<Sandbox> {
        let ready = listed.state == cri::PodSandboxState::SandboxReady as i32;
        if ready && !self.ips.contains_key(&listed.id) {
            let status = runtime.sandbox_status(&listed.id).await?;
            let network = status.network.unwrap_or_default();
            let first = Some(network.ip).filter(|ip| !ip.is_empty());
            let ips = first
                .into_iter()
                .chain(network.additional_ips.into_iter().map(|ip| ip.ip))
                .collect();
            self.ips.insert(listed.id.clone(), ips);
        }
        Ok(Sandbox {
            ips: self.ips.get(&listed.id).cloned().unwrap_or_default(),
            attempt: listed.metadata.map_or(0, |metadata| metadata.attempt),
            ready,
            created_at: time(listed.created_at),
            id: listed.id,
        })
    }

    /// `None` when it was removed in between.
    async fn instance(&mut self, runtime: &Runtime, listed: cri::Container) -> Result<Option<Instance>> {
        if let Some(instance) = self.exited.get(&listed.id) {
            return Ok(Some(instance.clone()));
        }
        let status = match runtime.container_status(&listed.id).await {
            Ok(status) => status,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let instance = instance(&listed.pod_sandbox_id, status);
        if instance.exit().is_some() {
            self.exited.insert(instance.id.clone(), instance.clone());
        }
        Ok(Some(instance))
    }
}

pub fn instance(sandbox_id: &str, status: cri::ContainerStatus) -> Instance {
    let attempt = status.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    let name = status
        .labels
        .get(labels::CONTAINER_NAME)
        .cloned()
        .unwrap_or_default();
    let state = match cri::ContainerState::try_from(status.state) {
        Ok(cri::ContainerState::ContainerCreated) => State::Created,
        Ok(cri::ContainerState::ContainerRunning) => State::Running {
            started_at: time(status.started_at),
        },
        Ok(cri::ContainerState::ContainerExited) => State::Exited(Exit {
            started_at: (status.started_at > 0).then(|| time(status.started_at)),
            finished_at: time(status.finished_at),
            code: status.exit_code,
            reason: status.reason.clone(),
            message: exit_message(&status),
        }),
        _ => State::Unknown,
    };
    Instance {
        name,
        sandbox_id: sandbox_id.to_string(),
        attempt,
        hash: status.annotations.get(labels::HASH).cloned().unwrap_or_default(),
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_id: status.image_ref,
        created_at: time(status.created_at),
        state,
        log_path: status.log_path,
        id: status.id,
    }
}

/// What the container left as its last words; else what the runtime says.
fn exit_message(status: &cri::ContainerStatus) -> String {
    let path = status.annotations.get(labels::TERMINATION_MESSAGE_PATH);
    let written = path
        .and_then(|path| status.mounts.iter().find(|mount| mount.container_path == *path))
        .and_then(|mount| head(&mount.host_path))
        .unwrap_or_default();
    if !written.is_empty() {
        return written;
    }
    let policy = status
        .annotations
        .get(labels::TERMINATION_MESSAGE_POLICY)
        .map(String::as_str);
    if policy == Some("FallbackToLogsOnError") && status.exit_code != 0 {
        return crate::server::logs::last_lines(status.log_path.as_ref(), LOG_TAIL_LINES, LOG_TAIL_BYTES)
            .unwrap_or_default();
    }
    status.message.clone()
}

fn head(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(MESSAGE_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// CRI counts nanoseconds since 1970.
fn time(nanoseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}
