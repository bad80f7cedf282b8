//! `Status`: how every failed call says why, with the reasons, codes and words of Kubernetes'
//! apimachinery/pkg/api/errors.

use crate::KindInfo;
use crate::meta::v1::{Status, StatusCause, StatusDetails};
use prost::Message;

/// Kubernetes' machine-readable reasons (meta/v1 StatusReason).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    RequestEntityTooLarge,
    InternalError,
    Expired,
    ServiceUnavailable,
}

impl Reason {
    const ALL: &'static [(Reason, &'static str, i32, tonic::Code)] = &[
        (Reason::Unknown, "", 500, tonic::Code::Unknown),
        (
            Reason::Unauthorized,
            "Unauthorized",
            401,
            tonic::Code::Unauthenticated,
        ),
        (Reason::Forbidden, "Forbidden", 403, tonic::Code::PermissionDenied),
        (Reason::NotFound, "NotFound", 404, tonic::Code::NotFound),
        (
            Reason::AlreadyExists,
            "AlreadyExists",
            409,
            tonic::Code::AlreadyExists,
        ),
        (Reason::Conflict, "Conflict", 409, tonic::Code::Aborted),
        (Reason::Gone, "Gone", 410, tonic::Code::OutOfRange),
        (Reason::Invalid, "Invalid", 422, tonic::Code::InvalidArgument),
        (
            Reason::ServerTimeout,
            "ServerTimeout",
            500,
            tonic::Code::DeadlineExceeded,
        ),
        (Reason::Timeout, "Timeout", 504, tonic::Code::DeadlineExceeded),
        (
            Reason::TooManyRequests,
            "TooManyRequests",
            429,
            tonic::Code::ResourceExhausted,
        ),
        (
            Reason::BadRequest,
            "BadRequest",
            400,
            tonic::Code::InvalidArgument,
        ),
        (
            Reason::MethodNotAllowed,
            "MethodNotAllowed",
            405,
            tonic::Code::Unimplemented,
        ),
        (
            Reason::RequestEntityTooLarge,
            "RequestEntityTooLarge",
            413,
            tonic::Code::ResourceExhausted,
        ),
        (Reason::InternalError, "InternalError", 500, tonic::Code::Internal),
        (Reason::Expired, "Expired", 410, tonic::Code::OutOfRange),
        (
            Reason::ServiceUnavailable,
            "ServiceUnavailable",
            503,
            tonic::Code::Unavailable,
        ),
    ];

    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    pub fn parse(text: &str) -> Reason {
        Self::ALL
            .iter()
            .find(|row| row.1 == text)
            .map_or(Reason::Unknown, |row| row.0)
    }

    /// The HTTP status code.
    pub fn http_code(self) -> i32 {
        self.row().2
    }

    pub fn grpc_code(self) -> tonic::Code {
        self.row().3
    }

    fn row(self) -> &'static (Reason, &'static str, i32, tonic::Code) {
        Self::ALL
            .iter()
            .find(|row| row.0 == self)
            .unwrap_or(&Self::ALL[0])
    }
}

impl Status {
    pub fn failure(reason: Reason, message: impl Into<String>) -> Status {
        Status {
            status: "Failure".into(),
            message: message.into(),
            reason: reason.as_str().into(),
            code: reason.http_code(),
            ..Status::default()
        }
    }

    pub fn reason_code(&self) -> Reason {
        Reason::parse(&self.reason)
    }

    pub fn not_found(kind: &KindInfo, name: &str) -> Status {
        let message = format!("{} \"{name}\" not found", kind.group_resource());
        Status::failure(Reason::NotFound, message).about_resource(kind, name)
    }

    pub fn already_exists(kind: &KindInfo, name: &str) -> Status {
        let message = format!("{} \"{name}\" already exists", kind.group_resource());
        Status::failure(Reason::AlreadyExists, message).about_resource(kind, name)
    }

    pub fn conflict(kind: &KindInfo, name: &str, why: &str) -> Status {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.group_resource()
        );
        Status::failure(Reason::Conflict, message).about_resource(kind, name)
    }

    pub fn forbidden(kind: &KindInfo, name: &str, why: &str) -> Status {
        let message = match name {
            "" => format!("{} is forbidden: {why}", kind.group_resource()),
            name => format!("{} \"{name}\" is forbidden: {why}", kind.group_resource()),
        };
        Status::failure(Reason::Forbidden, message).about_resource(kind, name)
    }

    /// All that is wrong with an object at once.
    pub fn invalid(kind: &KindInfo, name: &str, causes: Vec<StatusCause>) -> Status {
        let texts: Vec<String> = causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect();
        let all = match &texts[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = match kind.group {
            "" => kind.kind.to_string(),
            group => format!("{}.{group}", kind.kind),
        };
        let message = format!("{qualified} \"{name}\" is invalid: {all}");
        let mut status = Status::failure(Reason::Invalid, message);
        status.details = Some(StatusDetails {
            name: name.into(),
            group: kind.group.into(),
            kind: kind.kind.into(),
            causes,
            ..StatusDetails::default()
        });
        status
    }

    /// The details that name a resource. Kubernetes puts the plural name into `kind` here.
    fn about_resource(mut self, kind: &KindInfo, name: &str) -> Status {
        self.details = Some(StatusDetails {
            name: name.into(),
            group: kind.group.into(),
            kind: kind.resource.into(),
            ..StatusDetails::default()
        });
        self
    }
}

impl From<Status> for tonic::Status {
    fn from(status: Status) -> tonic::Status {
        let code = status.reason_code().grpc_code();
        let message = status.message.clone();
        tonic::Status::with_details(code, message, status.encode_to_vec().into())
    }
}

/// The `Status` in a failed call's details; made from the gRPC code where the failure is the transport's.
pub fn of_grpc(error: &tonic::Status) -> Status {
    if !error.details().is_empty()
        && let Ok(status) = Status::decode(error.details())
        && status.status == "Failure"
    {
        return status;
    }
    let reason = Reason::ALL
        .iter()
        .find(|row| row.3 == error.code())
        .map_or(Reason::Unknown, |row| row.0);
    Status::failure(reason, error.message())
}
