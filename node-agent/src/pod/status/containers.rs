//! The status of each container: waiting, running or terminated, and what was before.

use super::Facts;
use crate::pod::back_off::go_duration;
use crate::pod::identity::{describe, is_in_post_start, is_sidecar};
use crate::pod::memory::StartFailure;
use crate::pod::observed::{Exit, Instance, State};
use crate::pod::probe;
use crate::pod::wish::Wish;
use gantry_proto::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus,
};
use gantry_proto::meta::v1::Time;
use std::time::{Duration, SystemTime};

/// A failed pull is called so for a moment, and a back-off afterwards.
pub const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);

pub fn init_statuses(facts: &Facts) -> Vec<ContainerStatus> {
    let containers = &facts.pod.spec().init_containers;
    containers
        .iter()
        .map(|container| status(facts, container, true, &facts.before.init_container_statuses))
        .collect()
}

pub fn app_statuses(facts: &Facts) -> Vec<ContainerStatus> {
    let containers = &facts.pod.spec().containers;
    containers
        .iter()
        .map(|container| status(facts, container, false, &facts.before.container_statuses))
        .collect()
}

fn status(
    facts: &Facts,
    container: &Container,
    is_init: bool,
    before: &[ContainerStatus],
) -> ContainerStatus {
    let Some(latest) = facts.observed.latest(&container.name) else {
        return never_seen(facts, container, before);
    };
    let memory = facts.memory.container(&container.name);
    let runs = facts
        .observed
        .containers
        .get(&container.name)
        .map_or(&[][..], Vec::as_slice);
    let previous = runs.get(1).and_then(terminated);
    let is_running = latest.is_running() && !is_in_post_start(container, facts.busy);
    let (state, last_state) = match &latest.state {
        State::Running { started_at } if is_running => (running(*started_at), previous),
        State::Exited(_) => match waiting_after_exit(facts, container, is_init, latest) {
            Some(waiting) => (waiting, terminated(latest)),
            None => (ended(latest), previous),
        },
        State::Running { .. } | State::Created | State::Unknown => {
            (waiting(default_reason(facts), String::new()), previous)
        }
    };
    let probes = memory.probes.as_ref();
    let started = is_running && probe::is_started(container, probes, &latest.id);
    let is_plain_init = is_init && !is_sidecar(container);
    let ready = match is_plain_init {
        true => latest.succeeded(),
        false => is_running && probe::is_ready(container, probes, &latest.id),
    };
    ContainerStatus {
        name: container.name.clone(),
        state: Some(state),
        last_state: Some(ContainerState {
            terminated: last_state,
            ..ContainerState::default()
        }),
        ready,
        restart_count: i32::try_from(latest.attempt).unwrap_or(i32::MAX),
        image: latest.image.clone(),
        image_id: latest.image_id.clone(),
        container_id: container_id(&latest.id),
        started: Some(started && !is_plain_init),
        allocated_resources: container.resources().requests.clone(),
        resources: container.resources.clone(),
        ..ContainerStatus::default()
    }
}

/// A container without any run: it has not been started yet, or its runs were removed since.
fn never_seen(facts: &Facts, container: &Container, before: &[ContainerStatus]) -> ContainerStatus {
    let before = before.iter().find(|status| status.name == container.name);
    if let Some(before) = before.filter(|status| !status.container_id.is_empty() && facts.wish != Wish::Run) {
        return before.clone();
    }
    let failure = facts.memory.container(&container.name).start_failure.as_ref();
    let state = match failure {
        Some(failure) => of_failure(facts, container, failure),
        None => waiting(default_reason(facts), String::new()),
    };
    ContainerStatus {
        name: container.name.clone(),
        state: Some(state),
        last_state: Some(
            before
                .map(|status| status.last_state().clone())
                .unwrap_or_default(),
        ),
        restart_count: before.map_or(0, |status| status.restart_count),
        image: container.image.clone(),
        started: Some(false),
        ..ContainerStatus::default()
    }
}

fn default_reason(facts: &Facts) -> &'static str {
    match facts.pod.spec().init_containers.is_empty() {
        true => "ContainerCreating",
        false => "PodInitializing",
    }
}

/// Why a container that ended is not running again yet; `None` when it stays ended or restarts at once.
fn waiting_after_exit(
    facts: &Facts,
    container: &Container,
    is_init: bool,
    latest: &Instance,
) -> Option<ContainerState> {
    let exit = latest.exit()?;
    let memory = facts.memory.container(&container.name);
    let policy = match facts.pod.spec().restart_policy.as_str() {
        "Never" => "Never",
        "OnFailure" => "OnFailure",
        _ if is_init => "OnFailure",
        _ => "Always",
    };
    let policy = if is_sidecar(container) { "Always" } else { policy };
    if facts.wish != Wish::Run || policy == "Never" || policy == "OnFailure" && exit.code == 0 {
        return None;
    }
    if memory.restarts.waits_until(exit.finished_at, facts.now).is_none() {
        return memory
            .start_failure
            .as_ref()
            .map(|failure| of_failure(facts, container, failure));
    }
    let message = format!(
        "back-off {} restarting failed container={} pod={}",
        go_duration(memory.restarts.delay()),
        container.name,
        describe(facts.pod)
    );
    Some(waiting("CrashLoopBackOff", message))
}

fn of_failure(facts: &Facts, container: &Container, failure: &StartFailure) -> ContainerState {
    if failure.reason == "ErrImagePull" && facts.now >= failure.failed_at + PULL_ERROR_SHOWN {
        let message = format!(
            "Back-off pulling image \"{}\": ErrImagePull: {}",
            container.image, failure.message
        );
        return waiting("ImagePullBackOff", message);
    }
    waiting(failure.reason, failure.message.clone())
}

fn waiting(reason: &str, message: String) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: reason.into(),
        message,
    };
    ContainerState {
        waiting: Some(waiting),
        ..ContainerState::default()
    }
}

fn running(started_at: SystemTime) -> ContainerState {
    let running = ContainerStateRunning {
        started_at: Some(Time::from_system(started_at)),
    };
    ContainerState {
        running: Some(running),
        ..ContainerState::default()
    }
}

fn ended(instance: &Instance) -> ContainerState {
    ContainerState {
        terminated: terminated(instance),
        ..ContainerState::default()
    }
}

fn terminated(instance: &Instance) -> Option<ContainerStateTerminated> {
    let exit = instance.exit()?;
    Some(ContainerStateTerminated {
        exit_code: exit.code,
        reason: reason(exit),
        message: exit.message.clone(),
        started_at: exit.started_at.map(Time::from_system),
        finished_at: Some(Time::from_system(exit.finished_at)),
        container_id: container_id(&instance.id),
        ..ContainerStateTerminated::default()
    })
}

fn reason(exit: &Exit) -> String {
    match (exit.reason.as_str(), exit.code) {
        ("", 0) => "Completed".into(),
        ("", _) => "Error".into(),
        (reason, _) => reason.into(),
    }
}

fn container_id(id: &str) -> String {
    format!("containerd://{id}")
}
