use super::Column::Always;
use super::Table;
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::Endpoints;
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[Always("NAME"), Always("ENDPOINTS"), Always("AGE")],
    cells,
};

/// Addresses that are shown; of the others only the number is.
const SHOWN: usize = 3;

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let endpoints: Endpoints = object.decode()?;
    Ok(vec![
        object.metadata.name.clone(),
        addresses(&endpoints),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
    ])
}

/// Kubernetes' formatEndpoints: every ready address with every port.
fn addresses(endpoints: &Endpoints) -> String {
    if endpoints.subsets.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for subset in &endpoints.subsets {
        let addresses = || subset.addresses.iter().map(|address| address.ip.as_str());
        if subset.ports.is_empty() {
            all.extend(addresses().map(String::from));
        }
        for port in &subset.ports {
            all.extend(addresses().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{}", port.port),
                false => format!("{ip}:{}", port.port),
            }));
        }
    }
    match all.len() {
        0..=SHOWN => all.join(","),
        count => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
    }
}
