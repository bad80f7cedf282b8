//! The nodes as a decision sees them.

use crate::resources::{self, PODS, Resources};
use gantry_proto::core::v1::{Node, Pod, PodSpec, Taint};
use imbl::OrdMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All nodes at one moment; cheap to clone, and each change costs one node.
pub type Snapshot = OrdMap<Arc<str>, Arc<NodeInfo>>;

/// A node, and what the pods on it take.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    pub requested: Resources,
    /// What is requested as scores count it.
    pub counted: Resources,
    pub host_ports: BTreeSet<HostPort>,
    /// How many pods each controller has here, by its uid.
    pub pods_by_controller: BTreeMap<Arc<str>, u32>,
    /// False for a node whose pods are known but which itself is not (any more).
    pub exists: bool,
}

/// A port that a pod takes on its node. Two collide when protocol and port are the same and either takes
/// all addresses or both take the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: String,
    pub port: i32,
    /// Empty for all addresses.
    pub address: String,
}

/// What a pod takes on its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub requests: Resources,
    /// As scores count it.
    pub counted: Resources,
    pub host_ports: Vec<HostPort>,
    /// The uid of the object that made the pod, of which there may be more pods.
    pub controller: Option<Arc<str>>,
}

impl NodeInfo {
    /// Takes over what the node itself says, and keeps what its pods take.
    pub fn set_node(&mut self, node: &Node) {
        self.name = node.metadata().name.clone();
        self.labels = node.metadata().labels.clone();
        self.taints = node.spec().taints.clone();
        self.unschedulable = node.spec().unschedulable;
        self.allocatable = Resources::of_quantities(&node.status().allocatable);
        self.exists = true;
    }

    pub fn add_pod(&mut self, taken: &Taken) {
        self.requested.add(&taken.requests);
        self.counted.add(&taken.counted);
        self.host_ports.extend(taken.host_ports.iter().cloned());
        if let Some(controller) = &taken.controller {
            *self.pods_by_controller.entry(controller.clone()).or_default() += 1;
        }
    }

    pub fn remove_pod(&mut self, taken: &Taken) {
        self.requested.subtract(&taken.requests);
        self.counted.subtract(&taken.counted);
        for port in &taken.host_ports {
            self.host_ports.remove(port);
        }
        if let Some(controller) = &taken.controller
            && let Some(count) = self.pods_by_controller.get_mut(controller)
        {
            *count -= 1;
            if *count == 0 {
                self.pods_by_controller.remove(controller);
            }
        }
    }

    pub fn free(&self, resource: &str) -> i64 {
        self.allocatable
            .get(resource)
            .saturating_sub(self.requested.get(resource))
    }

    pub fn is_empty(&self) -> bool {
        self.requested.get(PODS) == 0
    }

    pub fn has_port_conflict(&self, wanted: &HostPort) -> bool {
        self.host_ports.iter().any(|taken| {
            taken.port == wanted.port
                && taken.protocol == wanted.protocol
                && (taken.address.is_empty() || wanted.address.is_empty() || taken.address == wanted.address)
        })
    }
}

impl Taken {
    pub fn of(pod: &Pod) -> Taken {
        let spec = pod.spec();
        let mut owners = pod.metadata().owner_references.iter();
        let controller = owners.find(|owner| owner.controller == Some(true));
        Taken {
            controller: controller.map(|owner| Arc::from(owner.uid.as_str())),
            requests: resources::pod_requests(spec),
            counted: resources::counted_requests(spec),
            host_ports: host_ports(spec),
        }
    }
}

/// The ports that a pod takes on its node.
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    // Init containers that keep running (sidecars) hold their ports beside the others.
    let sidecars = spec.init_containers.iter();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| &container.ports);
    ports
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            protocol: if port.protocol.is_empty() {
                "TCP".into()
            } else {
                port.protocol.clone()
            },
            port: port.host_port,
            address: if port.host_ip == "0.0.0.0" {
                String::new()
            } else {
                port.host_ip.clone()
            },
        })
        .collect()
}

/// Whether a pod has given back what it took.
pub fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status().phase.as_str(), "Succeeded" | "Failed")
}
