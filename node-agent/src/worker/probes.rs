//! The tasks that ask containers how they are.

use super::probe_call::{self, Target};
use crate::clock::now;
use crate::pod::identity::{find_container, is_in_post_start};
use crate::pod::memory::Memory;
use crate::pod::observed::{Instance, Observed, State};
use crate::pod::plan::{Busy, Subject};
use crate::pod::probe::{ProbeKind, Probes, Schedule, is_started, must_die};
use crate::pod::wish::Wish;
use crate::runtime::Runtime;
use gantry_proto::core::v1::{Container, Pod, PodStatus, Probe};
use std::collections::BTreeMap;
use std::time::SystemTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub struct ProbeResult {
    pub container: String,
    pub container_id: String,
    pub kind: ProbeKind,
    /// Why it failed.
    pub outcome: Result<(), String>,
}

/// By container id and kind. Dropping it ends them.
pub struct Probers {
    runtime: Runtime,
    results: mpsc::Sender<ProbeResult>,
    tasks: BTreeMap<(String, ProbeKind), CancellationToken>,
}

impl Probers {
    pub fn new(runtime: Runtime, results: mpsc::Sender<ProbeResult>) -> Probers {
        Probers {
            runtime,
            results,
            tasks: BTreeMap::new(),
        }
    }

    /// Makes the tasks those that are needed now.
    pub fn keep(
        &mut self,
        pod: &Pod,
        wish: Wish,
        observed: &Observed,
        busy: &BTreeMap<Subject, Busy>,
        memory: &mut Memory,
        before: &PodStatus,
    ) {
        let mut wanted = BTreeMap::new();
        for instance in observed.containers.values().filter_map(|runs| runs.first()) {
            let State::Running { started_at } = instance.state else {
                continue;
            };
            let Some(container) = find_container(pod.spec(), &instance.name) else {
                continue;
            };
            if is_in_post_start(container, busy) {
                continue;
            }
            let memory = memory.container_mut(&instance.name);
            if memory
                .probes
                .as_ref()
                .is_none_or(|probes| probes.container_id != instance.id)
            {
                memory.probes = Some(assumed(instance, before));
            }
            let started = is_started(container, memory.probes.as_ref(), &instance.id);
            let is_doomed = must_die(memory.probes.as_ref(), &instance.id).is_some();
            for kind in needed(container, started, wish == Wish::Run && !is_doomed) {
                if let Some(probe) = kind.of(container) {
                    let ip = observed
                        .ready_sandbox()
                        .and_then(|sandbox| sandbox.ips.first().cloned());
                    wanted.insert((instance.id.clone(), kind), (container, probe, started_at, ip));
                }
            }
        }
        self.tasks.retain(|key, task| {
            let is_wanted = wanted.contains_key(key);
            if !is_wanted {
                task.cancel();
            }
            is_wanted
        });
        for (key, (container, probe, started_at, ip)) in wanted {
            if !self.tasks.contains_key(&key) {
                let ip = ip.unwrap_or_else(|| before.host_ip.clone());
                let task = self.spawn(&key, container, probe, started_at, ip);
                self.tasks.insert(key, task);
            }
        }
    }

    fn spawn(
        &self,
        (id, kind): &(String, ProbeKind),
        container: &Container,
        probe: &Probe,
        started_at: SystemTime,
        pod_ip: String,
    ) -> CancellationToken {
        let (id, kind) = (id.clone(), *kind);
        let schedule = Schedule::of(probe);
        let target = Target::new(probe.handler(), container, &id, &pod_ip);
        let (runtime, results, container) =
            (self.runtime.clone(), self.results.clone(), container.name.clone());
        let token = CancellationToken::new();
        let end = token.clone();
        // A call that is under way is let finish: containerd may hold a container's end back for half a minute
        // when a command in it is given up.
        let probing = async move {
            let first = (started_at + schedule.initial_delay)
                .duration_since(now())
                .unwrap_or_default();
            if end.run_until_cancelled(tokio::time::sleep(first)).await.is_none() {
                return;
            }
            let mut ticks = tokio::time::interval(schedule.period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while end.run_until_cancelled(ticks.tick()).await.is_some() {
                let outcome = probe_call::ask(&runtime, &target, schedule.timeout).await;
                let result = ProbeResult {
                    container: container.clone(),
                    container_id: id.clone(),
                    kind,
                    outcome,
                };
                if end.is_cancelled() || results.send(result).await.is_err() {
                    return;
                }
            }
        };
        tokio::spawn(probing);
        token
    }
}

impl Drop for Probers {
    fn drop(&mut self) {
        self.tasks.values().for_each(CancellationToken::cancel);
    }
}

/// A container that is stopping is still asked whether it is ready, and nothing that could restart it.
fn needed(container: &Container, started: bool, keeps_running: bool) -> Vec<ProbeKind> {
    let all = match (container.startup_probe.is_some() && !started, keeps_running) {
        (true, true) => &[ProbeKind::Startup][..],
        (true, false) => &[],
        (false, true) => &[ProbeKind::Readiness, ProbeKind::Liveness],
        (false, false) => &[ProbeKind::Readiness],
    };
    all.to_vec()
}

/// What a container was before the agent restarted, it is until a probe says otherwise.
fn assumed(instance: &Instance, before: &PodStatus) -> Probes {
    let id = format!("containerd://{}", instance.id);
    let mut all = before
        .init_container_statuses
        .iter()
        .chain(&before.container_statuses);
    let known = all.find(|status| status.container_id == id);
    let was_ready = known.is_some_and(|status| status.ready);
    let was_started = known.is_some_and(|status| status.started == Some(true));
    Probes::new(&instance.id, was_ready, was_started)
}
