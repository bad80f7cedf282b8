//! What HTTP tells of a request: who and from where, when its reply begins, and how it ends.

use std::any::Any;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use gantry_proto::meta::v1::Status;
use gantry_proto::status::{self, Reason};
use gantry_telemetry::trace::{Cause, TRACEPARENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use tower::util::ServiceExt as _;

use super::Auditor;
use super::event::Origin;
use super::policy::Stage;
use super::trail::{self, Record, Trail};
use crate::authentication::User;
use crate::request::Sender;

const AUDIT_ID: &str = "audit-id";
/// An id is a UUID; whoever gives one of their own may take as much again.
const MAX_ID_BYTES: usize = 64;
/// Kubernetes' maxUserAgentLength.
const MAX_USER_AGENT_BYTES: usize = 1024;
/// Proxies on a request's way that are told.
const MAX_SOURCES: usize = 16;

/// Serves one request and records it.
pub async fn serve(
    auditor: Arc<Auditor>,
    peer: SocketAddr,
    user: Arc<User>,
    mut request: Request<Body>,
    router: Router,
) -> Result<Response, Infallible> {
    let origin = origin_of(&request, peer.ip(), user.clone());
    let id = HeaderValue::from_str(&origin.id).ok();
    let method = request.method().as_str().to_lowercase();
    let trail = Trail::new(auditor, origin, method);
    let guard = Guard(trail.record().cloned());
    request.extensions_mut().insert(Sender { user, trail });
    match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(response) => {
            let mut response = response?;
            guard.begins(response.status(), response.headers());
            if let Some(id) = id {
                response.headers_mut().insert(AUDIT_ID, id);
            }
            Ok(response.map(|inner| {
                Body::new(RecordedBody {
                    inner,
                    guard: Some(guard),
                })
            }))
        }
        Err(panic) => {
            guard.panicked(&*panic);
            std::panic::resume_unwind(panic)
        }
    }
}

fn origin_of<B>(request: &Request<B>, peer: IpAddr, user: Arc<User>) -> Origin {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own_id = text(AUDIT_ID).filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES);
    let uri = request.uri();
    let grpc = text(header::CONTENT_TYPE.as_str()).is_some_and(|value| value.starts_with("application/grpc"));
    Origin {
        id: own_id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned),
        uri: uri
            .path_and_query()
            .map_or_else(|| uri.path().to_owned(), ToString::to_string),
        grpc_method: grpc.then(|| uri.path().trim_start_matches('/').to_owned()),
        user,
        source_ips: source_ips(text("x-forwarded-for"), text("x-real-ip"), peer),
        user_agent: user_agent(text(header::USER_AGENT.as_str()).unwrap_or_default()),
        received: trail::now(),
        // The server's own span, if there is one, belongs to the same trace.
        trace_id: text(TRACEPARENT)
            .and_then(|text| text.parse::<Cause>().ok())
            .filter(Cause::is_sampled)
            .map(|cause| cause.trace_id().to_owned()),
    }
}

/// The addresses on the request's way; all but the last are what the client says (apimachinery's SourceIPs).
fn source_ips(forwarded: Option<&str>, real: Option<&str>, peer: IpAddr) -> Vec<IpAddr> {
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok();
    let forwarded = forwarded.unwrap_or_default().split(',').filter_map(parse);
    let mut addresses: Vec<IpAddr> = forwarded.take(MAX_SOURCES).collect();
    if let Some(real) = real.and_then(parse)
        && !addresses.contains(&real)
    {
        addresses.push(real);
    }
    let peer = peer.to_canonical();
    if addresses.last() != Some(&peer) {
        addresses.push(peer);
    }
    addresses
}

fn user_agent(text: &str) -> String {
    // A header that was read as text is ASCII.
    match text.get(..MAX_USER_AGENT_BYTES) {
        Some(start) if text.len() > MAX_USER_AGENT_BYTES => format!("{start}...TRUNCATED"),
        _ => text.to_owned(),
    }
}

/// Records the request's end when it is dropped, however that comes.
struct Guard(Option<Arc<Record>>);

impl Guard {
    fn begins(&self, http: StatusCode, headers: &HeaderMap) {
        let Some(record) = &self.0 else { return };
        let failure = grpc_failure(headers).or_else(|| http_failure(http));
        record.begins(failure, http.as_u16().into());
    }

    fn trailers(&self, trailers: &HeaderMap) {
        if let (Some(record), Some(failure)) = (&self.0, grpc_failure(trailers)) {
            record.fails(failure);
        }
    }

    fn panicked(mut self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        if let Some(record) = self.0.take() {
            record.ends(Stage::Panic, Some(panic_status(text.unwrap_or("unknown"))));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(record) = self.0.take() else { return };
        if std::thread::panicking() {
            return record.ends(Stage::Panic, Some(panic_status("while the reply was sent")));
        }
        let gone = || Status::failure(Reason::Timeout, "Connection closed early");
        let status = (!record.has_status()).then(gone);
        record.ends(Stage::ResponseComplete, status);
    }
}

fn panic_status(text: &str) -> Status {
    Status::failure(Reason::InternalError, format!("APIServer panic'd: {text}"))
}

fn grpc_failure(headers: &HeaderMap) -> Option<Status> {
    let status = tonic::Status::from_header_map(headers)?;
    (status.code() != tonic::Code::Ok).then(|| status::of_grpc(&status))
}

fn http_failure(http: StatusCode) -> Option<Status> {
    let fails = http.is_client_error() || http.is_server_error();
    fails.then(|| Status {
        status: "Failure".into(),
        code: http.as_u16().into(),
        ..Status::default()
    })
}

/// A reply's body that records its end.
struct RecordedBody {
    inner: Body,
    /// Gone at the end.
    guard: Option<Guard>,
}

impl hyper::body::Body for RecordedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(trailers), Some(guard)) = (frame.trailers_ref(), &self.guard) {
                    guard.trailers(trailers);
                }
            }
            Poll::Ready(Some(Err(_)) | None) => self.guard = None,
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

#[cfg(test)]
mod tests {
    use gantry_telemetry::metrics::Registry;
    use http_body_util::BodyExt as _;
    use serde_json::Value;

    use super::super::{Config, Log, start};
    use super::*;

    /// Serves one request with a handler, and returns what was recorded of it.
    async fn recorded(router: Router, request: Request<Body>) -> Vec<Value> {
        let folder = std::env::temp_dir().join(format!("gantry-audit-serve-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let policy = folder.join("policy.yaml");
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]";
        std::fs::write(&policy, text).unwrap();
        let path = folder.join("audit.log");
        let config = Config {
            policy_file: Some(policy),
            log: Some(Log::File {
                path: path.clone(),
                max_megabytes: 1,
                max_backups: 1,
            }),
        };
        let auditor = start(&config, &Registry::new()).unwrap().unwrap();
        let peer = "192.0.2.7:4711".parse().unwrap();
        let served = serve(
            auditor.clone(),
            peer,
            Arc::new(User::anonymous()),
            request,
            router,
        );
        if let Ok(Ok(response)) = AssertUnwindSafe(served).catch_unwind().await {
            assert!(response.headers().contains_key(AUDIT_ID));
            response.into_body().collect().await.unwrap();
        }
        auditor.flush().await;
        let lines = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn request(uri: &str) -> Request<Body> {
        Request::get(uri).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_page_is_recorded_by_its_path() {
        let router = Router::new().route("/metrics", axum::routing::get(async || "text"));
        let mut request = request("/metrics?name=x");
        request.headers_mut().insert("audit-id", "mine".parse().unwrap());
        request
            .headers_mut()
            .insert("x-forwarded-for", "198.51.100.1, nonsense".parse().unwrap());
        let events = recorded(router, request).await;
        let stages: Vec<_> = events
            .iter()
            .map(|event| event["stage"].as_str().unwrap())
            .collect();
        assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
        let last = &events[1];
        assert_eq!(last["verb"], "get");
        assert_eq!(last["requestURI"], "/metrics?name=x");
        assert_eq!(last["auditID"], "mine");
        assert_eq!(last["user"]["username"], "system:anonymous");
        assert_eq!(
            last["sourceIPs"],
            serde_json::json!(["198.51.100.1", "192.0.2.7"])
        );
        assert_eq!(last["responseStatus"]["code"], 200);
        assert!(last["objectRef"].is_null());
    }

    #[tokio::test]
    async fn a_panic_is_recorded_as_its_own_stage() {
        let router = Router::new().route(
            "/",
            axum::routing::get(async || -> &'static str { panic!("on purpose") }),
        );
        let events = recorded(router, request("/")).await;
        let last = events.last().unwrap();
        assert_eq!(last["stage"], "Panic");
        assert_eq!(last["responseStatus"]["code"], 500);
        assert_eq!(last["responseStatus"]["message"], "APIServer panic'd: on purpose");
    }

    #[test]
    fn long_user_agents_are_cut() {
        assert_eq!(user_agent("kubectl"), "kubectl");
        let cut = user_agent(&"x".repeat(2000));
        assert_eq!(cut.len(), 1024 + "...TRUNCATED".len());
    }
}
