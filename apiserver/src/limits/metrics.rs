//! What is counted of the limits. Names and labels are those of Kubernetes' priority and fairness.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use gantry_telemetry::metrics::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::lane::{Flow, Lane};

/// Seconds, as in Kubernetes.
const WAIT_BUCKETS: [f64; 13] = [
    0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    priority_level: &'static str,
    flow_schema: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rejected {
    priority_level: &'static str,
    flow_schema: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Waited {
    priority_level: &'static str,
    flow_schema: &'static str,
    execute: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Level {
    priority_level: &'static str,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    QueueFull,
    TimeOut,
    /// The user has too many calls open that last. Ours: Kubernetes does not count them.
    LastingCalls,
}

impl Refusal {
    fn name(self) -> &'static str {
        match self {
            Refusal::QueueFull => "queue-full",
            Refusal::TimeOut => "time-out",
            Refusal::LastingCalls => "long-running-limit",
        }
    }
}

/// Clones share the numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    rejected: Family<Rejected, Counter>,
    dispatched: Family<Labels, Counter>,
    waiting: Family<Labels, Gauge<i64, AtomicI64>>,
    executing: Family<Labels, Gauge<i64, AtomicI64>>,
    waited: Family<Waited, Histogram, fn() -> Histogram>,
}

impl Metrics {
    pub fn new(registry: &Registry, seats: usize) -> Metrics {
        let metrics = Metrics {
            rejected: Family::default(),
            dispatched: Family::default(),
            waiting: Family::default(),
            executing: Family::default(),
            waited: Family::new_with_constructor(|| Histogram::new(WAIT_BUCKETS)),
        };
        registry.register(
            "apiserver_flowcontrol_rejected_requests",
            "Requests that were refused to protect the server",
            metrics.rejected.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_dispatched_requests",
            "Requests that got a seat",
            metrics.dispatched.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_current_inqueue_requests",
            "Requests that wait for a seat",
            metrics.waiting.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_current_executing_requests",
            "Requests that have a seat",
            metrics.executing.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_request_wait_duration_seconds",
            "How long requests waited for a seat",
            metrics.waited.clone(),
        );
        let nominal = Family::<Level, Gauge<i64, AtomicI64>>::default();
        for lane in Lane::ALL {
            let level = Level {
                priority_level: lane.name(),
            };
            let limit = i64::try_from(lane.nominal(seats)).unwrap_or(i64::MAX);
            nominal.get_or_create(&level).set(limit);
        }
        registry.register(
            "apiserver_flowcontrol_nominal_limit_seats",
            "Seats that are meant for each priority level",
            nominal,
        );
        metrics
    }

    pub fn refused(&self, flow: Flow, why: Refusal) {
        let labels = Rejected {
            priority_level: flow.lane.name(),
            flow_schema: flow.schema,
            reason: why.name(),
        };
        self.rejected.get_or_create(&labels).inc();
    }

    pub fn queued(&self, flow: Flow) {
        self.waiting.get_or_create(&labels(flow)).inc();
    }

    pub fn left_queue(&self, flow: Flow) {
        self.waiting.get_or_create(&labels(flow)).dec();
    }

    pub fn seated(&self, flow: Flow) {
        self.dispatched.get_or_create(&labels(flow)).inc();
        self.executing.get_or_create(&labels(flow)).inc();
    }

    pub fn left(&self, flow: Flow) {
        self.executing.get_or_create(&labels(flow)).dec();
    }

    pub fn waited(&self, flow: Flow, time: Duration, executed: bool) {
        let labels = Waited {
            priority_level: flow.lane.name(),
            flow_schema: flow.schema,
            execute: if executed { "true" } else { "false" },
        };
        self.waited.get_or_create(&labels).observe(time.as_secs_f64());
    }
}

fn labels(flow: Flow) -> Labels {
    Labels {
        priority_level: flow.lane.name(),
        flow_schema: flow.schema,
    }
}
