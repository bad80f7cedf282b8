//! Pods that wait for a decision.
//!
//! ```text
//!          add                  pop
//! (new) ---------> active ---------------> being decided --- bound
//!                   ^  ^                        |
//!      backoff over |  | woken, backoff over    | park
//!                   |  |                        v
//!                 backoff <---- woken ---- unschedulable
//! ```

use crate::metrics::{Depths, Incoming};
use gantry_proto::Key;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// How long a pod that could not be placed waits at least before it is tried again; doubled with each
/// failure in a row up to the longest. kube-scheduler's defaults.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod is tried again after this long even if nothing that could help was seen.
const LONGEST_PARK: Duration = Duration::from_secs(300);

/// The pods that wait, by what they wait for. Time is an argument.
#[derive(Default)]
pub struct Queue {
    /// Highest priority first, then the longest waiting.
    active: BTreeSet<(Reverse<i32>, u64, Key)>,
    pods: HashMap<Key, Waiting>,
    next_number: u64,
    /// No pod is due before; looking at each of them for every decision would be quadratic.
    none_due_before: Option<Instant>,
    incoming: Incoming,
}

struct Waiting {
    priority: i32,
    number: u64,
    since: Instant,
    failures: u32,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Active,
    Backoff {
        until: Instant,
    },
    Unschedulable {
        backoff_until: Instant,
        since: Instant,
    },
    /// Popped, and neither parked nor removed yet.
    Deciding {
        /// Something changed that may help.
        woken: bool,
        /// It has been added again: another pod has the name now.
        added: bool,
    },
}

impl Queue {
    /// A pod appeared or changed in a way that may help.
    pub fn add(&mut self, key: &Key, priority: i32, now: Instant) {
        match self.pods.get_mut(key) {
            None => {
                let number = self.next_number;
                self.next_number += 1;
                self.pods.insert(
                    key.clone(),
                    Waiting {
                        priority,
                        number,
                        since: now,
                        failures: 0,
                        place: Place::Active,
                    },
                );
                self.active.insert((Reverse(priority), number, key.clone()));
                self.incoming.added += 1;
            }
            Some(waiting) => {
                if let Place::Deciding { added, .. } = &mut waiting.place {
                    *added = true;
                } else {
                    waiting.wake();
                }
                note_due(&mut self.none_due_before, waiting.place);
            }
        }
    }

    /// A pod needs no decision any more.
    pub fn remove(&mut self, key: &Key) {
        if let Some(waiting) = self.pods.remove(key) {
            self.active
                .remove(&(Reverse(waiting.priority), waiting.number, key.clone()));
        }
    }

    /// The pod that was popped has its node. Another one that has taken its name meanwhile is next.
    pub fn bound(&mut self, key: &Key, now: Instant) {
        let is_another = |waiting: &Waiting| matches!(waiting.place, Place::Deciding { added: true, .. });
        let another = self.pods.get(key).filter(|waiting| is_another(waiting));
        let priority = another.map(|waiting| waiting.priority);
        self.remove(key);
        if let Some(priority) = priority {
            self.add(key, priority, now);
        }
    }

    /// How often a decision about a pod has been tried, the present one included, and since when the pod is here.
    pub fn attempts(&self, key: &Key) -> Option<(u32, Instant)> {
        let waiting = self.pods.get(key)?;
        Some((waiting.failures.saturating_add(1), waiting.since))
    }

    /// The pod to decide about now.
    pub fn pop(&mut self, now: Instant) -> Option<Key> {
        self.promote(now);
        let (_, _, key) = self.active.pop_first()?;
        if let Some(waiting) = self.pods.get_mut(&key) {
            waiting.place = Place::Deciding {
                woken: false,
                added: false,
            };
        }
        Some(key)
    }

    /// The pod that was popped fits nowhere, or its binding failed.
    pub fn park(&mut self, key: &Key, now: Instant) {
        let Some(waiting) = self.pods.get_mut(key) else {
            return;
        };
        waiting.failures += 1;
        let until = now + backoff(waiting.failures);
        let woken = matches!(
            waiting.place,
            Place::Deciding { woken: true, .. } | Place::Deciding { added: true, .. }
        );
        waiting.place = match woken {
            true => Place::Backoff { until },
            false => Place::Unschedulable {
                backoff_until: until,
                since: now,
            },
        };
        match woken {
            true => self.incoming.failed_to_backoff += 1,
            false => self.incoming.failed_to_unschedulable += 1,
        }
        note_due(&mut self.none_due_before, waiting.place);
    }

    /// Something changed that may let parked pods fit.
    pub fn wake_all(&mut self) {
        for waiting in self.pods.values_mut() {
            waiting.wake();
            note_due(&mut self.none_due_before, waiting.place);
        }
    }

    /// When there will be something to pop without anything happening.
    pub fn next_due(&self) -> Option<Instant> {
        self.none_due_before
    }

    /// How many pods came in since this was last asked.
    pub fn take_incoming(&mut self) -> Incoming {
        std::mem::take(&mut self.incoming)
    }

    /// How many pods wait where. Whoever is gated is not here.
    pub fn depths(&self, gated: usize) -> Depths {
        let count = |of: fn(&Place) -> bool| self.pods.values().filter(|waiting| of(&waiting.place)).count();
        Depths {
            active: count(|place| matches!(place, Place::Active | Place::Deciding { .. })),
            backoff: count(|place| matches!(place, Place::Backoff { .. })),
            unschedulable: count(|place| matches!(place, Place::Unschedulable { .. })),
            gated,
        }
    }

    /// Puts what is due among the active, after which nothing is due before later.
    pub fn promote(&mut self, now: Instant) {
        if self.none_due_before.is_none_or(|due| due > now) {
            return;
        }
        self.none_due_before = None;
        for (key, waiting) in &mut self.pods {
            if waiting.place.due().is_some_and(|due| due <= now) {
                if matches!(waiting.place, Place::Backoff { .. }) {
                    self.incoming.backoff_over += 1;
                }
                waiting.place = Place::Active;
                self.active
                    .insert((Reverse(waiting.priority), waiting.number, key.clone()));
            }
            note_due(&mut self.none_due_before, waiting.place);
        }
    }
}

fn note_due(earliest: &mut Option<Instant>, place: Place) {
    if let Some(due) = place.due() {
        *earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
    }
}

impl Waiting {
    fn wake(&mut self) {
        match &mut self.place {
            Place::Unschedulable { backoff_until, .. } => {
                self.place = Place::Backoff {
                    until: *backoff_until,
                }
            }
            Place::Deciding { woken, .. } => *woken = true,
            Place::Active | Place::Backoff { .. } => {}
        }
    }
}

impl Place {
    fn due(&self) -> Option<Instant> {
        match self {
            Place::Backoff { until } => Some(*until),
            Place::Unschedulable { since, .. } => Some(*since + LONGEST_PARK),
            Place::Active | Place::Deciding { .. } => None,
        }
    }
}

fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF
        .saturating_mul(1 << failures.saturating_sub(1).min(8))
        .min(LAST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    #[test]
    fn higher_priority_first_then_in_order_of_arrival() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("a", 0), ("b", 0), ("c", 5)] {
            queue.add(&key(name), priority, now);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(now))
            .map(|key| key.name)
            .collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test]
    fn a_parked_pod_comes_back_when_woken_and_its_backoff_is_over() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), 0, now);
        assert!(queue.pop(now).is_some());
        queue.park(&key("a"), now);
        assert_eq!(queue.pop(now + LAST_BACKOFF), None, "nothing woke it");
        queue.wake_all();
        assert_eq!(queue.pop(now), None, "it must back off first");
        assert_eq!(queue.next_due(), Some(now + FIRST_BACKOFF));
        assert_eq!(queue.pop(now + FIRST_BACKOFF), Some(key("a")));
    }

    #[test]
    fn what_happens_during_a_decision_is_not_missed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.wake_all();
        queue.park(&key("a"), now);
        assert_eq!(queue.pop(now + FIRST_BACKOFF), Some(key("a")));
    }

    #[test]
    fn a_pod_that_takes_the_name_of_one_that_is_being_bound_is_not_lost() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.wake_all();
        queue.bound(&key("a"), now);
        assert_eq!(queue.pop(now), None, "it has its node");
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.add(&key("a"), 0, now);
        queue.bound(&key("a"), now);
        assert_eq!(queue.pop(now), Some(key("a")));
    }

    #[test]
    fn a_pod_that_nothing_woke_is_tried_again_all_the_same() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.park(&key("a"), now);
        assert_eq!(queue.pop(now + LONGEST_PARK), Some(key("a")));
    }

    #[test]
    fn what_is_due_is_due_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.wake_all();
        queue.park(&key("a"), now);
        let due = queue.next_due().unwrap();
        assert_eq!(due, now + FIRST_BACKOFF);
        queue.promote(due);
        assert_eq!(
            queue.next_due(),
            None,
            "or whoever waits for it would never sleep"
        );
        assert_eq!(queue.pop(due), Some(key("a")));
    }

    #[test]
    fn ways_into_the_queue_and_attempts_are_counted() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(&key("a"), 0, now);
        queue.pop(now);
        queue.park(&key("a"), now);
        assert_eq!(queue.attempts(&key("a")), Some((2, now)));
        queue.wake_all();
        queue.pop(now + FIRST_BACKOFF);
        let expected = Incoming {
            added: 1,
            failed_to_unschedulable: 1,
            backoff_over: 1,
            ..Incoming::default()
        };
        assert_eq!(queue.take_incoming(), expected);
        assert_eq!(queue.take_incoming(), Incoming::default());
        assert_eq!(queue.depths(2).gated, 2);
    }

    #[test]
    fn backoff_doubles_up_to_the_longest() {
        for (failures, seconds) in [(1, 1), (2, 2), (4, 8), (5, 10), (99, 10)] {
            assert_eq!(backoff(failures).as_secs(), seconds);
        }
    }
}
