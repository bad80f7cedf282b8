//! A node must have what the pod asks for.

use super::{Reason, Remedy, Wanted};
use crate::resources::{PODS, display};
use crate::snapshot::NodeInfo;

pub fn filter(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    wanted
        .takes
        .requests
        .iter()
        .filter(|(name, amount)| *amount > 0 && *amount > node.free(name))
        .map(|(name, amount)| {
            let free = node.free(name).max(0);
            let all = node.allocatable.get(name);
            Reason {
                text: if name == PODS {
                    "Too many pods".into()
                } else {
                    format!("Insufficient {name}")
                },
                detail: format!(
                    "requests {} {name}; {} of {} free",
                    display(name, amount),
                    display(name, free),
                    display(name, all)
                ),
                remedy: Remedy::Request {
                    resource: name.into(),
                    at_most: free,
                    wanted: amount,
                },
            }
        })
        .collect()
}
