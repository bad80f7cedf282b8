use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::meta::v1::IntOrString;
use gantry_proto::policy::v1::PodDisruptionBudget;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("MIN AVAILABLE"),
        Always("MAX UNAVAILABLE"),
        Always("ALLOWED DISRUPTIONS"),
        Always("AGE"),
    ],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let budget: PodDisruptionBudget = object.decode()?;
    let shown = |amount: Option<&IntOrString>| amount.map_or("N/A".into(), ToString::to_string);
    Ok(vec![
        object.metadata.name.clone(),
        shown(budget.spec().min_available.as_ref()),
        shown(budget.spec().max_unavailable.as_ref()),
        budget.status().disruptions_allowed.to_string(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}
