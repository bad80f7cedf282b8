//! Metrics of the work queues, with the names that Kubernetes' controllers use.

use gantry_telemetry::metrics::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

type Labels = Vec<(&'static str, &'static str)>;

/// Seconds; from a decision without writes to one that waits for a slow store.
const BUCKETS: [f64; 8] = [0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];

#[derive(Clone)]
pub struct Metrics {
    depth: Family<Labels, Gauge>,
    adds: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    work_duration: Family<Labels, Histogram, fn() -> Histogram>,
    leading: Family<Labels, Gauge>,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Metrics {
        let metrics = Metrics {
            depth: Family::default(),
            adds: Family::default(),
            retries: Family::default(),
            work_duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            leading: Family::default(),
        };
        registry.register(
            "leader_election_master_status",
            "1 while this process holds the Lease, 0 while another does",
            metrics.leading.clone(),
        );
        registry.register(
            "workqueue_depth",
            "Current depth of workqueue",
            metrics.depth.clone(),
        );
        registry.register(
            "workqueue_adds",
            "Number of adds handled by workqueue",
            metrics.adds.clone(),
        );
        registry.register(
            "workqueue_retries",
            "Number of retries handled by workqueue",
            metrics.retries.clone(),
        );
        let help = "How long processing an item from workqueue takes in seconds";
        registry.register(
            "workqueue_work_duration_seconds",
            help,
            metrics.work_duration.clone(),
        );
        metrics
    }

    pub fn set_leading(&self, lease: &'static str, leading: bool) {
        let labels = vec![("name", lease)];
        self.leading.get_or_create_owned(&labels).set(i64::from(leading));
    }

    pub fn queue(&self, name: &'static str) -> QueueMetrics {
        let labels = vec![("name", name)];
        QueueMetrics {
            depth: self.depth.get_or_create_owned(&labels),
            adds: self.adds.get_or_create_owned(&labels),
            retries: self.retries.get_or_create_owned(&labels),
            work_duration: self.work_duration.get_or_create_owned(&labels),
        }
    }
}

/// Those of one queue.
#[derive(Clone)]
pub struct QueueMetrics {
    depth: Gauge,
    adds: Counter,
    retries: Counter,
    work_duration: Histogram,
}

impl QueueMetrics {
    pub fn depth(&self, length: usize) {
        self.depth.set(i64::try_from(length).unwrap_or(i64::MAX));
    }

    pub fn added(&self) {
        self.adds.inc();
    }

    pub fn retried(&self) {
        self.retries.inc();
    }

    pub fn worked(&self, duration: Duration) {
        self.work_duration.observe(duration.as_secs_f64());
    }
}
