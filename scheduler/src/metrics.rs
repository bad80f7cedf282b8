//! kube-scheduler's metrics, under its names, so that its dashboards work.

use crate::preemption;
use gantry_telemetry::exemplar::TracedHistogram;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::trace::Cause;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// From how many attempts on they are not told apart, as in Kubernetes: each number is a series.
const MANY_ATTEMPTS: u32 = 15;

#[derive(Clone)]
pub struct Metrics {
    attempts: Family<ResultLabel, Counter>,
    durations: Family<ResultLabel, TracedHistogram>,
    algorithm: Histogram,
    pod_durations: Family<AttemptsLabel, Histogram>,
    pod_attempts: Histogram,
    preemption_attempts: Counter,
    preemption_victims: Histogram,
    pending: Family<QueueLabel, Gauge>,
    incoming: Family<IncomingLabel, Counter>,
    cache: Family<CacheLabel, Gauge>,
    leading: Family<LeaseLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabel {
    name: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
    profile: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptsLabel {
    attempts: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IncomingLabel {
    queue: &'static str,
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabel {
    r#type: &'static str,
}

/// How many pods wait where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

/// A part of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Active,
    Backoff,
    Unschedulable,
}

impl Part {
    fn label(self) -> &'static str {
        match self {
            Part::Active => "active",
            Part::Backoff => "backoff",
            Part::Unschedulable => "unschedulable",
        }
    }
}

/// How many pods came into which part of the queue, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming(BTreeMap<(Part, &'static str), u64>);

impl Incoming {
    pub fn count(&mut self, part: Part, event: &'static str) {
        *self.0.entry((part, event)).or_default() += 1;
    }

    #[cfg(test)]
    pub fn of(&self, part: Part, event: &'static str) -> u64 {
        self.0.get(&(part, event)).copied().unwrap_or(0)
    }
}

/// How much the model holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub nodes: usize,
    pub pods: usize,
    pub assumed_pods: usize,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Metrics {
        let metrics = Metrics {
            attempts: Family::default(),
            // 10 us to 10 s. Kubernetes' begin at 1 ms, below which most decisions here would fall.
            durations: Family::new_with_constructor(|| {
                TracedHistogram::new(exponential_buckets(0.000_01, 2.0, 21))
            }),
            algorithm: Histogram::new(exponential_buckets(0.000_01, 2.0, 21)),
            // 10 ms to 88 minutes, as in Kubernetes.
            pod_durations: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 20))
            }),
            pod_attempts: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            preemption_attempts: Counter::default(),
            // 1 to 64, as in Kubernetes.
            preemption_victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
            pending: Family::default(),
            incoming: Family::default(),
            cache: Family::default(),
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
            "Time from the begin of a decision to the end of its binding, or to the decision that there is no node",
            metrics.durations.clone(),
        );
        registry.register(
            "scheduler_scheduling_algorithm_duration_seconds",
            "Time that a decision takes",
            metrics.algorithm.clone(),
        );
        registry.register(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "Time from a pod's first place in the queue to its binding, by the number of attempts",
            metrics.pod_durations.clone(),
        );
        registry.register(
            "scheduler_pod_scheduling_attempts",
            "Attempts that it took to schedule a pod",
            metrics.pod_attempts.clone(),
        );
        registry.register(
            "scheduler_preemption_attempts",
            "Attempts to make room for a pod that fits nowhere",
            metrics.preemption_attempts.clone(),
        );
        registry.register(
            "scheduler_preemption_victims",
            "Pods that had to go at once",
            metrics.preemption_victims.clone(),
        );
        registry.register(
            "scheduler_pending_pods",
            "Pods that wait, by queue",
            metrics.pending.clone(),
        );
        registry.register(
            "scheduler_queue_incoming_pods",
            "Pods that came into a queue, by queue and event",
            metrics.incoming.clone(),
        );
        registry.register(
            "scheduler_cache_size",
            "Nodes, pods and assumed pods that the scheduler knows",
            metrics.cache.clone(),
        );
        metrics
    }

    pub fn set_leading(&self, lease: &'static str, leading: bool) {
        let label = LeaseLabel { name: lease };
        self.leading.get_or_create_owned(&label).set(i64::from(leading));
    }

    /// A pod fits nowhere, and preemption was asked for, or its profile has none.
    pub fn looked_for_room(&self, outcome: Option<&preemption::Outcome>) {
        let Some(outcome) = outcome else {
            return;
        };
        self.preemption_attempts.inc();
        if let preemption::Outcome::Evict { victims, .. } = outcome {
            self.preemption_victims.observe(victims.pods.len() as f64);
        }
    }

    /// Starts the clock of one attempt for a pod of a profile.
    pub fn attempt(&self, profile: &str) -> Attempt {
        Attempt {
            metrics: self.clone(),
            profile: profile.into(),
            start: Instant::now(),
        }
    }

    /// A pod has its node, after so many attempts since it was first in the queue.
    pub fn scheduled(&self, attempts: u32, since: Instant) {
        let label = match attempts {
            MANY_ATTEMPTS.. => format!("{MANY_ATTEMPTS}+"),
            few => few.to_string(),
        };
        self.pod_attempts.observe(f64::from(attempts));
        self.pod_durations
            .get_or_create(&AttemptsLabel { attempts: label })
            .observe(since.elapsed().as_secs_f64());
    }

    pub fn set_depths(&self, depths: Depths) {
        for (queue, depth) in [
            ("active", depths.active),
            ("backoff", depths.backoff),
            ("unschedulable", depths.unschedulable),
            ("gated", depths.gated),
        ] {
            self.pending
                .get_or_create(&QueueLabel { queue })
                .set(gauge(depth));
        }
    }

    pub fn came(&self, incoming: Incoming) {
        for ((part, event), pods) in incoming.0 {
            let queue = part.label();
            self.incoming
                .get_or_create(&IncomingLabel { queue, event })
                .inc_by(pods);
        }
    }

    pub fn set_held(&self, held: Held) {
        for (r#type, number) in [
            ("nodes", held.nodes),
            ("pods", held.pods),
            ("assumed_pods", held.assumed_pods),
        ] {
            self.cache
                .get_or_create(&CacheLabel { r#type })
                .set(gauge(number));
        }
    }
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub struct Attempt {
    metrics: Metrics,
    profile: Arc<str>,
    start: Instant,
}

impl Attempt {
    /// The decision is made; its binding may be to come.
    pub fn decided(&self) {
        self.metrics.algorithm.observe(self.start.elapsed().as_secs_f64());
    }

    /// `cause` is the attempt's span, where it is sampled.
    pub fn ended(self, result: &'static str, cause: Option<&Cause>) {
        let profile = self.profile;
        let label = ResultLabel { result, profile };
        self.metrics.attempts.get_or_create(&label).inc();
        self.metrics
            .durations
            .get_or_create(&label)
            .observe(self.start.elapsed().as_secs_f64(), cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_labels_are_kube_schedulers() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        let attempt = metrics.attempt("default-scheduler");
        attempt.decided();
        attempt.ended("scheduled", None);
        metrics.scheduled(1, Instant::now());
        metrics.scheduled(99, Instant::now());
        metrics.set_depths(Depths {
            gated: 1,
            ..Depths::default()
        });
        let mut incoming = Incoming::default();
        for _ in 0..3 {
            incoming.count(Part::Active, "UnschedulablePodAdd");
        }
        metrics.came(incoming);
        metrics.set_held(Held {
            nodes: 2,
            ..Held::default()
        });
        metrics.set_leading("gantry-scheduler", false);
        let text = gantry_telemetry::metrics::encode(&registry);
        for line in [
            "scheduler_schedule_attempts_total{result=\"scheduled\",profile=\"default-scheduler\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_count{result=\"scheduled\",profile=\"default-scheduler\"} 1",
            "scheduler_scheduling_algorithm_duration_seconds_count 1",
            "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"1\"} 1",
            "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"15+\"} 1",
            "scheduler_pod_scheduling_attempts_count 2",
            "scheduler_pending_pods{queue=\"gated\"} 1",
            "scheduler_queue_incoming_pods_total{queue=\"active\",event=\"UnschedulablePodAdd\"} 3",
            "scheduler_cache_size{type=\"nodes\"} 2",
            "leader_election_master_status{name=\"gantry-scheduler\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
