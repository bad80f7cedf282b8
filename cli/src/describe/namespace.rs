use super::Related;
use super::text::{Text, time};
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::Namespace;
use std::time::SystemTime;

pub fn describe(object: &Object, _: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let namespace: Namespace = object.decode()?;
    text.head(&object.metadata);
    text.line(0, format_args!("Status:\t{}", namespace.status().phase));
    let conditions = &namespace.status().conditions;
    if !conditions.is_empty() {
        text.line(0, format_args!("Conditions:"));
        text.line(
            1,
            format_args!("Type\tStatus\tLastTransitionTime\tReason\tMessage"),
        );
        text.line(
            1,
            format_args!("----\t------\t------------------\t------\t-------"),
        );
        for condition in conditions {
            let since = time(condition.last_transition_time.as_ref());
            let (kind, status) = (&condition.r#type, &condition.status);
            let (reason, message) = (&condition.reason, &condition.message);
            text.line(1, format_args!("{kind}\t{status}\t{since}\t{reason}\t{message}"));
        }
    }
    // Neither kind is there yet, and kubectl says so in these words where none is.
    text.text
        .push_str("\nNo resource quota.\n\nNo LimitRange resource.\n");
    Ok(())
}
