//! kube-scheduler's metric names, so that its dashboards work.

use gantry_telemetry::exemplar::TracedHistogram;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::trace::Cause;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::exponential_buckets;
use std::time::Instant;

#[derive(Clone)]
pub struct Metrics {
    attempts: Family<ResultLabel, Counter>,
    durations: Family<ResultLabel, TracedHistogram>,
    pending: Family<QueueLabel, Gauge>,
    leading: Family<LeaseLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabel {
    name: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: &'static str,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Metrics {
        let metrics = Metrics {
            attempts: Family::default(),
            // 10 us to 10 s.
            durations: Family::new_with_constructor(|| {
                TracedHistogram::new(exponential_buckets(0.000_01, 2.0, 21))
            }),
            pending: Family::default(),
            leading: Family::default(),
        };
        registry.register(
            "leader_election_master_status",
            "1 while this process holds the Lease, 0 while another does",
            metrics.leading.clone(),
        );
        registry.register(
            "scheduler_schedule_attempts",
            "Attempts to schedule pods, by result",
            metrics.attempts.clone(),
        );
        registry.register(
            "scheduler_scheduling_attempt_duration_seconds",
            "Time that a decision takes",
            metrics.durations.clone(),
        );
        registry.register(
            "scheduler_pending_pods",
            "Pods that wait, by queue",
            metrics.pending.clone(),
        );
        metrics
    }

    pub fn set_leading(&self, lease: &'static str, leading: bool) {
        let label = LeaseLabel { name: lease };
        self.leading.get_or_create_owned(&label).set(i64::from(leading));
    }

    /// Starts the clock of one decision.
    pub fn attempt(&self) -> Attempt {
        Attempt {
            metrics: self.clone(),
            start: Instant::now(),
        }
    }

    pub fn set_depths(&self, (active, backoff, unschedulable): (usize, usize, usize)) {
        for (queue, depth) in [
            ("active", active),
            ("backoff", backoff),
            ("unschedulable", unschedulable),
        ] {
            self.pending
                .get_or_create(&QueueLabel { queue })
                .set(i64::try_from(depth).unwrap_or(i64::MAX));
        }
    }
}

pub struct Attempt {
    metrics: Metrics,
    start: Instant,
}

impl Attempt {
    /// `cause` is the decision's span, where it is sampled.
    pub fn observe(self, result: &'static str, cause: Option<&Cause>) {
        let label = ResultLabel { result };
        self.metrics.attempts.get_or_create(&label).inc();
        self.metrics
            .durations
            .get_or_create(&label)
            .observe(self.start.elapsed().as_secs_f64(), cause);
    }
}
