//! The Node object as it should be: pure.

use crate::node::go_architecture;
use crate::node::machine::Machine;
use gantry_proto::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use gantry_proto::meta::v1::{Quantity, Time};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

/// Kept free for the system, as the kubelet keeps it by default: it evicts below this.
const RESERVED_MEMORY_BYTES: i64 = 100 << 20;
const RESERVED_STORAGE_PERCENT: i64 = 10;

pub struct Facts<'a> {
    pub name: &'a str,
    pub ip: IpAddr,
    pub port: u16,
    pub machine: &'a Machine,
    pub max_pods: u32,
    /// As CRI tells it, such as `containerd://1.6.20`.
    pub runtime_version: &'a str,
    /// Why the node cannot run pods; `None` when it can.
    pub not_ready: Option<&'a str>,
    pub now: SystemTime,
}

pub fn labels(facts: &Facts) -> BTreeMap<String, String> {
    let label = |key: &str, value: &str| (key.to_string(), value.to_string());
    [
        label("kubernetes.io/hostname", facts.name),
        label("kubernetes.io/os", "linux"),
        label("kubernetes.io/arch", go_architecture()),
        label("beta.kubernetes.io/os", "linux"),
        label("beta.kubernetes.io/arch", go_architecture()),
    ]
    .into()
}

pub fn allocatable_memory(machine: &Machine) -> i64 {
    (machine.memory_bytes - RESERVED_MEMORY_BYTES).max(0)
}

pub fn allocatable_storage(machine: &Machine) -> i64 {
    machine.storage_bytes / 100 * (100 - RESERVED_STORAGE_PERCENT)
}

/// `before` is the status that the apiserver has: transition times and what others wrote are kept.
pub fn status(facts: &Facts, before: &NodeStatus) -> NodeStatus {
    let machine = facts.machine;
    let amounts = |memory: i64, storage: i64| -> BTreeMap<String, Quantity> {
        [
            ("cpu", machine.cpus.to_string()),
            ("memory", format!("{}Ki", memory / 1024)),
            ("ephemeral-storage", format!("{}Ki", storage / 1024)),
            ("pods", facts.max_pods.to_string()),
        ]
        .into_iter()
        .map(|(name, text)| (name.to_string(), Quantity::parse(&text).unwrap_or_default()))
        .collect()
    };
    let address = |kind: &str, address: String| NodeAddress {
        r#type: kind.into(),
        address,
    };
    NodeStatus {
        capacity: amounts(machine.memory_bytes, machine.storage_bytes),
        allocatable: amounts(allocatable_memory(machine), allocatable_storage(machine)),
        conditions: conditions(facts, before),
        addresses: vec![
            address("InternalIP", facts.ip.to_string()),
            address("Hostname", facts.name.to_string()),
        ],
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(facts.port),
            }),
        }),
        node_info: Some(NodeSystemInfo {
            machine_id: machine.machine_id.clone(),
            system_uuid: machine.system_uuid.clone(),
            boot_id: machine.boot_id.clone(),
            kernel_version: machine.kernel_version.clone(),
            os_image: machine.os_image.clone(),
            container_runtime_version: facts.runtime_version.to_string(),
            kubelet_version: format!("v1.36.2+gantry.{}", env!("CARGO_PKG_VERSION")),
            operating_system: "linux".into(),
            architecture: go_architecture().into(),
            ..NodeSystemInfo::default()
        }),
        ..before.clone()
    }
}

fn conditions(facts: &Facts, before: &NodeStatus) -> Vec<NodeCondition> {
    let ready = match facts.not_ready {
        None => ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        Some(why) => ("Ready", false, "KubeletNotReady", why),
    };
    let ours = [
        (
            "MemoryPressure",
            false,
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            false,
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            false,
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
        ready,
    ];
    let now = Time::from_system(facts.now);
    let own = ours.map(|(name, holds, reason, message)| {
        let status = if holds { "True" } else { "False" };
        let old = before
            .conditions
            .iter()
            .find(|condition| condition.r#type == name && condition.status == status);
        NodeCondition {
            r#type: name.into(),
            status: status.into(),
            last_heartbeat_time: Some(now),
            last_transition_time: Some(old.and_then(|c| c.last_transition_time).unwrap_or(now)),
            reason: reason.into(),
            message: message.into(),
        }
    });
    let others = before
        .conditions
        .iter()
        .filter(|c| ours.iter().all(|(name, ..)| c.r#type != *name))
        .cloned();
    let others: Vec<NodeCondition> = others.collect();
    own.into_iter().chain(others).collect()
}

/// Whether the statuses differ in more than their heartbeats.
pub fn is_news(before: &NodeStatus, now: &NodeStatus) -> bool {
    let silent = |status: &NodeStatus| {
        let mut status = status.clone();
        status
            .conditions
            .iter_mut()
            .for_each(|condition| condition.last_heartbeat_time = None);
        status
    };
    silent(before) != silent(now)
}

/// What to patch so that the apiserver's status is ours. Only our own fields are touched.
pub fn status_patch(before: &NodeStatus, now: &NodeStatus) -> Value {
    let fields = |status: &NodeStatus| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (before, mut now) = (fields(before), fields(now));
    now.retain(|name, value| before.get(name) != Some(value));
    json!({"status": now})
}

/// A Node that registers this machine.
pub fn node(facts: &Facts) -> Node {
    let mut node = Node::default();
    node.metadata_mut().name = facts.name.into();
    node.metadata_mut().labels = labels(facts);
    *node.status_mut() = status(facts, &NodeStatus::default());
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn at(seconds: u64, not_ready: Option<&str>, before: &NodeStatus) -> NodeStatus {
        let machine = Machine {
            cpus: 2,
            memory_bytes: 1 << 30,
            storage_bytes: 100 << 20,
            ..Machine::default()
        };
        let facts = Facts {
            name: "a",
            ip: "192.0.2.1".parse().unwrap(),
            port: 10250,
            machine: &machine,
            max_pods: 110,
            runtime_version: "containerd://1.6.20",
            not_ready,
            now: UNIX_EPOCH + Duration::from_secs(seconds),
        };
        status(&facts, before)
    }

    fn ready(status: &NodeStatus) -> &NodeCondition {
        status
            .conditions
            .iter()
            .find(|condition| condition.r#type == "Ready")
            .unwrap()
    }

    #[test]
    fn a_heartbeat_is_no_news_and_keeps_the_time_of_the_last_change() {
        let first = at(1, None, &NodeStatus::default());
        let second = at(11, None, &first);
        assert!(!is_news(&first, &second));
        assert_eq!(
            ready(&second).last_transition_time,
            ready(&first).last_transition_time
        );
        assert_ne!(
            ready(&second).last_heartbeat_time,
            ready(&first).last_heartbeat_time
        );
        let third = at(21, Some("container runtime is down"), &second);
        assert!(is_news(&second, &third));
        let expected = ("False", "KubeletNotReady", "container runtime is down", 21);
        let found = ready(&third);
        let since = found.last_transition_time.as_ref().unwrap().seconds;
        assert_eq!(
            (
                found.status.as_str(),
                found.reason.as_str(),
                found.message.as_str(),
                since
            ),
            expected
        );
    }

    #[test]
    fn what_others_wrote_stays() {
        let mut before = at(1, None, &NodeStatus::default());
        before.conditions.push(NodeCondition {
            r#type: "NetworkUnavailable".into(),
            ..NodeCondition::default()
        });
        before.volumes_in_use.push("x".into());
        let after = at(2, None, &before);
        assert_eq!(after.conditions.len(), 5);
        let patch = status_patch(&before, &after);
        let changed: Vec<&String> = patch["status"].as_object().unwrap().keys().collect();
        assert_eq!(changed, ["conditions"]);
    }
}
