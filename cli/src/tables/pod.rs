use super::Column::{Always, Wide};
use super::{Table, or_none};
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};
use gantry_proto::meta::v1::Time;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("READY"),
        Always("STATUS"),
        Always("RESTARTS"),
        Always("AGE"),
        Wide("IP"),
        Wide("NODE"),
        Wide("NOMINATED NODE"),
        Wide("READINESS GATES"),
    ],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let pod: Pod = object.decode()?;
    let (spec, observed) = (pod.spec(), pod.status());
    let status = status(&pod);
    let restarts = match (status.restarts, status.last_restart) {
        (0, _) | (_, None) => status.restarts.to_string(),
        (restarts, Some(time)) => format!("{restarts} ({} ago)", age::since(Some(&time), now)),
    };
    Ok(vec![
        object.metadata.name.clone(),
        format!("{}/{}", status.ready_containers, status.containers),
        status.reason,
        restarts,
        age::since(object.metadata.creation_timestamp.as_ref(), now),
        or_none(observed.pod_ips.first().map_or("", |pod_ip| &pod_ip.ip)),
        or_none(&spec.node_name),
        or_none(&observed.nominated_node_name),
        readiness_gates(&pod),
    ])
}

fn readiness_gates(pod: &Pod) -> String {
    let gates = &pod.spec().readiness_gates;
    if gates.is_empty() {
        return "<none>".into();
    }
    let is_true =
        |condition_type: &str| condition(pod, condition_type).is_some_and(|status| status == "True");
    let passed = gates.iter().filter(|gate| is_true(&gate.condition_type)).count();
    format!("{passed}/{}", gates.len())
}

/// A pod in a few words, as kubectl's STATUS, READY and RESTARTS columns have it.
#[derive(Debug, PartialEq)]
pub struct Status {
    pub reason: String,
    pub ready_containers: usize,
    pub containers: usize,
    pub restarts: i32,
    pub last_restart: Option<Time>,
}

/// Kubernetes' printPod (pkg/printers/internalversion).
pub fn status(pod: &Pod) -> Status {
    let (spec, observed) = (pod.spec(), pod.status());
    let mut status = Status {
        reason: if observed.reason.is_empty() {
            observed.phase.clone()
        } else {
            observed.reason.clone()
        },
        ready_containers: 0,
        containers: spec.containers.len() + spec.init_containers.iter().filter(|c| is_sidecar(c)).count(),
        restarts: 0,
        last_restart: None,
    };
    let gated = |c: &&gantry_proto::core::v1::PodCondition| {
        c.r#type == "PodScheduled" && c.reason == "SchedulingGated"
    };
    if observed.conditions.iter().any(|c| gated(&c)) {
        status.reason = "SchedulingGated".into();
    }
    let sidecars = Restarts::of(
        observed
            .init_container_statuses
            .iter()
            .filter(|c| is_sidecar_status(pod, c)),
    );
    let initializing = initialization(pod, &mut status);
    if initializing && condition(pod, "Initialized") != Some("True") {
        let all = Restarts::of(observed.init_container_statuses.iter());
        (status.restarts, status.last_restart) = (all.count, all.last);
    } else {
        let mut restarts = sidecars;
        restarts.add(observed.container_statuses.iter());
        (status.restarts, status.last_restart) = (restarts.count, restarts.last);
        containers(pod, &mut status);
    }
    let terminal = matches!(observed.phase.as_str(), "Failed" | "Succeeded");
    if pod.metadata().deletion_timestamp.is_some() {
        if observed.reason == "NodeLost" {
            status.reason = "Unknown".into();
        } else if !terminal {
            status.reason = "Terminating".into();
        }
    }
    status
}

/// Looks at the init containers. Returns whether one of them is not done yet, and then says so in the reason.
fn initialization(pod: &Pod, status: &mut Status) -> bool {
    for (index, container) in pod.status().init_container_statuses.iter().enumerate() {
        let state = container.state();
        let terminated = state.terminated.as_ref();
        if terminated.is_some_and(|terminated| terminated.exit_code == 0) {
            continue;
        }
        if is_sidecar_status(pod, container) && container.started == Some(true) {
            status.ready_containers += usize::from(container.ready);
            continue;
        }
        let waiting = state
            .waiting
            .as_ref()
            .map(|waiting| waiting.reason.as_str())
            .unwrap_or_default();
        status.reason = match terminated {
            Some(terminated) => format!("Init:{}", exit(terminated)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{index}/{}", pod.spec().init_containers.len()),
        };
        return true;
    }
    false
}

fn containers(pod: &Pod, status: &mut Status) {
    let mut has_running = false;
    let mut failure = None;
    for container in pod.status().container_statuses.iter().rev() {
        let state = container.state();
        let waiting = state
            .waiting
            .as_ref()
            .filter(|waiting| !waiting.reason.is_empty());
        if let Some(waiting) = waiting {
            status.reason = waiting.reason.clone();
        } else if let Some(terminated) = &state.terminated {
            status.reason = exit(terminated);
            if terminated.exit_code != 0 {
                failure = Some(status.reason.clone());
            }
        } else if container.ready && state.running.is_some() {
            has_running = true;
            status.ready_containers += 1;
        }
    }
    if status.reason == "Completed" {
        let ready = condition(pod, "Ready") == Some("True");
        status.reason = match failure {
            _ if has_running && ready => "Running".into(),
            Some(failure) => failure,
            None if has_running => "NotReady".into(),
            None => "Completed".into(),
        };
    }
}

fn exit(terminated: &ContainerStateTerminated) -> String {
    match (terminated.reason.as_str(), terminated.signal) {
        ("", 0) => format!("ExitCode:{}", terminated.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}

fn condition<'a>(pod: &'a Pod, condition_type: &str) -> Option<&'a str> {
    let conditions = &pod.status().conditions;
    conditions
        .iter()
        .find(|condition| condition.r#type == condition_type)
        .map(|condition| condition.status.as_str())
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn is_sidecar_status(pod: &Pod, status: &ContainerStatus) -> bool {
    pod.spec()
        .init_containers
        .iter()
        .any(|container| container.name == status.name && is_sidecar(container))
}

#[derive(Default)]
struct Restarts {
    count: i32,
    last: Option<Time>,
}

impl Restarts {
    fn of<'a>(statuses: impl Iterator<Item = &'a ContainerStatus>) -> Restarts {
        let mut restarts = Restarts::default();
        restarts.add(statuses);
        restarts
    }

    fn add<'a>(&mut self, statuses: impl Iterator<Item = &'a ContainerStatus>) {
        for status in statuses {
            self.count += status.restart_count;
            let ended = status
                .last_state()
                .terminated
                .as_ref()
                .and_then(|terminated| terminated.finished_at);
            let seconds = |time: &Option<Time>| time.map_or(0, |time| time.seconds);
            if seconds(&ended) > seconds(&self.last) {
                self.last = ended;
            }
        }
    }
}
