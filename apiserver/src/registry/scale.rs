//! What is wrong with a Scale itself (pkg/registry/apps/deployment/storage, scaleUpdatedObjectInfo).

use gantry_proto::KindInfo;
use gantry_proto::autoscaling::v1::Scale;
use gantry_proto::meta::v1::{ObjectMeta, Status, StatusCause, StatusDetails};
use gantry_proto::status::Reason;

/// Refuses a Scale that nobody can have, or that was meant for another object.
pub(super) fn check(info: &KindInfo, scale: &Scale, old: &ObjectMeta) -> Result<(), Status> {
    let replicas = scale.spec().replicas;
    if replicas < 0 {
        return Err(negative_scale(replicas, &old.name));
    }
    let uid = &scale.metadata().uid;
    if uid.is_empty() || *uid == old.uid {
        return Ok(());
    }
    let why = format!(
        "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
        old.uid
    );
    let resource = format!("{}/scale", info.resource);
    let mut status = Status::conflict(info, &old.name, &why);
    status.message = format!(
        "Operation cannot be fulfilled on {resource}.{} \"{}\": {why}",
        info.group, old.name
    );
    if let Some(details) = &mut status.details {
        details.kind = resource;
    }
    Err(status)
}

fn negative_scale(replicas: i32, name: &str) -> Status {
    let cause = StatusCause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
        field: "spec.replicas".into(),
    };
    let message = format!(
        "Scale.autoscaling \"{name}\" is invalid: {}: {}",
        cause.field, cause.message
    );
    let mut status = Status::failure(Reason::Invalid, message);
    status.details = Some(StatusDetails {
        name: name.to_owned(),
        group: "autoscaling".into(),
        kind: "Scale".into(),
        causes: vec![cause],
        ..StatusDetails::default()
    });
    status
}
