//! One client's watch.
//!
//! ```text
//! Initial ──all present objects sent──> Following ──fell out of the history──> Ended
//!    `──────────the history moved past them before they were sent───────────────^
//! ```
//!
//! A watcher holds a place in the history, not a queue: a slow reader costs nothing while it is away, reads on
//! from its place when it comes back, and is told `Expired` only if the history has moved past it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;
use gantry_proto::{Key, wire};
use tokio::sync::watch;
use tokio::time::Instant;

use super::history::{Change, TooOld};
use super::initial::Initial;
use super::options::Start;
use super::{Cache, Entry, Selection, State};

/// Changes looked at, and objects sent, at once: 256 objects of 4 KiB make a message of 1 MiB.
const MAX_BATCH: usize = 256;
/// Bytes of objects in one message, unless a single object is larger.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// How often a watch that allows it is told how far it is (Kubernetes' defaultBookmarkFrequency), and how long before
/// its end once more, so that its client resumes from close to the present.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Where somebody has read the kind's present state, the watches are told sooner that they have it too: whoever writes
/// and is not sure what became of it reads, and then waits for its watch to be as far. This is the shortest time
/// between two such bookmarks.
const BOOKMARK_SPACING: Duration = Duration::from_secs(10);

/// What a watch tells its client.
#[derive(Clone, Debug)]
pub enum Delivery {
    Added(Arc<Entry>),
    Modified(Arc<Entry>),
    Deleted(Gone),
    /// Everything up to and including this revision was told.
    Bookmark {
        revision: i64,
        /// Whether it is the first, behind the state that the watch began with (KEP-3157).
        ends_initial: bool,
    },
    /// The watch ends: the client has to list again.
    Error(Box<Status>),
}

impl Delivery {
    /// What it puts into a message, about.
    fn bytes(&self) -> usize {
        match self {
            Delivery::Added(entry) | Delivery::Modified(entry) => entry.raw.len(),
            Delivery::Deleted(gone) => gone.last.raw.len(),
            Delivery::Bookmark { .. } | Delivery::Error(_) => 0,
        }
    }

    /// How far the client is that has got it.
    fn revision(&self) -> i64 {
        match self {
            Delivery::Added(entry) | Delivery::Modified(entry) => entry.revision,
            Delivery::Deleted(gone) => gone.revision,
            Delivery::Bookmark { revision, .. } => *revision,
            Delivery::Error(_) => 0,
        }
    }
}

/// An object that left the selection, or is no more.
#[derive(Clone, Debug)]
pub struct Gone {
    last: Arc<Entry>,
    pub revision: i64,
    /// The traceparent of the write that made it leave; empty for a deletion.
    pub cause: Arc<str>,
}

impl Gone {
    /// Its last state, with the revision at which it left.
    pub fn raw(&self) -> Bytes {
        wire::splice_resource_version(&self.last.raw, &self.revision.to_string())
    }
}

pub struct Watcher {
    cache: Arc<Cache>,
    states: watch::Receiver<Arc<State>>,
    selection: Selection,
    phase: Phase,
    bookmarks: Option<Bookmarks>,
}

enum Phase {
    Initial {
        state: Arc<Initial>,
        last: Option<Arc<Key>>,
    },
    /// Everything up to and including `position` has been told.
    Following {
        position: i64,
    },
    /// The watch cannot be served, as its client has yet to be told.
    Refused(Box<Status>),
    Ended,
}

/// When a watch gets bookmarks.
struct Bookmarks {
    /// `None` when no more come by the clock.
    next: Option<Instant>,
    /// When the last one was.
    last: Option<Instant>,
    /// How far the client is, as far as it was told.
    told: i64,
    /// When the watch ends.
    end: Instant,
}

impl Bookmarks {
    fn new(now: Instant, end: Instant, told: i64) -> Bookmarks {
        Bookmarks {
            next: next_bookmark(now, end),
            last: None,
            told,
            end,
        }
    }

    /// When the next one is due. `position` is how far the watch is, and `read` how far somebody has read.
    fn due(&self, position: i64, read: i64) -> Option<Instant> {
        let is_news = self.told < read && read <= position;
        let soon = is_news.then(|| self.last.map_or(Instant::now(), |last| last + BOOKMARK_SPACING));
        [self.next, soon].into_iter().flatten().min()
    }

    fn sent(&mut self, revision: i64, now: Instant) {
        self.next = next_bookmark(now, self.end);
        self.last = Some(now);
        self.told = self.told.max(revision);
    }
}

/// When the bookmark after `now` is due, for a watch that ends at `end`.
fn next_bookmark(now: Instant, end: Instant) -> Option<Instant> {
    let last = end.checked_sub(BOOKMARK_BEFORE_END)?;
    let next = (now + BOOKMARK_INTERVAL).min(last);
    (next > now).then_some(next)
}

impl Watcher {
    /// A watch that lasts until `end`, with bookmarks if the client takes them. Fails while the cache is not ready;
    /// everything else is told in the watch, as Kubernetes does.
    pub async fn new(
        cache: Arc<Cache>,
        selection: Selection,
        start: Start,
        bookmarks: bool,
        end: Instant,
    ) -> Result<Watcher, Status> {
        let present = cache.synced().await?;
        let phase = match begin(&cache, &present, start).await {
            Ok(phase) => phase,
            Err(status) => Phase::Refused(Box::new(status)),
        };
        let told = match phase {
            // The client is there already.
            Phase::Following { position } => position,
            _ => 0,
        };
        let bookmarks = bookmarks.then(|| Bookmarks::new(Instant::now(), end, told));
        Ok(Watcher {
            states: cache.state.subscribe(),
            cache,
            selection,
            phase,
            bookmarks,
        })
    }

    /// The next deliveries, at least one; `None` when the watch has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Vec<Delivery>> {
        loop {
            let position = match &mut self.phase {
                Phase::Ended => return None,
                Phase::Refused(status) => {
                    let refusal = Delivery::Error(std::mem::take(status));
                    self.phase = Phase::Ended;
                    return Some(vec![refusal]);
                }
                Phase::Initial { .. } => match self.next_initial() {
                    deliveries if deliveries.is_empty() => continue,
                    deliveries => return Some(deliveries),
                },
                Phase::Following { position } => *position,
            };
            let state = self.states.borrow_and_update().clone();
            match step(&state, position, &self.selection) {
                Err(old) => self.phase = Phase::Refused(Box::new(too_old(position, &old))),
                Ok(step) => {
                    self.phase = Phase::Following {
                        position: step.position,
                    };
                    if let Some(last) = step.deliveries.last() {
                        if let Some(bookmarks) = &mut self.bookmarks {
                            bookmarks.told = bookmarks.told.max(last.revision());
                        }
                        return Some(step.deliveries);
                    }
                    if !step.caught_up {
                        continue;
                    }
                    // Of a revision that has yet to come nothing is known.
                    let told = (step.position <= state.revision).then_some(step.position);
                    // Parked watchers must not keep old states alive.
                    drop(state);
                    if let Some(bookmark) = self.wait(told).await? {
                        return Some(vec![bookmark]);
                    }
                }
            }
        }
    }

    /// The next present objects; behind the last one a bookmark, and then the watch follows.
    fn next_initial(&mut self) -> Vec<Delivery> {
        let Phase::Initial { state, last } = &mut self.phase else {
            return Vec::new();
        };
        let revision = state.revision;
        let Some(objects) = state.objects() else {
            let start = self.cache.present().history.start();
            self.phase = Phase::Refused(Box::new(too_old(revision, &TooOld { start })));
            return Vec::new();
        };
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        for entry in objects.select(&self.selection, last.as_deref()) {
            if deliveries.len() == MAX_BATCH || (bytes + entry.raw.len() > MAX_BATCH_BYTES && bytes > 0) {
                break;
            }
            bytes += entry.raw.len();
            deliveries.push(Delivery::Added(entry.clone()));
        }
        if let Some(Delivery::Added(entry)) = deliveries.last() {
            *last = Some(entry.key.clone());
            return deliveries;
        }
        self.phase = Phase::Following { position: revision };
        let Some(bookmarks) = &mut self.bookmarks else {
            return Vec::new();
        };
        bookmarks.told = revision;
        vec![Delivery::Bookmark {
            revision,
            ends_initial: true,
        }]
    }

    /// Waits for a change, or until a bookmark is due, which says that everything up to `told` was told. `None` when
    /// the cache is gone.
    async fn wait(&mut self, told: Option<i64>) -> Option<Option<Delivery>> {
        let read = self.cache.read.load(Ordering::Relaxed);
        let due = |bookmarks: &Bookmarks| bookmarks.due(told.unwrap_or(0), read);
        let Some(due) = self.bookmarks.as_ref().and_then(due) else {
            self.states.changed().await.ok()?;
            return Some(None);
        };
        tokio::select! {
            changed = self.states.changed() => {
                changed.ok()?;
                Some(None)
            }
            () = tokio::time::sleep_until(due) => {
                if let Some(bookmarks) = &mut self.bookmarks {
                    bookmarks.sent(told.unwrap_or(0), Instant::now());
                }
                Some(told.map(|revision| Delivery::Bookmark { revision, ends_initial: false }))
            }
        }
    }
}

/// How a watch begins that `start` asks for.
async fn begin(cache: &Cache, present: &State, start: Start) -> Result<Phase, Status> {
    let state = match start {
        Start::After(position) => {
            present
                .history
                .after(position, 0)
                .map_err(|old| too_old(position, &old))?;
            return Ok(Phase::Following { position });
        }
        Start::AtHand => {
            let position = present.revision;
            return Ok(Phase::Following { position });
        }
        Start::Now => {
            let position = cache.consistent().await?.revision;
            return Ok(Phase::Following { position });
        }
        Start::Present => cache.consistent().await?,
        Start::NotOlderThan(revision) => cache.not_older_than(revision).await?,
    };
    let state = cache.initial.put(state.revision, state.objects.clone());
    Ok(Phase::Initial { state, last: None })
}

/// What a watcher does with a state.
struct Step {
    deliveries: Vec<Delivery>,
    /// Where it is then.
    position: i64,
    /// Whether it has seen all of the state.
    caught_up: bool,
}

fn step(state: &State, position: i64, selection: &Selection) -> Result<Step, TooOld> {
    let changes = state.history.after(position, MAX_BATCH)?;
    let Some(last) = changes.last() else {
        return Ok(Step {
            deliveries: Vec::new(),
            position: position.max(state.revision),
            caught_up: true,
        });
    };
    let mut step = Step {
        deliveries: Vec::new(),
        position: last.revision,
        caught_up: false,
    };
    let mut bytes = 0;
    let mut previous = position;
    for change in &changes {
        let delivery = delivery(change, selection);
        let size = delivery.as_ref().map_or(0, Delivery::bytes);
        // A message ends between revisions, because the client resumes from one.
        if bytes + size > MAX_BATCH_BYTES && !step.deliveries.is_empty() && change.revision > previous {
            step.position = previous;
            return Ok(step);
        }
        previous = change.revision;
        if let Some(delivery) = delivery {
            bytes += size;
            step.deliveries.push(delivery);
        }
    }
    Ok(step)
}

/// How a change looks through a selection: an object that comes in is added, one that leaves is deleted.
fn delivery(change: &Change, selection: &Selection) -> Option<Delivery> {
    let selected = |entry: &Option<Arc<Entry>>| entry.clone().filter(|entry| selection.matches(entry));
    match (selected(&change.before), selected(&change.after)) {
        (None, None) => None,
        (None, Some(after)) => Some(Delivery::Added(after)),
        (Some(_), Some(after)) => Some(Delivery::Modified(after)),
        (Some(last), None) => Some(Delivery::Deleted(Gone {
            last,
            revision: change.revision,
            cause: change
                .after
                .as_ref()
                .map_or_else(|| "".into(), |after| after.cause.clone()),
        })),
    }
}

fn too_old(position: i64, old: &TooOld) -> Status {
    Status::failure(
        Reason::Expired,
        format!("too old resource version: {position} ({})", old.start),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_as_far_as_somebody_has_read_is_told_so_soon_but_not_all_the_time() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut bookmarks = Bookmarks::new(start, at(300), 5);
        let check = |bookmarks: &Bookmarks, position: i64, read: i64, expected: u64| {
            let due = bookmarks.due(position, read);
            assert_eq!(due, Some(at(expected)), "at {position}, read {read}");
        };
        check(&bookmarks, 9, 0, 60);
        check(&bookmarks, 9, 5, 60);
        check(&bookmarks, 9, 7, 0);
        check(&bookmarks, 6, 7, 60);
        bookmarks.sent(9, start);
        check(&bookmarks, 9, 7, 60);
        check(&bookmarks, 12, 11, 10);
    }

    #[tokio::test]
    async fn bookmarks_come_once_a_minute_and_shortly_before_the_end() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let check = |now: u64, end: u64, expected: Option<u64>| {
            assert_eq!(
                next_bookmark(at(now), at(end)),
                expected.map(at),
                "{now} of {end}"
            );
        };
        check(0, 300, Some(60));
        check(60, 300, Some(120));
        check(240, 300, Some(298));
        check(298, 300, None);
        check(299, 300, None);
        check(0, 10, Some(8));
        check(0, 1, None);
    }

    #[test]
    fn a_message_of_large_deletions_is_cut_where_it_is_full() {
        let mut history = super::super::history::History::starting_at(0);
        for revision in 1..=10 {
            history.push(Change {
                revision,
                before: Some(Arc::new(super::super::entry::sized(revision, 300 << 10))),
                after: None,
            });
        }
        let state = State {
            synced: true,
            objects: super::super::state::Objects::default(),
            history,
            revision: 10,
        };
        let all = Selection::all("");
        let (mut position, mut told) = (0, 0);
        while told < 10 {
            let step = step(&state, position, &all).unwrap();
            assert!(
                (1..=3).contains(&step.deliveries.len()),
                "{}",
                step.deliveries.len()
            );
            told += step.deliveries.len();
            assert_eq!(
                step.position,
                i64::try_from(told).unwrap(),
                "it goes on where it was cut"
            );
            position = step.position;
        }
    }
}
