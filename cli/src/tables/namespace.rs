use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::Namespace;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[Always("NAME"), Always("STATUS"), Always("AGE")],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let namespace: Namespace = object.decode()?;
    Ok(vec![
        object.metadata.name.clone(),
        namespace.status().phase.clone(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}
