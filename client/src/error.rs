//! Why a call failed, by what a caller may do about it.

use gantry_proto::meta::v1::Status;
use gantry_proto::status::{self, Reason};
use std::error::Error as _;

/// The cause by which the apiserver tells this refusal from other conflicts.
const FENCED_OFF: &str = "FencedOff";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The apiserver's answer.
    #[error("{}", .0.message)]
    Status(Box<Status>),
    /// A write whose reply was lost: it may or may not have happened. Read before writing again.
    #[error("the reply was lost and the write may have happened: {0}")]
    Ambiguous(String),
    /// No apiserver was reached, or none could serve. A write certainly did not happen.
    #[error("the apiserver is not available: {0}")]
    Unavailable(String),
    #[error("the apiserver's reply does not decode")]
    Decode(#[from] prost::DecodeError),
}

/// A call of any service that failed, and at which apiserver (host and port).
#[derive(Debug, thiserror::Error)]
#[error("{server}: {status}")]
pub struct CallError {
    pub server: String,
    #[source]
    pub status: tonic::Status,
}

impl Error {
    /// The apiserver's reason; `Unknown` where the failure is not its answer.
    pub fn reason(&self) -> Reason {
        match self {
            Error::Status(status) => status.reason_code(),
            _ => Reason::Unknown,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.reason() == Reason::NotFound
    }

    pub fn is_conflict(&self) -> bool {
        self.reason() == Reason::Conflict
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason() == Reason::AlreadyExists
    }

    /// A write of a leader that leads no more: its [`Fence`](gantry_proto::api::v1::Fence) did not hold.
    pub fn is_fenced_off(&self) -> bool {
        match self {
            Error::Status(status) => status
                .details()
                .causes
                .iter()
                .any(|cause| cause.reason == FENCED_OFF),
            _ => false,
        }
    }

    pub fn is_expired(&self) -> bool {
        matches!(self.reason(), Reason::Expired | Reason::Gone)
    }

    /// A read that failed: never ambiguous.
    pub(crate) fn of_read(error: tonic::Status) -> Error {
        match classify(&error) {
            Class::Answer => Error::Status(Box::new(status::of_grpc(&error))),
            Class::Refused | Class::NotSent | Class::Lost => Error::Unavailable(describe(&error)),
        }
    }

    /// A write that failed.
    pub(crate) fn of_write(error: tonic::Status) -> Error {
        match classify(&error) {
            Class::Answer => {
                let status = status::of_grpc(&error);
                match status.reason_code() {
                    Reason::Timeout | Reason::ServerTimeout => Error::Ambiguous(status.message),
                    _ => Error::Status(Box::new(status)),
                }
            }
            Class::Refused | Class::NotSent => Error::Unavailable(describe(&error)),
            Class::Lost => Error::Ambiguous(describe(&error)),
        }
    }
}

enum Class {
    /// The server answered.
    Answer,
    /// The server answered that it cannot serve now, its store being away for example: nothing was done.
    Refused,
    /// No connection: the request was never sent.
    NotSent,
    /// The connection or the deadline ended while the request was under way.
    Lost,
}

fn classify(error: &tonic::Status) -> Class {
    if !error.details().is_empty() {
        return match status::of_grpc(error).reason_code() {
            Reason::ServiceUnavailable => Class::Refused,
            _ => Class::Answer,
        };
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<tonic::ConnectError>() {
            return Class::NotSent;
        }
        source = cause.source();
    }
    match error.code() {
        tonic::Code::Unavailable
        | tonic::Code::Cancelled
        | tonic::Code::DeadlineExceeded
        | tonic::Code::Unknown => Class::Lost,
        _ => Class::Answer,
    }
}

/// Whether another apiserver may do better.
pub(crate) fn may_work_elsewhere(error: &tonic::Status) -> bool {
    !matches!(classify(error), Class::Answer)
}

/// Whether the request had surely no effect, whatever it was.
pub(crate) fn was_not_done(error: &tonic::Status) -> bool {
    matches!(classify(error), Class::Refused | Class::NotSent)
}

/// The message with its causes, which is where the transport says what happened.
fn describe(error: &tonic::Status) -> String {
    let mut text = error.message().to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
