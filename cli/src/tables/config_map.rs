use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::ConfigMap;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[Always("NAME"), Always("DATA"), Always("AGE")],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let config_map: ConfigMap = object.decode()?;
    Ok(vec![
        object.metadata.name.clone(),
        (config_map.data.len() + config_map.binary_data.len()).to_string(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}
