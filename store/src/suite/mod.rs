//! What every implementation of [`Store`] must do, as claims that a test can check.
//!
//! An implementation writes a [`Subject`] and calls [`store_suite!`](crate::store_suite) in a test module; each
//! claim becomes a test on a store of its own. [`etcd_server`] starts real etcd servers, for the tests of other
//! crates too.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{
    Compare, Error, Event, KeyValue, Op, Page, Range, Revision, Store, Txn, TxnOutcome, Watch, WatchBatch,
};

pub mod etcd_server;
pub mod proxy;

mod history;
mod leases;
mod transactions;
mod watches;

pub use history::*;
pub use leases::*;
pub use transactions::*;
pub use watches::*;

/// How long a claim waits for what must come: far more than any of it takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A store that is new and empty, and that the test may ill-treat.
pub trait Subject: Send {
    fn store(&self) -> Arc<dyn Store>;

    /// Ends the store without warning and starts it again on the same data.
    fn restart(&mut self) -> BoxFuture<'_, ()>;

    /// A second way to the same store on which replies can be lost; `None` where no call can be lost.
    fn lossy(&mut self) -> BoxFuture<'_, Option<Lossy>>;
}

/// A way to a store on which replies can be lost.
pub struct Lossy {
    pub store: Arc<dyn Store>,
    /// From now on requests arrive and replies do not.
    pub lose_replies: Box<dyn Fn() + Send>,
    /// Breaks the connections; those made later work.
    pub cut: Box<dyn Fn() + Send>,
}

/// Makes a test of each claim. The argument is an async function that starts a [`Subject`].
#[macro_export]
macro_rules! store_suite {
    ($start:path) => {
        $crate::store_suite! { $start;
            an_acknowledged_write_is_seen_by_every_later_read,
            a_key_remembers_its_creation_its_last_change_and_its_version,
            a_comparison_that_fails_changes_nothing_and_reads_what_is_there,
            of_many_writers_with_the_same_comparison_one_wins,
            the_writes_of_a_transaction_share_one_revision,
            a_value_that_is_too_large_is_refused_as_such,
            a_write_whose_reply_was_lost_is_ambiguous,
            acknowledged_writes_survive_a_restart,
            pages_show_one_revision_whatever_is_written_meanwhile,
            a_list_without_a_limit_is_complete,
            a_prefix_matches_its_own_keys_only,
            a_past_revision_is_read_as_it_was_and_a_future_one_is_refused,
            compaction_forgets_history_and_says_so,
            a_watch_replays_the_past_in_order,
            a_watch_goes_on_from_the_past_into_the_present,
            a_watch_delivers_whole_revisions_only,
            a_watch_that_nobody_reads_for_a_while_loses_nothing,
            a_watch_of_a_compacted_past_ends_with_that_error,
            a_watch_survives_a_restart_and_delivers_each_change_once,
            progress_never_runs_ahead_of_the_events_it_covers,
            progress_comes_when_nothing_is_written_to_the_prefix,
            a_lease_that_ends_deletes_its_keys_and_watches_hear_of_it,
            a_lease_that_is_kept_alive_outlives_its_time,
            a_lease_that_is_not_there_is_reported_as_such,
        }
    };
    ($start:path; $($claim:ident,)+) => {
        $(
            #[tokio::test]
            async fn $claim() {
                $crate::suite::$claim(&mut $start().await).await;
            }
        )+
    };
}

fn put(key: &str, value: impl Into<Bytes>) -> Op {
    Op::Put {
        key: key.to_owned(),
        value: value.into(),
        lease: None,
    }
}

fn delete(key: &str) -> Op {
    Op::Delete { key: key.to_owned() }
}

fn must_be_at(key: &str, revision: Revision) -> Compare {
    Compare::ModRevision {
        key: key.to_owned(),
        revision,
    }
}

/// Writes without a condition.
async fn write(store: &dyn Store, success: Vec<Op>) -> Revision {
    match store
        .txn(Txn {
            success,
            ..Txn::default()
        })
        .await
    {
        Ok(TxnOutcome::Committed { revision }) => revision,
        other => panic!("a write without a condition: {other:?}"),
    }
}

async fn read(store: &dyn Store, key: &str) -> Option<KeyValue> {
    store.get(key).await.expect("read a key").kv
}

async fn list(store: &dyn Store, prefix: &str, revision: Option<Revision>) -> Result<Page, Error> {
    store
        .list(Range {
            prefix,
            revision,
            ..Range::default()
        })
        .await
}

async fn now(store: &dyn Store) -> Revision {
    store.current_revision().await.expect("read the revision")
}

async fn watch(store: &dyn Store, prefix: &str, after: Revision) -> Watch {
    store.watch(prefix, after).await.expect("open a watch")
}

async fn next_batch(watch: &mut Watch) -> WatchBatch {
    let next = within(watch.next(), "a batch of the watch").await;
    next.expect("the watch goes on").expect("the watch does not fail")
}

/// Reads a watch until `count` events have come.
async fn next_events(watch: &mut Watch, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        events.extend(next_batch(watch).await.events);
    }
    assert_eq!(events.len(), count, "more events than expected: {events:?}");
    events
}

async fn within<T>(future: impl Future<Output = T>, what: &str) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within {DEADLINE:?}"),
    }
}
