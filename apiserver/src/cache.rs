//! The watch cache: every object of one kind as bytes that are ready to send, and what changed lately.
//!
//! One task follows the store and publishes immutable [`State`]s; everybody else reads them. Lists and watches
//! never touch the store and never decode an object.
//!
//! Guarantees: a state shows exactly the store at its revision; revisions of successive states never decrease;
//! every change after the history's start is in it once, in order.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use gantry_proto::meta::v1::{Status, StatusCause, StatusDetails};
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
mod options;
mod pages;
mod list;
mod initial;
mod watcher;

pub use entry::Entry;
pub use list::Page;
pub use options::{ListOptions, WatchOptions};
pub use selection::Selection;
pub use state::{Objects, State};
pub use watcher::{Delivery, Watcher};

/// How long a request waits for the cache to have the store's present state, before it is told to try again.
/// etcd elects a new leader within about two seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a request waits for a revision that it named, which may never come (Kubernetes' blockTimeout), and when it
/// may ask again.
const REVISION_PATIENCE: Duration = Duration::from_secs(3);
const REVISION_RETRY_SECONDS: i32 = 1;
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
    /// How far somebody has read the present state.
    read: AtomicI64,
    /// What watches that have just begun have not sent yet.
    initial: initial::Shelf,
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
            read: AtomicI64::new(0),
            initial: initial::Shelf::default(),
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
        let state = self.within(0, PATIENCE).await;
        state.map_err(|_| {
            unavailable(&format!(
                "the watch cache of {} is not ready",
                self.kind().group_resource()
            ))
        })
    }

    /// A state that shows every write acknowledged before the call.
    pub async fn consistent(&self) -> Result<Arc<State>, Status> {
        let revision = self.store_revision().await?;
        let state = self.within(revision, PATIENCE).await;
        state.map_err(|_| {
            unavailable(&format!(
                "the watch cache of {} has not reached revision {revision} yet",
                self.kind().group_resource()
            ))
        })
    }

    /// A state at `revision` or later; one that does not come in time is refused in Kubernetes' words.
    pub async fn not_older_than(&self, revision: i64) -> Result<Arc<State>, Status> {
        if revision == 0 {
            return self.synced().await;
        }
        let state = self.within(revision, REVISION_PATIENCE).await;
        state.map_err(|late| too_large(revision, late.present))
    }

    /// A state for reading one object, by the resourceVersion that the request names.
    pub async fn for_get(&self, resource_version: &str) -> Result<Arc<State>, Status> {
        let revision = options::parse_revision(resource_version)
            .map_err(|error| Status::failure(Reason::BadRequest, error))?;
        self.not_older_than(revision).await
    }

    async fn store_revision(&self) -> Result<i64, Status> {
        match timeout(PATIENCE, self.store.current_revision()).await {
            Ok(Ok(revision)) => {
                self.read.fetch_max(revision, Ordering::Relaxed);
                Ok(revision)
            }
            Ok(Err(error)) => Err(unavailable(&error.to_string())),
            Err(_) => Err(unavailable("the store did not answer in time")),
        }
    }

    /// A state at `revision` or later, if there is one in time.
    async fn within(&self, revision: i64, patience: Duration) -> Result<Arc<State>, Late> {
        let mut states = self.state.subscribe();
        let deadline = Instant::now() + patience;
        loop {
            let present = {
                let state = states.borrow_and_update();
                if state.synced && state.revision >= revision {
                    return Ok(state.clone());
                }
                state.revision
            };
            self.progress_wanted.notify_one();
            let repeat = (Instant::now() + PROGRESS_REPEAT).min(deadline);
            let waited = timeout_at(repeat, states.changed()).await;
            if waited.is_err() && Instant::now() >= deadline {
                return Err(Late { present });
            }
        }
    }

    /// Shows everybody the next state.
    fn publish(&self, state: State) {
        let start = state.history.start();
        self.state.send_replace(Arc::new(state));
        self.initial.forget_before(start);
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, pages::Ring> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the objects of a list that goes on, so that its next chunk is of the same revision.
    fn keep(&self, revision: i64, objects: Objects, now: SystemTime) {
        self.pages().keep(revision, objects, now);
    }
}

/// The revision was not reached; the cache is at this one.
struct Late {
    present: i64,
}

/// Kubernetes' NewTooLargeResourceVersionError (apiserver/pkg/storage/errors.go).
fn too_large(revision: i64, present: i64) -> Status {
    let mut status = Status::failure(
        Reason::Timeout,
        format!("Timeout: Too large resource version: {revision}, current: {present}"),
    );
    status.details = Some(StatusDetails {
        retry_after_seconds: REVISION_RETRY_SECONDS,
        causes: vec![StatusCause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }],
        ..StatusDetails::default()
    });
    status
}

fn unavailable(why: &str) -> Status {
    Status::failure(
        Reason::ServiceUnavailable,
        format!("the server is currently unable to handle the request: {why}"),
    )
}
