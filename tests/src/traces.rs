//! A collector for tests: receives OTLP as Jaeger would, and keeps the spans.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A span with the service that made it. Ids are in hexadecimal.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace_id: String,
    pub span_id: String,
    /// Empty for a root.
    pub parent_id: String,
    pub start_nanos: u64,
    pub end_nanos: u64,
    pub attributes: BTreeMap<String, String>,
    /// The traces that it is linked to.
    pub links: Vec<String>,
}

impl Span {
    /// An attribute; empty where there is none.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

#[derive(Clone, Default)]
pub struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Serves on an address in the calling thread's network namespace, on a thread of its own.
    pub fn start(address: SocketAddr) -> anyhow::Result<Collector> {
        let collector = Collector::default();
        let service = TraceServiceServer::new(collector.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::spawn(move || {
            let served = runtime.block_on(Server::builder().add_service(service).serve(address));
            if let Err(error) = served {
                eprintln!("the test's collector ended: {error}");
            }
        });
        Ok(collector)
    }

    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn trace(&self, trace_id: &str) -> Vec<Span> {
        self.spans()
            .into_iter()
            .filter(|span| span.trace_id == trace_id)
            .collect()
    }
}

/// What is wrong with a trace as a tree: it has one root, every parent is in it, no span ends before it starts, and
/// none starts before its parent.
pub fn faults(trace: &[Span]) -> Vec<String> {
    let by_id: HashMap<&str, &Span> = trace.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let mut faults = Vec::new();
    let roots: Vec<&str> = trace
        .iter()
        .filter(|span| span.parent_id.is_empty())
        .map(|span| span.name.as_str())
        .collect();
    if roots.len() != 1 {
        faults.push(format!("the roots are {roots:?}"));
    }
    for span in trace {
        let (name, service) = (&span.name, &span.service);
        if span.end_nanos < span.start_nanos {
            faults.push(format!("{name} of {service} ends before it starts"));
        }
        match by_id.get(span.parent_id.as_str()) {
            None if !span.parent_id.is_empty() => faults.push(format!("{name} of {service} is an orphan")),
            Some(parent) if span.start_nanos < parent.start_nanos => {
                faults.push(format!(
                    "{name} of {service} starts before its parent {}",
                    parent.name
                ));
            }
            _ => {}
        }
    }
    faults
}

/// The names of a span's ancestors, nearest first.
pub fn ancestors(trace: &[Span], span: &Span) -> Vec<String> {
    let mut names = Vec::new();
    let mut parent = span.parent_id.clone();
    while let Some(next) = trace.iter().find(|other| other.span_id == parent) {
        names.push(next.name.clone());
        parent = next.parent_id.clone();
    }
    names
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = attributes.into_iter();
    pairs
        .filter_map(|attribute| Some((attribute.key, text(attribute.value?.value?))))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = Vec::new();
        for resource in request.into_inner().resource_spans {
            let attributes = resource
                .resource
                .map(|resource| resource.attributes)
                .unwrap_or_default();
            let service = texts(attributes).remove("service.name").unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent_id: hex(&span.parent_span_id),
                    start_nanos: span.start_time_unix_nano,
                    end_nanos: span.end_time_unix_nano,
                    attributes: texts(span.attributes),
                    links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
                });
            }
        }
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
