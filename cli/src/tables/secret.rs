use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::Secret;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[Always("NAME"), Always("TYPE"), Always("DATA"), Always("AGE")],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let secret: Secret = object.decode()?;
    Ok(vec![
        object.metadata.name.clone(),
        secret.r#type.clone(),
        secret.data.len().to_string(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}
