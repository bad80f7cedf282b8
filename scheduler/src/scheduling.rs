//! The one task that owns the model and the queue. Caches wake it with keys; it reads them, decides, and
//! hands each binding and each report to a task of its own.

mod sources;

use crate::binding::{self, Nomination, Outcome};
use crate::decision::{Decision, Profile, Why, decide};
use crate::explain::Questions;
use crate::metrics::{Attempt, Held, Metrics};
use crate::model::{Model, Seen};
use crate::pods::PodInfo;
use crate::queue::{Event, Pending, Queue};
use crate::snapshot::{NodeInfo, Snapshot, has_ended};
use gantry_client::{Client, Entry, EventType, Recorder};
use gantry_proto::Key;
use gantry_proto::core::v1::Pod;
use gantry_telemetry::trace;
use sources::Sources;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info_span};

/// Bindings and reports under way at once. Each is one write; more only queue up in the apiserver.
const BINDINGS: usize = 32;
/// Outcomes that wait to be taken in: one for each binding or report under way.
const OUTCOMES: usize = BINDINGS;
/// Decisions in a row before woken keys are looked at again, so that a long queue does not decide on an old
/// picture.
const DECISIONS_IN_A_ROW: usize = 64;

pub struct Scheduling {
    client: Client,
    recorder: Recorder,
    profiles: Arc<[Profile]>,
    metrics: Metrics,
    sources: Sources,
    snapshot: watch::Sender<Snapshot>,
    model: Model,
    /// Where the next search for nodes begins, so that all are looked at as often.
    start: usize,
    queue: Queue,
    /// Pods that wait for somebody to take their scheduling gates away; only counted.
    gated: HashSet<Key>,
    bindings: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Scheduling {
    pub fn new(
        client: Client,
        recorder: Recorder,
        profiles: Arc<[Profile]>,
        queue: Queue,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> (Scheduling, Questions) {
        let sources = Sources::new(&client, &shutdown);
        let (snapshot, seen) = watch::channel(Snapshot::new());
        let (pods, nodes) = (sources.pods.cache.clone(), sources.nodes.cache.clone());
        let questions = Questions::new(pods, nodes, seen, profiles.clone());
        let scheduling = Scheduling {
            client,
            recorder,
            profiles,
            metrics,
            sources,
            snapshot,
            model: Model::default(),
            start: 0,
            queue,
            gated: HashSet::new(),
            bindings: Arc::new(Semaphore::new(BINDINGS)),
            shutdown,
        };
        (scheduling, questions)
    }

    pub async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        let _ = shutdown.run_until_cancelled(self.decide_forever()).await;
    }

    async fn decide_forever(&mut self) {
        self.sources.synced().await;
        let (outcomes, mut finished) = mpsc::channel(OUTCOMES);
        loop {
            self.take_in_changes();
            let more = self.decide(&outcomes);
            self.snapshot.send_replace(self.model.settle().clone());
            self.tell();
            if more {
                // Outcomes are taken in between: they hold the permits that decisions wait for.
                while let Ok(outcome) = finished.try_recv() {
                    self.take_in_outcome(outcome);
                }
                // The caches and the writes live on the same threads.
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.queue.next_due().map(tokio::time::Instant::from_std);
            tokio::select! {
                () = self.sources.changed() => {}
                () = async { match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }} => {}
                Some(outcome) = finished.recv() => self.take_in_outcome(outcome),
            }
            while let Ok(outcome) = finished.try_recv() {
                self.take_in_outcome(outcome);
            }
        }
    }

    /// Brings the metrics up to date.
    fn tell(&mut self) {
        self.metrics.set_depths(self.queue.depths(self.gated.len()));
        self.metrics.came(self.queue.take_incoming());
        let (pods, assumed_pods) = self.model.pods();
        self.metrics.set_held(Held {
            nodes: self.model.snapshot().len(),
            pods,
            assumed_pods,
        });
    }

    fn take_in_changes(&mut self) {
        self.take_in_surroundings();
        for key in self.sources.nodes.take_woken() {
            let event = match self.sources.nodes.cache.get(&key) {
                Some(node) => match self.model.set_node(&node.object) {
                    (Some(before), Some(after)) if is_as_good(&before, &after) => None,
                    (Some(before), Some(after)) => Some(Event::NodeChanged { before, after }),
                    (_, after) => after.map(Event::NodeAdded),
                },
                None => self.model.remove_node(&key.name).map(Event::NodeRemoved),
            };
            event.into_iter().for_each(|event| self.happened(event));
        }
        for key in self.sources.pods.take_woken() {
            self.take_in_pod(key);
        }
    }

    /// What pods are judged by beside nodes and pods. It helps whom it helps when it is seen: that is rare.
    fn take_in_surroundings(&mut self) {
        let namespaces = self.sources.namespaces.take_woken();
        for key in &namespaces {
            let namespace = self.sources.namespaces.cache.get(key);
            self.model
                .set_namespace(&key.name, namespace.as_deref().map(|entry| &entry.object));
        }
        for key in self.sources.services.take_woken() {
            let service = self.sources.services.cache.get(&key);
            self.model
                .set_service(&key, service.as_deref().map(|entry| &entry.object));
        }
        for key in self.sources.replica_sets.take_woken() {
            let replica_set = self.sources.replica_sets.cache.get(&key);
            self.model
                .set_replica_set(&key, replica_set.as_deref().map(|entry| &entry.object));
        }
        if !namespaces.is_empty() {
            self.happened(Event::Anything);
        }
    }

    fn take_in_pod(&mut self, key: Key) {
        let pod = self.sources.pods.cache.get(&key);
        let nominated = self.model.nomination(&key).cloned();
        let before = self.model.nominated(&key).cloned();
        let seen = self
            .model
            .observe(&key, pod.as_deref().map(|entry| &entry.object));
        // Others of its priority left room for it, which they need not any more.
        if nominated.is_some()
            && self.model.nomination(&key) != nominated.as_ref()
            && !matches!(seen, Seen::Came(_))
            && let Some(before) = before
        {
            self.happened(Event::PodWent(before));
        }
        match seen {
            Seen::Nothing => {}
            Seen::Came(pod) => self.happened(Event::PodCame(pod)),
            Seen::Changed { before, after } => self.happened(Event::PodChanged { before, after }),
            Seen::Went(pod) => self.happened(Event::PodWent(pod)),
        }
        match pod.as_deref().is_some_and(|pod| self.is_gated(pod)) {
            true => self.gated.insert(key.clone()),
            false => self.gated.remove(&key),
        };
        match pod.as_deref().and_then(|pod| Some((pod, self.profile_for(pod)?))) {
            Some((pod, _)) if self.model.is_assumed(&key, &pod.metadata().uid) => {}
            Some((pod, profile)) => {
                let pending = Pending::of(pod, &self.model.snapshot().surroundings, profile);
                self.queue.add(&key, Arc::new(pending), now());
            }
            None => self.queue.remove(&key),
        }
    }

    fn happened(&mut self, event: Event) {
        let surroundings = &self.model.snapshot().surroundings;
        self.queue.happened(event, surroundings, now());
    }

    /// The profile by which a decision about the pod has to be made; `None` where there is none to make.
    fn profile_for(&self, pod: &Pod) -> Option<&Profile> {
        // Somebody takes the gates away when the pod may be looked at (KEP-3521).
        let profile = self.profile_of(pod)?;
        pod.spec().scheduling_gates.is_empty().then_some(profile)
    }

    fn is_gated(&self, pod: &Pod) -> bool {
        self.profile_of(pod).is_some() && !pod.spec().scheduling_gates.is_empty()
    }

    /// The profile of a pod that has no node yet and still needs one.
    fn profile_of(&self, pod: &Pod) -> Option<&Profile> {
        let waits =
            pod.spec().node_name.is_empty() && pod.metadata().deletion_timestamp.is_none() && !has_ended(pod);
        let name = &pod.spec().scheduler_name;
        let mut profiles = self.profiles.iter();
        profiles.find(|profile| waits && profile.scheduler_name == *name)
    }

    /// Decides about pods while there are any, up to a number. Returns true when there may be more.
    fn decide(&mut self, outcomes: &mpsc::Sender<Outcome>) -> bool {
        // Even if no binding can start now: what is due must not keep the loop awake.
        self.queue.promote(now());
        for _ in 0..DECISIONS_IN_A_ROW {
            // A decision is only worth making when its binding can start.
            let Ok(permit) = self.bindings.clone().try_acquire_owned() else {
                return false;
            };
            let Some(key) = self.queue.pop(now()) else {
                return false;
            };
            let pod = self.sources.pods.cache.get(&key);
            let Some(pod) = pod.filter(|pod| self.profile_for(pod).is_some()) else {
                self.queue.remove(&key);
                continue;
            };
            if self.model.is_assumed(&key, &pod.metadata().uid) {
                // Its binding is on its way; should it fail, the pod is added again.
                self.queue.remove(&key);
                continue;
            }
            let report = Report {
                span: self.span(&key, &pod),
                attempt: self.metrics.attempt(),
                permit,
                outcomes: outcomes.clone(),
            };
            let span = report.span.clone();
            let (info, decision) = span.in_scope(|| self.decide_about(&pod));
            report.attempt.decided();
            match decision {
                Decision::Bind { node } => self.bind(key, pod, info, node, report),
                Decision::Unschedulable(why) => self.refuse(key, pod, why, report),
            }
        }
        true
    }

    fn decide_about(&mut self, pod: &Pod) -> (Arc<PodInfo>, Decision) {
        #[allow(clippy::disallowed_methods, reason = "equals are chosen by chance")]
        let tie = rand::random();
        let profiles = self.profiles.clone();
        let name = &pod.spec().scheduler_name;
        let profile = profiles.iter().find(|profile| profile.scheduler_name == *name);
        self.model.settle();
        let wanted = self.model.want(pod, profile.unwrap_or(&profiles[0]));
        let snapshot = self.model.snapshot();
        let (decision, looked_at) = decide(&wanted, snapshot, self.start, tie);
        self.start = (self.start + looked_at) % snapshot.len().max(1);
        (wanted.info, decision)
    }

    fn bind(&mut self, key: Key, pod: Arc<Entry<Pod>>, info: Arc<PodInfo>, node: Arc<str>, report: Report) {
        let cause = trace::cause_of(&report.span);
        // The queue forgets the pod when it is seen to be bound, which may be before the reply comes.
        let (waited, metrics) = (self.queue.attempts(&key), self.metrics.clone());
        self.queue.assigned(&key);
        self.model.assume(info, node.clone());
        let bind = binding::bind(self.client.clone(), self.recorder.clone(), pod, node);
        let Report {
            span,
            attempt,
            permit,
            outcomes,
        } = report;
        tokio::spawn(
            async move {
                let outcome = bind.await;
                drop(permit);
                let result = match outcome {
                    Outcome::Failed { .. } => "error",
                    _ => "scheduled",
                };
                if let (Outcome::Bound { .. }, Some((attempts, since))) = (&outcome, waited) {
                    metrics.scheduled(attempts, since);
                }
                attempt.ended(result, cause.as_ref());
                let _ = outcomes.send(outcome).await;
            }
            .instrument(span),
        );
    }

    fn refuse(&mut self, key: Key, pod: Arc<Entry<Pod>>, why: Why, report: Report) {
        let Report {
            span,
            attempt,
            permit,
            outcomes,
        } = report;
        attempt.ended("unschedulable", trace::cause_of(&span).as_ref());
        let message = why.message();
        span.in_scope(|| {
            let (object, revision) = (format_args!("pods/{key}"), pod.revision);
            tracing::info!(object, revision, reason = message, "the pod fits no node");
        });
        self.recorder.about(
            &pod.object,
            EventType::Warning,
            "FailedScheduling",
            message.clone(),
        );
        let surroundings = &self.model.snapshot().surroundings;
        self.queue.refuse(&key, why.plugins, surroundings, now());
        let write = binding::report_unschedulable(self.client.clone(), pod, message, Nomination::Keep);
        tokio::spawn(
            async move {
                write.await;
                drop(permit);
                // Others may have waited for the permit.
                let _ = outcomes.send(Outcome::Reported).await;
            }
            .instrument(span),
        );
    }

    fn take_in_outcome(&mut self, outcome: Outcome) {
        match outcome {
            // The assumption ends when the cache shows the binding.
            Outcome::Bound { key } => self.queue.bound(&key, now()),
            Outcome::Reported => {}
            Outcome::NotEvicted { key } => self.sources.pods.wake(key),
            Outcome::Failed { key, uid } => {
                if let Some(pod) = self.model.forget(&key, &uid) {
                    self.happened(Event::PodWent(pod));
                }
                self.queue.fail(&key, now());
                // The next look decides whether it is still ours.
                self.sources.pods.wake(key);
            }
        }
    }

    fn span(&self, key: &Key, pod: &Entry<Pod>) -> Span {
        let span = info_span!(parent: None, "scheduler.schedule", k8s.namespace.name = %key.namespace, k8s.pod.name = %key.name);
        if let Some(cause) = &pod.cause {
            trace::continue_from(&span, cause);
        }
        span
    }
}

/// With what an attempt is ended.
struct Report {
    span: Span,
    attempt: Attempt,
    permit: OwnedSemaphorePermit,
    outcomes: mpsc::Sender<Outcome>,
}

/// Whether nothing that a decision depends on is another, as with every heartbeat.
fn is_as_good(before: &NodeInfo, after: &NodeInfo) -> bool {
    before.allocatable == after.allocatable
        && before.labels == after.labels
        && before.taints == after.taints
        && before.unschedulable == after.unschedulable
}

impl Questions {
    /// Whether the caches are in.
    pub fn synced(&self) -> bool {
        self.pods().is_synced() && self.nodes().is_synced()
    }
}

/// The one place where this crate reads the clock for the queue.
fn now() -> Instant {
    Instant::now()
}
