//! Pods that wait for a decision.
//!
//! ```text
//!          add                  pop              assigned
//! (new) ---------> active ---------------> being decided ---------> being bound --- bound
//!                   ^  ^ ^---- pop, if     |       |                   |
//!      backoff over |  |  \    none active |       | refuse            | fail
//!                   |  |   \               |       v                   |
//!                 backoff <-+-- happened -- unschedulable              |
//!                   ^                                                  |
//!                   `---------------------- after an error <-----------'
//! ```
//!
//! A pod that fits nowhere is woken only by what could help the rules that refused it. It then backs off first, unless
//! there is nothing else to do; a pod that failed by an error backs off in any case, because who failed needs rest.
//! (backend/queue; KEP-4247, KEP-5142.)

mod events;
mod hints;

pub use events::Event;
pub use hints::Pending;

use crate::metrics::{Depths, Incoming, Part};
use crate::profile::{Plugin, PluginSet};
use crate::snapshot::Surroundings;
use gantry_proto::Key;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a pod that could not be placed waits at least before it is tried again; doubled with each failure in a row
/// up to the longest. kube-scheduler's defaults.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// Backoffs end together within so long, so that the more important of the pods whose backoffs end is first.
const BACKOFF_WINDOW: Duration = Duration::from_secs(1);
/// A pod is tried again after this long even if nothing that could help was seen.
const LONGEST_PARK: Duration = Duration::from_secs(300);
/// What happens while pods are being decided about is kept for them; whoever takes longer than so much happens is
/// tried again.
const EVENTS: usize = 1024;

/// The pods that wait, by what they wait for. Time is an argument.
pub struct Queue {
    pods: HashMap<Key, Waiting>,
    /// Highest priority first, then the longest waiting.
    active: BTreeSet<(Reverse<i32>, u64, Key)>,
    /// By the end of the backoff, then as among the active.
    backoff: BTreeSet<(Instant, Reverse<i32>, u64, Key)>,
    after_error: BTreeSet<(Instant, u64, Key)>,
    /// By when they were refused.
    unschedulable: BTreeSet<(Instant, u64, Key)>,
    /// How many of the unschedulable each rule refused: most events help nobody.
    refused_by: [usize; Plugin::ALL.len()],
    /// What happened since the pods came that are being decided about, and the number of the first of it.
    events: VecDeque<Event>,
    first_event: u64,
    deciding: BTreeSet<(u64, Key)>,
    next_number: u64,
    /// Windows are counted from here.
    origin: Option<Instant>,
    first_backoff: Duration,
    last_backoff: Duration,
    incoming: Incoming,
}

struct Waiting {
    pending: Arc<Pending>,
    /// Orders pods of the same priority; anew after each attempt.
    number: u64,
    since: Instant,
    attempts: u32,
    refusals: u32,
    errors: u32,
    refused: PluginSet,
    place: Place,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Active,
    Backoff {
        until: Instant,
    },
    AfterError {
        until: Instant,
    },
    Unschedulable {
        since: Instant,
        backoff_until: Instant,
    },
    /// Popped, and neither refused nor assigned yet.
    Deciding {
        /// The number of the next event when it was popped.
        event: u64,
        /// It changed in a way that may help.
        changed: bool,
    },
    /// It has a node, and its binding is on its way.
    Binding {
        /// Another pod has its name now.
        next: Option<Arc<Pending>>,
    },
}

impl Default for Queue {
    fn default() -> Queue {
        Queue::new(FIRST_BACKOFF, LAST_BACKOFF)
    }
}

impl Queue {
    pub fn new(first_backoff: Duration, last_backoff: Duration) -> Queue {
        Queue {
            pods: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            after_error: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            refused_by: Default::default(),
            events: VecDeque::new(),
            first_event: 0,
            deciding: BTreeSet::new(),
            next_number: 0,
            origin: None,
            first_backoff,
            last_backoff,
            incoming: Incoming::default(),
        }
    }

    /// A pod appeared, or changed.
    pub fn add(&mut self, key: &Key, pending: Arc<Pending>, now: Instant) {
        let Some(waiting) = self.pods.get(key) else {
            self.insert(key, pending, now);
            return;
        };
        let (another, binding) = (
            waiting.pending.info.uid != pending.info.uid,
            matches!(waiting.place, Place::Binding { .. }),
        );
        if another && !binding {
            self.remove(key);
            self.insert(key, pending, now);
        } else if another {
            if let Some(waiting) = self.pods.get_mut(key) {
                waiting.place = Place::Binding { next: Some(pending) };
            }
        } else if *waiting.pending != *pending {
            self.change(key, pending, now);
        }
    }

    fn insert(&mut self, key: &Key, pending: Arc<Pending>, now: Instant) {
        let waiting = Waiting {
            pending,
            number: self.number(),
            since: now,
            attempts: 0,
            refusals: 0,
            errors: 0,
            refused: PluginSet::default(),
            place: Place::Active,
        };
        self.put(key, waiting);
        self.incoming.count(Part::Active, "UnschedulablePodAdd");
    }

    fn change(&mut self, key: &Key, pending: Arc<Pending>, now: Instant) {
        let Some(mut waiting) = self.take(key) else {
            return;
        };
        let before = std::mem::replace(&mut waiting.pending, pending);
        let helped = before.is_helped_by_its_change(&waiting.pending, waiting.refused);
        match &mut waiting.place {
            // By whom it will be refused is not known yet.
            Place::Deciding { changed, .. } => *changed = true,
            Place::Unschedulable { backoff_until, .. } if helped => {
                let until = *backoff_until;
                self.wake(&mut waiting, until, "UnschedulablePodUpdate", now);
            }
            _ => {}
        }
        self.put(key, waiting);
    }

    /// A pod needs no decision any more.
    pub fn remove(&mut self, key: &Key) {
        self.take(key);
        self.forget_events();
    }

    /// The pod to decide about now: the first of the active; where there is none, the first of those that back off
    /// although something happened that could help them.
    pub fn pop(&mut self, now: Instant) -> Option<Key> {
        self.promote(now);
        let key = match self.active.first() {
            Some((_, _, key)) => key.clone(),
            None => {
                let (_, _, _, key) = self.backoff.first()?;
                self.incoming.count(Part::Active, "PopFromBackoffQ");
                key.clone()
            }
        };
        let mut waiting = self.take(&key)?;
        waiting.attempts = waiting.attempts.saturating_add(1);
        waiting.place = Place::Deciding {
            event: self.next_event(),
            changed: false,
        };
        self.put(&key, waiting);
        Some(key)
    }

    /// The pod that was popped has a node, to which it is being bound. What happens meanwhile does not matter to it.
    pub fn assigned(&mut self, key: &Key) {
        if let Some(mut waiting) = self.take(key) {
            waiting.place = Place::Binding { next: None };
            self.put(key, waiting);
        }
        self.forget_events();
    }

    /// The pod is bound. Another one that has taken its name meanwhile is next.
    pub fn bound(&mut self, key: &Key, now: Instant) {
        let Some(waiting) = self.take(key) else {
            return;
        };
        match waiting.place {
            Place::Binding { next: None } => {}
            Place::Binding { next: Some(next) } => self.insert(key, next, now),
            // It is not this pod that was bound.
            _ => self.put(key, waiting),
        }
    }

    /// The pod that was popped fits nowhere: these rules refused it. Did what happened meanwhile take the reason away, it
    /// only backs off.
    pub fn refuse(&mut self, key: &Key, refused: PluginSet, surroundings: &Surroundings, now: Instant) {
        let Some(mut waiting) = self.take(key) else {
            return;
        };
        let Place::Deciding { event, changed } = waiting.place else {
            self.put(key, waiting);
            return;
        };
        waiting.refused = refused;
        waiting.refusals = waiting.refusals.saturating_add(1);
        waiting.errors = 0;
        waiting.number = self.number();
        let until = self.window(now + self.backoff_after(waiting.refusals), now);
        let missed = event < self.first_event;
        let since = usize::try_from(event.saturating_sub(self.first_event)).unwrap_or(usize::MAX);
        let mut events = self.events.iter().skip(since);
        let helped = changed
            || missed
            || refused.is_empty()
            || events.any(|event| waiting.pending.is_helped(event, refused, surroundings));
        if helped {
            self.wake(&mut waiting, until, "ScheduleAttemptFailure", now);
        } else {
            waiting.place = Place::Unschedulable {
                since: now,
                backoff_until: until,
            };
            self.incoming.count(Part::Unschedulable, "ScheduleAttemptFailure");
        }
        self.put(key, waiting);
        self.forget_events();
    }

    /// The pod that was popped could not be decided about, or not be bound: it is tried again after a rest.
    pub fn fail(&mut self, key: &Key, now: Instant) {
        let Some(mut waiting) = self.take(key) else {
            return;
        };
        if let Place::Binding { next: Some(next) } = waiting.place {
            self.insert(key, next, now);
            return;
        }
        waiting.refused = PluginSet::default();
        waiting.errors = waiting.errors.saturating_add(1);
        waiting.number = self.number();
        waiting.place = Place::AfterError {
            until: now + self.backoff_after(waiting.errors),
        };
        self.incoming.count(Part::Backoff, "ScheduleAttemptFailure");
        self.put(key, waiting);
        self.forget_events();
    }

    /// Something happened: whom it could help is tried again.
    pub fn happened(&mut self, event: Event, surroundings: &Surroundings, now: Instant) {
        let mut listeners = hints::listeners(&event).iter();
        let listened_to = listeners.any(|plugin| self.refused_by[plugin as usize] > 0);
        if listened_to {
            let helped: Vec<Key> = self
                .unschedulable
                .iter()
                .map(|(_, _, key)| key)
                .filter(|key| {
                    let waiting = self.pods.get(*key);
                    waiting.is_some_and(|waiting| {
                        waiting.pending.is_helped(&event, waiting.refused, surroundings)
                    })
                })
                .cloned()
                .collect();
            for key in helped {
                let Some(mut waiting) = self.take(&key) else {
                    continue;
                };
                if let Place::Unschedulable { backoff_until, .. } = waiting.place {
                    self.wake(&mut waiting, backoff_until, event.label(), now);
                }
                self.put(&key, waiting);
            }
        }
        if !self.deciding.is_empty() {
            self.events.push_back(event);
            if self.events.len() > EVENTS {
                self.events.pop_front();
                self.first_event += 1;
            }
        }
    }

    /// How often a decision about a pod has been tried, the present one included, and since when the pod is here.
    pub fn attempts(&self, key: &Key) -> Option<(u32, Instant)> {
        let waiting = self.pods.get(key)?;
        Some((waiting.attempts, waiting.since))
    }

    /// When there will be something to pop without anything happening.
    pub fn next_due(&self) -> Option<Instant> {
        let backoff = self.backoff.first().map(|(until, ..)| *until + BACKOFF_WINDOW);
        let error = self.after_error.first().map(|(until, ..)| *until);
        let parked = self
            .unschedulable
            .first()
            .map(|(since, ..)| *since + LONGEST_PARK);
        [backoff, error, parked].into_iter().flatten().min()
    }

    /// Puts what is due among the active, after which nothing is due before later.
    pub fn promote(&mut self, now: Instant) {
        let window = self.window(now, now);
        while let Some((until, _, _, key)) = self.backoff.first()
            && *until < window
        {
            let key = key.clone();
            self.activate(&key, "BackoffComplete");
        }
        while let Some((until, _, key)) = self.after_error.first()
            && *until <= now
        {
            let key = key.clone();
            self.activate(&key, "BackoffComplete");
        }
        while let Some((since, _, key)) = self.unschedulable.first()
            && *since + LONGEST_PARK <= now
        {
            let key = key.clone();
            self.activate(&key, "UnschedulableTimeout");
        }
    }

    /// How many pods came in since this was last asked.
    pub fn take_incoming(&mut self) -> Incoming {
        std::mem::take(&mut self.incoming)
    }

    /// How many pods wait where. Whoever is gated is not here.
    pub fn depths(&self, gated: usize) -> Depths {
        Depths {
            active: self.active.len(),
            backoff: self.backoff.len() + self.after_error.len(),
            unschedulable: self.unschedulable.len(),
            gated,
        }
    }

    fn activate(&mut self, key: &Key, event: &'static str) {
        if let Some(mut waiting) = self.take(key) {
            waiting.place = Place::Active;
            self.put(key, waiting);
            self.incoming.count(Part::Active, event);
        }
    }

    /// What could help happened: the pod is tried again when its backoff is over.
    fn wake(&mut self, waiting: &mut Waiting, until: Instant, event: &'static str, now: Instant) {
        if until < self.window(now, now) {
            waiting.place = Place::Active;
            self.incoming.count(Part::Active, event);
        } else {
            waiting.place = Place::Backoff { until };
            self.incoming.count(Part::Backoff, event);
        }
    }

    /// Takes a pod out of everything.
    fn take(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.pods.remove(key)?;
        let (priority, number) = (Reverse(waiting.pending.info.priority), waiting.number);
        match &waiting.place {
            Place::Active => {
                self.active.remove(&(priority, number, key.clone()));
            }
            Place::Backoff { until } => {
                self.backoff.remove(&(*until, priority, number, key.clone()));
            }
            Place::AfterError { until } => {
                self.after_error.remove(&(*until, number, key.clone()));
            }
            Place::Unschedulable { since, .. } => {
                self.unschedulable.remove(&(*since, number, key.clone()));
                waiting
                    .refused
                    .iter()
                    .for_each(|plugin| self.refused_by[plugin as usize] -= 1);
            }
            Place::Deciding { event, .. } => {
                self.deciding.remove(&(*event, key.clone()));
            }
            Place::Binding { .. } => {}
        }
        Some(waiting)
    }

    /// Puts a pod where its place says.
    fn put(&mut self, key: &Key, waiting: Waiting) {
        let (priority, number) = (Reverse(waiting.pending.info.priority), waiting.number);
        match &waiting.place {
            Place::Active => {
                self.active.insert((priority, number, key.clone()));
            }
            Place::Backoff { until } => {
                self.backoff.insert((*until, priority, number, key.clone()));
            }
            Place::AfterError { until } => {
                self.after_error.insert((*until, number, key.clone()));
            }
            Place::Unschedulable { since, .. } => {
                self.unschedulable.insert((*since, number, key.clone()));
                waiting
                    .refused
                    .iter()
                    .for_each(|plugin| self.refused_by[plugin as usize] += 1);
            }
            Place::Deciding { event, .. } => {
                self.deciding.insert((*event, key.clone()));
            }
            Place::Binding { .. } => {}
        }
        self.pods.insert(key.clone(), waiting);
    }

    /// Drops what happened before the oldest pod came that is being decided about.
    fn forget_events(&mut self) {
        let oldest = self.deciding.first().map(|(event, _)| *event);
        let oldest = oldest.unwrap_or_else(|| self.next_event());
        while self.first_event < oldest {
            if self.events.pop_front().is_none() {
                break;
            }
            self.first_event += 1;
        }
    }

    fn next_event(&self) -> u64 {
        self.first_event + u64::try_from(self.events.len()).unwrap_or(u64::MAX)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn backoff_after(&self, failures: u32) -> Duration {
        self.first_backoff
            .saturating_mul(1 << failures.saturating_sub(1).min(16))
            .min(self.last_backoff)
    }

    /// The begin of the window in which a moment lies.
    fn window(&mut self, moment: Instant, now: Instant) -> Instant {
        let origin = *self.origin.get_or_insert(now);
        let since = moment.saturating_duration_since(origin).as_nanos();
        let into = since % BACKOFF_WINDOW.as_nanos();
        moment - Duration::from_nanos(u64::try_from(into).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests;
