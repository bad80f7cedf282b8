//! One span per request that continues a caller's trace.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response, header};
use hyper::body::{Body, Frame, SizeHint};
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use super::{Cause, TRACEPARENT};

/// A tower layer for gRPC and HTTP servers: opens a server span for each request that carries a sampled
/// `traceparent`, as its child. Other requests pass untouched and cost one header lookup: lists, watches and
/// heartbeats must not begin traces.
///
/// The span lasts until the response's body ends. Attributes follow OpenTelemetry's semantic conventions for
/// RPC and HTTP server spans (`rpc.system.name`, `rpc.method` with its service, `rpc.response.status_code` by name: the
/// names that follow version 1.37).
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerLayer;

/// See [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct Server<S> {
    inner: S,
}

/// A response body that ends the request's span when it ends or is dropped.
#[derive(Debug)]
pub struct TracedBody<B> {
    inner: B,
    span: Span,
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        Server { inner }
    }
}

impl<S, B, R> Service<Request<B>> for Server<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let span = request_span(&request);
        // The inner service may look at the current span before its future is polled.
        let response = span
            .in_scope(|| self.inner.call(request))
            .instrument(span.clone());
        Box::pin(async move {
            let response = response.await?;
            record_status(&span, response.status(), response.headers());
            Ok(response.map(|inner| TracedBody { inner, span }))
        })
    }
}

fn request_span<B>(request: &Request<B>) -> Span {
    let header = request
        .headers()
        .get(TRACEPARENT)
        .and_then(|value| value.to_str().ok());
    let cause = header
        .and_then(|value| value.parse::<Cause>().ok())
        .filter(Cause::is_sampled);
    let Some(cause) = cause else { return Span::none() };
    let path = request.uri().path();
    let span = match rpc_method(request.headers(), path) {
        Some(method) => info_span!(
            parent: None,
            "rpc",
            otel.name = method,
            otel.kind = "server",
            otel.status_code = Empty,
            rpc.system.name = "grpc",
            rpc.method = method,
            rpc.response.status_code = Empty,
            error.type = Empty,
        ),
        None => info_span!(
            parent: None,
            "http",
            otel.name = request.method().as_str(),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = request.method().as_str(),
            url.path = path,
            http.response.status_code = Empty,
            error.type = Empty,
        ),
    };
    super::become_child(&span, &cause);
    span
}

/// The method with its service, `gantry.api.v1.Resources/Create`; `None` for what is not a gRPC request.
fn rpc_method<'a>(headers: &HeaderMap, path: &'a str) -> Option<&'a str> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    content_type
        .starts_with("application/grpc")
        .then(|| path.strip_prefix('/').filter(|method| method.contains('/')))
        .flatten()
}

/// A gRPC call that fails at once has its status in the headers; otherwise it comes in the trailers.
fn record_status(span: &Span, status: http::StatusCode, headers: &HeaderMap) {
    if span.is_none() {
        return;
    }
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "error");
        span.record("error.type", status.as_str());
    }
    record_grpc_status(span, headers);
}

fn record_grpc_status(span: &Span, headers: &HeaderMap) {
    let code = headers
        .get("grpc-status")
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let Some(code) = code else { return };
    // A code of a later gRPC is told as its number.
    let number = code.to_string();
    let name = GRPC_CODES.get(code).copied().unwrap_or(&number);
    span.record("rpc.response.status_code", name);
    if is_server_fault(code) {
        span.record("otel.status_code", "error");
        span.record("error.type", name);
    }
}

/// The names of gRPC's status codes, in the order of their numbers.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Which gRPC codes make a server's span an error: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
/// UNAVAILABLE and DATA_LOSS, as the semantic conventions for gRPC say. The others are the caller's doing.
fn is_server_fault(code: usize) -> bool {
    matches!(code, 2 | 4 | 12 | 13 | 14 | 15)
}

impl<B: Body + Unpin> Body for TracedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let TracedBody { inner, span } = &mut *self;
        let frame = span.in_scope(|| Pin::new(inner).poll_frame(context));
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    record_grpc_status(span, trailers);
                }
            }
            Poll::Ready(Some(Err(_)) | None) => *span = Span::none(),
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
