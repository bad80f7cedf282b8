use super::Column::Always;
use super::{Table, or_none};
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::networking::v1::IpAddress;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[Always("NAME"), Always("PARENTREF")],
    cells,
};

fn cells(object: &Object, _: SystemTime) -> Result<Vec<String>, Failure> {
    let address: IpAddress = object.decode()?;
    let parent = address.spec().parent_ref.as_ref().map(|parent| {
        let resource = match parent.group.as_str() {
            "" => parent.resource.to_lowercase(),
            group => format!("{}.{group}", parent.resource).to_lowercase(),
        };
        match parent.namespace.as_str() {
            "" => format!("{resource}/{}", parent.name),
            namespace => format!("{resource}/{namespace}/{}", parent.name),
        }
    });
    Ok(vec![
        object.metadata.name.clone(),
        or_none(&parent.unwrap_or_default()),
    ])
}
