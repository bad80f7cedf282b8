use super::Column::{Always, Wide};
use super::{Table, or_none};
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("STATUS"),
        Always("ROLES"),
        Always("AGE"),
        Always("VERSION"),
        Wide("INTERNAL-IP"),
        Wide("EXTERNAL-IP"),
        Wide("OS-IMAGE"),
        Wide("KERNEL-VERSION"),
        Wide("CONTAINER-RUNTIME"),
    ],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let node: Node = object.decode()?;
    let info = node.status().node_info();
    let unknown = |text: &str| {
        if text.is_empty() {
            "<unknown>".into()
        } else {
            text.to_string()
        }
    };
    Ok(vec![
        object.metadata.name.clone(),
        status(&node),
        or_none(&roles(&object.metadata.labels).join(",")),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
        info.kubelet_version.clone(),
        address(&node, "InternalIP"),
        address(&node, "ExternalIP"),
        unknown(&info.os_image),
        kernel_version(&unknown(&info.kernel_version), &info.architecture),
        unknown(&info.container_runtime_version),
    ])
}

fn kernel_version(version: &str, architecture: &str) -> String {
    if architecture.is_empty() {
        version.into()
    } else {
        format!("{version} ({architecture})")
    }
}

fn status(node: &Node) -> String {
    let ready = node
        .status()
        .conditions
        .iter()
        .find(|condition| condition.r#type == "Ready");
    let status = match ready {
        Some(condition) if condition.status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if node.spec().unschedulable {
        format!("{status},SchedulingDisabled")
    } else {
        status.into()
    }
}

/// A node's roles, by the labels that name them.
pub fn roles(labels: &BTreeMap<String, String>) -> Vec<String> {
    let role = |(key, value): (&String, &String)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_string()),
        None => (key == "kubernetes.io/role").then(|| value.clone()),
    };
    let roles: BTreeSet<String> = labels
        .iter()
        .filter_map(role)
        .filter(|role| !role.is_empty())
        .collect();
    roles.into_iter().collect()
}

fn address(node: &Node, address_type: &str) -> String {
    let found = node
        .status()
        .addresses
        .iter()
        .find(|address| address.r#type == address_type);
    or_none(found.map_or("", |address| &address.address))
}
