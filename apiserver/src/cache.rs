//! The watch cache: every object of one kind as bytes that are ready to send, and what changed lately.
//!
//! One task follows the store and publishes immutable [`State`]s; everybody else reads them. Lists and watches
//! never touch the store and never decode an object.
//!
//! Guarantees: a state shows exactly the store at its revision; revisions of successive states never decrease;
//! every change after the history's start is in it once, in order.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;
use gantry_proto::{Key, KindInfo};
use gantry_store::Store;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::strategy::Strategy;

mod entry;
mod selection;
mod state;
mod history;
mod follow;
mod pages;
mod list;
mod watcher;

pub use entry::Entry;
pub use selection::Selection;
pub use state::{Objects, State};
pub use watcher::{Delivery, Start, Watcher};

/// How long a request waits for the cache to have the store's present state, before it is told to try again.
/// etcd elects a new leader within about two seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one request for progress may stay unanswered before it is repeated: an answer may tell of a moment
/// before the request. A round trip to etcd takes about a millisecond.
const PROGRESS_REPEAT: Duration = Duration::from_millis(50);

/// The objects of one kind.
pub struct Cache {
    strategy: Arc<dyn Strategy>,
    store: Arc<dyn Store>,
    state: watch::Sender<Arc<State>>,
    /// Wakes the follower to ask the store how far the watch is.
    progress_wanted: Notify,
    pages: Mutex<pages::Ring>,
    /// For the metrics.
    pub seen: Seen,
}

/// How much a cache has taken in.
#[derive(Debug, Default)]
pub struct Seen {
    pub events_received: AtomicU64,
    pub events_dispatched: AtomicU64,
    pub initializations: AtomicU64,
}

impl Cache {
    /// An empty cache; [`Cache::follow`] fills it.
    pub fn new(strategy: Arc<dyn Strategy>, store: Arc<dyn Store>) -> Arc<Cache> {
        Arc::new(Cache {
            strategy,
            store,
            state: watch::Sender::new(Arc::new(State::default())),
            progress_wanted: Notify::new(),
            pages: Mutex::default(),
            seen: Seen::default(),
        })
    }

    pub fn kind(&self) -> &'static KindInfo {
        self.strategy.info()
    }

    pub fn strategy(&self) -> &dyn Strategy {
        &*self.strategy
    }

    /// Whether the first list of the store is in.
    pub fn is_synced(&self) -> bool {
        self.state.borrow().synced
    }

    /// What the cache holds now, however old.
    pub fn present(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// The object as far as the cache knows it.
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.state.borrow().objects.get(key)
    }

    /// Waits for the first list of the store, but not for ever.
    pub async fn synced(&self) -> Result<Arc<State>, Status> {
        self.reach(0).await
    }

    /// A state that shows every write acknowledged before the call.
    pub async fn consistent(&self) -> Result<Arc<State>, Status> {
        let current = self.store.current_revision();
        let revision = match timeout(PATIENCE, current).await {
            Ok(Ok(revision)) => revision,
            Ok(Err(error)) => return Err(unavailable(&error.to_string())),
            Err(_) => return Err(unavailable("the store did not answer in time")),
        };
        self.reach(revision).await
    }

    /// A state at `revision` or later.
    pub async fn reach(&self, revision: i64) -> Result<Arc<State>, Status> {
        let mut states = self.state.subscribe();
        let deadline = Instant::now() + PATIENCE;
        loop {
            {
                let state = states.borrow_and_update();
                if state.synced && state.revision >= revision {
                    return Ok(state.clone());
                }
            }
            self.progress_wanted.notify_one();
            let repeat = (Instant::now() + PROGRESS_REPEAT).min(deadline);
            let waited = timeout_at(repeat, states.changed()).await;
            if waited.is_err() && Instant::now() >= deadline {
                return Err(unavailable(&format!(
                    "the watch cache of {} has not reached revision {revision} yet",
                    self.kind().group_resource()
                )));
            }
        }
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, pages::Ring> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the objects of a list that goes on, so that its next chunk is of the same revision.
    fn keep(&self, revision: i64, objects: Objects, now: SystemTime) {
        self.pages().keep(revision, objects, now);
    }
}

fn unavailable(why: &str) -> Status {
    Status::failure(
        Reason::ServiceUnavailable,
        format!("the server is currently unable to handle the request: {why}"),
    )
}
