//! Letting the store forget: every five minutes its history up to five minutes ago.
//!
//! Servers agree by a key that each tries to write; who succeeds compacts. The key and the rule are Kubernetes'
//! (apiserver/pkg/storage/etcd3/compact.go).

use std::sync::Arc;
use std::time::Duration;

use gantry_store::{Compare, Error, Op, Store, Txn, TxnOutcome};
use tokio_util::sync::CancellationToken;

const KEY: &str = "compact_rev_key";
const INTERVAL: Duration = Duration::from_secs(300);

/// Compacts until `shutdown`.
pub async fn run(store: Arc<dyn Store>, shutdown: CancellationToken) {
    let mut seen = Seen::default();
    while shutdown
        .run_until_cancelled(tokio::time::sleep(INTERVAL))
        .await
        .is_some()
    {
        if let Err(error) = turn(&*store, &mut seen).await {
            tracing::warn!(%error, "compacting the store failed; trying again later");
        }
    }
}

/// What the last turn saw.
#[derive(Default)]
struct Seen {
    /// The key's revision.
    key: i64,
    /// The store's revision at that time; 0 before the first turn.
    store: i64,
}

async fn turn(store: &dyn Store, seen: &mut Seen) -> Result<(), Error> {
    let outcome = store
        .txn(Txn {
            compare: vec![Compare::ModRevision {
                key: KEY.into(),
                revision: seen.key,
            }],
            success: vec![Op::Put {
                key: KEY.into(),
                value: seen.store.to_string().into(),
                lease: None,
            }],
            read_on_failure: vec![KEY.into()],
        })
        .await?;
    match outcome {
        TxnOutcome::Committed { revision } => {
            let before = std::mem::replace(
                seen,
                Seen {
                    key: revision,
                    store: revision,
                },
            );
            if before.store > 0 {
                store.compact(before.store).await?;
            }
        }
        // Another server did this turn.
        TxnOutcome::CompareFailed { revision, current } => {
            *seen = Seen {
                key: current
                    .into_iter()
                    .next()
                    .flatten()
                    .map_or(0, |kv| kv.mod_revision),
                store: revision,
            };
        }
    }
    Ok(())
}
