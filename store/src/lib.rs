//! Where the cluster's state lives: ordered keys, one revision for every change, transactions that compare,
//! and watches that replay history.
//!
//! Only the apiserver uses this crate. [`Store`] is the contract; [`etcd`] implements it, and a second
//! implementation has to pass the same [`suite`].
//!
//! Guarantees of every implementation:
//! - A revision names one committed transaction; it never repeats and never decreases.
//! - A read or list without a revision sees every write that was acknowledged before it began.
//! - A watch delivers each change after its start exactly once, in order of revision, and never part of a
//!   revision, across lost connections and restarts of the store.
//! - A write that fails with anything but [`Error::Ambiguous`] has not happened and will not happen.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

pub mod etcd;
mod watch;

#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use watch::{Feed, Limits, Overflow, Watch, channel};

/// A point in the store's history. The first write of an empty store gets a revision above 1.
pub type Revision = i64;

/// Names a lease; 0 is no lease.
pub type LeaseId = i64;

/// The store as the apiserver sees it.
pub trait Store: Send + Sync + 'static {
    /// Reads one key; linearizable.
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Read, Error>>;

    /// Reads the keys of a range in order, all of them at one revision.
    ///
    /// Fails with [`Error::Compacted`] or [`Error::FutureRevision`] when the range names a revision that is no
    /// longer or not yet there.
    fn list(&self, range: Range<'_>) -> BoxFuture<'_, Result<Page, Error>>;

    /// Does all of `success` at one revision if every comparison holds, and otherwise nothing but the reads.
    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnOutcome, Error>>;

    /// Follows the keys that begin with `prefix` from the first change after revision `after`.
    ///
    /// [`Error::Compacted`] may come from here or from the first [`Watch::next`].
    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<Watch, Error>>;

    /// The store's revision, at least that of every write acknowledged before the call. Cheap: moves no values.
    fn current_revision(&self) -> BoxFuture<'_, Result<Revision, Error>>;

    /// Forgets the history before `revision`; what is current at `revision` stays readable.
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>>;

    /// Starts a lease that ends after `ttl_seconds` without [`Store::keep_alive`]; the store may choose longer.
    fn grant_lease(&self, ttl_seconds: i64) -> BoxFuture<'_, Result<LeaseId, Error>>;

    /// Starts the lease's time again from its full length.
    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends a lease and deletes the keys attached to it.
    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>>;
}

/// A key as one revision left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Arc<str>,
    pub value: Bytes,
    /// The revision at which the key last came into being.
    pub create_revision: Revision,
    /// The revision of the key's last change.
    pub mod_revision: Revision,
    /// How many times the key was written since it came into being; 1 is its creation.
    pub version: i64,
    /// The lease that keeps the key; 0 is none.
    pub lease: LeaseId,
}

/// What [`Store::get`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub kv: Option<KeyValue>,
    /// The store's revision when it was read.
    pub revision: Revision,
}

/// What [`Store::list`] is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range<'a> {
    pub prefix: &'a str,
    /// Continue behind this key.
    pub start_after: Option<&'a str>,
    /// The most keys to return; 0 is all.
    pub limit: usize,
    /// The revision to read at; `None` is now, linearizable.
    pub revision: Option<Revision>,
}

/// One answer of [`Store::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub kvs: Vec<KeyValue>,
    /// The revision that the page shows: the one asked for, or the store's.
    pub revision: Revision,
    /// Whether keys follow behind the last one.
    pub more: bool,
    /// How many keys the range has behind `start_after`, those of this page included.
    pub count: i64,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key was last changed at this revision; 0 means that it does not exist.
    ModRevision { key: String, revision: Revision },
}

/// A write of a transaction. A key may appear in one operation only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put {
        key: String,
        value: Bytes,
        lease: Option<LeaseId>,
    },
    Delete {
        key: String,
    },
}

/// What [`Store::txn`] is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    /// Keys to read when a comparison does not hold.
    pub read_on_failure: Vec<String>,
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Everything was done, at this revision. If nothing had to be changed it is the store's revision.
    Committed { revision: Revision },
    /// Nothing was done; `current` is in the order of `read_on_failure`.
    CompareFailed {
        revision: Revision,
        current: Vec<Option<KeyValue>>,
    },
}

/// A change as a watch tells it. What was there before is not told: whoever watches has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Put { kv: KeyValue },
    Delete { key: Arc<str>, revision: Revision },
}

impl Event {
    /// The revision that made this change.
    pub fn revision(&self) -> Revision {
        match self {
            Event::Put { kv } => kv.mod_revision,
            Event::Delete { revision, .. } => *revision,
        }
    }

    /// The key that changed.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Event::Put { kv } => &kv.key,
            Event::Delete { key, .. } => key,
        }
    }
}

/// Changes of one or more whole revisions, or none: then it only tells how far the watch has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    pub events: Vec<Event>,
    /// Every change up to and including this revision has been delivered.
    pub revision: Revision,
}

/// What lies under [`Error::Ambiguous`] and [`Error::Unavailable`]; its text is part of theirs.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a call on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The history that was asked for is gone; list again. `compact_revision`, where the store says it, is the
    /// oldest revision that can still be read.
    #[error("the requested revision {revision} has been compacted")]
    Compacted {
        revision: Revision,
        compact_revision: Option<Revision>,
    },
    #[error("the requested revision {revision} is a future revision")]
    FutureRevision { revision: Revision },
    /// A write whose reply was lost: it may have happened, may happen yet, or never. Read before writing again.
    #[error("the outcome of the write is not known: {0}")]
    Ambiguous(Cause),
    /// The call certainly changed nothing, and may succeed later.
    #[error("the store is not available: {0}")]
    Unavailable(Cause),
    #[error("the request is too large for the store")]
    TooLarge,
    /// The store accepts no writes until its operator gives it room.
    #[error(
        "the store's space is exhausted: compact and defragment it, or raise its quota, then disarm its alarm"
    )]
    NoSpace,
    #[error("the lease was not found")]
    LeaseNotFound,
    /// The watch was read too slowly and has ended. Everything up to `revision` was delivered: watch again
    /// from there, and nothing is lost.
    #[error("the watch was read too slowly and ended after revision {revision}")]
    Lagged { revision: Revision },
    /// Trying again will not help; the text says why, and what would.
    #[error("{0}")]
    Refused(String),
}
