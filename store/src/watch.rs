//! The consumer's end of a watch, and the bounded queue that feeds it.
//!
//! A source must never stop reading its stream because the consumer is slow: unread frames cost the whole
//! connection, not just this watch. So the queue takes what comes until a limit, and then ends the watch with
//! [`Error::Lagged`] behind everything it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};

use crate::{Error, Event, WatchBatch};

/// A watch in progress; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    batches: mpsc::UnboundedReceiver<Result<WatchBatch, Error>>,
    load: Arc<Load>,
}

impl Watch {
    /// The next batch. An error is the last item, and `None` follows it. Safe to cancel.
    ///
    /// A lost connection is not an error: the watch resumes by itself. Errors are [`Error::Compacted`] (list
    /// again), [`Error::Lagged`] (watch again from its revision) and [`Error::Refused`].
    pub async fn next(&mut self) -> Option<Result<WatchBatch, Error>> {
        let item = self.batches.recv().await?;
        if let Ok(batch) = &item {
            self.load.remove(Weight::of(batch));
        }
        Some(item)
    }

    /// Asks for a batch soon that tells how far the watch has come, even when nothing changed. Never blocks.
    ///
    /// One batch may answer several requests, and it may tell of a moment before the request: compare its
    /// revision with the one that is waited for, and ask again. While the store's revision is still the one
    /// that the watch began after, there is nothing to tell and no batch comes.
    pub fn request_progress(&self) {
        self.load.progress_requested.notify_one();
    }
}

/// The source's end of a watch.
#[derive(Debug)]
pub struct Feed {
    /// Unbounded in the channel's eyes; `load` is the bound.
    batches: mpsc::UnboundedSender<Result<WatchBatch, Error>>,
    load: Arc<Load>,
    limits: Limits,
}

/// How much may wait for a slow consumer before the watch ends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub events: usize,
    pub bytes: usize,
}

/// The consumer is too far behind: the batch was not queued.
#[derive(Debug, PartialEq, Eq)]
pub struct Overflow;

/// Makes the two ends of a watch.
pub fn channel(limits: Limits) -> (Feed, Watch) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let load = Arc::new(Load::default());
    let feed = Feed {
        batches: sender,
        load: load.clone(),
        limits,
    };
    (
        feed,
        Watch {
            batches: receiver,
            load,
        },
    )
}

impl Feed {
    /// Queues a batch, unless that would pass a limit. An empty queue takes any batch, or one that is larger
    /// than the limit could never be delivered.
    pub fn push(&self, batch: WatchBatch) -> Result<(), Overflow> {
        let weight = Weight::of(&batch);
        let events = self.load.events.load(Ordering::Acquire);
        let bytes = self.load.bytes.load(Ordering::Acquire);
        let fits = events + weight.events <= self.limits.events && bytes + weight.bytes <= self.limits.bytes;
        if !fits && events > 0 {
            return Err(Overflow);
        }
        self.load.add(weight);
        // A consumer that has gone away is noticed by `closed`.
        let _ = self.batches.send(Ok(batch));
        Ok(())
    }

    /// Ends the watch with an error, behind everything that is queued.
    pub fn fail(self, error: Error) {
        let _ = self.batches.send(Err(error));
    }

    /// Resolves when the consumer has asked for progress since the last time. Safe to cancel.
    pub async fn progress_requested(&self) {
        self.load.progress_requested.notified().await;
    }

    /// Resolves when the consumer has dropped its end.
    pub async fn closed(&self) {
        self.batches.closed().await;
    }
}

/// What waits in the queue, and the consumer's wish for progress.
#[derive(Debug, Default)]
struct Load {
    events: AtomicUsize,
    bytes: AtomicUsize,
    progress_requested: Notify,
}

impl Load {
    fn add(&self, weight: Weight) {
        self.events.fetch_add(weight.events, Ordering::AcqRel);
        self.bytes.fetch_add(weight.bytes, Ordering::AcqRel);
    }

    fn remove(&self, weight: Weight) {
        self.events.fetch_sub(weight.events, Ordering::AcqRel);
        self.bytes.fetch_sub(weight.bytes, Ordering::AcqRel);
    }
}

#[derive(Clone, Copy)]
struct Weight {
    events: usize,
    bytes: usize,
}

impl Weight {
    /// A batch without events counts as one, so that progress alone cannot fill memory either.
    fn of(batch: &WatchBatch) -> Self {
        let bytes = batch.events.iter().map(event_bytes).sum::<usize>() + size_of::<WatchBatch>();
        Weight {
            events: batch.events.len().max(1),
            bytes,
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    let value = match event {
        Event::Put { kv } => kv.value.len(),
        Event::Delete { .. } => 0,
    };
    size_of::<Event>() + event.key().len() + value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(revision: crate::Revision, events: usize) -> WatchBatch {
        let event = Event::Delete {
            key: "k".into(),
            revision,
        };
        WatchBatch {
            events: vec![event; events],
            revision,
        }
    }

    #[tokio::test]
    async fn an_overflow_ends_the_watch_behind_everything_that_was_queued() {
        let (feed, mut watch) = channel(Limits {
            events: 3,
            bytes: usize::MAX,
        });
        feed.push(batch(1, 2)).expect("room for two");
        feed.push(batch(2, 1)).expect("room for one more");
        assert_eq!(feed.push(batch(3, 1)), Err(Overflow));
        feed.fail(Error::Lagged { revision: 2 });
        assert_eq!(watch.next().await.expect("first").expect("batch").revision, 1);
        assert_eq!(watch.next().await.expect("second").expect("batch").revision, 2);
        assert!(matches!(
            watch.next().await,
            Some(Err(Error::Lagged { revision: 2 }))
        ));
        assert!(watch.next().await.is_none());
    }

    #[tokio::test]
    async fn room_comes_back_as_the_consumer_reads() {
        let (feed, mut watch) = channel(Limits {
            events: 1,
            bytes: usize::MAX,
        });
        for revision in 1..100 {
            feed.push(batch(revision, 1))
                .expect("the queue is empty each time");
            assert_eq!(
                watch.next().await.expect("open").expect("batch").revision,
                revision
            );
        }
    }

    #[tokio::test]
    async fn a_batch_larger_than_the_limit_is_delivered_when_nothing_waits() {
        let (feed, mut watch) = channel(Limits { events: 2, bytes: 1 });
        feed.push(batch(1, 9)).expect("the queue is empty");
        assert_eq!(feed.push(batch(2, 1)), Err(Overflow));
        assert_eq!(watch.next().await.expect("open").expect("batch").events.len(), 9);
        feed.push(batch(2, 1)).expect("the queue is empty again");
    }
}
