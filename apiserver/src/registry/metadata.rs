//! What the server gives every new object, whoever makes it.

use std::time::SystemTime;

use gantry_proto::meta::v1::{ObjectMeta, Time};

/// Fills in what the server gives a new object.
pub(super) fn begin(metadata: &mut ObjectMeta, uid: String, now: SystemTime) {
    metadata.uid = uid;
    metadata.creation_timestamp = Some(Time::from_system(now));
    metadata.resource_version.clear();
    metadata.managed_fields.clear();
}
