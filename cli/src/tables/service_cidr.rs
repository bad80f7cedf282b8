use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::networking::v1::ServiceCidr;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[Always("NAME"), Always("CIDRS"), Always("AGE")],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let ranges: ServiceCidr = object.decode()?;
    Ok(vec![
        object.metadata.name.clone(),
        ranges.spec().cidrs.join(","),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}
