//! What the server counts and times. Names and labels are kube-apiserver's.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use gantry_proto::KindInfo;
use gantry_proto::kinds::KINDS;
use gantry_telemetry::exemplar::TracedHistogram;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::trace;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::request::Verb;

mod pending;
mod in_flight;
mod caches;
mod authorizations;

pub use authorizations::{Authorizations, AuthorizationsCollector};
pub use caches::CachesCollector;
use in_flight::{InFlight, InFlightCollector, Place};
pub use pending::Pending;

/// Seconds. From 5 ms on they are Kubernetes', on which rules of others rely (`le="1"`, `le="5"`, `le="30"`); those
/// below tell a cached read from a write.
const BUCKETS: [f64; 26] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0,
    6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

/// Seconds; Kubernetes' for what clients were promised.
const SLI_BUCKETS: [f64; 21] = [
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// Kubernetes tells its own server from those of extensions by this.
const COMPONENT: &str = "apiserver";

/// What a request is about, as labels. Every value is one of a fixed set: what a client makes up must not fill memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    verb: &'static str,
    dry_run: &'static str,
    #[prometheus(flatten)]
    target: Target,
    component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Target {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    #[prometheus(flatten)]
    request: Request,
    code: i32,
}

/// A request's labels where Kubernetes has none for a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kept {
    verb: &'static str,
    #[prometheus(flatten)]
    target: Target,
    component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Terminated {
    #[prometheus(flatten)]
    request: Kept,
    code: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreCall {
    operation: &'static str,
    group: &'static str,
    resource: &'static str,
}

impl Request {
    /// `kind` is `None` for a resource that is not ours; `name` and `namespace` only say whether there is one.
    pub fn new(
        verb: Verb,
        kind: Option<&'static KindInfo>,
        subresource: &str,
        namespace: &str,
        name: &str,
    ) -> Request {
        let namespace = if kind.is_none_or(|info| info.namespaced) {
            namespace
        } else {
            ""
        };
        let target = Target {
            group: kind.map_or("", |info| info.group),
            version: kind.map_or("", |info| info.version),
            resource: kind.map_or("unknown", |info| info.resource),
            subresource: known_subresource(kind, subresource),
            scope: scope(verb, namespace, name),
        };
        Request {
            verb: reported(verb),
            dry_run: "",
            target,
            component: COMPONENT,
        }
    }

    /// `resource` as the client wrote it, and its group with it.
    pub fn of(verb: Verb, resource: &str, subresource: &str, namespace: &str, name: &str) -> Request {
        Request::new(
            verb,
            KindInfo::of_resource(resource),
            subresource,
            namespace,
            name,
        )
    }

    /// A gRPC method that is about no object, by its path: as Kubernetes counts a page.
    pub fn of_method(path: &'static str) -> Request {
        let target = Target {
            group: "",
            version: "",
            resource: "",
            subresource: path,
            scope: "",
        };
        Request {
            verb: "POST",
            dry_run: "",
            target,
            component: COMPONENT,
        }
    }

    /// Marks a request that changes nothing.
    pub fn dry(mut self, is_dry: bool) -> Request {
        self.dry_run = if is_dry { "All" } else { "" };
        self
    }

    fn kept(&self) -> Kept {
        Kept {
            verb: self.verb,
            target: self.target.clone(),
            component: self.component,
        }
    }

    fn is_read(&self) -> bool {
        matches!(self.verb, "GET" | "LIST" | "WATCH")
    }

    /// Whether it takes as long as its client likes, which says nothing of the server.
    fn lasts(&self) -> bool {
        self.verb == "WATCH" || matches!(self.target.subresource, "log" | "proxy")
    }
}

/// What is asked of the server about an object beyond the subresources that its kind has.
const OTHER_SUBRESOURCES: [&str; 3] = ["proxy", "trace", "why"];

fn known_subresource(kind: Option<&KindInfo>, subresource: &str) -> &'static str {
    if subresource.is_empty() {
        return "";
    }
    let own = kind.into_iter().flat_map(|info| info.subresources);
    let mut known = own.map(|one| one.name()).chain(OTHER_SUBRESOURCES);
    known.find(|one| *one == subresource).unwrap_or("unknown")
}

/// As in Kubernetes: HTTP's methods, with LIST and WATCH told apart from GET.
fn reported(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}

/// Kubernetes' CleanScope (k8s.io/apiserver/pkg/endpoints/metrics).
fn scope(verb: Verb, namespace: &str, name: &str) -> &'static str {
    match verb {
        // An update may leave the name to its object.
        Verb::Create | Verb::Update => "resource",
        _ if !name.is_empty() => "resource",
        _ if !namespace.is_empty() => "namespace",
        _ => "cluster",
    }
}

/// The server's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Outcome, Counter>,
    request_seconds: Family<Request, TracedHistogram, fn() -> TracedHistogram>,
    sli_seconds: Family<Kept, Histogram, fn() -> Histogram>,
    response_bytes: Family<Kept, Histogram, fn() -> Histogram>,
    terminations: Family<Terminated, Counter>,
    reads: Arc<InFlight>,
    writes: Arc<InFlight>,
    long_running: Family<Kept, Gauge<i64, AtomicI64>>,
    watch_events: Family<Watched, Counter>,
    store_seconds: Family<StoreCall, Histogram, fn() -> Histogram>,
    store_calls: Family<StoreCall, Counter>,
    store_errors: Family<StoreCall, Counter>,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Metrics {
        let metrics = Metrics {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| TracedHistogram::new(BUCKETS)),
            sli_seconds: Family::new_with_constructor(|| Histogram::new(SLI_BUCKETS)),
            // 1 KB to 1 GB, as in Kubernetes.
            response_bytes: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(1e3, 10.0, 7))
            }),
            terminations: Family::default(),
            reads: Arc::default(),
            writes: Arc::default(),
            long_running: Family::default(),
            watch_events: Family::default(),
            store_seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            store_calls: Family::default(),
            store_errors: Family::default(),
        };
        registry.register(
            "apiserver_request",
            "Requests by verb, dry run, group, version, resource, scope, component and HTTP code",
            metrics.requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "How long requests took, but for those that last: watches, logs and uploads",
            metrics.request_seconds.clone(),
        );
        registry.register(
            "apiserver_request_sli_duration_seconds",
            "How long requests took, but for those that last, without the wait for a place",
            metrics.sli_seconds.clone(),
        );
        registry.register(
            "apiserver_response_sizes",
            "How large the answers of GET and LIST were, in bytes",
            metrics.response_bytes.clone(),
        );
        registry.register(
            "apiserver_request_terminations",
            "Requests that the server ended to protect itself",
            metrics.terminations.clone(),
        );
        registry.register_collector(InFlightCollector {
            reads: metrics.reads.clone(),
            writes: metrics.writes.clone(),
        });
        registry.register(
            "apiserver_longrunning_requests",
            "Watches that are open",
            metrics.long_running.clone(),
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
        registry.register("etcd_requests", "Calls to the store", metrics.store_calls.clone());
        registry.register(
            "etcd_request_errors",
            "Calls to the store that failed",
            metrics.store_errors.clone(),
        );
        metrics
    }

    /// Counts a request among those that are being carried out, until the answer is dropped.
    pub fn begin(&self, request: &Request) -> Place {
        let kind = if request.is_read() {
            &self.reads
        } else {
            &self.writes
        };
        kind.enter(now())
    }

    /// Begins to time a request that is counted when it is answered.
    pub fn pending<'a>(&'a self, request: &'a Request) -> Pending<'a> {
        Pending::new(self, request)
    }

    /// Counts an answered request that the current span belongs to, with how long it took, and how much of that it
    /// waited for a seat.
    fn answered(&self, request: &Request, code: i32, (took, waited): (Duration, Duration)) {
        let outcome = Outcome {
            request: request.clone(),
            code,
        };
        self.requests.get_or_create(&outcome).inc();
        if !request.lasts() {
            self.request_seconds
                .get_or_create(request)
                .observe(took.as_secs_f64(), trace::current_cause().as_ref());
            self.sli_seconds
                .get_or_create(&request.kept())
                .observe(took.saturating_sub(waited).as_secs_f64());
        }
    }

    /// Counts a request that found no place.
    pub fn terminated(&self, request: &Request, code: i32) {
        let request = request.kept();
        self.terminations
            .get_or_create(&Terminated { request, code })
            .inc();
    }

    /// Counts the size of an answer to a read.
    pub fn answer_size(&self, request: &Request, bytes: usize) {
        self.response_bytes
            .get_or_create(&request.kept())
            .observe(bytes as f64);
    }

    /// Counts a call to the store about `key`, or a prefix of keys.
    pub fn store_call(&self, operation: &'static str, key: &str, took: Duration, succeeded: bool) {
        let info = kind_of(key);
        let call = StoreCall {
            operation,
            group: info.map_or("", |info| info.group),
            resource: info.map_or("", |info| info.resource),
        };
        self.store_seconds
            .get_or_create(&call)
            .observe(took.as_secs_f64());
        self.store_calls.get_or_create(&call).inc();
        if !succeeded {
            self.store_errors.get_or_create(&call).inc();
        }
    }

    pub fn watch_opened(&self, info: &'static KindInfo, namespace: &str) -> OpenWatch {
        let request = Request::new(Verb::Watch, Some(info), "", namespace, "").kept();
        let open = self.long_running.get_or_create_owned(&request);
        open.inc();
        let watched = Watched {
            group: info.group,
            version: info.version,
            resource: info.resource,
        };
        OpenWatch {
            open,
            events: self.watch_events.get_or_create_owned(&watched),
        }
    }
}

fn kind_of(key: &str) -> Option<&'static KindInfo> {
    let mut stored = KINDS.iter().filter(|info| info.stored);
    stored.find(|info| key.starts_with(info.storage_prefix)).copied()
}

#[allow(clippy::disallowed_methods, reason = "requests are carried out now")]
fn now() -> Instant {
    Instant::now()
}

/// Counts a watch until it is dropped.
#[derive(Debug)]
pub struct OpenWatch {
    open: Gauge<i64, AtomicI64>,
    events: Counter,
}

impl OpenWatch {
    pub fn sent(&self, events: usize) {
        self.events.inc_by(events as u64);
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_kubernetes_labels_and_nothing_that_a_client_made_up() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let took = (Duration::from_millis(3), Duration::from_millis(1));
        let bind = Request::of(Verb::Create, "pods", "binding", "default", "web");
        metrics.answered(&bind, 201, took);
        let apply = Request::of(Verb::Patch, "deployments.apps", "", "default", "web").dry(true);
        metrics.answered(&apply, 200, took);
        metrics.answer_size(&Request::of(Verb::List, "nodes", "", "", ""), 5_000);
        metrics.terminated(&Request::of(Verb::Get, "made-up", "more", "x", "y"), 429);
        metrics.answered(
            &Request::of(Verb::Get, "pods", "log", "default", "web"),
            200,
            took,
        );
        metrics.answered(
            &Request::of(Verb::Create, "nodes", "proxy", "default", "n1"),
            201,
            took,
        );
        metrics.answered(&Request::of_method("/gantry.api.v1.Traces/Report"), 200, took);
        metrics.store_call("create", "/registry/pods/default/web", Duration::ZERO, false);
        let watch = metrics.watch_opened(KindInfo::of_resource("pods").unwrap(), "");
        watch.sent(2);
        let in_flight = metrics.begin(&bind);
        let text = gantry_telemetry::metrics::encode(&registry);
        drop(in_flight);
        for line in [
            "apiserver_request_total{verb=\"POST\",dry_run=\"\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"binding\",scope=\"resource\",component=\"apiserver\",code=\"201\"} 1",
            "apiserver_request_duration_seconds_count{verb=\"PATCH\",dry_run=\"All\",group=\"apps\",version=\"v1\",resource=\"deployments\",subresource=\"\",scope=\"resource\",component=\"apiserver\"} 1",
            "apiserver_request_sli_duration_seconds_sum{verb=\"POST\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"binding\",scope=\"resource\",component=\"apiserver\"} 0.002",
            "apiserver_response_sizes_sum{verb=\"LIST\",group=\"\",version=\"v1\",resource=\"nodes\",subresource=\"\",scope=\"cluster\",component=\"apiserver\"} 5000.0",
            "apiserver_request_terminations_total{verb=\"GET\",group=\"\",version=\"\",resource=\"unknown\",subresource=\"unknown\",scope=\"resource\",component=\"apiserver\",code=\"429\"} 1",
            "apiserver_request_total{verb=\"GET\",dry_run=\"\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"log\",scope=\"resource\",component=\"apiserver\",code=\"200\"} 1",
            "apiserver_request_total{verb=\"POST\",dry_run=\"\",group=\"\",version=\"v1\",resource=\"nodes\",subresource=\"proxy\",scope=\"resource\",component=\"apiserver\",code=\"201\"} 1",
            "apiserver_request_total{verb=\"POST\",dry_run=\"\",group=\"\",version=\"\",resource=\"\",subresource=\"/gantry.api.v1.Traces/Report\",scope=\"\",component=\"apiserver\",code=\"200\"} 1",
            "apiserver_current_inflight_requests{request_kind=\"mutating\"} 1",
            "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0",
            "apiserver_longrunning_requests{verb=\"WATCH\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",scope=\"cluster\",component=\"apiserver\"} 1",
            "apiserver_watch_events_total{group=\"\",version=\"v1\",resource=\"pods\"} 2",
            "etcd_request_duration_seconds_count{operation=\"create\",group=\"\",resource=\"pods\"} 1",
            "etcd_requests_total{operation=\"create\",group=\"\",resource=\"pods\"} 1",
            "etcd_request_errors_total{operation=\"create\",group=\"\",resource=\"pods\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        let uploads = "apiserver_request_duration_seconds_count{verb=\"POST\",dry_run=\"\",group=\"\",version=\"v1\",resource=\"nodes\"";
        assert!(
            !text.contains(uploads),
            "an upload's length says nothing of the server: {text}"
        );
    }
}
