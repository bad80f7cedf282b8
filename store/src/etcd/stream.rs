//! One watch: reads etcd's stream as fast as it comes, and opens it again where it broke.
//!
//! ```text
//!            stream ends, fails, is cancelled
//!   Open ──────────────────────────────────────▶ Broken
//!    ▲                                             │ pause
//!    └──────────── opened after `delivered` ◀──────┘
//!
//!   Open or Broken ─▶ ended: consumer gone, compacted, lagged, refused
//! ```

use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbWatchResponse;
use etcd_client::{WatchRequestSender, WatchStream};
use futures::FutureExt;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::members::Members;
use super::whole_revisions::WholeRevisions;
use super::wire;
use crate::{Error, Event, Feed, Limits, Overflow, Revision, Watch, channel};

/// What may wait for a slow consumer: a burst of 64 Ki changes of 2 KB is 128 MiB.
/// With one watch for each of about twenty resources, only one of which bursts, that is the memory at stake.
const LIMITS: Limits = Limits {
    events: 64 << 10,
    bytes: 128 << 20,
};

/// etcd drops a progress request while a watch catches up; then it is asked again after this time.
const PROGRESS_RETRY: Duration = Duration::from_millis(100);

/// How often an idle watch asks for progress by itself, so that a break after a long silence resumes at a
/// revision that is not compacted yet. Histories are kept for minutes.
const IDLE_PROGRESS: Duration = Duration::from_secs(60);

/// Pauses before a broken watch is opened again: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Opens the watch, so that a store that is away or refuses is the caller's to see, and lets it run.
pub(super) async fn start(members: Arc<Members>, prefix: String, after: Revision) -> Result<Watch, Error> {
    // A start of 0 would mean "from now on" to etcd.
    let after = after.max(0);
    let stream = members.open_watch(&prefix, after + 1).await?;
    let (feed, watch) = channel(LIMITS);
    let driver = Driver {
        members,
        prefix,
        feed,
        whole: WholeRevisions::after(after),
        pause: FIRST_PAUSE,
    };
    tokio::spawn(driver.run(stream));
    Ok(watch)
}

struct Driver {
    members: Arc<Members>,
    prefix: String,
    feed: Feed,
    whole: WholeRevisions,
    pause: Duration,
}

/// Why a stream is no longer read.
enum End {
    Broken(String),
    ConsumerGone,
    Fatal(Error),
}

impl Driver {
    async fn run(mut self, mut stream: WatchStream) {
        loop {
            let mut end = self.read(stream).await;
            self.whole.connection_lost();
            stream = loop {
                match end {
                    End::ConsumerGone => return,
                    End::Fatal(error) => return self.feed.fail(error),
                    End::Broken(reason) => {
                        let revision = self.whole.delivered();
                        tracing::info!(
                            key = self.prefix,
                            revision,
                            "resuming a watch that broke: {reason}"
                        );
                    }
                }
                match self.reopen().await {
                    Ok(stream) => break stream,
                    Err(next) => end = next,
                }
            };
        }
    }

    async fn reopen(&mut self) -> Result<WatchStream, End> {
        tokio::select! {
            () = self.feed.closed() => return Err(End::ConsumerGone),
            () = sleep(self.pause) => {}
        }
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        match self
            .members
            .open_watch(&self.prefix, self.whole.delivered() + 1)
            .await
        {
            Ok(stream) => Ok(stream),
            Err(Error::Unavailable(cause)) => Err(End::Broken(cause.to_string())),
            Err(fatal) => Err(End::Fatal(fatal)),
        }
    }

    async fn read(&mut self, stream: WatchStream) -> End {
        let (mut requests, mut responses) = stream.split();
        let mut progress_is_due = false;
        let mut retry = ticks(PROGRESS_RETRY);
        let mut idle = ticks(IDLE_PROGRESS);
        loop {
            tokio::select! {
                response = responses.message() => {
                    let response = match response {
                        Ok(Some(response)) => response.0,
                        Ok(None) => return End::Broken("the stream ended".into()),
                        Err(error) => return End::Broken(error.to_string()),
                    };
                    idle.reset();
                    match self.take(response) {
                        Ok(Taken::Progress) => progress_is_due = false,
                        Ok(Taken::Other) => {}
                        Err(end) => return end,
                    }
                }
                () = self.feed.closed() => return End::ConsumerGone,
                () = self.feed.progress_requested() => {
                    progress_is_due = true;
                    retry.reset();
                    ask_for_progress(&mut requests);
                }
                _ = retry.tick(), if progress_is_due => ask_for_progress(&mut requests),
                _ = idle.tick() => ask_for_progress(&mut requests),
            }
        }
    }

    fn take(&mut self, response: PbWatchResponse) -> Result<Taken, End> {
        if response.canceled {
            return Err(self.cancelled(response));
        }
        if response.created {
            return Ok(Taken::Other);
        }
        self.pause = FIRST_PAUSE;
        let queued = self.whole.delivered();
        let (batch, taken) = if response.events.is_empty() && !response.fragment {
            let revision = wire::revision(response.header.as_ref()).map_err(End::Fatal)?;
            (self.whole.progress(revision), Taken::Progress)
        } else {
            let events = response
                .events
                .into_iter()
                .map(wire::event)
                .collect::<Result<Vec<Event>, _>>();
            (
                self.whole.accept(events.map_err(End::Fatal)?, response.fragment),
                Taken::Other,
            )
        };
        let Some(batch) = batch else { return Ok(taken) };
        match self.feed.push(batch) {
            Ok(()) => Ok(taken),
            Err(Overflow) => Err(End::Fatal(Error::Lagged { revision: queued })),
        }
    }

    fn cancelled(&self, response: PbWatchResponse) -> End {
        if response.compact_revision > 0 {
            let compact_revision = Some(response.compact_revision);
            return End::Fatal(Error::Compacted {
                revision: self.whole.delivered(),
                compact_revision,
            });
        }
        End::Broken(format!("etcd cancelled it: {}", response.cancel_reason))
    }
}

enum Taken {
    Progress,
    Other,
}

/// Does not wait: when requests are already queued, one of them will be answered.
fn ask_for_progress(requests: &mut WatchRequestSender) {
    let _ = requests.request_progress().now_or_never();
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    ticks
}
