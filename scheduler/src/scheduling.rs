//! The one task that owns the model and the queue. Caches wake it with keys; it reads them, decides, and
//! hands each binding and each report to a task of its own.

use crate::binding::{self, Nomination, Outcome};
use crate::decision::{Decision, Profile, decide};
use crate::explain::Questions;
use crate::metrics::{Held, Metrics};
use crate::model::{Model, Seen};
use crate::queue::Queue;
use crate::snapshot::{Snapshot, has_ended};
use gantry_client::{Cache, Client, Entry, EventType, Recorder};
use gantry_proto::Key;
use gantry_proto::core::v1::{Node, Pod};
use gantry_telemetry::trace;
use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
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
    profile: Profile,
    metrics: Metrics,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    woken: Arc<Woken>,
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

/// Keys that caches reported since the last look. Bounded by the number of objects.
#[derive(Default)]
struct Woken {
    pods: Mutex<BTreeSet<Key>>,
    nodes: Mutex<BTreeSet<Key>>,
    notify: Notify,
}

impl Woken {
    fn add(&self, to: &Mutex<BTreeSet<Key>>, key: Key) {
        to.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.notify.notify_one();
    }

    fn take(&self, from: &Mutex<BTreeSet<Key>>) -> BTreeSet<Key> {
        std::mem::take(&mut *from.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Scheduling {
    pub fn new(
        client: Client,
        recorder: Recorder,
        profile: Profile,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> (Scheduling, Questions) {
        let woken = Arc::new(Woken::default());
        let pods = Cache::<Pod>::builder(client.clone())
            .on_change({
                let woken = woken.clone();
                move |change| woken.add(&woken.pods, change.key.clone())
            })
            .spawn(shutdown.clone());
        let nodes = Cache::<Node>::builder(client.clone())
            .on_change({
                let woken = woken.clone();
                move |change| woken.add(&woken.nodes, change.key.clone())
            })
            .spawn(shutdown.clone());
        let (snapshot, seen) = watch::channel(Snapshot::new());
        let questions = Questions::new(pods.clone(), nodes.clone(), seen, profile.clone());
        let scheduling = Scheduling {
            client,
            recorder,
            profile,
            metrics,
            pods,
            nodes,
            woken,
            snapshot,
            model: Model::default(),
            start: 0,
            queue: Queue::default(),
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
        self.nodes.synced().await;
        self.pods.synced().await;
        let (outcomes, mut finished) = mpsc::channel(OUTCOMES);
        loop {
            self.take_in_changes();
            let more = self.decide(&outcomes).await;
            self.snapshot.send_replace(self.model.settle().clone());
            self.tell();
            if more {
                // Outcomes are taken in between: they hold the permits that decisions wait for.
                while let Ok(outcome) = finished.try_recv() {
                    self.take_in_outcome(outcome);
                }
                continue;
            }
            let due = self.queue.next_due().map(tokio::time::Instant::from_std);
            tokio::select! {
                () = self.woken.notify.notified() => {}
                () = async { match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }} => {}
                Some(outcome) = finished.recv() => self.take_in_outcome(outcome),
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
        let mut may_help = false;
        for key in self.woken.take(&self.woken.nodes) {
            match self.nodes.get(&key) {
                Some(node) => {
                    let (before, after) = self.model.set_node(&node.object);
                    // A heartbeat changes nothing that a decision depends on.
                    may_help |= match (&before, &after) {
                        (Some(before), Some(after)) => {
                            before.allocatable != after.allocatable
                                || before.labels != after.labels
                                || before.taints != after.taints
                                || before.unschedulable != after.unschedulable
                        }
                        _ => true,
                    };
                }
                None => drop(self.model.remove_node(&key.name)),
            }
        }
        for key in self.woken.take(&self.woken.pods) {
            let pod = self.pods.get(&key);
            let seen = self
                .model
                .observe(&key, pod.as_deref().map(|entry| &entry.object));
            may_help |= !matches!(seen, Seen::Nothing);
            match pod.as_deref().is_some_and(|pod| self.is_gated(pod)) {
                true => self.gated.insert(key.clone()),
                false => self.gated.remove(&key),
            };
            match pod.filter(|pod| self.needs_decision(pod)) {
                Some(pod) if !self.model.is_assumed(&key, &pod.metadata().uid) => {
                    self.queue.add(&key, pod.spec().priority.unwrap_or(0), now());
                }
                Some(_) => {}
                None => self.queue.remove(&key),
            }
        }
        if may_help {
            self.queue.wake_all();
        }
    }

    fn needs_decision(&self, pod: &Pod) -> bool {
        // Somebody takes the gates away when the pod may be looked at (KEP-3521).
        self.is_ours(pod) && pod.spec().scheduling_gates.is_empty()
    }

    fn is_gated(&self, pod: &Pod) -> bool {
        self.is_ours(pod) && !pod.spec().scheduling_gates.is_empty()
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        pod.spec().node_name.is_empty()
            && pod.spec().scheduler_name == self.profile.scheduler_name
            && pod.metadata().deletion_timestamp.is_none()
            && !has_ended(pod)
    }

    /// Decides about pods while there are any, up to a number. Returns true when there may be more.
    async fn decide(&mut self, outcomes: &mpsc::Sender<Outcome>) -> bool {
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
            let Some(pod) = self.pods.get(&key).filter(|pod| self.needs_decision(pod)) else {
                self.queue.remove(&key);
                continue;
            };
            if self.model.is_assumed(&key, &pod.metadata().uid) {
                // Its binding is on its way; should it fail, the pod is added again.
                self.queue.remove(&key);
                continue;
            }
            let span = self.span(&key, &pod);
            let attempt = self.metrics.attempt();
            #[allow(clippy::disallowed_methods, reason = "equals are chosen by chance")]
            let (info, decision) = span.in_scope(|| {
                self.model.settle();
                let wanted = self.model.want(&pod.object, &self.profile);
                let nodes = self.model.snapshot();
                let (decision, looked_at) = decide(&wanted, nodes, self.start, rand::random());
                self.start = (self.start + looked_at) % nodes.len().max(1);
                (wanted.info, decision)
            });
            attempt.decided();
            match decision {
                Decision::Bind { node } => {
                    let cause = trace::cause_of(&span);
                    // The queue forgets the pod when it is seen to be bound, which may be before the reply comes.
                    let (waited, metrics) = (self.queue.attempts(&key), self.metrics.clone());
                    self.model.assume(info, node.clone());
                    let bind = binding::bind(self.client.clone(), self.recorder.clone(), pod, node);
                    let outcomes = outcomes.clone();
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
                Decision::Unschedulable(why) => {
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
                    self.queue.park(&key, now());
                    let report = binding::report_unschedulable(self.client.clone(), pod, message, Nomination::Keep);
                    let outcomes = outcomes.clone();
                    tokio::spawn(
                        async move {
                            report.await;
                            drop(permit);
                            // Others may have waited for the permit.
                            let _ = outcomes.send(Outcome::Reported).await;
                        }
                        .instrument(span),
                    );
                }
            }
        }
        true
    }

    fn take_in_outcome(&mut self, outcome: Outcome) {
        match outcome {
            // The assumption ends when the cache shows the binding.
            Outcome::Bound { key } => {
                self.queue.bound(&key, now());
            }
            Outcome::Reported => {}
            Outcome::NotEvicted { key } => self.woken.add(&self.woken.pods, key),
            Outcome::Failed { key, uid } => {
                if self.model.forget(&key, &uid).is_some() {
                    self.queue.wake_all();
                }
                self.queue.park(&key, now());
                // The next look decides whether it is still ours.
                self.woken.add(&self.woken.pods, key);
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
