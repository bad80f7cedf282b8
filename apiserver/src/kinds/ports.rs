//! Ports of containers, probes and Services.

use super::field::{Errors, Path, inclusive_range};
use super::names;
use gantry_proto::core::v1::{Container, ContainerPort};
use gantry_proto::meta::v1::IntOrString;
use std::collections::BTreeSet;

pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub fn validate_number(port: i32, path: &Path, errors: &mut Errors) {
    if !(1..=65535).contains(&port) {
        errors.invalid(path, port, inclusive_range(1, 65535));
    }
}

/// A number or a container port's name; absent reads as 0.
pub fn validate_number_or_name(port: &IntOrString, path: &Path, errors: &mut Errors) {
    match port.as_str() {
        Some(name) => errors.invalid_each(path, name, names::port_name(name)),
        None => validate_number(port.int_val, path, errors),
    }
}

pub fn validate_protocol(protocol: &str, path: &Path, errors: &mut Errors) {
    if protocol.is_empty() {
        errors.required(path, "");
    } else if !PROTOCOLS.contains(&protocol) {
        errors.not_supported(path, protocol, PROTOCOLS);
    }
}

pub fn validate_container_ports(ports: &[ContainerPort], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        if !port.name.is_empty() {
            let messages = names::port_name(&port.name);
            if !messages.is_empty() {
                errors.invalid_each(&path.child("name"), &port.name, messages);
            } else if !seen.insert(&port.name) {
                errors.duplicate(&path.child("name"), &port.name);
            }
        }
        if port.container_port == 0 {
            errors.required(&path.child("containerPort"), "");
        } else {
            validate_number(port.container_port, &path.child("containerPort"), errors);
        }
        if port.host_port != 0 {
            validate_number(port.host_port, &path.child("hostPort"), errors);
        }
        validate_protocol(&port.protocol, &path.child("protocol"), errors);
    }
}

/// Refuses one host port that two of `containers` ask for.
pub fn validate_host_ports(containers: &[Container], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        let container_path = path.index(i);
        let ports_path = container_path.child("ports");
        for (j, port) in container
            .ports
            .iter()
            .enumerate()
            .filter(|(_, port)| port.host_port != 0)
        {
            let key = format!("{}/{}/{}", port.protocol, port.host_ip, port.host_port);
            if seen.contains(&key) {
                errors.duplicate(&ports_path.index(j).child("hostPort"), key);
            } else {
                seen.insert(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    #[test]
    fn container_ports_have_a_number_a_protocol_and_a_name_of_their_own() {
        let ports: Vec<ContainerPort> = serde_json::from_value(json!([
            {"name": "http", "containerPort": 80, "protocol": "TCP"},
            {"name": "http", "containerPort": 0, "protocol": ""},
            {"name": "UP", "containerPort": 65536, "hostPort": -1, "protocol": "ICMP"},
        ]))
        .expect("ports");
        let mut errors = Errors::new();
        validate_container_ports(&ports, &Path::new("ports"), &mut errors);
        assert_eq!(
            lines(errors.into_causes()),
            [
                "ports[1].name: Duplicate value: \"http\"",
                "ports[1].containerPort: Required value",
                "ports[1].protocol: Required value",
                "ports[2].name: Invalid value: \"UP\": must contain only alpha-numeric characters (a-z, 0-9), and \
                 hyphens (-)",
                "ports[2].name: Invalid value: \"UP\": must contain at least one letter (a-z)",
                "ports[2].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive",
                "ports[2].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive",
                "ports[2].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ]
        );
    }
}
