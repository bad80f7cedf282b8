use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::scheduling::v1::PriorityClass;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("VALUE"),
        Always("GLOBAL-DEFAULT"),
        Always("AGE"),
        Always("PREEMPTIONPOLICY"),
    ],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let class: PriorityClass = object.decode()?;
    Ok(vec![
        object.metadata.name.clone(),
        class.value.to_string(),
        class.global_default.to_string(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
        class.preemption_policy.clone().unwrap_or_default(),
    ])
}
