//! From requests to the log: a queue that is bounded in entries and in bytes, and the one thread that empties it.
//! Files are written by a thread of its own, because a disk that hangs must not take a worker with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use tokio::sync::oneshot;

use super::event::Entry;
use super::log_file::Output;
use super::metrics::{Loss, Metrics};

/// Entries that wait (Kubernetes' --audit-log-batch-buffer-size): a second of the highest rate that two cores serve.
const MAX_ENTRIES: usize = 10_000;
/// What they may hold in objects: twenty of the largest, or 10,000 of 6 KB.
const MAX_BYTES: usize = 64 << 20;
/// Lines are written together up to about this many bytes, and as soon as nothing waits.
const BATCH_BYTES: usize = 256 << 10;
/// Losses are told at most this often; the metric counts each.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the log, and how often it looks whether there is room.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Queue {
    sender: SyncSender<Message>,
    /// Bytes of the entries that wait.
    bytes: Arc<AtomicUsize>,
    losses: Losses,
}

#[derive(Debug)]
enum Message {
    Entry(Box<Entry>),
    /// Answered when everything before it is written.
    Flush(oneshot::Sender<()>),
}

impl Queue {
    pub fn start(output: Output, metrics: Metrics) -> anyhow::Result<Queue> {
        let (queue, receiver) = Queue::new(metrics.clone());
        let writer = Writer {
            output,
            lines: Vec::new(),
            count: 0,
            bytes: queue.bytes.clone(),
            losses: Losses::new(Loss::Log, metrics),
        };
        std::thread::Builder::new()
            .name("audit-log".into())
            .spawn(move || writer.run(&receiver))
            .context("starting the thread that writes the audit log")?;
        Ok(queue)
    }

    fn new(metrics: Metrics) -> (Queue, Receiver<Message>) {
        let (sender, receiver) = sync_channel(MAX_ENTRIES);
        let queue = Queue {
            sender,
            bytes: Arc::default(),
            losses: Losses::new(Loss::Buffered, metrics),
        };
        (queue, receiver)
    }

    /// Takes an entry on, or drops it where there is no room. Never waits.
    pub fn offer(&self, entry: Entry) {
        let bytes = entry.bytes();
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_BYTES {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return self
                .losses
                .count(1, &"the audit log's queue holds too many bytes");
        }
        if let Err(error) = self.sender.try_send(Message::Entry(Box::new(entry))) {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            let why = match error {
                TrySendError::Full(_) => "the audit log's queue is full",
                TrySendError::Disconnected(_) => "the audit log's writer has ended",
            };
            self.losses.count(1, &why);
        }
    }

    pub async fn flush(&self) {
        let flushed = async {
            let (done, when_done) = oneshot::channel();
            let mut message = Message::Flush(done);
            while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
                message = back;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            when_done.await
        };
        if tokio::time::timeout(FLUSH_LIMIT, flushed).await.is_err() {
            tracing::warn!("the audit log could not be written to its end in time");
        }
    }
}

/// Renders and writes.
struct Writer {
    output: Output,
    lines: Vec<u8>,
    /// How many lines those are.
    count: u64,
    bytes: Arc<AtomicUsize>,
    losses: Losses,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            self.take(message);
            while let Ok(message) = receiver.try_recv() {
                self.take(message);
            }
            self.write();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Entry(entry) => {
                let bytes = entry.bytes();
                entry.render(&mut self.lines);
                self.count += 1;
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                if self.lines.len() >= BATCH_BYTES {
                    self.write();
                }
            }
            Message::Flush(done) => {
                self.write();
                // Whoever waited may have lost patience.
                let _ = done.send(());
            }
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a file is named after the moment that it is put aside"
    )]
    fn write(&mut self) {
        if self.count == 0 {
            return;
        }
        if let Err(error) = self.output.append(&self.lines, SystemTime::now()) {
            self.losses.count(self.count, &error);
        }
        self.lines.clear();
        // A large object's room is not kept for all time.
        self.lines.shrink_to(BATCH_BYTES);
        self.count = 0;
    }
}

/// Counts events that are lost, and tells of them now and then.
#[derive(Debug)]
struct Losses {
    loss: Loss,
    metrics: Metrics,
    untold: AtomicU64,
    began: Instant,
    /// Milliseconds from the beginning to when it may be told again.
    next_told: AtomicU64,
}

impl Losses {
    fn new(loss: Loss, metrics: Metrics) -> Losses {
        Losses {
            loss,
            metrics,
            untold: AtomicU64::new(0),
            began: Instant::now(),
            next_told: AtomicU64::new(0),
        }
    }

    fn count(&self, events: u64, why: &dyn std::fmt::Display) {
        self.metrics.lost(self.loss, events);
        self.untold.fetch_add(events, Ordering::Relaxed);
        let now = self.began.elapsed().as_millis() as u64;
        let due = self.next_told.load(Ordering::Relaxed);
        let next = now + TELL_INTERVAL.as_millis() as u64;
        let mine = now >= due
            && self
                .next_told
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            let events = self.untold.swap(0, Ordering::Relaxed);
            tracing::error!(count = events, error = %why, "audit events were lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_telemetry::metrics::Registry;

    use super::super::event::tests::entry;
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_at_once() {
        let metrics = Metrics::new(&Registry::new());
        // Nobody empties it: as with a disk that hangs.
        let (queue, receiver) = Queue::new(metrics.clone());
        for _ in 0..MAX_ENTRIES + 7 {
            queue.offer(entry(0));
        }
        assert_eq!(metrics.losses(Loss::Buffered), 7);
        assert_eq!(receiver.try_iter().count(), MAX_ENTRIES);
    }

    #[test]
    fn large_objects_fill_the_queue_before_their_number_does() {
        let metrics = Metrics::new(&Registry::new());
        let (queue, receiver) = Queue::new(metrics.clone());
        for _ in 0..100 {
            queue.offer(entry(3 << 20));
        }
        let taken = receiver.try_iter().count();
        assert!((15..=21).contains(&taken), "{taken}");
        assert_eq!(metrics.losses(Loss::Buffered), 100 - taken as u64);
        assert!(queue.bytes.load(Ordering::Relaxed) <= MAX_BYTES);
    }

    #[test]
    fn a_log_that_cannot_be_written_loses_its_events_and_counts_them() {
        let metrics = Metrics::new(&Registry::new());
        let full = super::super::log_file::RotatingFile::open("/dev/full".into(), 1 << 20, 1).unwrap();
        let queue = Queue::start(Output::File(full), metrics.clone()).unwrap();
        for _ in 0..3 {
            queue.offer(entry(0));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(queue.flush());
        assert_eq!(metrics.losses(Loss::Log), 3);
        assert_eq!(queue.bytes.load(Ordering::Relaxed), 0);
    }
}
