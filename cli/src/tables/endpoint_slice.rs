use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::discovery::v1::{EndpointPort, EndpointSlice};
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("ADDRESSTYPE"),
        Always("PORTS"),
        Always("ENDPOINTS"),
        Always("AGE"),
    ],
    cells,
};

/// Ports or addresses that are shown; of the others only the number is.
const SHOWN: usize = 3;

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let slice: EndpointSlice = object.decode()?;
    let ports = slice.ports.iter().map(port).collect();
    let addresses = slice
        .endpoints
        .iter()
        .flat_map(|endpoint| endpoint.addresses.iter().cloned())
        .collect();
    Ok(vec![
        object.metadata.name.clone(),
        slice.address_type.clone(),
        shortened(ports, slice.ports.is_empty()),
        shortened(addresses, slice.endpoints.is_empty()),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}

fn port(port: &EndpointPort) -> String {
    match (port.port, port.name.as_deref().unwrap_or_default()) {
        (Some(number), _) => number.to_string(),
        (None, "") => "*".into(),
        (None, name) => name.into(),
    }
}

fn shortened(all: Vec<String>, unset: bool) -> String {
    if unset {
        return "<unset>".into();
    }
    match all.len() {
        0..=SHOWN => all.join(","),
        count => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
    }
}
