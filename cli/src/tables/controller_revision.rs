use super::Column::Always;
use super::{Table, or_none};
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::apps::v1::ControllerRevision;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("CONTROLLER"),
        Always("REVISION"),
        Always("AGE"),
    ],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let revision: ControllerRevision = object.decode()?;
    let owners = &object.metadata.owner_references;
    let controller = owners.iter().find(|owner| owner.controller == Some(true));
    let controller = controller.map(|owner| {
        let kind = owner.kind.to_lowercase();
        match owner.api_version.split_once('/') {
            Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
            None => format!("{kind}/{}", owner.name),
        }
    });
    Ok(vec![
        object.metadata.name.clone(),
        or_none(&controller.unwrap_or_default()),
        revision.revision.to_string(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}
