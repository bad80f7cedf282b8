//! EndpointSlices (pkg/apis/discovery).

use super::field::{Errors, IMMUTABLE, Path};
use super::selector::validate_labels;
use super::{Rules, Target, ip, metadata, names, ports, semantic, unsupported};
use gantry_proto::discovery::v1::{Endpoint, EndpointHints, EndpointPort, EndpointSlice};
use gantry_proto::meta::v1::StatusCause;
use std::collections::BTreeSet;

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const TOPOLOGY_LABELS_MAX: usize = 16;
const HINTS_MAX: usize = 8;

pub struct EndpointSlices;

impl Rules for EndpointSlices {
    type Object = EndpointSlice;

    fn set_defaults(&self, slice: &mut EndpointSlice) {
        for port in &mut slice.ports {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn prepare_for_create(&self, slice: &mut EndpointSlice) {
        metadata::clear_for_create(slice.metadata_mut(), 1);
        drop_topology(slice);
    }

    fn prepare_for_update(&self, new: &mut EndpointSlice, old: &EndpointSlice, _target: Target) {
        metadata::keep_for_update(new.metadata_mut(), old.metadata());
        if new.endpoints != old.endpoints {
            drop_topology(new);
        }
    }

    fn generation_changes(&self, new: &EndpointSlice, old: &EndpointSlice) -> bool {
        let content = |slice: &EndpointSlice| EndpointSlice {
            metadata: None,
            ..slice.clone()
        };
        new.metadata().labels != old.metadata().labels || !semantic::equal(&content(new), &content(old))
    }

    fn warnings(&self, new: &EndpointSlice, old: Option<&EndpointSlice>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && new.address_type == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_string());
        }
        if old.is_none_or(|old| old.endpoints != new.endpoints) {
            unsupported::endpoint_slice(new, &mut warnings);
        }
        warnings
    }

    fn validate(&self, slice: &EndpointSlice) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(slice, None, &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &EndpointSlice, old: &EndpointSlice, _target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update(new.metadata(), old.metadata(), &mut errors);
        validate(new, Some(old), &mut errors);
        if new.address_type != old.address_type {
            errors.invalid(&Path::new("addressType"), &new.address_type, IMMUTABLE);
        }
        errors.into_causes()
    }
}

/// A leftover of v1beta1, which v1 never writes.
fn drop_topology(slice: &mut EndpointSlice) {
    for endpoint in &mut slice.endpoints {
        endpoint.deprecated_topology.clear();
    }
}

fn validate(slice: &EndpointSlice, old: Option<&EndpointSlice>, errors: &mut Errors) {
    metadata::validate_strictly(slice.metadata(), true, names::dns_subdomain, errors);
    let address_type = Path::new("addressType");
    if slice.address_type.is_empty() {
        errors.required(&address_type, "");
    } else if !ADDRESS_TYPES.contains(&slice.address_type.as_str()) {
        errors.not_supported(&address_type, &slice.address_type, ADDRESS_TYPES);
    }
    validate_ports(&slice.ports, errors);
    // Endpoints that an older validation let in may stay.
    if old.is_none_or(|old| old.endpoints != slice.endpoints) {
        validate_endpoints(slice, errors);
    }
}

fn validate_ports(ports: &[EndpointPort], errors: &mut Errors) {
    let list = Path::new("ports");
    if ports.len() > PORTS_MAX {
        errors.too_many(&list, ports.len(), PORTS_MAX);
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = list.index(i);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            errors.invalid_each(&path.child("name"), name, names::dns_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        match port.protocol.as_deref() {
            None => errors.required(&path.child("protocol"), ""),
            Some(protocol) if !ports::PROTOCOLS.contains(&protocol) => {
                errors.not_supported(&path.child("protocol"), protocol, ports::PROTOCOLS);
            }
            Some(_) => {}
        }
        if let Some(protocol) = &port.app_protocol {
            errors.invalid_each(&path.child("appProtocol"), protocol, names::qualified(protocol));
        }
    }
}

fn validate_endpoints(slice: &EndpointSlice, errors: &mut Errors) {
    let list = Path::new("endpoints");
    if slice.endpoints.len() > ENDPOINTS_MAX {
        errors.too_many(&list, slice.endpoints.len(), ENDPOINTS_MAX);
        return;
    }
    for (i, endpoint) in slice.endpoints.iter().enumerate() {
        validate_endpoint(endpoint, &slice.address_type, &list.index(i), errors);
    }
}

fn validate_endpoint(endpoint: &Endpoint, address_type: &str, path: &Path, errors: &mut Errors) {
    let addresses = path.child("addresses");
    if endpoint.addresses.is_empty() {
        errors.required(&addresses, "must contain at least 1 address");
    } else if endpoint.addresses.len() > ADDRESSES_MAX {
        errors.too_many(&addresses, endpoint.addresses.len(), ADDRESSES_MAX);
    }
    for (i, address) in endpoint.addresses.iter().enumerate() {
        validate_address(address, address_type, &addresses, i, errors);
    }
    if let Some(node) = &endpoint.node_name {
        errors.invalid_each(&path.child("nodeName"), node, names::dns_subdomain(node));
    }
    let topology = path.child("deprecatedTopology");
    if endpoint.deprecated_topology.len() > TOPOLOGY_LABELS_MAX {
        errors.too_many(&topology, endpoint.deprecated_topology.len(), TOPOLOGY_LABELS_MAX);
    }
    validate_labels(&endpoint.deprecated_topology, &topology, errors);
    if let Some(hostname) = &endpoint.hostname {
        errors.invalid_each(&path.child("hostname"), hostname, names::dns_label(hostname));
    }
    if let Some(hints) = &endpoint.hints {
        validate_hints(hints, &path.child("hints"), errors);
    }
}

fn validate_address(address: &str, address_type: &str, list: &Path, i: usize, errors: &mut Errors) {
    let path = list.index(i);
    match address_type {
        "IPv4" if ip::validate(address, &[], &path, errors) => {
            if !ip::is_v4(address) {
                errors.invalid(list, address, "must be an IPv4 address");
            }
            ip::validate_endpoint(address, &path, errors);
        }
        "IPv6" if ip::validate_canonical(address, &path, errors) => {
            if !ip::is_v6(address) {
                errors.invalid(list, address, "must be an IPv6 address");
            }
            ip::validate_endpoint(address, &path, errors);
        }
        "FQDN" => validate_domain_name(address, &path, errors),
        _ => {}
    }
}

fn validate_domain_name(address: &str, path: &Path, errors: &mut Errors) {
    let name = address.strip_suffix('.').unwrap_or(address);
    if address.is_empty() {
        errors.required(path, "");
        return;
    }
    let messages = names::dns_subdomain(name);
    if !messages.is_empty() {
        errors.invalid(path, name, messages.join(","));
    } else if !name.contains('.') {
        errors.invalid(
            path,
            name,
            "should be a domain with at least two segments separated by dots",
        );
    } else if let Some((label, messages)) = name
        .split('.')
        .map(|label| (label, names::dns_label(label)))
        .find(|(_, messages)| !messages.is_empty())
    {
        errors.invalid(path, label, messages.join(","));
    }
}

fn validate_hints(hints: &EndpointHints, path: &Path, errors: &mut Errors) {
    let zones: Vec<&str> = hints.for_zones.iter().map(|zone| zone.name.as_str()).collect();
    let nodes: Vec<&str> = hints.for_nodes.iter().map(|node| node.name.as_str()).collect();
    let lists = [
        ("forZones", zones, names::label_value as names::Rule),
        ("forNodes", nodes, names::dns_subdomain),
    ];
    for (field, values, rule) in lists {
        let list = path.child(field);
        if values.len() > HINTS_MAX {
            errors.too_many(&list, values.len(), HINTS_MAX);
            return;
        }
        let mut seen = BTreeSet::new();
        for (i, name) in values.into_iter().enumerate() {
            let item = list.index(i);
            if !seen.insert(name) {
                errors.duplicate(&item.child("name"), name);
            }
            errors.invalid_each(&item.child("name"), name, rule(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn slice(mut value: serde_json::Value) -> EndpointSlice {
        value["metadata"] = json!({"name": "a", "namespace": "b"});
        let mut slice: EndpointSlice = serde_json::from_value(value).expect("slice");
        EndpointSlices.set_defaults(&mut slice);
        slice
    }

    fn check(value: serde_json::Value, expected: &[&str]) {
        assert_eq!(lines(EndpointSlices.validate(&slice(value))), expected);
    }

    #[test]
    fn addresses_are_of_the_slices_type() {
        check(
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
            &[],
        );
        check(json!({"endpoints": []}), &["addressType: Required value"]);
        check(
            json!({"addressType": "MAC"}),
            &["addressType: Unsupported value: \"MAC\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""],
        );
        check(
            json!({"addressType": "IPv4", "endpoints": [
                {"addresses": []}, {"addresses": ["x", "127.0.0.1", "2001:db8::1"]},
            ]}),
            &[
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
                 2001:db8::ffff)",
                "endpoints[1].addresses[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range \
                 (127.0.0.0/8, ::1/128)",
                "endpoints[1].addresses: Invalid value: \"2001:db8::1\": must be an IPv4 address",
            ],
        );
        check(
            json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.example.com.", "single"]}]}),
            &[
                "endpoints[0].addresses[1]: Invalid value: \"single\": should be a domain with at least two segments \
               separated by dots",
            ],
        );
    }

    #[test]
    fn ports_have_distinct_names_and_default_to_tcp() {
        let slice = slice(json!({"addressType": "IPv4", "ports": [{"port": 80}]}));
        assert_eq!(slice.ports[0].protocol.as_deref(), Some("TCP"));
        assert_eq!(slice.ports[0].name.as_deref(), Some(""));
        check(
            json!({"addressType": "IPv4", "ports": [{"port": 1}, {"port": 2}]}),
            &["ports[1].name: Duplicate value: \"\""],
        );
    }

    #[test]
    fn the_address_type_never_changes_and_content_counts_generations() {
        let old = slice(json!({"addressType": "IPv4"}));
        let new = slice(json!({"addressType": "IPv6"}));
        assert_eq!(
            lines(EndpointSlices.validate_update(&new, &old, Target::Main)),
            ["addressType: Invalid value: \"IPv6\": field is immutable"]
        );
        assert!(EndpointSlices.generation_changes(&new, &old));
        assert!(!EndpointSlices.generation_changes(&old, &old));
    }
}
