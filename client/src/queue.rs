//! The queue of keys to look at: a key that is added many times is handed out once, to one worker at a time,
//! and a key that failed comes back later and later.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first delay of a key that failed, doubled with each failure in a row, and the longest.
const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// A handle; cheap to clone. Its length is bounded by the number of different keys: of what waits for its time there is
/// at most one retry of a key, and what its owner asks for with [`WorkQueue::add_after`].
pub struct WorkQueue<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Keys in `ready`, and keys to put there when their worker is done; since when.
    dirty: HashMap<T, Instant>,
    processing: HashSet<T>,
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    delayed_keys: HashMap<u64, T>,
    next_number: u64,
    failures: HashMap<T, Failures>,
    adds: u64,
    closed: bool,
}

struct Failures {
    in_a_row: u32,
    /// The number of the retry that is set. A key that others wake again and again, and that fails each time, would
    /// else leave one behind each time.
    retry: u64,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        WorkQueue {
            shared: self.shared.clone(),
        }
    }
}

impl<T: Clone + Eq + Hash> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashSet::new(),
            delayed: BinaryHeap::new(),
            delayed_keys: HashMap::new(),
            next_number: 0,
            failures: HashMap::new(),
            adds: 0,
            closed: false,
        };
        WorkQueue {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Notify::new(),
            }),
        }
    }

    /// Wakes a key. One that is being worked on is handed out again when its worker is done.
    pub fn add(&self, key: T) {
        self.lock().add(key);
        self.shared.changed.notify_one();
    }

    /// Wakes a key after a while.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.lock().delay(key, delay);
        self.shared.changed.notify_one();
    }

    /// The next key, when there is one; `None` once the queue is closed. The caller owes a [`WorkQueue::done`].
    pub async fn next(&self) -> Option<T> {
        self.next_waited().await.map(|(key, _)| key)
    }

    /// As [`WorkQueue::next`], with the time that the key has waited since it was first woken or became due.
    pub async fn next_waited(&self) -> Option<(T, Duration)> {
        loop {
            let changed = self.shared.changed.notified();
            let due = {
                let mut state = self.lock();
                if state.closed {
                    // The next worker must wake up too.
                    self.shared.changed.notify_one();
                    return None;
                }
                let now = Instant::now();
                state.promote(now);
                if let Some((key, since)) = state.take() {
                    if !state.ready.is_empty() {
                        self.shared.changed.notify_one();
                    }
                    return Some((key, now.saturating_duration_since(since)));
                }
                state.delayed.peek().map(|Reverse((due, _))| *due)
            };
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// The worker is done with a key that [`WorkQueue::next`] gave it.
    pub fn done(&self, key: &T) {
        let mut state = self.lock();
        state.processing.remove(key);
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Wakes a key that failed, later than the last time.
    pub fn retry(&self, key: &T) {
        self.retry_within(key, LAST_RETRY);
    }

    /// As [`WorkQueue::retry`], but no later than after `longest`: for a failure that is not the key's own.
    pub fn retry_within(&self, key: &T, longest: Duration) {
        self.lock().retry(key, longest);
        self.shared.changed.notify_one();
    }

    /// A key succeeded: its next failure is its first again.
    pub fn forget(&self, key: &T) {
        self.lock().failures.remove(key);
    }

    /// How often a key has failed in a row.
    pub fn failures(&self, key: &T) -> u32 {
        self.lock()
            .failures
            .get(key)
            .map_or(0, |failures| failures.in_a_row)
    }

    /// Keys that wait to be handed out now; none of a closed queue.
    pub fn len(&self) -> usize {
        let state = self.lock();
        if state.closed { 0 } else { state.ready.len() }
    }

    /// How often a key came in that was not waiting yet.
    pub fn adds(&self) -> u64 {
        self.lock().adds
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every worker's loop.
    pub fn close(&self) {
        self.lock().closed = true;
        self.shared.changed.notify_waiters();
        self.shared.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code that holds the lock can panic half way through a change.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T) {
        if self.dirty.contains_key(&key) {
            return;
        }
        self.adds += 1;
        self.dirty.insert(key.clone(), Instant::now());
        if !self.processing.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn take(&mut self) -> Option<(T, Instant)> {
        let key = self.ready.pop_front()?;
        // What is ready is dirty, so there is always a time.
        let since = self.dirty.remove(&key).unwrap_or_else(Instant::now);
        self.processing.insert(key.clone());
        Some((key, since))
    }

    /// Returns the delayed key's number.
    fn delay(&mut self, key: T, delay: Duration) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.delayed.push(Reverse((Instant::now() + delay, number)));
        self.delayed_keys.insert(number, key);
        number
    }

    fn retry(&mut self, key: &T, longest: Duration) {
        let before = self.failures.get(key);
        let in_a_row = before.map_or(0, |failures| failures.in_a_row).saturating_add(1);
        let pending = before.map(|failures| failures.retry);
        let retry = match pending.filter(|number| self.delayed_keys.contains_key(number)) {
            Some(pending) => pending,
            None => self.delay(key.clone(), retry_delay(in_a_row).min(longest)),
        };
        self.failures.insert(key.clone(), Failures { in_a_row, retry });
    }

    fn promote(&mut self, now: Instant) {
        while let Some(Reverse((due, number))) = self.delayed.peek().copied() {
            if due > now {
                return;
            }
            self.delayed.pop();
            if let Some(key) = self.delayed_keys.remove(&number) {
                self.add(key);
            }
        }
    }
}

fn retry_delay(failures: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(1 << failures.saturating_sub(1).min(20))
        .min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_added_many_times_is_handed_out_once() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!((queue.len(), queue.adds()), (2, 2));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(queue.next().await, Some("b"));
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_keys_wait_begins_when_it_is_first_woken() {
        let queue = WorkQueue::new();
        queue.add("a");
        tokio::time::advance(Duration::from_secs(2)).await;
        queue.add("a");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(queue.next_waited().await, Some(("a", Duration::from_secs(3))));
        queue.done(&"a");
        queue.add_after("a", Duration::from_secs(9));
        assert_eq!(queue.next_waited().await, Some(("a", Duration::ZERO)));
    }

    #[tokio::test]
    async fn a_key_added_while_it_is_worked_on_comes_again_when_it_is_done() {
        let queue = WorkQueue::new();
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        assert!(queue.is_empty());
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_key_comes_when_it_is_due() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add_after("late", Duration::from_secs(3));
        queue.add_after("soon", Duration::from_secs(1));
        assert_eq!(queue.next().await, Some("soon"));
        assert_eq!(queue.next().await, Some("late"));
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_woken_while_it_waits_to_be_retried_leaves_one_retry_only() {
        let queue = WorkQueue::new();
        queue.add("a");
        for _ in 0..100 {
            assert_eq!(queue.next().await, Some("a"));
            queue.retry(&"a");
            queue.add("a");
            queue.done(&"a");
        }
        assert_eq!(queue.failures(&"a"), 100);
        assert!(queue.lock().delayed.len() <= 1, "{}", queue.lock().delayed.len());
        assert_eq!(queue.next().await, Some("a"));
        queue.forget(&"a");
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"), "the retry that was set");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_is_not_the_keys_own_delays_it_by_no_more_than_the_caller_says() {
        let queue = WorkQueue::new();
        queue.add("a");
        for _ in 0..20 {
            assert_eq!(queue.next().await, Some("a"));
            queue.retry_within(&"a", Duration::from_secs(5));
            queue.done(&"a");
        }
        let start = Instant::now();
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[test]
    fn retries_double_up_to_the_longest() {
        for (failures, millis) in [(1, 5), (2, 10), (5, 80), (40, 60_000)] {
            assert_eq!(
                retry_delay(failures),
                Duration::from_millis(millis),
                "after {failures} failures"
            );
        }
    }

    #[tokio::test]
    async fn closing_ends_every_worker() {
        let queue: WorkQueue<&str> = WorkQueue::new();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        queue.close();
        for worker in workers {
            assert_eq!(worker.await.ok(), Some(None));
        }
    }
}
