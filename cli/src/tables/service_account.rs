use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[Always("NAME"), Always("AGE")],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    Ok(vec![
        object.metadata.name.clone(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}
