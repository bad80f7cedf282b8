//! Following the store: list once, then watch; list again only when the store has forgotten our place.

use std::sync::Arc;
use std::time::Duration;

use gantry_store::{Error, Range, Watch};
use tokio_util::sync::CancellationToken;

use super::{Cache, State};

/// The pause after a failure grows from the first to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the watch is asked how far it is while nothing happens, so that bookmarks move on.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Why the watch ended.
enum Ended {
    /// Watching again from the present state loses nothing.
    Resume,
    /// Only a new list helps.
    ListAgain,
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
            let attempt = self.attempt(list).await;
            match attempt {
                Ok(Ended::Resume) => (list, pause) = (false, FIRST_PAUSE),
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

    async fn attempt(&self, list: bool) -> Result<Ended, Error> {
        if list || !self.is_synced() {
            self.list_store().await?;
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
        self.state.send_replace(Arc::new(state));
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
                    let next = self.present().after(&*self.strategy, &batch);
                    self.state.send_replace(Arc::new(next));
                }
                Some(Err(Error::Lagged { .. })) | None => return Ok(Ended::Resume),
                Some(Err(Error::Compacted { .. })) => return Ok(Ended::ListAgain),
                Some(Err(error)) => return Err(error),
            }
        }
    }
}
