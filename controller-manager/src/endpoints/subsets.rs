//! The canonical form of subsets (Kubernetes' pkg/api/v1/endpoints): each set of addresses once, with all the ports that
//! it has, everything sorted. Order is by a hash of what Go prints, so that two servers' objects are the same to the byte.

use gantry_proto::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, ObjectReference};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where an address comes from: pods of one node's network may share it.
type AddressKey = (String, String);

pub fn repack(subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut addresses: BTreeMap<AddressKey, EndpointAddress> = BTreeMap::new();
    // By port, or none where a subset has none: whether each address is ready there.
    let mut ready_by_port: Vec<(Option<&EndpointPort>, BTreeMap<AddressKey, bool>)> = Vec::new();
    for subset in subsets {
        let ports: Vec<Option<&EndpointPort>> = match &subset.ports[..] {
            [] => vec![None],
            ports => ports.iter().map(Some).collect(),
        };
        for port in ports {
            let position = ready_by_port.iter().position(|(one, _)| *one == port);
            let position = position.unwrap_or_else(|| {
                ready_by_port.push((port, BTreeMap::new()));
                ready_by_port.len() - 1
            });
            let ready = &mut ready_by_port[position].1;
            let all = subset.addresses.iter().map(|address| (address, true));
            let all = all.chain(subset.not_ready_addresses.iter().map(|address| (address, false)));
            for (address, is_ready) in all {
                let key = key(address);
                addresses.entry(key.clone()).or_insert_with(|| address.clone());
                // Not ready trumps ready.
                let present = ready.entry(key).or_insert(is_ready);
                *present &= is_ready;
            }
        }
    }
    let mut ports_by_set: BTreeMap<Vec<(AddressKey, bool)>, Vec<EndpointPort>> = BTreeMap::new();
    for (port, ready) in ready_by_port {
        let set = ready.into_iter().collect();
        ports_by_set.entry(set).or_default().extend(port.cloned());
    }
    let subset = |(set, ports): (Vec<(AddressKey, bool)>, Vec<EndpointPort>)| {
        let of = |wanted: bool| {
            let keys = set.iter().filter(move |(_, ready)| *ready == wanted);
            keys.filter_map(|(key, _)| addresses.get(key).cloned()).collect()
        };
        let mut ports = ports;
        ports.sort_by_cached_key(|port| hash(&in_go(port)));
        EndpointSubset {
            addresses: of(true),
            not_ready_addresses: of(false),
            ports,
        }
    };
    let mut packed: Vec<EndpointSubset> = ports_by_set.into_iter().map(subset).collect();
    packed.sort_by_cached_key(|subset| hash(&subset_in_go(subset)));
    packed
}

fn key(address: &EndpointAddress) -> AddressKey {
    (address.ip.clone(), address.target_ref().uid.clone())
}

/// FNV-1a of 128 bits.
fn hash(text: &str) -> u128 {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in text.bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    hash
}

fn pointer(text: Option<&String>) -> &str {
    text.map_or("<nil>", String::as_str)
}

fn port_fields(port: &EndpointPort) -> String {
    format!(
        "{{Name:(string){} Port:(int32){} Protocol:(v1.Protocol){} AppProtocol:(*string){}}}",
        port.name,
        port.port,
        port.protocol,
        pointer(port.app_protocol.as_ref())
    )
}

fn in_go(port: &EndpointPort) -> String {
    format!("(v1.EndpointPort){}", port_fields(port))
}

fn subset_in_go(subset: &EndpointSubset) -> String {
    let list = |items: Vec<String>| match items.is_empty() {
        true => "<nil>".to_string(),
        false => format!("[{}]", items.join(" ")),
    };
    let addresses = |addresses: &[EndpointAddress]| list(addresses.iter().map(address_fields).collect());
    format!(
        "(v1.EndpointSubset){{Addresses:([]v1.EndpointAddress){} NotReadyAddresses:([]v1.EndpointAddress){} \
         Ports:([]v1.EndpointPort){}}}",
        addresses(&subset.addresses),
        addresses(&subset.not_ready_addresses),
        list(subset.ports.iter().map(port_fields).collect())
    )
}

fn address_fields(address: &EndpointAddress) -> String {
    let mut text = format!(
        "{{IP:(string){} Hostname:(string){} NodeName:(*string){} TargetRef:(*v1.ObjectReference)",
        address.ip,
        address.hostname,
        pointer(address.node_name.as_ref())
    );
    match &address.target_ref {
        None => text.push_str("<nil>"),
        Some(reference) => reference_fields(&mut text, reference),
    }
    text.push('}');
    text
}

fn reference_fields(text: &mut String, reference: &ObjectReference) {
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "{{Kind:(string){} Namespace:(string){} Name:(string){} UID:(types.UID){} APIVersion:(string){} \
         ResourceVersion:(string){} FieldPath:(string){}}}",
        reference.kind,
        reference.namespace,
        reference.name,
        reference.uid,
        reference.api_version,
        reference.resource_version,
        reference.field_path
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, number: i32) -> EndpointPort {
        EndpointPort {
            name: name.into(),
            port: number,
            protocol: "TCP".into(),
            ..EndpointPort::default()
        }
    }

    fn address(ip: &str, uid: &str) -> EndpointAddress {
        EndpointAddress {
            ip: ip.into(),
            target_ref: Some(ObjectReference {
                uid: uid.into(),
                ..ObjectReference::default()
            }),
            ..EndpointAddress::default()
        }
    }

    /// The expected values are what Kubernetes' own code gave.
    #[test]
    fn the_order_is_that_of_what_go_prints() {
        let first = port("http", 80);
        assert_eq!(hash(&in_go(&first)), 0x754b_003f_50f1_33a5_39c6_0d18_cfb3_0a55);
        let second = EndpointPort {
            name: "a b".into(),
            port: 443,
            protocol: "UDP".into(),
            app_protocol: Some("http".into()),
        };
        let whole = EndpointAddress {
            ip: "10.0.0.1".into(),
            hostname: "h".into(),
            node_name: Some("node-1".into()),
            target_ref: Some(ObjectReference {
                kind: "Pod".into(),
                namespace: "default".into(),
                name: "x".into(),
                uid: "u1".into(),
                ..ObjectReference::default()
            }),
        };
        let bare = EndpointAddress {
            ip: "10.0.0.2".into(),
            ..EndpointAddress::default()
        };
        let subset = EndpointSubset {
            addresses: vec![whole, bare],
            not_ready_addresses: vec![],
            ports: vec![first, second],
        };
        assert_eq!(
            hash(&subset_in_go(&subset)),
            0x146a_4427_0245_8719_6576_8faa_5102_1d9e
        );
        let names = ["http", "https", "metrics", "dns", "dns-tcp", "a", "b", "c"];
        let ports = names.iter().zip(80..).map(|(name, number)| port(name, number));
        let packed = repack(&[EndpointSubset {
            addresses: vec![address("10.0.0.1", "")],
            not_ready_addresses: vec![],
            ports: ports.collect(),
        }]);
        let sorted: Vec<&str> = packed[0].ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(
            sorted,
            ["dns-tcp", "http", "dns", "https", "metrics", "c", "a", "b"]
        );
    }

    /// Each subset as its ports, its ready addresses and the others.
    fn check(subsets: &[(&[i32], &[&str], &[&str])], expected: &[(&[i32], &[&str], &[&str])]) {
        let addresses = |ips: &[&str]| -> Vec<EndpointAddress> {
            ips.iter()
                .map(|ip| address(&format!("10.0.0.{ip}"), ip))
                .collect()
        };
        let given: Vec<EndpointSubset> = subsets
            .iter()
            .map(|(ports, ready, not_ready)| EndpointSubset {
                addresses: addresses(ready),
                not_ready_addresses: addresses(not_ready),
                ports: ports.iter().map(|number| port("", *number)).collect(),
            })
            .collect();
        let names = |addresses: &[EndpointAddress]| -> Vec<String> {
            addresses.iter().map(|one| one.target_ref().uid.clone()).collect()
        };
        let mut found: Vec<_> = repack(&given)
            .iter()
            .map(|subset| {
                let mut ports: Vec<i32> = subset.ports.iter().map(|port| port.port).collect();
                ports.sort_unstable();
                (
                    ports,
                    names(&subset.addresses),
                    names(&subset.not_ready_addresses),
                )
            })
            .collect();
        found.sort();
        let owned = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        let expected: Vec<_> = expected
            .iter()
            .map(|(ports, ready, not_ready)| (ports.to_vec(), owned(ready), owned(not_ready)))
            .collect();
        assert_eq!(found, expected, "{subsets:?}");
        let again = repack(&repack(&given));
        assert_eq!(again, repack(&given), "it is not canonical");
    }

    /// Of Kubernetes' pkg/api/v1/endpoints/util_test.go.
    #[test]
    fn addresses_with_the_same_ports_share_a_subset_and_ports_with_the_same_addresses_too() {
        check(&[], &[]);
        check(&[(&[], &[], &[])], &[(&[], &[], &[])]);
        check(&[(&[1], &["4"], &[])], &[(&[1], &["4"], &[])]);
        check(&[(&[], &["4"], &[])], &[(&[], &["4"], &[])]);
        check(
            &[(&[1], &["4"], &[]), (&[2], &["4"], &[])],
            &[(&[1, 2], &["4"], &[])],
        );
        check(
            &[(&[1], &["4"], &[]), (&[1], &["2"], &["3"])],
            &[(&[1], &["2", "4"], &["3"])],
        );
        // Not ready at one port only.
        check(
            &[(&[1], &["4"], &[]), (&[2], &[], &["4"])],
            &[(&[1], &["4"], &[]), (&[2], &[], &["4"])],
        );
        check(
            &[(&[1], &["4"], &[]), (&[1], &[], &["4"])],
            &[(&[1], &[], &["4"])],
        );
        check(
            &[(&[1, 2], &["1", "2"], &[]), (&[3], &["1"], &[])],
            &[(&[1, 2], &["1", "2"], &[]), (&[3], &["1"], &[])],
        );
    }
}
