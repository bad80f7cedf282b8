//! One client's watch.
//!
//! ```text
//! Initial ──all present objects sent──> Following ──fell out of the history──> Ended
//! ```
//!
//! A watcher holds a place in the history, not a queue: a slow reader costs nothing while it is away, reads on
//! from its place when it comes back, and is told `Expired` only if the history has moved past it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;
use gantry_proto::{Key, wire};
use tokio::sync::watch;
use tokio::time::Instant;

use super::history::{Change, TooOld};
use super::state::Objects;
use super::{Cache, Entry, Selection, State};

/// Changes looked at, and objects sent, at once: 256 objects of 4 KiB make a message of 1 MiB.
const MAX_BATCH: usize = 256;
/// Bytes of objects in one message, unless a single object is larger.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// How often a watch that allows it is told how far it is while nothing is selected.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(10);

/// What a watch tells its client.
#[derive(Clone, Debug)]
pub enum Delivery {
    Added(Arc<Entry>),
    Modified(Arc<Entry>),
    Deleted(Gone),
    /// Everything up to and including this revision was told.
    Bookmark(i64),
    /// The watch ends: the client has to list again.
    Error(Box<Status>),
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

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is there at this moment, as additions.
    Present,
    /// With what the server has at hand, as additions.
    AtHand,
    /// After a revision.
    After(i64),
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
        objects: Objects,
        revision: i64,
        last: Option<Arc<Key>>,
    },
    /// Everything up to and including `position` has been told.
    Following {
        position: i64,
    },
    Ended,
}

struct Bookmarks {
    next: Instant,
    told: i64,
}

impl Watcher {
    pub async fn new(
        cache: Arc<Cache>,
        selection: Selection,
        start: Start,
        bookmarks: bool,
    ) -> Result<Watcher, Status> {
        let state = match start {
            Start::Present => cache.consistent().await?,
            Start::AtHand | Start::After(_) => cache.synced().await?,
        };
        let phase = match start {
            Start::After(position) => Phase::Following { position },
            Start::Present | Start::AtHand => Phase::Initial {
                objects: state.objects.clone(),
                revision: state.revision,
                last: None,
            },
        };
        if let Start::After(position) = start {
            // Told at once rather than in the stream, so that the client need not read it to learn.
            state
                .history
                .after(position, 0)
                .map_err(|old| too_old(position, &old))?;
        }
        let bookmarks = bookmarks.then(|| Bookmarks {
            next: Instant::now() + BOOKMARK_INTERVAL,
            told: 0,
        });
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
                Phase::Initial { .. } => match self.next_initial() {
                    deliveries if deliveries.is_empty() => continue,
                    deliveries => return Some(deliveries),
                },
                Phase::Following { position } => *position,
            };
            let state = self.states.borrow_and_update().clone();
            match step(&state, position, &self.selection) {
                Err(old) => {
                    self.phase = Phase::Ended;
                    return Some(vec![Delivery::Error(Box::new(too_old(position, &old)))]);
                }
                Ok(step) => {
                    self.phase = Phase::Following {
                        position: step.position,
                    };
                    if !step.deliveries.is_empty() {
                        return Some(step.deliveries);
                    }
                    if !step.caught_up {
                        continue;
                    }
                    // Parked watchers must not keep old states alive.
                    drop(state);
                    if let Some(bookmark) = self.wait(step.position).await? {
                        return Some(vec![bookmark]);
                    }
                }
            }
        }
    }

    /// The next present objects; behind the last one a bookmark, and then the watch follows.
    fn next_initial(&mut self) -> Vec<Delivery> {
        let Phase::Initial {
            objects,
            revision,
            last,
        } = &mut self.phase
        else {
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
        let revision = *revision;
        self.phase = Phase::Following { position: revision };
        match &mut self.bookmarks {
            Some(bookmarks) => {
                bookmarks.told = revision;
                vec![Delivery::Bookmark(revision)]
            }
            None => Vec::new(),
        }
    }

    /// Waits for a change, or until a bookmark is due. `None` when the cache is gone.
    async fn wait(&mut self, position: i64) -> Option<Option<Delivery>> {
        let Some(bookmarks) = &mut self.bookmarks else {
            self.states.changed().await.ok()?;
            return Some(None);
        };
        tokio::select! {
            changed = self.states.changed() => {
                changed.ok()?;
                Some(None)
            }
            () = tokio::time::sleep_until(bookmarks.next) => {
                bookmarks.next = Instant::now() + BOOKMARK_INTERVAL;
                self.cache.progress_wanted.notify_one();
                if bookmarks.told >= position {
                    return Some(None);
                }
                bookmarks.told = position;
                Some(Some(Delivery::Bookmark(position)))
            }
        }
    }
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
        let size = change.after.as_ref().map_or(0, |entry| entry.raw.len());
        // A message ends between revisions, because the client resumes from one.
        if bytes + size > MAX_BATCH_BYTES && !step.deliveries.is_empty() && change.revision > previous {
            step.position = previous;
            return Ok(step);
        }
        previous = change.revision;
        if let Some(delivery) = delivery(change, selection) {
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
