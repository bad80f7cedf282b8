//! The one driver of all controllers: it wakes keys, lets the controller decide, carries the actions out,
//! continues the trace, backs off, and holds a key behind its gate.
//!
//! Architecture invariant: a key is decided about only by one worker at a time, and only when its caches have
//! seen everything that was written for it before (tests: `tests`, `deployment::simulation`).

mod apply;

use crate::action::{Action, Attempt, Failure, Says};
use crate::clock;
use crate::cluster::{Cluster, Watches};
use crate::memory::{Awaited, Begun, Gate, Memory, Outcome, Seen as _};
use crate::metrics::QueueMetrics;
use crate::wakes::{Cause, Wakes, WorkKey};
use apply::Writer;
use futures::stream::{self, StreamExt as _};
use gantry_client::{EventType, Recorder};
use gantry_telemetry::trace;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

/// Keys of one controller that are decided about at once. Keys that sleep behind a gate do not count.
const WORKERS: usize = 16;
/// Writes of one decision that are under way at once: enough to hide round trips, few enough to leave the
/// apiserver to others.
const WRITES_AT_ONCE: usize = 64;
/// The longest pause of a key whose reads or writes no apiserver could take: however long an outage was, work goes on
/// within this after it.
const AFTER_OUTAGE: Duration = Duration::from_secs(5);
/// How long reconciles that are under way may take when the process ends.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// A controller: what wakes it, and its decision. The decision proper is a pure function; what is here gathers
/// the view that it looks at.
pub trait Controller: Send + Sync + 'static {
    type Key: WorkKey;
    /// The name of its queue in metrics, and of its spans (`<name>.reconcile`).
    const NAME: &'static str;
    /// Where its Events say they come from; Kubernetes' names.
    const COMPONENT: &'static str;
    /// What precedes a key in the name of its object, such as `deployments`; empty where a key says it itself.
    const RESOURCE: &'static str;

    /// Registers what wakes keys.
    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Self::Key>);

    /// Decides about a key. `None` when its object is gone: then everything about it is forgotten. An error is
    /// a read that failed: the key comes back later.
    fn decide(
        &self,
        cluster: &Cluster,
        key: &Self::Key,
        memory: &Memory,
    ) -> impl Future<Output = Result<Option<Vec<Action>>, gantry_client::Error>> + Send;
}

/// A controller with its queue, from the registration of its watches to its end.
pub struct Driver<C: Controller> {
    controller: Arc<C>,
    wakes: Wakes<C::Key>,
    metrics: QueueMetrics,
    memories: Mutex<HashMap<C::Key, Memory>>,
    /// Differs between any two runs of the process.
    epoch: u64,
}

/// A key that a worker has. It is given back however the work ends: a decision that panics on one object must not
/// take its key out of the queue for good.
struct Work<'a, K: WorkKey> {
    resource: &'static str,
    wakes: &'a Wakes<K>,
    key: &'a K,
}

impl<K: WorkKey> Drop for Work<'_, K> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let object = object(self.resource, self.key);
            tracing::error!(object, "a decision panicked, it is tried again");
            self.wakes.retry(self.key, Vec::new());
        }
        self.wakes.done(self.key);
    }
}

impl<C: Controller> Driver<C> {
    pub fn new(controller: C, watches: &mut Watches, metrics: QueueMetrics, epoch: u64) -> Arc<Driver<C>> {
        let controller = Arc::new(controller);
        let wakes = Wakes::new(metrics.clone());
        controller.watch(watches, &wakes);
        Arc::new(Driver {
            controller,
            wakes,
            metrics,
            memories: Mutex::default(),
            epoch,
        })
    }

    /// Works until `shutdown`.
    pub async fn run(
        self: Arc<Self>,
        cluster: Arc<Cluster>,
        recorder: Recorder,
        shutdown: CancellationToken,
    ) {
        if shutdown.run_until_cancelled(cluster.synced()).await.is_none() {
            return;
        }
        tracing::info!(controller = C::NAME, "started");
        let places = Arc::new(Semaphore::new(WORKERS));
        let tracker = TaskTracker::new();
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                (place, self.wakes.next().await)
            };
            let Some((place, Some(key))) = shutdown.run_until_cancelled(next).await else {
                break;
            };
            let (driver, cluster) = (self.clone(), cluster.clone());
            let (recorder, shutdown) = (recorder.clone(), shutdown.clone());
            tracker.spawn(async move {
                let work = Work {
                    resource: C::RESOURCE,
                    wakes: &driver.wakes,
                    key: &key,
                };
                let gate = driver.look_at(&key, &cluster, &recorder).await;
                drop(place);
                // Behind its gate a key takes no worker's place.
                let _ = shutdown
                    .run_until_cancelled(driver.sleep(&key, gate, &cluster))
                    .await;
                drop(work);
            });
        }
        self.wakes.close();
        tracker.close();
        // Whatever is still under way is repeated by the next run.
        let _ = tokio::time::timeout(DRAIN_LIMIT, tracker.wait()).await;
    }

    /// One reconcile. Returns what the key has to wait for before the next.
    async fn look_at(&self, key: &C::Key, cluster: &Cluster, recorder: &Recorder) -> Gate {
        let _work = self.metrics.work(clock::monotonic());
        let mut memory = self.recall(key);
        memory.settle(cluster);
        let causes = self.wakes.take_causes(key);
        let decided = self.controller.decide(cluster, key, &memory).await;
        match decided {
            Ok(Some(mut actions)) => {
                actions.retain(|action| !is_vain(action, |namespace| cluster.is_ending(namespace)));
                self.act(key, &mut memory, actions, causes, cluster, recorder)
                    .await;
                let gate = memory.gate.clone();
                self.remember(key, memory);
                gate
            }
            Ok(None) => {
                self.wakes.succeeded(key);
                Gate::default()
            }
            Err(error) => {
                let object = object(C::RESOURCE, key);
                tracing::warn!(controller = C::NAME, object, %error, "a read that the decision needs failed");
                self.wakes.retry_within(key, AFTER_OUTAGE, causes);
                self.remember(key, memory);
                Gate::default()
            }
        }
    }

    async fn act(
        &self,
        key: &C::Key,
        memory: &mut Memory,
        actions: Vec<Action>,
        causes: Vec<Cause>,
        cluster: &Cluster,
        recorder: &Recorder,
    ) {
        let had_failed = memory.failure.take().is_some();
        let mut written_in = Span::none();
        let is_write = |action: &Action| {
            !matches!(
                action,
                Action::Begin { .. } | Action::WakeAfter(_) | Action::CheckAfter(_) | Action::Tell { .. }
            )
        };
        if actions.iter().any(is_write) {
            // A look that changes nothing leaves no span.
            let (span, begun) = span(C::NAME, key, &actions, &causes, memory.begun.take());
            written_in = span.clone();
            self.carry_out(&actions, memory, cluster, recorder)
                .instrument(span)
                .await;
            memory.begun = begun.filter(|_| memory.failure.is_some());
        }
        for says in actions.iter().filter_map(|action| match action {
            Action::Tell { says } => Some(says),
            _ => None,
        }) {
            tell(recorder, says);
        }
        self.set_timer(key, memory, &actions, &causes);
        let object = object(C::RESOURCE, key);
        let _written_in = written_in.enter();
        match &memory.failure {
            Some(Failure {
                of: Attempt::Outdated,
                message,
            }) => {
                tracing::debug!(
                    controller = C::NAME,
                    object,
                    error = message,
                    "decided on an old version, decided again"
                );
                self.wakes.retry(key, causes);
            }
            Some(Failure {
                of: Attempt::Unreached,
                message,
            }) => {
                tracing::warn!(
                    controller = C::NAME,
                    object,
                    error = message,
                    "no apiserver could take a write, it is tried again"
                );
                self.wakes.retry_within(key, AFTER_OUTAGE, causes);
            }
            Some(failure) => {
                tracing::warn!(
                    controller = C::NAME,
                    object,
                    error = failure.message,
                    "a write failed, it is tried again"
                );
                self.wakes.retry(key, causes);
            }
            None => {
                self.wakes.succeeded(key);
                if had_failed {
                    // The last decision may have reported the failure, which is over now.
                    self.wakes.wake_after(key.clone(), Duration::ZERO, causes);
                }
            }
        }
    }

    /// Sets one timer, for the soonest of what the actions ask for.
    fn set_timer(&self, key: &C::Key, memory: &mut Memory, actions: &[Action], causes: &[Cause]) {
        let timers = actions.iter().filter_map(|action| match action {
            Action::WakeAfter(delay) => Some((*delay, true)),
            Action::CheckAfter(delay) => Some((*delay, false)),
            _ => None,
        });
        let Some((delay, goes_on)) = timers.min() else {
            return;
        };
        let now = clock::monotonic();
        if memory.sets_timer(now + delay, now) {
            let causes = if goes_on { causes.to_vec() } else { Vec::new() };
            self.wakes.wake_after(key.clone(), delay, causes);
        }
    }

    /// In order; the first failure ends it, because what follows may have relied on it.
    async fn carry_out(
        &self,
        actions: &[Action],
        memory: &mut Memory,
        cluster: &Cluster,
        recorder: &Recorder,
    ) {
        let writer = &Writer {
            client: &cluster.client,
        };
        for batch in batches(actions) {
            let mut writes = Vec::with_capacity(batch.len());
            for action in batch {
                writes.push(async move { (action, writer.write(action).await) });
            }
            let outcomes: Vec<_> = stream::iter(writes)
                .buffer_unordered(WRITES_AT_ONCE)
                .collect()
                .await;
            for (action, outcome) in &outcomes {
                let Some(outcome) = outcome else { continue };
                memory.note(action, outcome);
                if let Some(says) = action.says() {
                    tell_outcome(recorder, says, outcome);
                }
            }
            if memory.failure.is_some() {
                return;
            }
        }
    }

    /// Waits until the caches have seen what the key has to wait for.
    async fn sleep(&self, key: &C::Key, mut gate: Gate, cluster: &Cluster) {
        loop {
            gate.forget_gone(cluster);
            let Some(awaited) = gate.awaits(cluster) else {
                break;
            };
            match awaited {
                Awaited::Revision { resource, revision } => cluster.reached(resource, revision).await,
                Awaited::Gone(target) => {
                    let resource = target.kind.resource;
                    // Whatever comes next may be the deletion.
                    let next = cluster.revision(resource).unwrap_or(0) + 1;
                    cluster.reached(resource, next).await;
                }
            }
        }
        let mut memories = self.lock();
        if let Some(memory) = memories.get_mut(key) {
            memory.gate.open();
            if memory.is_blank(clock::monotonic()) {
                memories.remove(key);
            }
        }
    }

    fn recall(&self, key: &C::Key) -> Memory {
        self.lock().remove(key).unwrap_or_else(|| Memory::new(self.epoch))
    }

    fn remember(&self, key: &C::Key, memory: Memory) {
        self.lock().insert(key.clone(), memory);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<C::Key, Memory>> {
        // No code that holds the lock can panic half way through a change.
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing can be made in a namespace that is being deleted, and it will not come back.
fn is_vain(action: &Action, is_ending: impl Fn(&str) -> bool) -> bool {
    match action {
        Action::Create { object, .. } => is_ending(&object.metadata().namespace),
        _ => false,
    }
}

/// An object's name in the log.
fn object<K: WorkKey>(resource: &str, key: &K) -> String {
    match resource {
        "" => key.to_string(),
        resource => format!("{resource}/{key}"),
    }
}

/// The span that writes belong to: it continues what woke the key, or what the decision begins, which is returned,
/// too. `begun` is what the last attempt began.
fn span<K: WorkKey>(
    controller: &str,
    key: &K,
    actions: &[Action],
    causes: &[Cause],
    begun: Option<Begun>,
) -> (Span, Option<Begun>) {
    let begins = actions.iter().find_map(|action| match action {
        Action::Begin { what } => Some(*what),
        _ => None,
    });
    // A root begins before what belongs to it.
    let begun = begins.and_then(|what| {
        let again = begun.filter(|begun| begun.what == what);
        again.or_else(|| begin(what, key, causes))
    });
    let name = format!("{controller}.reconcile");
    let span = tracing::info_span!(parent: None, "controller.reconcile", otel.name = name, gantry.key = %key);
    if begins.is_some() {
        if let Some(begun) = &begun {
            trace::continue_from(&span, begun.root.as_str());
        }
        return (span, begun);
    }
    let mut links = causes;
    match causes.split_first() {
        Some((first, others)) if first.is_recent() => {
            trace::continue_from(&span, &first.traceparent);
            links = others;
        }
        Some(_) => trace::root(&span),
        None => {}
    }
    links
        .iter()
        .for_each(|cause| trace::link(&span, &cause.traceparent));
    (span, None)
}

/// Begins the trace of something that happened by itself; `None` when it is not sampled.
fn begin<K: WorkKey>(what: &'static str, key: &K, causes: &[Cause]) -> Option<Begun> {
    let root =
        tracing::info_span!(parent: None, "begin", otel.name = what, gantry.root = true, gantry.key = %key);
    for cause in causes {
        trace::link(&root, &cause.traceparent);
    }
    let root = trace::cause_of(&root)?;
    Some(Begun { what, root })
}

/// Groups of actions that may be under way together: deletions with deletions, creations in batches that
/// double from one on, everything else alone.
fn batches(actions: &[Action]) -> Vec<&[Action]> {
    let mut batches = Vec::new();
    let mut rest = actions;
    let mut creations = 1;
    while let Some(first) = rest.first() {
        let alike = rest
            .iter()
            .take_while(|action| action.attempt() == first.attempt())
            .count();
        let length = match first.attempt() {
            Attempt::Create => alike.min(creations),
            Attempt::Delete => alike,
            Attempt::Write | Attempt::Outdated | Attempt::Unreached => 1,
        };
        creations = if first.attempt() == Attempt::Create {
            creations * 2
        } else {
            1
        };
        let (batch, later) = rest.split_at(length);
        batches.push(batch);
        rest = later;
    }
    batches
}

fn tell_outcome(recorder: &Recorder, says: &Says, outcome: &Outcome) {
    match outcome {
        Outcome::Written { .. } | Outcome::Gone => tell(recorder, says),
        Outcome::Failed { message } | Outcome::InDoubt { message, .. } => {
            if let Some((reason, prefix)) = &says.on_failure {
                let message = format!("{prefix}{message}");
                recorder.about_reference(says.about.clone(), EventType::Warning, reason, message);
            }
        }
        Outcome::Taken { .. } | Outcome::Outdated { .. } | Outcome::Unreached { .. } => {}
    }
}

fn tell(recorder: &Recorder, says: &Says) {
    if says.reason.is_empty() {
        return;
    }
    let event_type = if says.warning {
        EventType::Warning
    } else {
        EventType::Normal
    };
    recorder.about_reference(says.about.clone(), event_type, says.reason, says.message.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use gantry_proto::core::v1::Pod;
    use gantry_proto::core::v1::ServiceAccount;
    use gantry_telemetry::metrics::Registry;

    #[tokio::test]
    async fn a_key_whose_decision_panics_comes_again() {
        let wakes: Wakes<String> = Wakes::new(Metrics::register(&Registry::new()).queue("test"));
        wakes.wake("a".into(), None);
        let key = wakes.next().await;
        assert_eq!(key.as_deref(), Some("a"));
        let worker = wakes.clone();
        let worked = tokio::spawn(async move {
            let key = "a".to_string();
            let _work = Work {
                resource: "tests",
                wakes: &worker,
                key: &key,
            };
            panic!("on purpose");
        });
        assert!(worked.await.is_err_and(|error| error.is_panic()));
        let again = tokio::time::timeout(DRAIN_LIMIT, wakes.next()).await;
        assert_eq!(again.ok().flatten().as_deref(), Some("a"));
    }

    #[test]
    fn a_decision_continues_its_first_cause_and_is_linked_to_the_others_unless_it_begins_something() {
        let arguments = gantry_telemetry::Args {
            log_level: "off".into(),
            ..gantry_telemetry::Args::default()
        };
        let _telemetry = gantry_telemetry::init("test", &arguments).unwrap();
        let (first, second) = ("1".repeat(32), "2".repeat(32));
        let causes = [&first, &second].map(|trace| Cause::new(&format!("00-{trace}-00f067aa0ba902b7-01")));
        let key = "n1".to_string();
        let links = |trace: &str, name: &str| -> Vec<String> {
            let spans = gantry_telemetry::ring::ring().trace(trace).unwrap();
            let mut named = spans
                .as_array()
                .unwrap()
                .iter()
                .filter(|span| span["name"] == name);
            let links = &named.next().unwrap()["links"];
            let mut links: Vec<String> = serde_json::from_value(links.clone()).unwrap();
            links.sort();
            links
        };
        let (continued, begun) = span("test", &key, &[], &causes, None);
        assert!(begun.is_none());
        drop(continued);
        assert_eq!(links(&first, "test.reconcile"), std::slice::from_ref(&second));

        let begins = [Action::Begin { what: "node.lost" }];
        let (_, begun) = span("test", &key, &begins, &causes, None);
        let trace = begun.as_ref().unwrap().root.trace_id().to_owned();
        assert!(trace != first && trace != second);
        assert_eq!(links(&trace, "node.lost"), [first.clone(), second.clone()]);
        // Another attempt at the same does not begin again; something else does.
        let (_, again) = span("test", &key, &begins, &causes, begun.clone());
        assert_eq!(again.unwrap().root.trace_id(), trace);
        let (_, other) = span(
            "test",
            &key,
            &[Action::Begin { what: "node.ready" }],
            &causes,
            begun,
        );
        assert_ne!(other.unwrap().root.trace_id(), trace);
    }

    #[test]
    fn nothing_is_made_in_a_namespace_that_is_being_deleted() {
        let mut account = ServiceAccount::default();
        account.metadata_mut().namespace = "team".into();
        let create = Action::Create {
            object: account.clone().into(),
            says: None,
        };
        let is_ending = |namespace: &str| namespace == "team";
        assert!(is_vain(&create, is_ending));
        assert!(!is_vain(&create, |_| false));
        let status = Action::UpdateStatus {
            object: account.into(),
        };
        assert!(!is_vain(&status, is_ending));
    }

    #[test]
    fn creations_start_slowly_and_deletions_go_together() {
        let create = || Action::Create {
            object: ServiceAccount::default().into(),
            says: None,
        };
        let delete = || Action::Delete {
            target: crate::action::Target::of(&Pod::default()),
            resource_version: None,
            grace_seconds: None,
            propagation: None,
            says: None,
        };
        let check = |actions: Vec<Action>, expected: &[usize]| {
            let lengths: Vec<usize> = batches(&actions).iter().map(|batch| batch.len()).collect();
            assert_eq!(lengths, expected);
        };
        check(vec![], &[]);
        check((0..10).map(|_| create()).collect(), &[1, 2, 4, 3]);
        check((0..10).map(|_| delete()).collect(), &[10]);
        check(
            vec![create(), delete(), delete(), create(), create()],
            &[1, 2, 1, 1],
        );
    }
}
