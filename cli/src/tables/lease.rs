use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::coordination::v1::Lease;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[Always("NAME"), Always("HOLDER"), Always("AGE")],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let lease: Lease = object.decode()?;
    Ok(vec![
        object.metadata.name.clone(),
        lease.spec().holder_identity.clone().unwrap_or_default(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}
