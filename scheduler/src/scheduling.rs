//! The one task that owns the model and the queue. Caches wake it with keys; it reads them, decides, and
//! hands each binding and each report to a task of its own.

mod sources;
mod consulting;
mod refusing;

use crate::binding::{self, Outcome};
use crate::decision::{Decision, decide};
use crate::explain::Questions;
use crate::filter::Wanted;
use crate::metrics::{Attempt, Held, Metrics};
use crate::model::{Model, Seen};
use crate::pods::PodInfo;
use crate::preemption::{self, Budget, make_room};
use crate::profile::Profile;
use crate::profiles::Profiles;
use crate::queue::{Event, Pending, Queue};
use crate::snapshot::{NodeInfo, Snapshot, has_ended};
pub use consulting::Answered;
use consulting::{Asked, Consulting};
use gantry_client::{Client, Entry, Recorder};
use gantry_proto::Key;
use gantry_proto::core::v1::Pod;
use gantry_telemetry::trace;
use sources::Sources;
use std::collections::{BTreeMap, HashSet};
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
    profiles: Profiles,
    /// By the scheduler's name that a pod asks for: Events are from there.
    recorders: Arc<BTreeMap<String, Recorder>>,
    metrics: Metrics,
    sources: Sources,
    snapshot: watch::Sender<Snapshot>,
    model: Model,
    /// Where the next search for nodes begins, so that all are looked at as often.
    start: usize,
    queue: Queue,
    /// Pods that wait for somebody to take their scheduling gates away; only counted.
    gated: HashSet<Key>,
    consulting: Consulting,
    /// Pods whose victims are being told to go: until then it cannot be seen that room is made for them.
    evicting: HashSet<Key>,
    bindings: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Scheduling {
    pub fn new(
        client: Client,
        profiles: Profiles,
        queue: Queue,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> (Scheduling, Questions) {
        let sources = Sources::new(&client, &shutdown);
        let recorder = |name: &str| (name.to_string(), Recorder::spawn(client.clone(), name, None));
        let recorders = Arc::new(profiles.names().into_iter().map(recorder).collect());
        let (snapshot, seen) = watch::channel(Snapshot::new());
        let (pods, nodes) = (sources.pods.cache.clone(), sources.nodes.cache.clone());
        let questions = Questions::new(pods, nodes, sources.budgets.clone(), seen, profiles.clone());
        let scheduling = Scheduling {
            client,
            profiles,
            recorders,
            metrics,
            sources,
            snapshot,
            model: Model::default(),
            start: 0,
            queue,
            gated: HashSet::new(),
            consulting: Consulting::default(),
            evicting: HashSet::new(),
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
                    self.take_in_outcome(outcome, &outcomes);
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
                Some(outcome) = finished.recv() => self.take_in_outcome(outcome, &outcomes),
            }
            while let Ok(outcome) = finished.try_recv() {
                self.take_in_outcome(outcome, &outcomes);
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
        let served = self.profiles.of(&pod.spec().scheduler_name).filter(|_| waits);
        served.map(|served| &served.profile)
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
            if let Some(answered) = self.next_answered() {
                self.conclude(answered, permit, outcomes);
                continue;
            }
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
            let name = &pod.spec().scheduler_name;
            let (span, attempt) = (self.span(&key, &pod), self.metrics.attempt(name));
            if self
                .profiles
                .of(name)
                .is_some_and(|served| !served.added.is_empty())
            {
                let asked = Asked {
                    key,
                    pod,
                    span,
                    attempt,
                };
                self.ask(asked, outcomes);
                continue;
            }
            let report = Report {
                span: span.clone(),
                attempt,
                permit,
                outcomes: outcomes.clone(),
            };
            let decided = span.in_scope(|| self.decide_about(&pod, decide));
            report.attempt.decided();
            match decided.decision {
                Decision::Bind { node } => self.bind(key, pod, decided.info, node, report),
                Decision::Unschedulable(why) => self.refuse(pod, decided.info, why, decided.room, report),
            }
        }
        true
    }

    /// `decide` gets the pod with everything that is counted for it, the nodes, where to begin and a number for ties; it
    /// says also how many nodes it looked at.
    fn decide_about(
        &mut self,
        pod: &Pod,
        decide: impl FnOnce(&Wanted, &Snapshot, usize, u64) -> (Decision, usize),
    ) -> Decided {
        #[allow(clippy::disallowed_methods, reason = "equals are chosen by chance")]
        let (tie, chance) = (rand::random(), rand::random());
        let profiles = self.profiles.clone();
        let default = Profile::default();
        let served = profiles.of(&pod.spec().scheduler_name);
        self.model.settle();
        let wanted = self
            .model
            .want(pod, served.map_or(&default, |served| &served.profile));
        let snapshot = self.model.snapshot();
        let (decision, looked_at) = decide(&wanted, snapshot, self.start, tie);
        let room = match &decision {
            Decision::Bind { .. } => None,
            Decision::Unschedulable(_) if self.evicting.contains(&wanted.info.key) => {
                Some(preemption::Outcome::UNDER_WAY)
            }
            Decision::Unschedulable(why) => {
                let budgets = match why.resolvable().next() {
                    Some(_) => self.sources.budgets.snapshot(),
                    None => gantry_client::Snapshot::new(),
                };
                let budgets: Vec<Budget> = budgets.values().filter_map(|budget| Budget::of(budget)).collect();
                let nominated = self.model.nomination(&wanted.info.key).map(|node| &**node);
                make_room(&wanted, snapshot, why, &budgets, nominated, chance)
            }
        };
        self.start = (self.start + looked_at) % snapshot.len().max(1);
        Decided {
            info: wanted.info,
            decision,
            room,
        }
    }

    /// Where Events about a pod are from.
    fn recorder_of(&self, pod: &Pod) -> Option<Recorder> {
        self.recorders.get(&pod.spec().scheduler_name).cloned()
    }

    fn bind(&mut self, key: Key, pod: Arc<Entry<Pod>>, info: Arc<PodInfo>, node: Arc<str>, report: Report) {
        let cause = trace::cause_of(&report.span);
        // The queue forgets the pod when it is seen to be bound, which may be before the reply comes.
        let (waited, metrics) = (self.queue.attempts(&key), self.metrics.clone());
        self.queue.assigned(&key);
        self.model.assume(info, node.clone());
        let bind = binding::bind(self.client.clone(), self.recorder_of(&pod), pod, node);
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

    fn take_in_outcome(&mut self, outcome: Outcome, outcomes: &mpsc::Sender<Outcome>) {
        match outcome {
            // The assumption ends when the cache shows the binding.
            Outcome::Bound { key } => self.queue.bound(&key, now()),
            Outcome::Reported => {}
            Outcome::Evicted { preemptor, all } => {
                self.evicting.remove(&preemptor);
                // Rare: whoever waits is tried again, the pod among them.
                if !all {
                    self.happened(Event::Anything);
                }
            }
            Outcome::Consulted(answered) => self.take_in_answer(*answered, outcomes),
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

/// What came of thinking about a pod.
struct Decided {
    info: Arc<PodInfo>,
    decision: Decision,
    /// Where it fits nowhere, and its profile has preemption.
    room: Option<preemption::Outcome>,
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
