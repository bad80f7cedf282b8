//! Tells what each call came to, in the words of Kubernetes' HTTP API.

use crate::config::Observer;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::transport::{Channel, Error};

/// A channel whose calls are told to an [`Observer`]. An answer counts when its head is here, as in Kubernetes' client
/// library: a watch lasts for as long as it likes.
#[derive(Clone)]
pub struct Observed {
    channel: Channel,
    server: Arc<str>,
    observer: Observer,
}

impl Observed {
    pub(crate) fn new(channel: Channel, server: Arc<str>, observer: Observer) -> Observed {
        Observed {
            channel,
            server,
            observer,
        }
    }
}

impl Service<Request<Body>> for Observed {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = http_method(request.uri().path());
        let (server, observer) = (self.server.clone(), self.observer.clone());
        let call = Call {
            observer,
            server,
            method,
            begun: Instant::now(),
            code: NO_ANSWER,
        };
        let answer = self.channel.call(request);
        Box::pin(async move {
            // All of it, or it would end here.
            let mut call = call;
            let answer = answer.await;
            if let Ok(answer) = &answer {
                call.code = http_code(answer.headers());
            }
            answer
        })
    }
}

/// A call under way, told when it ends: also when its caller did not wait for the answer, which is how a server that
/// hangs is noticed.
struct Call {
    observer: Observer,
    server: Arc<str>,
    method: &'static str,
    begun: Instant,
    code: &'static str,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.observer
            .observe(self.method, &self.server, self.code, self.begun.elapsed());
    }
}

/// What client-go says where no answer came.
const NO_ANSWER: &str = "<error>";

/// By the last part of a gRPC path, such as `/gantry.api.v1.Resources/Create`.
fn http_method(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("Create") => "POST",
        Some("Update") => "PUT",
        Some("Patch") => "PATCH",
        Some("Delete" | "DeleteCollection") => "DELETE",
        Some("Get" | "List" | "Watch" | "Discover") => "GET",
        _ => "POST",
    }
}

/// A call that fails before its first message has its gRPC status in the head of the answer; where there is none it has
/// been taken. The codes are those that gRPC's own gateways answer with.
fn http_code(head: &HeaderMap) -> &'static str {
    let Some(status) = head.get("grpc-status") else {
        return "200";
    };
    match Code::from_bytes(status.as_bytes()) {
        Code::Ok => "200",
        Code::InvalidArgument | Code::OutOfRange => "400",
        Code::Unauthenticated => "401",
        Code::PermissionDenied => "403",
        Code::NotFound => "404",
        Code::AlreadyExists | Code::Aborted => "409",
        Code::FailedPrecondition => "412",
        Code::ResourceExhausted => "429",
        Code::Cancelled => "499",
        Code::Unimplemented => "501",
        Code::Unavailable => "503",
        Code::DeadlineExceeded => "504",
        Code::Unknown | Code::Internal | Code::DataLoss => "500",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::codegen::http::HeaderValue;

    #[test]
    fn calls_are_told_as_kubernetes_api_would_have_them() {
        for (path, method) in [
            ("/gantry.api.v1.Resources/Create", "POST"),
            ("/gantry.api.v1.Resources/Watch", "GET"),
            ("/gantry.api.v1.Resources/Delete", "DELETE"),
            ("/gantry.api.v1.Nodes/ImportImage", "POST"),
        ] {
            assert_eq!(http_method(path), method, "{path}");
        }
        let mut head = HeaderMap::new();
        assert_eq!(http_code(&head), "200");
        for (status, code) in [("0", "200"), ("5", "404"), ("6", "409"), ("14", "503")] {
            head.insert("grpc-status", HeaderValue::from_static(status));
            assert_eq!(http_code(&head), code, "{status}");
        }
    }
}
