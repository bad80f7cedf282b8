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

use super::gate::{Gate, Stay};
use crate::metrics::{self, Metrics};
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
    let response = next.run(request).await;
    drop(seat);
    match stay {
        Some(stay) => response.map(|inner| Body::new(LastingBody { inner, _stay: stay })),
        None => response,
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

/// The answer of a call that lasts, counted until it is dropped.
struct LastingBody {
    inner: Body,
    _stay: Stay,
}

impl hyper::body::Body for LastingBody {
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
    use super::*;

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
