//! Which version of an object a request replaces.

use gantry_proto::KindInfo;
use gantry_proto::meta::v1::{ObjectMeta, Status, StatusCause, StatusDetails};
use gantry_proto::status::Reason;

use super::current::Current;
use crate::cache::Cache;

pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// Refuses an update that is meant for another version of the object. A kind may insist on knowing which version is
/// replaced.
pub(super) fn check(cache: &Cache, new: &ObjectMeta, current: &Current) -> Result<(), Status> {
    let (info, name) = (cache.kind(), &current.object.metadata().name);
    match parse_version(&new.resource_version)? {
        0 if cache.strategy().allows_unconditional_update() => Ok(()),
        0 => Err(unconditional(info, name)),
        version if u64::try_from(current.revision) == Ok(version) => Ok(()),
        _ => Err(Status::conflict(info, name, MODIFIED)),
    }
}

/// None is 0. The words are those of Go's strconv, which Kubernetes passes on without a reason.
fn parse_version(text: &str) -> Result<u64, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if is_number { text.parse().ok() } else { None };
    parsed.ok_or_else(|| {
        let why = if is_number {
            "value out of range"
        } else {
            "invalid syntax"
        };
        let message = format!("strconv.ParseUint: parsing {text:?}: {why}");
        Status::failure(Reason::Unknown, message)
    })
}

/// Kubernetes calls the kind by its resource here.
fn unconditional(info: &KindInfo, name: &str) -> Status {
    let cause = StatusCause {
        reason: "FieldValueInvalid".into(),
        message: "Invalid value: 0: must be specified for an update".into(),
        field: "metadata.resourceVersion".into(),
    };
    let message = format!(
        "{} \"{name}\" is invalid: {}: {}",
        info.group_resource(),
        cause.field,
        cause.message
    );
    let mut status = Status::failure(Reason::Invalid, message);
    status.details = Some(StatusDetails {
        name: name.to_owned(),
        group: info.group.into(),
        kind: info.resource.into(),
        causes: vec![cause],
        ..StatusDetails::default()
    });
    status
}

#[cfg(test)]
mod tests {
    use gantry_proto::Kind as _;
    use gantry_proto::coordination::v1::Lease;

    use super::*;

    #[test]
    fn a_version_is_a_number_and_zero_is_none() {
        let check = |text: &str, expected: Result<u64, &str>| {
            let found = parse_version(text).map_err(|status| status.message);
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check("", Ok(0));
        check("0", Ok(0));
        check("17", Ok(17));
        check("x", Err("strconv.ParseUint: parsing \"x\": invalid syntax"));
        check("-1", Err("strconv.ParseUint: parsing \"-1\": invalid syntax"));
        check("+1", Err("strconv.ParseUint: parsing \"+1\": invalid syntax"));
        check(
            "18446744073709551616",
            Err("strconv.ParseUint: parsing \"18446744073709551616\": value out of range"),
        );
        assert_eq!(
            unconditional(Lease::INFO, "l").message,
            "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be \
             specified for an update"
        );
    }
}
