use super::Column::{Always, Wide};
use super::{Table, containers, selector};
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::apps::v1::ReplicaSet;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("DESIRED"),
        Always("CURRENT"),
        Always("READY"),
        Always("AGE"),
        Wide("CONTAINERS"),
        Wide("IMAGES"),
        Wide("SELECTOR"),
    ],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let replica_set: ReplicaSet = object.decode()?;
    let (spec, status) = (replica_set.spec(), replica_set.status());
    let [names, images] = containers(spec.template().spec());
    Ok(vec![
        object.metadata.name.clone(),
        spec.replicas.unwrap_or_default().to_string(),
        status.replicas.to_string(),
        status.ready_replicas.to_string(),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
        names,
        images,
        selector(spec.selector.as_ref()),
    ])
}
