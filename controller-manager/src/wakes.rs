//! What wakes a controller's keys, and why: the causes travel beside the keys, never into a decision.

use crate::clock;
use crate::metrics::QueueMetrics;
use gantry_client::WorkQueue;
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A reconcile that merges more causes links to the first ones only (a span keeps at most 128 links).
const MAX_CAUSES: usize = 32;

/// Later work starts a trace of its own, with a link to what caused it.
const TRACE_LIMIT: Duration = Duration::from_secs(600);

/// Why a key was woken.
#[derive(Clone, Debug)]
pub struct Cause {
    pub traceparent: Arc<str>,
    since: Instant,
}

impl Cause {
    #[cfg(test)]
    pub fn new(traceparent: &str) -> Cause {
        Cause {
            traceparent: traceparent.into(),
            since: clock::monotonic(),
        }
    }

    pub fn is_recent(&self) -> bool {
        self.since.elapsed() < TRACE_LIMIT
    }
}

/// What a key is to its controller.
pub trait WorkKey: Clone + Eq + Hash + Display + Send + Sync + 'static {}
impl<T: Clone + Eq + Hash + Display + Send + Sync + 'static> WorkKey for T {}

/// A handle; cheap to clone.
pub struct Wakes<K> {
    queue: WorkQueue<K>,
    causes: Arc<Mutex<HashMap<K, Vec<Cause>>>>,
    metrics: QueueMetrics,
}

impl<K> Clone for Wakes<K> {
    fn clone(&self) -> Self {
        Wakes {
            queue: self.queue.clone(),
            causes: self.causes.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

impl<K: WorkKey> Wakes<K> {
    pub fn new(metrics: QueueMetrics) -> Wakes<K> {
        let queue = WorkQueue::new();
        let read = queue.clone();
        metrics.follow(move || (read.len(), read.adds()));
        Wakes {
            queue,
            causes: Arc::default(),
            metrics,
        }
    }

    /// Wakes a key because of a change with this cause (a W3C traceparent).
    pub fn wake(&self, key: K, cause: Option<&Arc<str>>) {
        let cause = cause.map(|cause| Cause {
            traceparent: cause.clone(),
            since: clock::monotonic(),
        });
        self.keep_causes(&key, cause);
        self.queue.add(key);
    }

    /// Wakes a key after a while, for what it was woken for before.
    pub fn wake_after(&self, key: K, delay: Duration, causes: Vec<Cause>) {
        self.keep_causes(&key, causes);
        // As client-go counts them.
        self.metrics.retried();
        self.queue.add_after(key, delay);
    }

    /// Wakes a key that failed, later than the last time.
    pub fn retry(&self, key: &K, causes: Vec<Cause>) {
        self.keep_causes(key, causes);
        self.metrics.retried();
        self.queue.retry(key);
    }

    /// As [`Wakes::retry`], but no later than after `longest`.
    pub fn retry_within(&self, key: &K, longest: Duration, causes: Vec<Cause>) {
        self.keep_causes(key, causes);
        self.metrics.retried();
        self.queue.retry_within(key, longest);
    }

    pub async fn next(&self) -> Option<K> {
        let (key, waited) = self.queue.next_waited().await?;
        self.metrics.waited(waited);
        Some(key)
    }

    pub fn take_causes(&self, key: &K) -> Vec<Cause> {
        self.lock().remove(key).unwrap_or_default()
    }

    pub fn succeeded(&self, key: &K) {
        self.queue.forget(key);
    }

    pub fn done(&self, key: &K) {
        self.queue.done(key);
    }

    pub fn close(&self) {
        self.queue.close();
    }

    fn keep_causes(&self, key: &K, causes: impl IntoIterator<Item = Cause>) {
        let mut causes = causes.into_iter().peekable();
        if causes.peek().is_none() {
            return;
        }
        let mut all = self.lock();
        let kept = all.entry(key.clone()).or_default();
        for cause in causes {
            if kept.len() < MAX_CAUSES && kept.iter().all(|one| one.traceparent != cause.traceparent) {
                kept.push(cause);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Vec<Cause>>> {
        // No code that holds the lock can panic half way through a change.
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
