//! What to do next for a pod.
//!
//! A plan holds only what can be begun now; what it leads to is seen at the next look. Steps that are under
//! way are known by their subject and not planned again.

use crate::pod::identity::{container_hash, is_in_post_start, is_sidecar};
use crate::pod::memory::{Memory, Volumes};
use crate::pod::observed::{Instance, Observed, State};
use crate::pod::probe::{self, ProbeKind};
use crate::pod::wish::Wish;
use gantry_proto::core::v1::{Container, Pod};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// A stop that is under way is replaced when it would take this much longer than is now allowed.
const STOP_TOLERANCE: Duration = Duration::from_secs(1);

pub struct View<'a> {
    pub pod: &'a Pod,
    pub wish: Wish,
    pub observed: &'a Observed,
    pub memory: &'a Memory,
    pub busy: &'a BTreeMap<Subject, Busy>,
    /// The apiserver has the status that follows from what was observed.
    pub status_written: bool,
}

/// What a step is about. One step at a time per subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Volumes,
    Sandbox,
    Container(String),
    Garbage,
    Ending,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Busy {
    Doing,
    Starting,
    Stopping { stop_by: SystemTime },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// When to look again though nothing happened.
    pub wake_at: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    SetUpVolumes,
    /// Stops what is left of the sandboxes before and runs a new one.
    CreateSandbox {
        attempt: u32,
        replaces: Vec<String>,
    },
    /// Ensures the image, creates and starts. `ended` is when the run before this one ended.
    Start {
        container: String,
        attempt: u32,
        sandbox_id: String,
        ended: Option<SystemTime>,
    },
    Stop {
        container: String,
        id: String,
        stop_by: SystemTime,
        why: StopReason,
    },
    /// A container that was created and never started.
    Remove {
        container: String,
        id: String,
    },
    /// Gives up a start that is under way.
    Abort {
        container: String,
    },
    StopSandboxes {
        ids: Vec<String>,
    },
    /// Unmounts the volumes of a pod that has finished.
    Release,
    /// Removes sandboxes, containers, volumes, cgroups, logs.
    CleanUp {
        sandbox_ids: Vec<String>,
    },
    /// Deletes the pod from the API: the last step.
    Delete,
    /// Nothing is left to do, now or later.
    Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    PodEnds,
    DefinitionChanged,
    LostTrack,
    Probe(ProbeKind),
}

pub fn plan(view: &View, now: SystemTime) -> Plan {
    let mut plan = Plan::default();
    match view.wish {
        Wish::Run => run(view, now, &mut plan),
        Wish::Finish { stop_by } => {
            if stopped(view, stop_by, &mut plan) && !view.memory.released {
                plan.push(view, Subject::Ending, Step::Release);
            }
        }
        Wish::Delete { stop_by } | Wish::Forget { stop_by } => {
            if stopped(view, stop_by, &mut plan) {
                end(view, &mut plan);
            }
        }
    }
    plan
}

impl Plan {
    fn push(&mut self, view: &View, subject: Subject, step: Step) {
        if !view.busy.contains_key(&subject) {
            self.steps.push(step);
        }
    }

    fn wake(&mut self, at: SystemTime) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }
}

fn run(view: &View, now: SystemTime, plan: &mut Plan) {
    match &view.memory.volumes {
        Volumes::Ready => {}
        Volumes::Failed(failure) if failure.retry_at > now => plan.wake(failure.retry_at),
        Volumes::Pending | Volumes::Failed(_) => plan.push(view, Subject::Volumes, Step::SetUpVolumes),
    }
    let Some(sandbox) = view.observed.ready_sandbox() else {
        return sandbox(view, now, plan);
    };
    if view.memory.volumes != Volumes::Ready {
        return;
    }
    let initialized = is_initialized(view, &sandbox.id);
    for container in &view.pod.spec().init_containers {
        let is_over = match is_sidecar(container) {
            true => sidecar(view, &sandbox.id, container, now, plan),
            false => initialized || init(view, &sandbox.id, container, now, plan),
        };
        if !is_over && !initialized {
            return;
        }
    }
    let policy = view.pod.spec().restart_policy.as_str();
    for container in &view.pod.spec().containers {
        keep_running(view, &sandbox.id, container, policy, now, plan);
    }
}

fn sandbox(view: &View, now: SystemTime, plan: &mut Plan) {
    if let Some(failure) = view
        .memory
        .sandbox_failure
        .as_ref()
        .filter(|failure| failure.retry_at > now)
    {
        return plan.wake(failure.retry_at);
    }
    let attempt = view
        .observed
        .sandboxes
        .first()
        .map_or(0, |newest| newest.attempt + 1);
    let replaces = view
        .observed
        .sandboxes
        .iter()
        .map(|sandbox| sandbox.id.clone())
        .collect();
    plan.push(view, Subject::Sandbox, Step::CreateSandbox { attempt, replaces });
}

/// Whether the containers proper may run: the init containers are through, or were so once in this sandbox.
fn is_initialized(view: &View, sandbox_id: &str) -> bool {
    let spec = view.pod.spec();
    let here = |container: &Container| {
        view.observed
            .latest(&container.name)
            .filter(|instance| instance.sandbox_id == sandbox_id)
    };
    spec.containers.iter().any(|container| here(container).is_some())
        || spec
            .init_containers
            .iter()
            .all(|container| match is_sidecar(container) {
                true => here(container).is_some_and(|instance| has_started(view, container, instance)),
                false => here(container).is_some_and(Instance::succeeded),
            })
}

fn has_started(view: &View, container: &Container, instance: &Instance) -> bool {
    let probes = view.memory.container(&container.name).probes.as_ref();
    instance.is_running()
        && !is_in_post_start(container, view.busy)
        && probe::is_started(container, probes, &instance.id)
}

/// Returns whether the next container may start.
fn sidecar(view: &View, sandbox_id: &str, container: &Container, now: SystemTime, plan: &mut Plan) -> bool {
    keep_running(view, sandbox_id, container, "Always", now, plan);
    view.observed
        .latest(&container.name)
        .is_some_and(|instance| instance.sandbox_id == sandbox_id && has_started(view, container, instance))
}

/// Returns whether the init container has done its work in this sandbox.
fn init(view: &View, sandbox_id: &str, container: &Container, now: SystemTime, plan: &mut Plan) -> bool {
    let latest = view.observed.latest(&container.name);
    match latest.filter(|instance| instance.sandbox_id == sandbox_id) {
        Some(instance) if instance.succeeded() => true,
        Some(_) => {
            // A failed init container of a pod that is never restarted ends the pod; the wish says so.
            let policy = match view.pod.spec().restart_policy.as_str() {
                "Never" => "Never",
                _ => "OnFailure",
            };
            keep_running(view, sandbox_id, container, policy, now, plan);
            false
        }
        // Its success in a sandbox that is gone counts for nothing.
        None => {
            let attempt = latest.map_or(0, |instance| instance.attempt + 1);
            start(view, sandbox_id, container, attempt, None, now, plan);
            false
        }
    }
}

fn keep_running(
    view: &View,
    sandbox_id: &str,
    container: &Container,
    policy: &str,
    now: SystemTime,
    plan: &mut Plan,
) {
    let name = &container.name;
    let Some(latest) = view.observed.latest(name) else {
        return start(view, sandbox_id, container, 0, None, now, plan);
    };
    match &latest.state {
        State::Created if !view.busy.contains_key(&Subject::Container(name.clone())) => {
            plan.steps.push(Step::Remove {
                container: name.clone(),
                id: latest.id.clone(),
            });
        }
        State::Created => {}
        State::Unknown => stop(view, latest, now + grace(view), StopReason::LostTrack, plan),
        State::Running { .. } => {
            if let Some((why, grace)) = must_stop(view, container, latest) {
                stop(view, latest, now + grace, why, plan);
            }
        }
        State::Exited(exit) => {
            if policy == "Never" || policy == "OnFailure" && exit.code == 0 {
                return;
            }
            let restarts = &view.memory.container(name).restarts;
            match restarts.waits_until(exit.finished_at, now) {
                Some(until) => plan.wake(until),
                None => start(
                    view,
                    sandbox_id,
                    container,
                    latest.attempt + 1,
                    Some(exit.finished_at),
                    now,
                    plan,
                ),
            }
        }
    }
}

fn must_stop(view: &View, container: &Container, running: &Instance) -> Option<(StopReason, Duration)> {
    if running.hash != container_hash(container) {
        return Some((StopReason::DefinitionChanged, grace(view)));
    }
    let probes = view.memory.container(&container.name).probes.as_ref();
    let kind = probe::must_die(probes, &running.id)?;
    let of_probe = kind
        .of(container)
        .and_then(|probe| probe.termination_grace_period_seconds);
    let of_probe = of_probe
        .and_then(crate::pod::identity::grace)
        .map(Duration::from_secs);
    Some((StopReason::Probe(kind), of_probe.unwrap_or_else(|| grace(view))))
}

fn grace(view: &View) -> Duration {
    Duration::from_secs(crate::pod::identity::grace_seconds(view.pod.spec()))
}

fn start(
    view: &View,
    sandbox_id: &str,
    container: &Container,
    attempt: u32,
    ended: Option<SystemTime>,
    now: SystemTime,
    plan: &mut Plan,
) {
    let failure = view.memory.container(&container.name).start_failure.as_ref();
    if let Some(failure) = failure.filter(|failure| failure.retry_at > now) {
        return plan.wake(failure.retry_at);
    }
    let step = Step::Start {
        container: container.name.clone(),
        attempt,
        sandbox_id: sandbox_id.to_string(),
        ended,
    };
    plan.push(view, Subject::Container(container.name.clone()), step);
}

fn stop(view: &View, instance: &Instance, stop_by: SystemTime, why: StopReason, plan: &mut Plan) {
    let step = Step::Stop {
        container: instance.name.clone(),
        id: instance.id.clone(),
        stop_by,
        why,
    };
    match view.busy.get(&Subject::Container(instance.name.clone())) {
        None => plan.steps.push(step),
        Some(Busy::Stopping { stop_by: before }) if stop_by + STOP_TOLERANCE < *before => {
            plan.steps.push(step)
        }
        Some(Busy::Starting) => plan.steps.push(Step::Abort {
            container: instance.name.clone(),
        }),
        Some(_) => {}
    }
}

/// Plans the end of all that runs: containers, then sidecars, then sandboxes. Returns whether that is done.
fn stopped(view: &View, stop_by: SystemTime, plan: &mut Plan) -> bool {
    for (subject, busy) in view.busy {
        if let (Subject::Container(container), Busy::Starting) = (subject, busy) {
            plan.steps.push(Step::Abort {
                container: container.clone(),
            });
        }
    }
    if !plan.steps.is_empty() {
        return false;
    }
    let sidecars: Vec<&str> = view
        .pod
        .spec()
        .init_containers
        .iter()
        .filter(|container| is_sidecar(container))
        .map(|container| container.name.as_str())
        .collect();
    let running: Vec<&Instance> = view
        .observed
        .instances()
        .filter(|instance| instance.may_run())
        .collect();
    let (last, first): (Vec<&Instance>, Vec<&Instance>) = running
        .iter()
        .partition(|instance| sidecars.contains(&instance.name.as_str()));
    // Sidecars end in the reverse order of their start: each may need those before it until its own end.
    let position = |instance: &Instance| sidecars.iter().position(|name| *name == instance.name);
    let last: Vec<&Instance> = last.into_iter().max_by_key(|i| position(i)).into_iter().collect();
    for instance in if first.is_empty() { &last } else { &first } {
        stop(view, instance, stop_by, StopReason::PodEnds, plan);
    }
    if !running.is_empty() {
        return false;
    }
    let ready: Vec<String> = view
        .observed
        .sandboxes
        .iter()
        .filter(|sandbox| sandbox.ready)
        .map(|sandbox| sandbox.id.clone())
        .collect();
    if !ready.is_empty() {
        plan.push(view, Subject::Sandbox, Step::StopSandboxes { ids: ready });
        return false;
    }
    // A sandbox or volume that is just being made must not be left behind.
    view.busy.is_empty()
}

fn end(view: &View, plan: &mut Plan) {
    let is_forgotten = matches!(view.wish, Wish::Forget { .. });
    if !view.memory.clean || !view.observed.is_empty() {
        // What the final status says must not be destroyed before it is said.
        if view.status_written || is_forgotten {
            let sandbox_ids = view
                .observed
                .sandboxes
                .iter()
                .map(|sandbox| sandbox.id.clone())
                .collect();
            plan.push(view, Subject::Ending, Step::CleanUp { sandbox_ids });
        }
    } else if is_forgotten {
        plan.steps.push(Step::Exit);
    } else if !view.memory.deleted {
        plan.push(view, Subject::Ending, Step::Delete);
    }
}

#[cfg(test)]
mod tests;
