use super::Column::{Always, Wide};
use super::{Table, containers, selector};
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::apps::v1::Deployment;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("READY"),
        Always("UP-TO-DATE"),
        Always("AVAILABLE"),
        Always("AGE"),
        Wide("CONTAINERS"),
        Wide("IMAGES"),
        Wide("SELECTOR"),
    ],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let deployment: Deployment = object.decode()?;
    let (spec, status) = (deployment.spec(), deployment.status());
    let [names, images] = containers(spec.template().spec());
    Ok(vec![
        object.metadata.name.clone(),
        format!("{}/{}", status.ready_replicas, spec.replicas.unwrap_or_default()),
        status.updated_replicas.to_string(),
        status.available_replicas.to_string(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
        names,
        images,
        selector(spec.selector.as_ref()),
    ])
}
