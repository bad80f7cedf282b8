//! Spans as a collector receives them, over real gRPC. One test, because a process has one subscriber.

use std::convert::Infallible;
use std::time::Duration;

use gantry_telemetry::trace::{self, ClientLayer, ServerLayer};
use gantry_telemetry::{Args, init};
use http_body_util::Empty;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tower::{Layer as _, ServiceExt as _};
use tracing::{Instrument as _, info_span};

const DEADLINE: Duration = Duration::from_secs(20);
const EXPORT: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Keeps what it receives; refuses an empty request, which the test sends as its own traced call.
struct Collector {
    spans: watch::Sender<Vec<Span>>,
    resource: watch::Sender<Vec<KeyValue>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        if request.resource_spans.is_empty() {
            info_span!("handler", key = "default/web").in_scope(|| tracing::info!("refusing"));
            return Err(Status::unavailable("try again"));
        }
        for resource_spans in request.resource_spans {
            self.resource
                .send_replace(resource_spans.resource.unwrap_or_default().attributes);
            let spans = resource_spans
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            self.spans.send_modify(|received| received.extend(spans));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_crosses_the_wire_and_nothing_else_begins_one() {
    let (spans, mut received) = watch::channel(Vec::new());
    let (resource, resource_received) = watch::channel(Vec::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = TraceServiceServer::new(Collector { spans, resource });
    let server = tonic::transport::Server::builder()
        .layer(ServerLayer)
        .add_service(collector);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    // Without log lines, to show that the log's filter does not decide about spans.
    let args = Args {
        log_level: "off".into(),
        otlp_endpoint: Some(endpoint.clone()),
        ..Args::default()
    };
    let telemetry = init("gantry-test", &args).unwrap();
    assert!(
        init("gantry-test", &args).is_err(),
        "a second subscriber is refused"
    );

    let channel = tonic::transport::Endpoint::from_shared(endpoint)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client =
        TraceServiceClient::new(tower::ServiceBuilder::new().layer(ClientLayer).service(channel));
    let empty = ExportTraceServiceRequest::default;

    info_span!("heartbeat").in_scope(|| assert_eq!(trace::current_traceparent(), None));
    client
        .export(empty())
        .instrument(info_span!("watch loop"))
        .await
        .unwrap_err();
    let apply = info_span!("apply", gantry.root = true);
    client
        .export(empty())
        .instrument(apply.clone())
        .await
        .unwrap_err();

    // Later work continues the trace from a stored cause, or links it.
    let cause = trace::cause_of(&apply).unwrap();
    drop(apply);
    let reconcile = info_span!("reconcile");
    trace::continue_from(&reconcile, cause.as_str());
    trace::continue_from(&reconcile, "not a traceparent");
    reconcile.in_scope(|| tracing::debug_span!("detail").in_scope(|| info_span!("bind").in_scope(|| ())));
    drop(reconcile);
    let (start, end) = (
        std::time::UNIX_EPOCH,
        std::time::UNIX_EPOCH + Duration::from_secs(1),
    );
    trace::record(&trace::Past {
        name: "past",
        cause: &cause,
        start,
        end,
        attributes: &[("cni.plugin", "bridge")],
    });
    let unsampled = info_span!("unsampled");
    trace::continue_from(&unsampled, &cause.to_string().replace("-01", "-00"));
    drop(unsampled);
    let merged = info_span!("merged");
    trace::root(&merged);
    trace::link(&merged, cause.as_str());
    drop(merged);
    drop(info_span!(target: "h2::client", "library", gantry.root = true));

    // Not every request is gRPC: a page is in its caller's trace, too, and begins none.
    let page = tower::service_fn(async |_: http::Request<()>| {
        info_span!("page").in_scope(|| ());
        Ok::<_, Infallible>(http::Response::new(Empty::<hyper::body::Bytes>::new()))
    });
    for header in [Some("traceparent"), None] {
        let mut request = http::Request::get("/readyz?verbose").body(()).unwrap();
        if let Some(header) = header {
            request
                .headers_mut()
                .insert(header, cause.as_str().parse().unwrap());
        }
        let response = ServerLayer.layer(page).oneshot(request).await.unwrap();
        // With the body the span ends.
        drop(response);
    }

    // The server's span ends after the client has the reply.
    let complete = |spans: &Vec<Span>| spans.iter().any(|span| span.name == EXPORT);
    tokio::time::timeout(DEADLINE, received.wait_for(complete))
        .await
        .unwrap()
        .unwrap();
    drop(info_span!("last", gantry.root = true));
    telemetry.shutdown();

    let spans = received.borrow().clone();
    let named = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        let span = found.next().unwrap_or_else(|| panic!("no span {name}"));
        assert!(found.next().is_none(), "two spans {name}");
        span
    };
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "GET",
            "apply",
            "bind",
            "handler",
            "last",
            "merged",
            EXPORT,
            "page",
            "past",
            "reconcile"
        ]
    );

    let apply = named("apply");
    assert_eq!(apply.parent_span_id, Vec::<u8>::new());
    for (child, parent) in [
        (EXPORT, "apply"),
        ("handler", EXPORT),
        ("reconcile", "apply"),
        ("bind", "reconcile"),
        ("past", "apply"),
        ("GET", "apply"),
        ("page", "GET"),
    ] {
        let (child, parent) = (named(child), named(parent));
        assert_eq!(child.parent_span_id, parent.span_id, "parent of {}", child.name);
        assert_eq!(child.trace_id, apply.trace_id, "trace of {}", child.name);
    }
    let merged = named("merged");
    assert_ne!(merged.trace_id, apply.trace_id);
    assert_eq!(
        merged.links.iter().map(|link| &link.span_id).collect::<Vec<_>>(),
        [&apply.span_id]
    );

    let past = named("past");
    assert_eq!(
        (past.start_time_unix_nano, past.end_time_unix_nano),
        (0, 1_000_000_000)
    );
    assert_eq!(text(&past.attributes, "cni.plugin"), "bridge");

    let rpc = named(EXPORT);
    assert_eq!(rpc.kind, 2, "a server span");
    assert_eq!(
        rpc.status.as_ref().map(|status| status.code),
        Some(2),
        "UNAVAILABLE is the server's fault"
    );
    assert_eq!(text(&rpc.attributes, "rpc.system.name"), "grpc");
    assert_eq!(text(&rpc.attributes, "rpc.method"), EXPORT);
    assert_eq!(text(&rpc.attributes, "rpc.response.status_code"), "UNAVAILABLE");
    assert_eq!(text(&rpc.attributes, "error.type"), "UNAVAILABLE");
    assert_eq!(text(&named("handler").attributes, "key"), "default/web");

    let page = named("GET");
    assert_eq!(page.kind, 2, "a server span");
    assert_eq!(text(&page.attributes, "http.request.method"), "GET");
    assert_eq!(text(&page.attributes, "url.path"), "/readyz");
    assert_eq!(text(&page.attributes, "http.response.status_code"), "200");

    let resource = resource_received.borrow().clone();
    assert_eq!(text(&resource, "service.name"), "gantry-test");
    assert_ne!(text(&resource, "host.name"), "");
    assert_eq!(text(&resource, "service.instance.id").len(), 36);
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let attribute = attributes.iter().find(|attribute| attribute.key == key);
    match attribute.and_then(|attribute| attribute.value.clone()) {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        }) => text,
        Some(AnyValue {
            value: Some(Value::IntValue(number)),
        }) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    }
}
