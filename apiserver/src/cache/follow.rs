//! Following the store: list once, then watch; list again only when the store has forgotten our place.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use gantry_store::{Error, Range, Watch, WatchBatch};
use tokio_util::sync::CancellationToken;

use super::{Cache, State};

/// The pause after a failure grows from the first to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the watch is asked how far it is while nothing happens, so that bookmarks move on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Batches of the store's watch that become one state, so that a burst does not put off publishing for ever.
const MOST_BATCHES: usize = 64;

/// Why the watch ended.
enum Ended {
    /// Watching again from the present state loses nothing.
    Resume,
    /// Only a new list helps.
    ListAgain,
}

/// What the end of a watch asks for.
fn ended(end: Option<Result<WatchBatch, Error>>) -> Result<Ended, Error> {
    match end {
        Some(Ok(_)) | Some(Err(Error::Lagged { .. })) | None => Ok(Ended::Resume),
        Some(Err(Error::Compacted { .. })) => Ok(Ended::ListAgain),
        Some(Err(error)) => Err(error),
    }
}

impl Cache {
    /// Keeps the cache up to date until `shutdown`.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.follow_for_ever()).await;
    }

    async fn follow_for_ever(&self) {
        let mut pause = FIRST_PAUSE;
        let mut list = true;
        loop {
            let attempt = self.attempt(&mut list).await;
            match attempt {
                Ok(Ended::Resume) => pause = FIRST_PAUSE,
                Ok(Ended::ListAgain) => (list, pause) = (true, FIRST_PAUSE),
                Err(error) => {
                    let resource = self.kind().group_resource();
                    tracing::warn!(resource, %error, "following the store failed; trying again");
                    list |= matches!(error, Error::Compacted { .. } | Error::FutureRevision { .. });
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Clears `list` once the list is in: listing again for a watch that could not be opened would cost the history.
    async fn attempt(&self, list: &mut bool) -> Result<Ended, Error> {
        if *list {
            self.list_store().await?;
            *list = false;
        }
        let prefix = self.kind().storage_prefix;
        let watch = self.store.watch(prefix, self.present().revision).await?;
        self.read_watch(watch).await
    }

    async fn list_store(&self) -> Result<(), Error> {
        let page = self
            .store
            .list(Range {
                prefix: self.kind().storage_prefix,
                ..Range::default()
            })
            .await?;
        let known = self.present().revision;
        if page.revision < known {
            // A store that was restored from a backup: its past is not ours. Nobody may be shown older state.
            return Err(Error::Unavailable(
                format!("the store is at revision {}, and was at {known}", page.revision).into(),
            ));
        }
        let state = State::listed(&*self.strategy, &page.kvs, page.revision);
        self.publish(state);
        self.seen.initializations.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn read_watch(&self, mut watch: Watch) -> Result<Ended, Error> {
        let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let batch = tokio::select! {
                batch = watch.next() => batch,
                () = self.progress_wanted.notified() => {
                    watch.request_progress();
                    continue;
                }
                _ = tick.tick() => {
                    watch.request_progress();
                    continue;
                }
            };
            match batch {
                Some(Ok(batch)) => {
                    let mut events = batch.events.len();
                    let mut next = self.present().after(&*self.strategy, &batch);
                    // What has come meanwhile is published with it: every state wakes every watcher.
                    let mut end = None;
                    for _ in 1..MOST_BATCHES {
                        match watch.next().now_or_never() {
                            None => break,
                            Some(Some(Ok(batch))) => {
                                events += batch.events.len();
                                next = next.after(&*self.strategy, &batch);
                            }
                            Some(other) => {
                                end = Some(other);
                                break;
                            }
                        }
                    }
                    self.seen
                        .events_received
                        .fetch_add(events as u64, Ordering::Relaxed);
                    self.publish(next);
                    self.seen
                        .events_dispatched
                        .fetch_add(events as u64, Ordering::Relaxed);
                    if let Some(end) = end {
                        return ended(end);
                    }
                }
                end => return ended(end),
            }
        }
    }
}
