//! Metrics of the work queues and of the lead, with the names that Kubernetes' controllers use.

use gantry_telemetry::metrics::Registry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Labels = Vec<(&'static str, &'static str)>;

/// Seconds; from a decision without writes to one that waits for a slow store. Kubernetes' go in powers of ten from
/// 10 ns on, which tells less.
const BUCKETS: [f64; 10] = [0.000_01, 0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 10.0];

#[derive(Clone)]
pub struct Metrics {
    retries: Family<Labels, Counter>,
    wait_duration: Family<Labels, Histogram, fn() -> Histogram>,
    work_duration: Family<Labels, Histogram, fn() -> Histogram>,
    queues: Arc<Queues>,
    unfinished: Arc<Unfinished>,
    leading: Family<Labels, Gauge>,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Metrics {
        let metrics = Metrics {
            retries: Family::default(),
            wait_duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            work_duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            queues: Arc::default(),
            unfinished: Arc::default(),
            leading: Family::default(),
        };
        registry.register(
            "leader_election_master_status",
            "1 while this process holds the Lease, 0 while another does",
            metrics.leading.clone(),
        );
        registry.register(
            "workqueue_retries",
            "Number of retries handled by workqueue",
            metrics.retries.clone(),
        );
        registry.register(
            "workqueue_queue_duration_seconds",
            "How long an item stays in workqueue before it is taken, in seconds",
            metrics.wait_duration.clone(),
        );
        let help = "How long processing an item from workqueue takes in seconds";
        registry.register(
            "workqueue_work_duration_seconds",
            help,
            metrics.work_duration.clone(),
        );
        registry.register_collector(QueueCollector(metrics.queues.clone()));
        registry.register_collector(UnfinishedCollector(metrics.unfinished.clone()));
        metrics
    }

    pub fn set_leading(&self, lease: &'static str, leading: bool) {
        let labels = vec![("name", lease)];
        self.leading.get_or_create_owned(&labels).set(i64::from(leading));
    }

    pub fn queue(&self, name: &'static str) -> QueueMetrics {
        let labels = vec![("name", name)];
        self.unfinished.lock().entry(name).or_default();
        QueueMetrics {
            name,
            queues: self.queues.clone(),
            retries: self.retries.get_or_create_owned(&labels),
            wait_duration: self.wait_duration.get_or_create_owned(&labels),
            work_duration: self.work_duration.get_or_create_owned(&labels),
            unfinished: self.unfinished.clone(),
        }
    }
}

/// Those of one queue.
#[derive(Clone)]
pub struct QueueMetrics {
    name: &'static str,
    queues: Arc<Queues>,
    retries: Counter,
    wait_duration: Histogram,
    work_duration: Histogram,
    unfinished: Arc<Unfinished>,
}

impl QueueMetrics {
    /// From now on the queue is the one that `read` tells of: how many keys wait, and how many came in. It is asked when
    /// somebody looks, so that no two changes are told in the wrong order.
    pub fn follow(&self, read: impl Fn() -> (usize, u64) + Send + Sync + 'static) {
        let mut queues = self.queues.lock();
        let before = queues.get(self.name).map_or(0, Queue::adds);
        let read = Box::new(read);
        queues.insert(self.name, Queue { read, before });
    }

    pub fn retried(&self) {
        self.retries.inc();
    }

    pub fn waited(&self, duration: Duration) {
        self.wait_duration.observe(duration.as_secs_f64());
    }

    /// Counts the work on an item until it is dropped.
    pub fn work(&self, now: Instant) -> Work {
        let mut all = self.unfinished.lock();
        let begun = all.entry(self.name).or_default();
        *begun.entry(now).or_default() += 1;
        Work {
            metrics: self.clone(),
            begun: now,
        }
    }
}

/// An item that is being worked on.
pub struct Work {
    metrics: QueueMetrics,
    begun: Instant,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.metrics
            .work_duration
            .observe(self.begun.elapsed().as_secs_f64());
        let mut all = self.metrics.unfinished.lock();
        let Some(begun) = all.get_mut(self.metrics.name) else {
            return;
        };
        if let Some(items) = begun.get_mut(&self.begun) {
            *items -= 1;
            if *items == 0 {
                begun.remove(&self.begun);
            }
        }
    }
}

/// The queues of this term, or of the last one while another process leads.
#[derive(Default)]
struct Queues(Mutex<BTreeMap<&'static str, Queue>>);

struct Queue {
    read: Box<dyn Fn() -> (usize, u64) + Send + Sync>,
    /// Keys that came into the queues of earlier terms.
    before: u64,
}

impl Queue {
    fn adds(&self) -> u64 {
        self.before + (self.read)().1
    }
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Queue>> {
        // No code that holds the lock can panic half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct QueueCollector(Arc<Queues>);

impl fmt::Debug for QueueCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("QueueCollector")
    }
}

impl Collector for QueueCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let queues = self.0.lock();
        let help = "Current depth of workqueue";
        let mut family = encoder.encode_descriptor("workqueue_depth", help, None, MetricType::Gauge)?;
        for (name, queue) in queues.iter() {
            let depth = i64::try_from((queue.read)().0).unwrap_or(i64::MAX);
            ConstGauge::new(depth).encode(family.encode_family(&[("name", *name)])?)?;
        }
        let help = "Number of adds handled by workqueue";
        let mut family = encoder.encode_descriptor("workqueue_adds", help, None, MetricType::Counter)?;
        for (name, queue) in queues.iter() {
            ConstCounter::new(queue.adds()).encode(family.encode_family(&[("name", *name)])?)?;
        }
        Ok(())
    }
}

/// When the work on items of each queue was begun, and on how many at that moment. Bounded by the number of workers.
#[derive(Default)]
struct Unfinished(Mutex<BTreeMap<&'static str, BTreeMap<Instant, u32>>>);

impl Unfinished {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, BTreeMap<Instant, u32>>> {
        // No code that holds the lock can panic half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct UnfinishedCollector(Arc<Unfinished>);

impl fmt::Debug for UnfinishedCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UnfinishedCollector")
    }
}

impl Collector for UnfinishedCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let all = self.0.lock();
        let mut gauge = |name, help, seconds: fn(&BTreeMap<Instant, u32>) -> f64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (queue, begun) in all.iter() {
                let labels = [("name", *queue)];
                ConstGauge::new(seconds(begun)).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        gauge(
            "workqueue_unfinished_work_seconds",
            "How many seconds of work is in progress and not observed by work_duration yet",
            |begun| {
                let seconds = begun
                    .iter()
                    .map(|(begun, items)| begun.elapsed().as_secs_f64() * f64::from(*items));
                // The sum of no floats is -0.0.
                seconds.fold(0.0, |sum, seconds| sum + seconds)
            },
        )?;
        gauge(
            "workqueue_longest_running_processor_seconds",
            "How many seconds the longest running work has been in progress",
            |begun| {
                begun
                    .keys()
                    .next()
                    .map_or(0.0, |first| first.elapsed().as_secs_f64())
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_labels_are_those_of_kubernetes_queues() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        metrics.set_leading("gantry-controller-manager", false);
        let queue = metrics.queue("deployment");
        queue.follow(|| (2, 3));
        // Of a later term.
        queue.follow(|| (1, 1));
        queue.waited(Duration::from_millis(2));
        let begun = crate::clock::monotonic();
        let (one, other) = (queue.work(begun), queue.work(begun));
        drop(one);
        let text = gantry_telemetry::metrics::encode(&registry);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<f64>().ok())
                .unwrap_or_else(|| panic!("{name} is not in {text}"))
        };
        assert_eq!(value("workqueue_adds_total{name=\"deployment\"}"), 4.0);
        assert_eq!(value("workqueue_depth{name=\"deployment\"}"), 1.0);
        assert_eq!(value("workqueue_retries_total{name=\"deployment\"}"), 0.0);
        assert_eq!(
            value("workqueue_queue_duration_seconds_count{name=\"deployment\"}"),
            1.0
        );
        assert_eq!(
            value("workqueue_work_duration_seconds_count{name=\"deployment\"}"),
            1.0
        );
        assert!(value("workqueue_unfinished_work_seconds{name=\"deployment\"}") > 0.0);
        assert!(value("workqueue_longest_running_processor_seconds{name=\"deployment\"}") > 0.0);
        assert_eq!(
            value("leader_election_master_status{name=\"gantry-controller-manager\"}"),
            0.0
        );
        drop(other);
        let text = gantry_telemetry::metrics::encode(&registry);
        let idle = "workqueue_unfinished_work_seconds{name=\"deployment\"} 0.0";
        assert!(text.contains(idle), "{text}");
    }
}
