//! What a failed call on etcd means: whether anything happened, and whether another member may do better.
//!
//! A write counts as not done only if that is certain: the connection was never made, or etcd itself says that
//! it rejected the request before proposing it. Everything else may have happened.

use std::error::Error as StdError;
use std::fmt;

use tonic::{Code, ConnectError, Status};
use tracing::Span;

use crate::{Error, Revision};

/// What was asked of etcd, as far as its failure depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// For messages: the noun of the call.
    pub(super) name: &'static str,
    is_write: bool,
    revision: Revision,
}

impl Request {
    /// A call that may be done again without harm.
    pub(super) fn read(name: &'static str) -> Self {
        Request {
            name,
            is_write: false,
            revision: 0,
        }
    }

    /// A call that must not be done again unless it certainly was not done.
    pub(super) fn write(name: &'static str) -> Self {
        Request {
            name,
            is_write: true,
            revision: 0,
        }
    }

    /// A span for a write that belongs to a trace already. Reads are too many, and a write on nobody's behalf
    /// would start a trace of its own.
    pub(super) fn span(&self, endpoint: &str) -> Span {
        if !self.is_write || Span::current().is_none() {
            return Span::none();
        }
        let (address, port) = address_and_port(endpoint);
        tracing::info_span!(
            "etcd",
            otel.name = format!("etcd {}", self.name),
            otel.kind = "client",
            db.system.name = "etcd",
            db.operation.name = self.name,
            server.address = address,
            server.port = port,
        )
    }

    /// Whether a call that was not answered may be sent to another member.
    pub(super) fn may_be_repeated(&self) -> bool {
        !self.is_write
    }

    /// Names the revision that the call is about.
    pub(super) fn at(self, revision: Revision) -> Self {
        Request { revision, ..self }
    }
}

/// The parts of `https://HOST:PORT`, as a span names them.
fn address_and_port(endpoint: &str) -> (&str, Option<u16>) {
    let authority = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, authority)| authority);
    match authority.rsplit_once(':') {
        Some((address, port)) => (address.trim_matches(['[', ']']), port.parse().ok()),
        None => (authority, None),
    }
}

/// A failed attempt, judged.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) error: Error,
    /// Whether the same request may be sent to another member.
    pub(super) may_try_elsewhere: bool,
}

/// Judges the failure of a request that was given to a member's connection.
pub(super) fn judge(request: Request, endpoint: &str, failure: etcd_client::Error) -> Verdict {
    match failure {
        etcd_client::Error::GRpcStatus(status) => judge_status(request, endpoint, status),
        // The crate says this of a renewal that etcd answered with a time of zero.
        etcd_client::Error::LeaseKeepAliveError(_) => last_word(Error::LeaseNotFound),
        etcd_client::Error::InvalidArgs(text) => last_word(Error::Refused(text)),
        other => uncertain(request, endpoint, Box::new(other)),
    }
}

/// Judges a request that was not answered in time: it may still be on its way.
pub(super) fn judge_silence(request: Request, endpoint: &str) -> Verdict {
    uncertain(request, endpoint, "no answer in time".into())
}

fn judge_status(request: Request, endpoint: &str, status: Status) -> Verdict {
    match meaning(&status) {
        Meaning::Compacted => last_word(Error::Compacted {
            revision: request.revision,
            compact_revision: None,
        }),
        Meaning::Future => last_word(Error::FutureRevision {
            revision: request.revision,
        }),
        Meaning::TooLarge => last_word(Error::TooLarge),
        Meaning::NoSpace => last_word(Error::NoSpace),
        Meaning::LeaseNotFound => last_word(Error::LeaseNotFound),
        Meaning::Refused => {
            let reason = status.message();
            last_word(Error::Refused(format!(
                "etcd at {endpoint} refused the {}: {reason}",
                request.name
            )))
        }
        Meaning::NotDone => {
            let cause = FailedCall::new(request, endpoint, Box::new(status));
            Verdict {
                error: Error::Unavailable(Box::new(cause)),
                may_try_elsewhere: true,
            }
        }
        Meaning::Unknown => uncertain(request, endpoint, Box::new(status)),
    }
}

fn last_word(error: Error) -> Verdict {
    Verdict {
        error,
        may_try_elsewhere: false,
    }
}

fn uncertain(request: Request, endpoint: &str, cause: crate::Cause) -> Verdict {
    let cause = Box::new(FailedCall::new(request, endpoint, cause));
    if request.is_write {
        return Verdict {
            error: Error::Ambiguous(cause),
            may_try_elsewhere: false,
        };
    }
    Verdict {
        error: Error::Unavailable(cause),
        may_try_elsewhere: true,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Compacted,
    Future,
    TooLarge,
    NoSpace,
    LeaseNotFound,
    /// Trying again will not help.
    Refused,
    /// The request did not reach a member that could do it.
    NotDone,
    /// It may have been done.
    Unknown,
}

/// The texts are those of etcd's `api/v3rpc/rpctypes/error.go`; they are part of its interface, because
/// clients tell errors of one code apart by them.
fn meaning(status: &Status) -> Meaning {
    if never_connected(status) {
        return Meaning::NotDone;
    }
    match (status.code(), status.message()) {
        (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted") => Meaning::Compacted,
        (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision") => Meaning::Future,
        (Code::InvalidArgument, "etcdserver: request is too large") => Meaning::TooLarge,
        // The gRPC library's own limit stands a little above etcd's.
        (Code::ResourceExhausted, text) if text.contains("received message larger than max") => {
            Meaning::TooLarge
        }
        (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded") => Meaning::NoSpace,
        (Code::NotFound, "etcdserver: requested lease not found") => Meaning::LeaseNotFound,
        (Code::ResourceExhausted, "etcdserver: too many requests") => Meaning::NotDone,
        (
            Code::Unavailable,
            "etcdserver: no leader" | "etcdserver: not capable" | "etcdserver: rpc not supported for learner",
        ) => Meaning::NotDone,
        (Code::Unknown, "raft proposal dropped") => Meaning::NotDone,
        (Code::Unknown, text) if text.starts_with("Service was not ready") => Meaning::NotDone,
        (
            Code::InvalidArgument
            | Code::OutOfRange
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
            | Code::DataLoss,
            text,
        ) if text.starts_with("etcdserver: ") || status.code() == Code::Unimplemented => Meaning::Refused,
        _ => Meaning::Unknown,
    }
}

fn never_connected(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

type AnyError = dyn StdError + 'static;

fn causes(error: &AnyError) -> impl Iterator<Item = &AnyError> {
    std::iter::successors(Some(error), |error: &&AnyError| StdError::source(*error))
}

/// Names the call and the member, and tells the deepest cause, where the useful text is ("Connection refused").
#[derive(Debug)]
struct FailedCall {
    name: &'static str,
    endpoint: String,
    cause: crate::Cause,
}

impl FailedCall {
    fn new(request: Request, endpoint: &str, cause: crate::Cause) -> Self {
        FailedCall {
            name: request.name,
            endpoint: endpoint.to_owned(),
            cause,
        }
    }
}

impl fmt::Display for FailedCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at {}: ", self.name, self.endpoint)?;
        let cause: &(dyn StdError + 'static) = self.cause.as_ref();
        match cause.downcast_ref::<Status>() {
            Some(status) => write!(formatter, "{}", status.message())?,
            None => write!(formatter, "{cause}")?,
        }
        match causes(cause).last() {
            Some(deepest) if cause.source().is_some() => write!(formatter, ": {deepest}"),
            _ => Ok(()),
        }
    }
}

impl StdError for FailedCall {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.cause.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: fn(&'static str) -> Request = Request::read;
    const WRITE: fn(&'static str) -> Request = Request::write;

    fn check(request: fn(&'static str) -> Request, status: Status, expected: &str, elsewhere: bool) {
        let text = format!("{status:?}");
        let failure = etcd_client::Error::GRpcStatus(status);
        let verdict = judge(request("call").at(7), "https://etcd:2379", failure);
        let debug = format!("{:?}", verdict.error);
        assert!(
            debug.starts_with(expected),
            "{text}: expected {expected}, got {debug}"
        );
        assert_eq!(verdict.may_try_elsewhere, elsewhere, "{text}");
    }

    #[test]
    fn a_write_that_may_have_been_proposed_is_ambiguous_and_is_not_sent_again() {
        for status in [
            Status::unavailable("etcdserver: request timed out"),
            Status::unavailable("etcdserver: request timed out, possibly due to previous leader failure"),
            Status::unavailable("etcdserver: request timed out, possibly due to connection lost"),
            Status::unavailable("etcdserver: server stopped"),
            Status::unavailable("etcdserver: leader changed"),
            Status::unavailable("error trying to send"),
            Status::unknown("transport error"),
            Status::internal("h2 protocol error"),
            Status::cancelled("operation was canceled"),
            Status::deadline_exceeded("context deadline exceeded"),
        ] {
            check(WRITE, status.clone(), "Ambiguous", false);
            check(READ, status, "Unavailable", true);
        }
        assert!(matches!(
            judge_silence(WRITE("call"), "e").error,
            Error::Ambiguous(_)
        ));
        assert!(matches!(
            judge_silence(READ("call"), "e").error,
            Error::Unavailable(_)
        ));
    }

    #[test]
    fn a_write_that_etcd_did_not_propose_is_certainly_not_done() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let never_connected = || Status::from_error(Box::new(ConnectError(Box::new(refused))));
        let status = never_connected();
        check(WRITE, status, "Unavailable", true);
        check(
            WRITE,
            Status::unavailable("etcdserver: no leader"),
            "Unavailable",
            true,
        );
        check(
            WRITE,
            Status::resource_exhausted("etcdserver: too many requests"),
            "Unavailable",
            true,
        );
        check(
            WRITE,
            Status::unknown("raft proposal dropped"),
            "Unavailable",
            true,
        );
    }

    #[test]
    fn etcds_own_answers_keep_their_meaning() {
        let cases = [
            (
                Status::out_of_range("etcdserver: mvcc: required revision has been compacted"),
                "Compacted { revision: 7",
            ),
            (
                Status::out_of_range("etcdserver: mvcc: required revision is a future revision"),
                "FutureRevision { revision: 7",
            ),
            (
                Status::invalid_argument("etcdserver: request is too large"),
                "TooLarge",
            ),
            (
                Status::resource_exhausted("grpc: received message larger than max (3 vs. 2)"),
                "TooLarge",
            ),
            (
                Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
                "NoSpace",
            ),
            (
                Status::not_found("etcdserver: requested lease not found"),
                "LeaseNotFound",
            ),
            (
                Status::permission_denied("etcdserver: permission denied"),
                "Refused",
            ),
            (
                Status::invalid_argument("etcdserver: duplicate key given in txn request"),
                "Refused",
            ),
        ];
        for (status, expected) in cases {
            check(WRITE, status.clone(), expected, false);
            check(READ, status, expected, false);
        }
    }

    #[test]
    fn the_text_names_call_member_and_deepest_cause() {
        let refused = std::io::Error::other("Connection refused (os error 111)");
        let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
        let failure = etcd_client::Error::GRpcStatus(status);
        let text = judge(READ("list"), "https://etcd:2379", failure)
            .error
            .to_string();
        assert!(
            text.starts_with("the store is not available: list at https://etcd:2379: "),
            "{text}"
        );
        assert!(text.ends_with("Connection refused (os error 111)"), "{text}");
    }
}
