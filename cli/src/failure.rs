//! Why a command failed, in kubectl's words.

use gantry_proto::meta::v1::{Status, StatusCause};
use gantry_proto::status::{self, Reason};
use std::collections::BTreeSet;
use std::error::Error as _;
use std::fmt;

/// What a command's caller is told. Its text is what appears on standard error.
#[derive(Debug)]
pub enum Failure {
    /// The apiserver's answer.
    Status(Box<Status>),
    /// No apiserver was reached; `server` is the last that was tried, as host and port.
    Refused {
        server: String,
    },
    Unreachable {
        why: String,
    },
    /// The reply to a write was lost.
    Lost {
        why: String,
    },
    Message(String),
    /// What was waited for did not happen in the time that was given.
    TimedOut(String),
    /// Everything has been said already.
    Said,
    /// Everything has been said already, and the process ends with this code.
    Exit(u8),
}

impl std::error::Error for Failure {}

impl Failure {
    /// What the process ends with, so that scripts can tell what may be well again from what is wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Status(_) | Failure::Message(_) | Failure::Said => 1,
            Failure::TimedOut(_) => 3,
            Failure::Refused { .. } | Failure::Unreachable { .. } | Failure::Lost { .. } => 4,
            Failure::Exit(code) => *code,
        }
    }

    pub fn message(text: impl Into<String>) -> Failure {
        Failure::Message(text.into())
    }

    /// Sorts a failed call. `server` is the host and port that it went to.
    pub fn of_call(error: tonic::Status, server: &str) -> Failure {
        if !error.details().is_empty() {
            return Failure::Status(Box::new(status::of_grpc(&error)));
        }
        let mut source = error.source();
        while let Some(cause) = source {
            let io = cause.downcast_ref::<std::io::Error>();
            if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
                return Failure::Refused {
                    server: server.into(),
                };
            }
            source = cause.source();
        }
        if is_not_connected(&error) {
            return Failure::Unreachable {
                why: describe(&error),
            };
        }
        match error.code() {
            tonic::Code::Unavailable
            | tonic::Code::Cancelled
            | tonic::Code::DeadlineExceeded
            | tonic::Code::Unknown => Failure::Lost {
                why: describe(&error),
            },
            _ => Failure::Status(Box::new(status::of_grpc(&error))),
        }
    }

    /// What went wrong without the words about who says so, as messages that go on from it have it.
    pub fn text(&self) -> String {
        match self {
            Failure::Status(status) => status.message.clone(),
            Failure::Message(text) | Failure::TimedOut(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// The same failure in other words.
    pub fn renamed(self, words: impl FnOnce(&str) -> String) -> Failure {
        match self {
            Failure::TimedOut(text) => Failure::TimedOut(words(&text)),
            other => Failure::message(words(&other.text())),
        }
    }

    /// Whether the apiserver gives this among the causes.
    pub fn has_cause(&self, reason: &str) -> bool {
        match self {
            Failure::Status(status) => status.details().causes.iter().any(|cause| cause.reason == reason),
            _ => false,
        }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Failure::Status(status) => status.reason_code(),
            _ => Reason::Unknown,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.reason() == Reason::NotFound
    }

    /// True when no apiserver was reached or none could serve: it may be well again soon.
    pub fn is_outage(&self) -> bool {
        match self {
            Failure::Refused { .. } | Failure::Unreachable { .. } | Failure::Lost { .. } => true,
            Failure::Status(status) => matches!(
                status.reason_code(),
                Reason::ServiceUnavailable
                    | Reason::Timeout
                    | Reason::ServerTimeout
                    | Reason::TooManyRequests
                    | Reason::InternalError
            ),
            Failure::Message(_) | Failure::TimedOut(_) | Failure::Said | Failure::Exit(_) => false,
        }
    }

    /// Says what was being done to what, as kubectl does for objects from files.
    pub fn while_doing(self, doing: &str, source: &str) -> Failure {
        match self {
            Failure::Status(mut status) => {
                status.message = format!("error when {doing} \"{source}\": {}", status.message);
                Failure::Status(status)
            }
            Failure::Message(message) => {
                Failure::Message(format!("error when {doing} \"{source}\": {message}"))
            }
            other => other,
        }
    }
}

/// True when the request was never sent.
fn is_not_connected(error: &tonic::Status) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<tonic::ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::Status(status) => f.write_str(&of_status(status)),
            Failure::Refused { server } => write!(
                f,
                "The connection to the server {server} was refused - did you specify the right host or port?"
            ),
            Failure::Unreachable { why } => write!(f, "Unable to connect to the server: {why}"),
            Failure::Lost { why } => {
                write!(
                    f,
                    "error: the connection to the server was lost before it answered: {why}"
                )
            }
            Failure::Message(text) | Failure::TimedOut(text) => write!(f, "error: {text}"),
            Failure::Said | Failure::Exit(_) => Ok(()),
        }
    }
}

/// kubectl's cmd/util StandardErrorMessage and checkErr.
fn of_status(status: &Status) -> String {
    match status.reason_code() {
        Reason::Invalid => invalid(status),
        Reason::Unauthorized => format!("error: You must be logged in to the server ({})", status.message),
        Reason::Unknown => format!("Error from server: {}", status.message),
        reason => format!("Error from server ({}): {}", reason.as_str(), status.message),
    }
}

fn invalid(status: &Status) -> String {
    let details = status.details.clone().unwrap_or_default();
    let mut text = "The request is invalid".to_string();
    if !details.kind.is_empty() || !details.name.is_empty() {
        text = format!("The {} \"{}\" is invalid", details.kind, details.name);
    } else if !status.message.is_empty() && details.causes.is_empty() {
        text = format!("{text}: {}", status.message);
    }
    let mut seen = BTreeSet::new();
    let line = |cause: &StatusCause| format!("{}: {}", cause.field, cause.message);
    let causes: Vec<String> = details
        .causes
        .iter()
        .map(line)
        .filter(|text| seen.insert(text.clone()))
        .collect();
    match &causes[..] {
        [] => text,
        [one] => format!("{text}: {one}"),
        many => format!("{text}: \n* {}", many.join("\n* ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::apps::v1::Deployment;
    use gantry_proto::core::v1::Pod;
    use gantry_proto::{Kind as _, KindInfo};

    fn check(status: Status, expected: &str) {
        let failure = Failure::of_call(tonic::Status::from(status), "127.0.0.1:6443");
        assert_eq!(failure.to_string(), expected);
    }

    fn cause(field: &str, message: &str) -> StatusCause {
        StatusCause {
            field: field.into(),
            message: message.into(),
            reason: "FieldValueInvalid".into(),
        }
    }

    #[test]
    fn a_status_reads_as_kubectl_prints_it() {
        let pod: &KindInfo = Pod::INFO;
        let deployment = Deployment::INFO;
        check(
            Status::not_found(pod, "x"),
            "Error from server (NotFound): pods \"x\" not found",
        );
        check(
            Status::conflict(deployment, "web", "the object has been modified"),
            "Error from server (Conflict): Operation cannot be fulfilled on deployments.apps \"web\": the object \
             has been modified",
        );
        check(
            Status::invalid(
                deployment,
                "web",
                vec![cause("spec.replicas", "Invalid value: -1")],
            ),
            "The Deployment \"web\" is invalid: spec.replicas: Invalid value: -1",
        );
        let twice = vec![
            cause("spec.a", "Required value"),
            cause("spec.b", "x"),
            cause("spec.b", "x"),
        ];
        check(
            Status::invalid(deployment, "web", twice),
            "The Deployment \"web\" is invalid: \n* spec.a: Required value\n* spec.b: x",
        );
        check(
            Status::failure(Reason::Unknown, "boom"),
            "Error from server: boom",
        );
    }

    #[test]
    fn what_was_done_is_said_in_the_message() {
        let failure = Failure::Status(Box::new(Status::already_exists(Pod::INFO, "x")));
        let expected =
            "Error from server (AlreadyExists): error when creating \"x.yaml\": pods \"x\" already exists";
        assert_eq!(failure.while_doing("creating", "x.yaml").to_string(), expected);
    }
}
