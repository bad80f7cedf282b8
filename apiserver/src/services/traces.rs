//! `gantry.api.v1.Traces`: one trace, put together from what every process remembers of it.
//!
//! Whom to ask is read from the cluster itself: every node's agent and proxy, and every process that names its
//! telemetry address on a Lease in `kube-system` (the leaders), and the apiservers behind the Service `kubernetes`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use gantry_proto::Key;
use gantry_proto::api::v1::traces_server::Traces;
use gantry_proto::api::v1::{
    ReadTraceReply, ReadTraceRequest, ReportTraceReply, ReportTraceRequest, TraceSpan,
};
use gantry_proto::coordination::v1::Lease;
use gantry_proto::core::v1::Node;
use gantry_proto::discovery::v1::EndpointSlice;
use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;
use gantry_telemetry::ring::{self, Reported};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use tonic::{Request, Response};
use tower::ServiceExt as _;

use super::{caller, counted, open, refuse};
use crate::cache::Selection;
use crate::metrics::{self, Metrics};
use crate::node_streams::{self, NodeStreams};
use crate::registry::{Registry, bad_request};
use crate::request::{Attributes, Caller, Verb};
use crate::{authentication, authorization};

/// Where a process is asked for its spans, `HOST:PORT`; an annotation of the Leases by which it is found.
const ADDRESS_ANNOTATION: &str = "gantry.dev/telemetry-address";
const LEASE_NAMESPACE: &str = "kube-system";
/// The EndpointSlice that says where the apiservers are, and the name for which all their certificates are.
const APISERVERS: (&str, &str) = ("default", "kubernetes");
const APISERVER_NAME: &str = "kubernetes.default.svc";
/// Where a node's proxy listens by default.
const PROXY_PORT: u16 = 10256;
/// Processes that are asked at once, and how long each may take: a thousand nodes that all answer at once take
/// about a second, and one that is away holds the answer up by this much.
const ASKED_AT_ONCE: usize = 64;
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// The most that a process may answer: its whole ring, at about 1 KB of JSON for each span.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// The most spans that a reply carries, far below a message's limit.
const MAX_SPANS: usize = 10_000;
/// What one report may hand over: a command that applies a hundred objects has about as many spans.
const MAX_REPORTED_SPANS: usize = 256;

#[derive(Clone)]
pub struct TracesService {
    pub registry: Arc<Registry>,
    pub nodes: Arc<NodeStreams>,
    pub metrics: Metrics,
}

/// A process that may know a part of a trace.
struct Process {
    /// For the user: `scheduler`, `node n1`.
    name: String,
    host: String,
    port: u16,
    /// Whom its certificate must be for.
    server_name: String,
}

impl TracesService {
    async fn read_trace(
        &self,
        caller: &Caller,
        request: &ReadTraceRequest,
    ) -> Result<ReadTraceReply, Status> {
        let trace_id = if request.trace_id.is_empty() {
            self.trace_of(caller, request).await?
        } else {
            let denial = authorization::inspect(&caller.user, &caller.trail);
            self.registry.authorizations().decided(denial.as_ref());
            if denial.is_some() {
                return Err(Status::failure(
                    Reason::Forbidden,
                    format!(
                        "User \"{}\" cannot read a trace by its id: name an object whose last change it is",
                        caller.user.name
                    ),
                ));
            }
            request.trace_id.clone()
        };
        let own = ring::ring().trace(&trace_id).ok_or_else(|| {
            bad_request(format!(
                "{trace_id:?} is not a trace id: it has 32 hexadecimal digits"
            ))
        })?;
        let mut gathered = Gathered::default();
        match parse(own) {
            Ok(spans) => gathered.add(spans),
            Err(why) => gathered.missing.push(format!("this apiserver: {why}")),
        }
        let own_trace = trace_id.clone();
        let mut answers = stream::iter(self.processes()?)
            .map(|process| {
                let (asked, trace_id) = (self.clone(), own_trace.clone());
                async move {
                    let answer = asked.ask(&process, &trace_id).await;
                    (process, answer)
                }
            })
            .buffer_unordered(ASKED_AT_ONCE);
        while let Some((process, answer)) = answers.next().await {
            match answer {
                Ok(more) => gathered.add(more),
                Err(why) => gathered.missing.push(format!("{}: {why}", process.name)),
            }
        }
        let (spans, missing) = gathered.done();
        Ok(ReadTraceReply {
            trace_id,
            spans,
            missing,
        })
    }

    /// The trace of an object's last write.
    async fn trace_of(&self, caller: &Caller, request: &ReadTraceRequest) -> Result<String, Status> {
        let cache = self.registry.cache_of(&request.resource)?;
        let info = cache.kind();
        let attributes = Attributes {
            verb: Verb::Get,
            kind: info,
            subresource: "",
            namespace: &request.namespace,
            name: &request.name,
            fixed_fields: &[],
        };
        self.registry.authorize(caller, &attributes).await?;
        let key = match info.namespaced {
            true => Key::new(&request.namespace, &request.name),
            false => Key::cluster(&request.name),
        };
        let cause = self.registry.cause(cache, &key).await?;
        // version-trace-span-flags.
        let trace_id = cause.split('-').nth(1).unwrap_or_default().to_owned();
        if trace_id.is_empty() {
            return Err(Status::failure(
                Reason::NotFound,
                format!(
                    "the last change of {} \"{}\" belongs to no trace: it was not sampled, or whoever made it has none",
                    info.group_resource(),
                    request.name
                ),
            ));
        }
        Ok(trace_id)
    }

    fn processes(&self) -> Result<Vec<Process>, Status> {
        let mut processes = Vec::new();
        let leases = self.registry.cache::<Lease>()?.present();
        for entry in leases.objects.select(&Selection::all(LEASE_NAMESPACE), None) {
            let Ok(lease) = <Lease as prost::Message>::decode(&*entry.raw) else {
                continue;
            };
            let address = lease.metadata().annotations.get(ADDRESS_ANNOTATION);
            if let Some((host, port)) = address.and_then(|address| host_and_port(address)) {
                processes.push(Process {
                    name: entry.key.name.clone(),
                    server_name: host.clone(),
                    host,
                    port,
                });
            }
        }
        let slices = self.registry.cache::<EndpointSlice>()?.present();
        if let Some(entry) = slices.objects.get(&Key::new(APISERVERS.0, APISERVERS.1))
            && let Ok(slice) = <EndpointSlice as prost::Message>::decode(&*entry.raw)
        {
            let port = slice
                .ports
                .first()
                .and_then(|port| u16::try_from(port.port?).ok());
            let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            processes.extend(
                addresses
                    .zip(port.into_iter().cycle())
                    .map(|(address, port)| Process {
                        name: format!("apiserver at {address}"),
                        host: address.clone(),
                        port,
                        server_name: APISERVER_NAME.into(),
                    }),
            );
        }
        let nodes = self.registry.cache::<Node>()?.present();
        for entry in nodes.objects.select(&Selection::all(""), None) {
            let Ok(node) = <Node as prost::Message>::decode(&*entry.raw) else {
                continue;
            };
            let Ok((host, port)) = node_streams::agent_address(&node) else {
                continue;
            };
            let name = &entry.key.name;
            for (part, port) in [("agent", port), ("proxy", PROXY_PORT)] {
                processes.push(Process {
                    name: format!("{part} of node {name}"),
                    host: host.clone(),
                    port,
                    server_name: name.clone(),
                });
            }
        }
        Ok(processes)
    }

    async fn ask(&self, process: &Process, trace_id: &str) -> Result<Vec<TraceSpan>, String> {
        let asking = async {
            let connection = self
                .nodes
                .connect(&process.host, process.port, &process.server_name)
                .await
                .map_err(|status| status.message)?;
            let request = http::Request::get(format!("/debug/traces/{trace_id}"))
                .body(tonic::body::Body::empty())
                .map_err(|error| error.to_string())?;
            let response = connection
                .oneshot(request)
                .await
                .map_err(|error| error.to_string())?;
            if !response.status().is_success() {
                return Err(format!("answers {}", response.status()));
            }
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            parse(serde_json::from_slice(&body).map_err(|error| error.to_string())?)
        };
        let late = |_| format!("no answer within {ASK_LIMIT:?}");
        tokio::time::timeout(ASK_LIMIT, asking).await.map_err(late)?
    }
}

/// What was told so far of a trace.
#[derive(Default)]
struct Gathered {
    spans: Vec<TraceSpan>,
    /// Later ones that no reply has room for.
    dropped: usize,
    missing: Vec<String>,
}

impl Gathered {
    /// Of a thousand processes with full rings no more is kept at a time than two replies.
    fn add(&mut self, spans: Vec<TraceSpan>) {
        self.spans.extend(spans);
        if self.spans.len() > 2 * MAX_SPANS {
            self.settle();
        }
    }

    /// Leaves each span once, in order, and as many as a reply carries.
    fn settle(&mut self) {
        // This process is among those that were asked.
        let mut seen = HashSet::new();
        self.spans.retain(|span| seen.insert(span.span_id.clone()));
        self.spans.sort_by_key(|span| span.start_unix_nanos);
        self.dropped += self.spans.len().saturating_sub(MAX_SPANS);
        self.spans.truncate(MAX_SPANS);
    }

    fn done(mut self) -> (Vec<TraceSpan>, Vec<String>) {
        self.settle();
        if self.dropped > 0 {
            self.missing.push(format!("{} later spans", self.dropped));
        }
        self.missing.sort();
        (self.spans, self.missing)
    }
}

/// `HOST:PORT`, where an IPv6 address is in brackets.
fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

/// A span as a ring tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    service: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    name: String,
    start_time_unix_nano: String,
    #[serde(default)]
    end_time_unix_nano: String,
    error: bool,
    attributes: std::collections::BTreeMap<String, String>,
    links: Vec<String>,
}

/// Fails with why it is not what a ring tells: a process of another version may answer otherwise.
fn parse(spans: serde_json::Value) -> Result<Vec<TraceSpan>, String> {
    let told: Vec<Told> =
        serde_json::from_value(spans).map_err(|error| format!("its answer is not understood: {error}"))?;
    let spans = told.into_iter().map(|span| TraceSpan {
        service: span.service,
        span_id: span.span_id,
        parent_span_id: span.parent_span_id,
        name: span.name,
        start_unix_nanos: span.start_time_unix_nano.parse().unwrap_or(0),
        end_unix_nanos: span.end_time_unix_nano.parse().unwrap_or(0),
        error: span.error,
        attributes: span.attributes.into_iter().collect(),
        links: span.links,
    });
    Ok(spans.collect())
}

/// Remembers what a command tells of itself.
fn remember(caller: &Caller, request: ReportTraceRequest) -> Result<ReportTraceReply, Status> {
    if !caller.user.is_in(authentication::AUTHENTICATED) {
        let message = "only authenticated users report spans".to_owned();
        return Err(Status::failure(Reason::Unauthorized, message));
    }
    if request.spans.len() > MAX_REPORTED_SPANS {
        return Err(bad_request(format!(
            "{} spans are too many: at most {MAX_REPORTED_SPANS}",
            request.spans.len()
        )));
    }
    for span in request.spans {
        let reported = Reported {
            trace_id: &request.trace_id,
            span_id: &span.span_id,
            parent_span_id: &span.parent_span_id,
            name: span.name,
            start_unix_nanos: span.start_unix_nanos,
            end_unix_nanos: span.end_unix_nanos,
            error: span.error,
            attributes: span.attributes.into_iter().collect(),
            user: caller.user.name.clone(),
        };
        ring::ring().report(reported).map_err(bad_request)?;
    }
    Ok(ReportTraceReply {})
}

#[tonic::async_trait]
impl Traces for TracesService {
    async fn read(
        &self,
        request: Request<ReadTraceRequest>,
    ) -> Result<Response<ReadTraceReply>, tonic::Status> {
        let (caller, request) = open(request);
        let asked = if request.trace_id.is_empty() {
            let (resource, namespace, name) = (&request.resource, &request.namespace, &request.name);
            metrics::Request::of(Verb::Get, resource, "trace", namespace, name)
        } else {
            metrics::Request::of_method("/gantry.api.v1.Traces/Read")
        };
        counted(&self.metrics, asked, 200, async {
            let reply = self.read_trace(&caller, &request).await;
            reply.map(Response::new).map_err(refuse)
        })
        .await
    }

    async fn report(
        &self,
        request: Request<ReportTraceRequest>,
    ) -> Result<Response<ReportTraceReply>, tonic::Status> {
        let caller = caller(&request);
        let asked = metrics::Request::of_method("/gantry.api.v1.Traces/Report");
        counted(&self.metrics, asked, 200, async {
            let reply = remember(&caller, request.into_inner());
            reply.map(Response::new).map_err(refuse)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_processes_have_a_host_and_a_port() {
        for (address, expected) in [
            ("10.0.0.1:10257", Some(("10.0.0.1", 10257))),
            ("scheduler-1:10260", Some(("scheduler-1", 10260))),
            ("[fd00::1]:1", Some(("fd00::1", 1))),
            ("host", None),
            (":1", None),
            ("host:port", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(host_and_port(address), expected, "{address}");
        }
    }

    #[test]
    fn an_answer_that_is_not_understood_is_missing_and_not_empty() {
        let span = serde_json::json!([{
            "service": "scheduler", "spanId": "b", "name": "bind", "startTimeUnixNano": "7", "error": false,
            "attributes": {}, "links": [],
        }]);
        assert_eq!(parse(span).unwrap()[0].start_unix_nanos, 7);
        for other in [serde_json::json!([{"id": "b"}]), serde_json::json!({"spans": []})] {
            assert!(
                parse(other)
                    .unwrap_err()
                    .starts_with("its answer is not understood")
            );
        }
    }

    #[test]
    fn of_more_spans_than_a_reply_carries_the_first_are_told_and_the_others_counted() {
        let spans = |process: u64| {
            let span = |start: u64| TraceSpan {
                span_id: format!("{process}-{start}"),
                start_unix_nanos: start,
                ..TraceSpan::default()
            };
            (0..4000).map(span).collect::<Vec<_>>()
        };
        let mut gathered = Gathered::default();
        for process in 0..10 {
            gathered.add(spans(process));
            assert!(gathered.spans.len() <= 2 * MAX_SPANS);
        }
        gathered.add(spans(9));
        let (spans, missing) = gathered.done();
        assert_eq!(spans.len(), MAX_SPANS);
        assert_eq!(spans.last().unwrap().start_unix_nanos, 999);
        assert_eq!(missing.len(), 1, "{missing:?}");
    }
}
