//! Endpoints (pkg/apis/core): what Services had before EndpointSlices.

use super::field::{Errors, Path};
use super::{Rules, Target, ip, metadata, names, ports, semantic, unsupported};
use gantry_proto::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use gantry_proto::meta::v1::StatusCause;

/// What every request for Endpoints is answered with (k8s.io/api/core/v1/lifecycle.go).
pub const DEPRECATED: &str = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// Addresses that the endpoints controller wrote have a canonical form already.
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

pub struct EndpointsRules;

impl Rules for EndpointsRules {
    type Object = Endpoints;

    fn set_defaults(&self, endpoints: &mut Endpoints) {
        for subset in &mut endpoints.subsets {
            for port in subset.ports.iter_mut().filter(|port| port.protocol.is_empty()) {
                port.protocol = "TCP".into();
            }
        }
    }

    fn validate(&self, endpoints: &Endpoints) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(endpoints, None, &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &Endpoints, old: &Endpoints, _target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        validate(new, Some(old), &mut errors);
        errors.into_causes()
    }

    fn warnings(&self, new: &Endpoints, old: Option<&Endpoints>) -> Vec<String> {
        let mut warnings = vec![DEPRECATED.to_string()];
        if old.is_none_or(|old| old.subsets != new.subsets) {
            each_address(new, |address, path| {
                unsupported::endpoint_address(address, path, &mut warnings);
            });
        }
        if new.metadata().labels.get(MANAGED_BY.0).map(String::as_str) != Some(MANAGED_BY.1) {
            each_address(new, |address, path| {
                warnings.extend(ip::warning(&address.ip, &path.child("ip")));
            });
        }
        warnings
    }
}

fn each_address(endpoints: &Endpoints, mut visit: impl FnMut(&EndpointAddress, &Path)) {
    let list = Path::new("subsets");
    for (i, subset) in endpoints.subsets.iter().enumerate() {
        let subset_path = list.index(i);
        for (field, addresses) in lists(subset) {
            let addresses_path = subset_path.child(field);
            for (j, address) in addresses.iter().enumerate() {
                visit(address, &addresses_path.index(j));
            }
        }
    }
}

fn lists(subset: &EndpointSubset) -> [(&'static str, &[EndpointAddress]); 2] {
    [
        ("addresses", &subset.addresses),
        ("notReadyAddresses", &subset.not_ready_addresses),
    ]
}

fn validate(endpoints: &Endpoints, old: Option<&Endpoints>, errors: &mut Errors) {
    metadata::validate_strictly(endpoints.metadata(), true, names::dns_subdomain, errors);
    // Subsets that an older validation let in may stay.
    if old.is_some_and(|old| semantic::equal(&old.subsets, &endpoints.subsets)) {
        return;
    }
    let list = Path::new("subsets");
    for (i, subset) in endpoints.subsets.iter().enumerate() {
        validate_subset(subset, &list.index(i), errors);
    }
}

fn validate_subset(subset: &EndpointSubset, path: &Path, errors: &mut Errors) {
    if subset.addresses.is_empty() && subset.not_ready_addresses.is_empty() {
        errors.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    for (field, addresses) in lists(subset) {
        let list = path.child(field);
        for (i, address) in addresses.iter().enumerate() {
            validate_address(address, &list.index(i), errors);
        }
    }
    let list = path.child("ports");
    for (i, port) in subset.ports.iter().enumerate() {
        validate_port(port, subset.ports.len() > 1, &list.index(i), errors);
    }
}

fn validate_address(address: &EndpointAddress, path: &Path, errors: &mut Errors) {
    let ip_path = path.child("ip");
    ip::validate(&address.ip, &[], &ip_path, errors);
    if !address.hostname.is_empty() {
        let messages = names::dns_label(&address.hostname);
        errors.invalid_each(&path.child("hostname"), &address.hostname, messages);
    }
    if let Some(node) = &address.node_name {
        errors.invalid_each(&path.child("nodeName"), node, names::dns_subdomain(node));
    }
    ip::validate_endpoint(&address.ip, &ip_path, errors);
}

fn validate_port(port: &EndpointPort, needs_name: bool, path: &Path, errors: &mut Errors) {
    let name = path.child("name");
    if !port.name.is_empty() {
        errors.invalid_each(&name, &port.name, names::dns_label(&port.name));
    } else if needs_name {
        errors.required(&name, "");
    }
    ports::validate_number(port.port, &path.child("port"), errors);
    ports::validate_protocol(&port.protocol, &path.child("protocol"), errors);
    if let Some(protocol) = &port.app_protocol {
        errors.invalid_each(&path.child("appProtocol"), protocol, names::qualified(protocol));
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn endpoints(mut value: serde_json::Value) -> Endpoints {
        value["metadata"] = json!({"name": "web", "namespace": "default"});
        let mut endpoints: Endpoints = serde_json::from_value(value).expect("endpoints");
        EndpointsRules.set_defaults(&mut endpoints);
        EndpointsRules.prepare_for_create(&mut endpoints);
        endpoints
    }

    #[test]
    fn subsets_have_addresses_that_can_be_sent_to_and_named_ports() {
        let right = endpoints(
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.1", "nodeName": "n"}], "ports": [{"port": 80}]}]}),
        );
        assert_eq!(right.subsets[0].ports[0].protocol, "TCP");
        assert!(EndpointsRules.validate(&right).is_empty());
        let wrong = endpoints(json!({"subsets": [
            {"ports": [{"port": 80}]},
            {"notReadyAddresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 0}, {"name": "b", "port": 1, "protocol": "x"}]},
        ]}));
        assert_eq!(
            lines(EndpointsRules.validate(&wrong)),
            [
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
                "subsets[1].notReadyAddresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range \
                 (127.0.0.0/8, ::1/128)",
                "subsets[1].ports[0].name: Required value",
                "subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "subsets[1].ports[1].protocol: Unsupported value: \"x\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ]
        );
        assert!(
            EndpointsRules
                .validate_update(&wrong, &wrong, Target::Main)
                .is_empty(),
            "subsets that are there already may stay"
        );
    }

    #[test]
    fn every_write_is_told_of_the_deprecation_and_of_strange_addresses() {
        let mut odd = endpoints(json!({"subsets": [{"addresses": [{"ip": "2001:DB8::1"}]}]}));
        assert_eq!(
            EndpointsRules.warnings(&odd, Some(&odd)),
            [
                DEPRECATED,
                "subsets[0].addresses[0].ip: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format \
                 (\"2001:db8::1\")",
            ]
        );
        let managed = (MANAGED_BY.0.into(), MANAGED_BY.1.into());
        odd.metadata_mut().labels.extend([managed]);
        assert_eq!(EndpointsRules.warnings(&odd, Some(&odd)), [DEPRECATED]);
    }
}
