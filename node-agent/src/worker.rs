//! One task per pod: it looks, says the status, and begins what the plan says. It alone changes what is
//! remembered of the pod; steps run beside it and report back.

mod shared;
mod jobs;
mod sources;
mod sandbox;
mod start;
mod stop;
mod hooks;
mod probes;
mod probe_call;
mod outcome;
mod ending;
mod why;
mod deaths;

pub use shared::{Ends, Shared};

use crate::clock::now;
use crate::metrics::{Look, RunningPod};
use crate::pod::garbage::garbage;
use crate::pod::known_status::KnownStatus;
use crate::pod::memory::{Memory, Volumes};
use crate::pod::observed::Observed;
use crate::pod::plan::{Plan, Step, StopReason, Subject, View, plan};
use crate::pod::status::{Facts, PULL_ERROR_SHOWN, status};
use crate::pod::status_patch::status_patch;
use crate::pod::wish::{self, Wish};
use crate::runtime;
use crate::runtime::observe::Observer;
use gantry_client::{Entry, EventType};
use gantry_proto::Key;
use gantry_proto::core::v1::{Pod, PodStatus};
use jobs::{Done, Jobs};
use probes::{ProbeResult, Probers};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tracing::{Instrument as _, Span, info_span};
use why::Why;

/// The slow look at a pod that nothing woke: a check, should an event have been lost.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// Volumes that follow API objects are brought up to date this often.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// When the runtime does not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A status that could not be written is written again after this, doubled with each failure up to the last: a
/// node full of pods must not press an apiserver that is coming back.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
const WRITE_AGAIN_LAST: Duration = Duration::from_secs(8);
/// containerd tells of an exit before CRI knows it: the first look again, doubled up to the last.
const EXIT_FIRST: Duration = Duration::from_millis(5);
const EXIT_LAST: Duration = Duration::from_millis(500);
/// How long the reason of an end is doubted after the kernel ran out of memory, and how often it is read then.
const DOUBT: Duration = Duration::from_secs(1);
const DOUBT_PAUSE: Duration = Duration::from_millis(250);
/// Results of probes that wait for the worker: three for each of a handful of containers.
const RESULTS: usize = 64;

pub struct Worker {
    shared: Arc<Shared>,
    key: Key,
    uid: String,
    pod: Arc<Entry<Pod>>,
    gone_since: Option<SystemTime>,
    why: Why,
    signals: Arc<Ends>,
    memory: Memory,
    observer: Observer,
    seen: Option<Seen>,
    jobs: Jobs,
    probers: Probers,
    results: mpsc::Receiver<ProbeResult>,
    known: KnownStatus,
    write_again_at: Option<SystemTime>,
    write_failures: u32,
    /// The runtime did not answer last time.
    is_blind: bool,
    refresh_at: SystemTime,
    exit_pause: Duration,
    /// When a pod that has not run yet was seen first.
    not_run_since: Option<SystemTime>,
    /// When the status began to be another than the API's.
    status_differs_since: Option<SystemTime>,
    was_looked_at: bool,
    running: RunningPod,
    /// Containers whose end is read again until then: the runtime may learn late that memory was the reason.
    doubts: BTreeMap<String, SystemTime>,
}

/// What the runtime had when it was asked last.
struct Seen {
    observed: Arc<Observed>,
    at: SystemTime,
}

impl Worker {
    /// `is_gone` for a pod that only the runtime still knows.
    pub fn new(shared: Arc<Shared>, pod: Arc<Entry<Pod>>, signals: Arc<Ends>, is_gone: bool) -> Worker {
        let (sender, results) = mpsc::channel(RESULTS);
        let metadata = pod.metadata();
        let now = now();
        Worker {
            key: Key::new(&metadata.namespace, &metadata.name),
            uid: metadata.uid.clone(),
            gone_since: is_gone.then_some(now),
            why: Why::default(),
            known: KnownStatus::new(&pod, pod.revision),
            probers: Probers::new(shared.runtime.clone(), sender),
            jobs: Jobs::default(),
            memory: Memory::default(),
            observer: Observer::default(),
            seen: None,
            refresh_at: now + REFRESH_EVERY,
            exit_pause: EXIT_FIRST,
            not_run_since: matches!(pod.status().phase.as_str(), "" | "Pending").then_some(now),
            status_differs_since: None,
            was_looked_at: false,
            running: shared.metrics.running_pod(),
            doubts: BTreeMap::new(),
            write_again_at: None,
            write_failures: 0,
            is_blind: false,
            results,
            signals,
            shared,
            pod,
        }
    }

    /// Runs until the pod is gone, or until shutdown, which leaves containers as they are.
    pub async fn run(mut self) {
        loop {
            let begun = crate::clock::monotonic();
            let wake_at = self.look().await;
            let look = match (self.was_looked_at, self.is_to_end()) {
                (_, true) => Look::Kill,
                (true, _) => Look::Sync,
                (false, _) => Look::Create,
            };
            self.was_looked_at = true;
            self.shared.metrics.looked(look, begun);
            let wake_at = match wake_at {
                Some(wake_at) => wake_at,
                None => return,
            };
            if !self.wait(wake_at).await {
                return;
            }
            // All that is at hand is one reason to look, not many.
            while let Some(done) = self.jobs.try_next() {
                self.take(done);
            }
            while let Ok(result) = self.results.try_recv() {
                self.take_probe(result);
            }
        }
    }

    /// Waits for a reason to look, until `wake_at`. Returns false at shutdown.
    async fn wait(&mut self, wake_at: SystemTime) -> bool {
        let pause = tokio::time::sleep(wake_at.duration_since(now()).unwrap_or_default());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = self.shared.shutdown.cancelled() => return false,
                () = self.signals.woken() => return true,
                Some(done) = self.jobs.next() => {
                    self.take(done);
                    return true;
                }
                // A probe that says what it said before costs nothing more.
                Some(result) = self.results.recv() => if self.take_probe(result) {
                    return true;
                },
                () = &mut pause => return true,
            }
        }
    }

    /// Returns when to look again, or `None` when nothing is left to do.
    async fn look(&mut self) -> Option<SystemTime> {
        let now = now();
        self.read_pod(now);
        self.memory.follow(self.pod.spec());
        let mut ended = self.signals.take_ended();
        self.doubts.retain(|_, until| *until > now);
        let doubtful = self.signals.take_doubtful();
        self.doubts
            .extend(doubtful.into_iter().map(|id| (id, now + DOUBT)));
        self.doubts.keys().for_each(|id| self.observer.forget(id));
        let observed = match self.observe(!ended.is_empty(), now).await {
            Ok(observed) => observed,
            Err(error) => {
                if !self.is_blind {
                    tracing::warn!(object = format_args!("pods/{}", self.key), %error, "the runtime cannot be asked about the pod");
                }
                self.is_blind = true;
                self.signals.put_back(ended);
                return Some(now + LOOK_AGAIN);
            }
        };
        self.is_blind = false;
        ended.extend(self.shared.index(&self.uid, &observed));
        if self.pod.metadata().deletion_timestamp.is_some() {
            self.memory.deleting_since.get_or_insert(now);
        }
        if self.memory.ended.is_none() {
            self.memory.ended = wish::past_deadline(&self.pod, now);
        }
        let wish = wish::wish(&self.pod, self.gone_since, &observed, &self.memory, now);
        self.probers.keep(
            &self.pod,
            wish,
            &observed,
            self.jobs.busy(),
            &mut self.memory,
            self.known.get(),
        );
        let facts = Facts {
            pod: &self.pod,
            before: self.known.get(),
            observed: &observed,
            memory: &self.memory,
            wish,
            busy: self.jobs.busy(),
            host_ip: &self.shared.host_ip,
            now,
        };
        let status = status(&facts);
        self.running
            .set(observed.ready_sandbox().is_some(), observed.containers_by_state());
        if status.phase != "Pending"
            && let Some(since) = self.not_run_since.take()
            && status.phase == "Running"
        {
            let took = now.duration_since(since).unwrap_or_default();
            let cause = self.why.cause(&self.pod);
            self.shared.metrics.pod_started(took, cause.as_ref());
        }
        self.note_deaths(wish, &observed);
        self.tell_back_offs(&status);
        let patch = status_patch(&self.uid, self.known.get(), &status).filter(|_| self.gone_since.is_none());
        if patch.is_some() {
            self.status_differs_since.get_or_insert(now);
        } else if !self.jobs.is_writing() {
            self.status_differs_since = None;
        }
        let status_written = patch.is_none() && !self.jobs.is_writing();
        let view = View {
            pod: &self.pod,
            wish,
            observed: &observed,
            memory: &self.memory,
            busy: self.jobs.busy(),
            status_written,
        };
        let plan = plan(&view, now);
        if plan.steps.contains(&Step::Exit) {
            return None;
        }
        let may_write = !self.jobs.is_writing() && self.write_again_at.is_none_or(|at| at <= now);
        if patch.is_none() && plan.steps.is_empty() {
            self.why.rests();
        }
        let patch = patch.filter(|_| may_write);
        if patch.is_some() || !plan.steps.is_empty() {
            let span = self.why.span(&self.pod, &self.shared.config.node_name, now);
            if let Some(patch) = patch {
                self.write_status(patch, status, &span);
            }
            for step in plan.steps.iter().cloned() {
                self.begin(step, &observed, now, &span);
            }
        }
        self.keep_house(wish, &observed, now);
        Some(self.next_look(&plan, &observed, ended, now))
    }

    /// What the runtime has of the pod: asked for where something may have changed it, else as it was seen last. A
    /// pod that starts is looked at for the API's sake three times as often, and each question to the runtime takes
    /// from what the start itself needs.
    async fn observe(&mut self, has_ended: bool, now: SystemTime) -> runtime::Result<Arc<Observed>> {
        let is_stale = self.signals.take_stale() || has_ended || !self.doubts.is_empty();
        let seen = self.seen.take();
        let is_fresh = |seen: &Seen| seen.at <= now && now < seen.at + CHECK_EVERY;
        let seen = match seen.filter(|seen| !is_stale && is_fresh(seen)) {
            Some(seen) => seen,
            None => Seen {
                observed: Arc::new(self.observer.observe(&self.shared.runtime, &self.uid).await?),
                at: now,
            },
        };
        let observed = seen.observed.clone();
        self.seen = Some(seen);
        Ok(observed)
    }

    fn is_to_end(&self) -> bool {
        self.gone_since.is_some() || self.pod.metadata().deletion_timestamp.is_some()
    }

    fn read_pod(&mut self, now: SystemTime) {
        if self.gone_since.is_some() {
            return;
        }
        match self
            .shared
            .pods
            .get(&self.key)
            .filter(|entry| entry.metadata().uid == self.uid)
        {
            Some(entry) => {
                self.why.follow(&entry, now);
                // While a write of ours is under way, its reply says more.
                if !self.jobs.is_writing() {
                    self.known.watched(&entry, entry.revision);
                }
                self.pod = entry;
            }
            None if self.shared.pods.is_synced() => self.gone_since = Some(now),
            None => {}
        }
    }

    fn write_status(&mut self, patch: serde_json::Value, status: PodStatus, span: &Span) {
        let (client, key) = (self.shared.client.clone(), self.key.clone());
        let span = info_span!(parent: span, "status.write", k8s.pod.status.phase = status.phase);
        self.why.writes();
        let write = async move {
            let kind = gantry_client::PatchType::StrategicMerge;
            let outcome = client.patch::<Pod>(&key, Some("status"), kind, &patch).await;
            Done::StatusWritten(outcome.map(|stored| (Box::new(status), Box::new(stored))))
        };
        self.jobs.write(write.instrument(span));
    }

    fn begin(&mut self, step: Step, observed: &Observed, now: SystemTime, span: &Span) {
        tracing::debug!(
            object = format_args!("pods/{}", self.key),
            revision = self.pod.revision,
            ?step,
            "begun"
        );
        match step {
            Step::SetUpVolumes => self.set_up_volumes(span),
            Step::CreateSandbox { attempt, replaces } => self.create_sandbox(attempt, replaces, span),
            Step::Start {
                container,
                attempt,
                sandbox_id,
                ended,
            } => {
                let memory = self.memory.container_mut(&container);
                if let Some(ended) = ended {
                    memory.restarts.advance(ended, now);
                }
                self.start(container, attempt, sandbox_id, observed, span);
            }
            Step::Stop {
                container,
                id,
                stop_by,
                why,
            } => {
                let memory = self.memory.container_mut(&container);
                // Stopping it again sooner goes on with what the first stop began.
                let is_new = memory.stopped.replace(id.clone()).as_ref() != Some(&id);
                match why {
                    StopReason::Probe(kind) if is_new => {
                        let span = self.begin_unhealthy(&container, &id, kind, now);
                        self.stop(container, id, stop_by, why, &span);
                    }
                    _ => self.stop(container, id, stop_by, why, span),
                }
            }
            Step::Remove { container, id } => self.remove(container, id),
            Step::Abort { container } => {
                self.jobs.abort(&Subject::Container(container));
                // How far it came is not known.
                self.seen = None;
                self.signals.wake();
            }
            Step::StopSandboxes { ids } => self.stop_sandboxes(ids, span),
            Step::Release => self.release(),
            Step::CleanUp { sandbox_ids } => self.clean_up(sandbox_ids, span),
            Step::Delete => self.delete(span),
            Step::Exit => {}
        }
    }

    fn keep_house(&mut self, wish: Wish, observed: &Observed, now: SystemTime) {
        if wish != Wish::Run {
            return;
        }
        let garbage = garbage(observed);
        if !garbage.is_empty() {
            self.collect(garbage);
        }
        if now >= self.refresh_at {
            self.refresh_at = now + REFRESH_EVERY;
            // A refresh that is under way goes on: two must not write to one volume.
            let is_idle = !self.jobs.busy().contains_key(&Subject::Volumes);
            if is_idle && crate::volume::is_live(&self.pod) && self.memory.volumes == Volumes::Ready {
                self.set_up_volumes(&Span::none());
            }
        }
    }

    fn next_look(
        &mut self,
        plan: &Plan,
        observed: &Observed,
        ended: Vec<String>,
        now: SystemTime,
    ) -> SystemTime {
        let mut times = vec![now + CHECK_EVERY];
        times.extend(plan.wake_at);
        times.extend(wish::deadline(&self.pod).filter(|deadline| *deadline > now));
        times.extend(self.write_again_at.filter(|at| *at > now));
        let failures = self
            .memory
            .containers
            .values()
            .filter_map(|container| container.start_failure.as_ref());
        let shown = failures.map(|failure| failure.failed_at + PULL_ERROR_SHOWN);
        times.extend(shown.filter(|time| *time > now));
        times.extend((!self.doubts.is_empty()).then(|| now + DOUBT_PAUSE));
        // An end that the runtime's list does not show yet.
        let late: Vec<String> = ended.into_iter().filter(|id| is_alive(observed, id)).collect();
        if late.is_empty() {
            self.exit_pause = EXIT_FIRST;
        } else {
            self.signals.put_back(late);
            times.push(now + self.exit_pause);
            self.exit_pause = (self.exit_pause * 2).min(EXIT_LAST);
        }
        times.into_iter().min().unwrap_or(now + CHECK_EVERY)
    }

    /// Events for containers that have just begun to wait.
    fn tell_back_offs(&self, status: &PodStatus) {
        let waits = |status: &PodStatus, name: &str| {
            let all = status
                .init_container_statuses
                .iter()
                .chain(&status.container_statuses);
            all.filter(|container| container.name == name)
                .find_map(|container| container.state().waiting.as_ref().map(|w| w.reason.clone()))
        };
        for container in status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
        {
            let reason = waits(status, &container.name);
            if reason == waits(self.known.get(), &container.name) {
                continue;
            }
            let pod = crate::pod::identity::describe(&self.pod);
            match reason.as_deref() {
                Some("CrashLoopBackOff") => {
                    let message = format!(
                        "Back-off restarting failed container {} in pod {pod}",
                        container.name
                    );
                    self.tell(&container.name, EventType::Warning, "BackOff", message);
                }
                Some("ImagePullBackOff") => {
                    let message = format!("Back-off pulling image \"{}\"", container.image);
                    self.tell(&container.name, EventType::Normal, "BackOff", message);
                    let message = "Error: ImagePullBackOff".to_string();
                    self.tell(&container.name, EventType::Warning, "Failed", message);
                }
                _ => {}
            }
        }
    }

    fn tell(&self, container: &str, kind: EventType, reason: &str, message: String) {
        self.shared
            .tell_container(&self.pod, container, kind, reason, message);
    }
}

fn is_alive(observed: &Observed, id: &str) -> bool {
    observed
        .instances()
        .any(|instance| instance.id == id && instance.may_run())
        || observed
            .sandboxes
            .iter()
            .any(|sandbox| sandbox.id == id && sandbox.ready)
}
