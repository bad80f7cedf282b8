use super::Column::Always;
use super::{Table, containers, labels};
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::PodTemplate;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("CONTAINERS"),
        Always("IMAGES"),
        Always("POD LABELS"),
    ],
    cells,
};

fn cells(object: &Object, _: SystemTime) -> Result<Vec<String>, Failure> {
    let template: PodTemplate = object.decode()?;
    let [names, images] = containers(template.template().spec());
    Ok(vec![
        object.metadata.name.clone(),
        names,
        images,
        labels(&template.template().metadata().labels),
    ])
}
