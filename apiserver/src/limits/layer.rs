//! The limits in a request's way, before anything of it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use gantry_proto::meta::v1::{Status, StatusDetails};
use gantry_proto::status::Reason;
use http::{HeaderValue, header};
use hyper::body::{Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::gate::{Gate, Seat, Stay};
use crate::metrics::{self, Metrics};
use crate::registry::out_of_time;
use crate::request::{Sender, Verb, Waited};

/// When a refused request may come again, as in Kubernetes.
const RETRY_SECONDS: u8 = 1;

/// How a call uses the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Needs a seat until it is answered.
    Brief,
    /// Needs a seat until it begins to answer, and then lasts.
    Opening,
    /// Lasts, and does little.
    Lasting,
    /// Is let through: whether the server lives must be found out at any time.
    Free,
}

fn use_of(path: &str) -> Use {
    match path {
        "/gantry.api.v1.Resources/Watch" => Use::Opening,
        "/gantry.api.v1.Pods/Logs" | "/gantry.api.v1.Nodes/ImportImage" | "/grpc.health.v1.Health/Watch" => {
            Use::Lasting
        }
        "/grpc.health.v1.Health/Check" => Use::Free,
        path if path.starts_with("/grpc.reflection.") => Use::Lasting,
        _ => Use::Brief,
    }
}

/// Lets a request pass when its user may have it carried out.
pub async fn limit(
    State((gate, metrics)): State<(Arc<Gate>, Metrics)>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let (usage, verb) = (use_of(path), verb_of(path));
    let refused = || {
        let status = refusal();
        // What it is about has not been read.
        let request = metrics::Request::of(verb, "", "", "", "");
        metrics.terminated(&request, status.code);
        response(status)
    };
    let Some(user) = request
        .extensions()
        .get::<Sender>()
        .map(|sender| sender.user.clone())
    else {
        return next.run(request).await;
    };
    let stay = match usage {
        Use::Opening | Use::Lasting => match gate.stay(&user) {
            Ok(stay) => Some(stay),
            Err(_) => return refused(),
        },
        Use::Brief | Use::Free => None,
    };
    let seat = match usage {
        Use::Brief | Use::Opening => match gate.enter(&user).await {
            Ok(seat) => Some(seat),
            Err(_) => return refused(),
        },
        Use::Lasting | Use::Free => None,
    };
    if let Some(seat) = &seat {
        request.extensions_mut().insert(Waited(seat.waited));
    }
    let Some(seat) = seat else {
        let response = next.run(request).await;
        return hold(response, stay.map(Held::stay));
    };
    // A request whose message never comes must not keep its seat.
    let deadline = Instant::now() + gate.request_limit();
    let Ok(response) = timeout_at(deadline, next.run(request)).await else {
        let status = out_of_time();
        metrics.terminated(&metrics::Request::of(verb, "", "", "", ""), status.code);
        return tonic::Status::from(status).into_http();
    };
    let held = match (stay, verb) {
        (Some(stay), _) => Some(Held::stay(stay)),
        // What is read slowly is in memory for as long; other replies have one object.
        (None, Verb::List | Verb::DeleteCollection) => Some(Held::seat(seat, deadline)),
        (None, _) => None,
    };
    hold(response, held)
}

fn hold(response: Response, held: Option<Held>) -> Response {
    match held {
        Some(held) => response.map(|inner| Body::new(HoldingBody { inner, _held: held })),
        None => response,
    }
}

/// What an answer keeps until it is dropped.
struct Held {
    _stay: Option<Stay>,
    /// The task that has the seat, for no longer than its time.
    seat: Option<AbortHandle>,
}

impl Held {
    fn stay(stay: Stay) -> Held {
        Held {
            _stay: Some(stay),
            seat: None,
        }
    }

    fn seat(seat: Seat, deadline: Instant) -> Held {
        let keep = async move {
            sleep_until(deadline).await;
            drop(seat);
        };
        Held {
            _stay: None,
            seat: Some(tokio::spawn(keep).abort_handle()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(seat) = &self.seat {
            seat.abort();
        }
    }
}

/// As what a refused call is counted.
fn verb_of(path: &str) -> Verb {
    match path.rsplit('/').next() {
        Some("List") => Verb::List,
        Some("Watch") => Verb::Watch,
        Some("Create" | "ImportImage" | "Report") => Verb::Create,
        Some("Update") => Verb::Update,
        Some("Patch") => Verb::Patch,
        Some("Delete") => Verb::Delete,
        Some("DeleteCollection") => Verb::DeleteCollection,
        _ => Verb::Get,
    }
}

/// Kubernetes' answer to a request that priority and fairness rejects.
fn refusal() -> Status {
    let mut status = Status::failure(
        Reason::TooManyRequests,
        "Too many requests, please try again later.",
    );
    status.details = Some(StatusDetails {
        retry_after_seconds: RETRY_SECONDS.into(),
        ..StatusDetails::default()
    });
    status
}

fn response(status: Status) -> Response {
    let mut response: Response = tonic::Status::from(status).into_http();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(u16::from(RETRY_SECONDS)));
    response
}

/// An answer that keeps something until it is dropped.
struct HoldingBody {
    inner: Body,
    _held: Held,
}

impl hyper::body::Body for HoldingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
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
    use std::time::Duration;

    use axum::{Router, middleware, routing};
    use gantry_telemetry::metrics::Registry;
    use tower::ServiceExt as _;

    use super::*;
    use crate::authentication::User;
    use crate::limits::{Config, LEAST_SEATS};

    const LIST: &str = "/gantry.api.v1.Resources/List";

    /// A server with one seat for each lane, which answers nothing but a list.
    fn server() -> Router {
        let registry = Registry::new();
        let config = Config {
            seats: LEAST_SEATS,
            waiting: 1,
            ..Config::default()
        };
        let state = (Gate::new(config, &registry), Metrics::new(&registry));
        Router::new()
            .route(LIST, routing::post(|| async { "items" }))
            .fallback(std::future::pending::<()>)
            .layer(middleware::from_fn_with_state(state, limit))
    }

    async fn ask(server: &Router, path: &str) -> Response {
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Sender {
            user: Arc::new(User::anonymous()),
            trail: Default::default(),
        });
        server.clone().oneshot(request).await.unwrap()
    }

    fn grpc_code(response: &Response) -> Option<&str> {
        response.headers().get("grpc-status")?.to_str().ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_end_gives_its_seat_back_in_time() {
        let server = server();
        let began = Instant::now();
        let stuck = ask(&server, "/gantry.api.v1.Resources/Get").await;
        assert_eq!(grpc_code(&stuck), Some("4"), "{stuck:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(60));
        assert_eq!(grpc_code(&ask(&server, LIST).await), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_keeps_its_seat_until_it_is_taken_or_its_time_is_over() {
        let server = server();
        let untaken = ask(&server, LIST).await;
        assert_eq!(
            grpc_code(&ask(&server, LIST).await),
            Some("8"),
            "its place is taken"
        );
        drop(untaken);
        let untaken = ask(&server, LIST).await;
        assert_eq!(grpc_code(&untaken), None);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(grpc_code(&ask(&server, LIST).await), None);
    }

    #[test]
    fn calls_that_last_hold_no_seat_and_probes_need_none() {
        for (path, expected) in [
            ("/gantry.api.v1.Resources/List", Use::Brief),
            ("/gantry.api.v1.Resources/Watch", Use::Opening),
            ("/gantry.api.v1.Pods/Logs", Use::Lasting),
            ("/gantry.api.v1.Nodes/ImportImage", Use::Lasting),
            ("/gantry.api.v1.Traces/Read", Use::Brief),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                Use::Lasting,
            ),
            ("/grpc.health.v1.Health/Check", Use::Free),
            ("/no.such.Service/Method", Use::Brief),
        ] {
            assert_eq!(use_of(path), expected, "{path}");
        }
    }
}
