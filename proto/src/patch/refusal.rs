//! What a request is answered whose patch does not apply (apiserver's endpoints/handlers/patch.go).

use super::PatchError;
use crate::meta::v1::{Status, StatusCause, StatusDetails};
use crate::status::Reason;

impl From<PatchError> for Status {
    fn from(error: PatchError) -> Status {
        let message = error.to_string();
        match error {
            PatchError::Undecodable(_)
            | PatchError::NotAnObject
            | PatchError::DeleteFromPrimitiveList
            | PatchError::RetainKeys
            | PatchError::SetElementOrder => Status::failure(Reason::BadRequest, message),
            PatchError::DoesNotApply(_) | PatchError::ListOfLists => rejected(message),
            PatchError::TooManyOperations(..) => Status::failure(
                Reason::RequestEntityTooLarge,
                format!("Request entity too large: {message}"),
            ),
            // Kubernetes has no reason for these: its answer says what is wrong, and no more.
            _ => Status::failure(Reason::Unknown, message),
        }
    }
}

/// Kubernetes says only that the request is to blame; the cause says what in it.
fn rejected(why: String) -> Status {
    let message = "the server rejected our request due to an error in our request";
    let mut status = Status::failure(Reason::Invalid, message);
    status.details = Some(StatusDetails {
        causes: vec![StatusCause {
            reason: "FieldValueInvalid".into(),
            message: why,
            field: "patch".into(),
        }],
        ..StatusDetails::default()
    });
    status
}

/// What is answered where the patched object cannot be read, or is read strictly and has fields that are unknown.
/// `shown` is the patched object for RFC 6902 and 7386, and for strategic merge the patch ([`super::go_text`]).
pub fn undecodable(shown: &str, why: &str) -> Status {
    let cause = StatusCause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {}: {why}", quoted(shown)),
        field: "patch".into(),
    };
    let message = format!(" \"\" is invalid: {}: {}", cause.field, cause.message);
    let mut status = Status::failure(Reason::Invalid, message);
    status.details = Some(StatusDetails {
        causes: vec![cause],
        ..StatusDetails::default()
    });
    status
}

/// Go's `%q` of text that is JSON or made of it, in which control characters are escaped already.
fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}
