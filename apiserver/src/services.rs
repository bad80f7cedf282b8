//! The gRPC services: a request is authorized, decoded, carried out and answered.

use std::sync::Arc;
use std::time::SystemTime;

use gantry_proto::meta::v1::Status;
use gantry_proto::status;
use prost::Message as _;

use crate::audit::Trail;
use crate::authentication::User;
use crate::metrics::{self, Metrics};
use crate::request::{Caller, Sender, Waited};

pub mod resources;
mod discovery;
mod addressed;
mod audited;
mod writes;
mod pod_requests;
mod watch;
pub mod pods;
pub mod nodes;
pub mod diagnostics;
pub mod traces;

use audited::Audited;
pub use discovery::SERVER_VERSION;

/// The largest request (Kubernetes' MaxRequestBodyBytes).
const MAX_REQUEST_BYTES: usize = 3 << 20;
/// The largest message that is read at all. A request between the two limits gets a proper refusal.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Who sent a request; the connection's certificate told. Everybody else is anonymous.
#[allow(clippy::disallowed_methods, reason = "a request comes in now")]
fn caller<T>(request: &tonic::Request<T>) -> Caller {
    let sender = request.extensions().get::<Sender>().cloned();
    let sender = sender.unwrap_or_else(|| Sender {
        user: Arc::new(User::anonymous()),
        trail: Trail::default(),
    });
    let waited = request.extensions().get::<Waited>().copied();
    Caller {
        user: sender.user,
        now: SystemTime::now(),
        waited: waited.unwrap_or_default().0,
        trail: sender.trail,
    }
}

/// Takes a request in: who sent it, and its message, of which the audit log is told.
fn open<T: Audited>(request: tonic::Request<T>) -> (Caller, T) {
    let caller = caller(&request);
    let message = request.into_inner();
    caller.trail.received(|| message.asked());
    caller.trail.request(|| message.body());
    (caller, message)
}

/// Counts a request that others answer, who wait for as long as they do. `done` is the code of a success.
async fn counted<T>(
    metrics: &Metrics,
    request: metrics::Request,
    done: i32,
    work: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, tonic::Status> {
    let pending = metrics.pending(&request);
    let result = work.await;
    pending.answered(match &result {
        Ok(_) => done,
        Err(error) => status::of_grpc(error).code,
    });
    result
}

/// A failure's message, kept short enough for the headers that carry it: a client takes 16 KiB of headers, and the
/// text is in them about four times (percent-encoded, and in base64 with its causes).
const MAX_FAILURE_BYTES: usize = 3 << 10;

/// A failure as gRPC carries it.
fn refuse(mut status: Status) -> tonic::Status {
    if status.message.len() > MAX_FAILURE_BYTES {
        let mut end = MAX_FAILURE_BYTES;
        while !status.message.is_char_boundary(end) {
            end -= 1;
        }
        status.message.truncate(end);
        status.message.push_str(" …");
    }
    if let Some(details) = &mut status.details {
        while details.encoded_len() > MAX_FAILURE_BYTES && details.causes.pop().is_some() {}
    }
    status.into()
}

#[cfg(test)]
mod tests {
    use gantry_proto::meta::v1::StatusCause;

    use super::*;

    #[test]
    fn a_failure_with_a_thousand_causes_still_fits_into_headers() {
        let cause = StatusCause {
            reason: "FieldValueInvalid".into(),
            message: "Invalid value: \"ä\": must be something else".into(),
            field: "spec.containers[0].name".into(),
        };
        let kind = gantry_proto::KindInfo::of_resource("pods").unwrap();
        let refused = refuse(Status::invalid(kind, "p", vec![cause; 1000]));
        assert!(refused.message().len() + refused.details().len() < 3 * MAX_FAILURE_BYTES);
        let read = status::of_grpc(&refused);
        assert_eq!(read.reason_code(), status::Reason::Invalid);
        assert!(read.details.is_some_and(|details| !details.causes.is_empty()));
    }
}
