//! What the server counts and times. Names and labels are kube-apiserver's.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use gantry_telemetry::exemplar::TracedHistogram;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::trace;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::request::Verb;

/// Seconds, from a cached read to a request that waited for the store.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    verb: &'static str,
    resource: &'static str,
    code: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

fn traced_histogram() -> TracedHistogram {
    TracedHistogram::new(BUCKETS)
}

/// The server's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Outcome, Counter>,
    request_seconds: Family<Request, TracedHistogram, fn() -> TracedHistogram>,
    watches: Family<Resource, Gauge<i64, AtomicI64>>,
    watch_events: Family<Resource, Counter>,
    store_seconds: Family<Operation, Histogram, fn() -> Histogram>,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Metrics {
        let metrics = Metrics {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(traced_histogram),
            watches: Family::default(),
            watch_events: Family::default(),
            store_seconds: Family::new_with_constructor(histogram),
        };
        registry.register(
            "apiserver_request",
            "Requests by verb, resource and HTTP code",
            metrics.requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "How long requests took, watches excepted",
            metrics.request_seconds.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Watches that are open",
            metrics.watches.clone(),
        );
        registry.register(
            "apiserver_watch_events",
            "Events sent by watches",
            metrics.watch_events.clone(),
        );
        registry.register(
            "etcd_request_duration_seconds",
            "How long calls to the store took",
            metrics.store_seconds.clone(),
        );
        metrics
    }

    /// Counts a request that the current span belongs to.
    pub fn request(&self, verb: Verb, resource: &'static str, code: i32, took: Option<Duration>) {
        let verb = verb.name();
        self.requests
            .get_or_create(&Outcome { verb, resource, code })
            .inc();
        if let Some(took) = took {
            self.request_seconds
                .get_or_create(&Request { verb, resource })
                .observe(took.as_secs_f64(), trace::current_cause().as_ref());
        }
    }

    pub fn store_call(&self, operation: &'static str, took: Duration) {
        self.store_seconds
            .get_or_create(&Operation { operation })
            .observe(took.as_secs_f64());
    }

    pub fn watch_opened(&self, resource: &'static str) -> OpenWatch {
        self.watches.get_or_create(&Resource { resource }).inc();
        OpenWatch {
            metrics: self.clone(),
            resource,
        }
    }
}

/// Counts a watch until it is dropped.
#[derive(Debug)]
pub struct OpenWatch {
    metrics: Metrics,
    resource: &'static str,
}

impl OpenWatch {
    pub fn sent(&self, events: usize) {
        let resource = self.resource;
        self.metrics
            .watch_events
            .get_or_create(&Resource { resource })
            .inc_by(events as u64);
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        let resource = self.resource;
        self.metrics.watches.get_or_create(&Resource { resource }).dec();
    }
}
