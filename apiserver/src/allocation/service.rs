//! What a Service holds, and what it still needs. (What an update keeps is a rule of its kind.)

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use gantry_proto::core::v1::{Service, ServicePort};
use gantry_proto::meta::v1::StatusCause;
use rand::Rng;

use super::{Holding, Ranges};

fn needs_address(service: &Service) -> bool {
    service.spec().r#type != "ExternalName"
}

fn needs_ports(service: &Service) -> bool {
    match service.spec().r#type.as_str() {
        "NodePort" => true,
        "LoadBalancer" => service.spec().allocate_load_balancer_node_ports.unwrap_or(true),
        _ => false,
    }
}

fn may_have_ports(service: &Service) -> bool {
    matches!(service.spec().r#type.as_str(), "NodePort" | "LoadBalancer")
}

/// What the Service has taken.
pub fn held(service: &Service) -> BTreeSet<Holding> {
    let spec = service.spec();
    let mut held = BTreeSet::new();
    if needs_address(service) {
        let addresses = spec.cluster_ips.iter().chain([&spec.cluster_ip]);
        held.extend(
            addresses
                .filter_map(|text| text.parse().ok())
                .map(Holding::Address),
        );
    }
    if may_have_ports(service) {
        let ports = spec.ports.iter().map(|port| port.node_port);
        let ports = ports.chain([spec.health_check_node_port]);
        held.extend(
            ports
                .filter_map(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0)
                .map(Holding::Port),
        );
    }
    held
}

/// Chooses what the Service needs and does not have. Fails with what there is no more of.
pub(super) fn choose(
    service: &mut Service,
    ranges: &Ranges,
    taken: &BTreeSet<Holding>,
    rng: &mut impl Rng,
) -> Result<(), String> {
    if needs_address(service) {
        choose_address(service, ranges, taken, rng)?;
    }
    if !needs_ports(service) {
        return Ok(());
    }
    let mut used = held(service);
    used.extend(taken.iter().cloned());
    let spec = service.spec_mut();
    for index in 0..spec.ports.len() {
        if spec.ports[index].node_port != 0 {
            continue;
        }
        // The same port by another protocol gets the same node port.
        let same = |other: &&ServicePort| {
            other.port == spec.ports[index].port
                && other.protocol != spec.ports[index].protocol
                && other.node_port != 0
        };
        let number = match spec.ports.iter().find(same) {
            Some(other) => other.node_port,
            None => {
                let port = ranges
                    .random_port(|holding| used.contains(holding), rng)
                    .ok_or_else(|| "nodePort".to_owned())?;
                used.insert(Holding::Port(port));
                i32::from(port)
            }
        };
        spec.ports[index].node_port = number;
    }
    let wants_health_check = spec.r#type == "LoadBalancer" && spec.external_traffic_policy == "Local";
    if wants_health_check && spec.health_check_node_port == 0 {
        let port = ranges
            .random_port(|holding| used.contains(holding), rng)
            .ok_or_else(|| "HealthCheck NodePort 0".to_owned())?;
        spec.health_check_node_port = i32::from(port);
    }
    Ok(())
}

fn choose_address(
    service: &mut Service,
    ranges: &Ranges,
    taken: &BTreeSet<Holding>,
    rng: &mut impl Rng,
) -> Result<(), String> {
    let full = format!("serviceIP for Service {:?}", service.metadata().name);
    let spec = service.spec_mut();
    if spec.cluster_ip.is_empty() && spec.cluster_ips.is_empty() {
        let address = ranges
            .random_address(|holding| taken.contains(holding), rng)
            .ok_or(full)?;
        spec.cluster_ip = address.to_string();
    }
    if spec.cluster_ips.is_empty() {
        spec.cluster_ips = vec![spec.cluster_ip.clone()];
    } else if spec.cluster_ip.is_empty() {
        spec.cluster_ip.clone_from(&spec.cluster_ips[0]);
    }
    Ok(())
}

/// What a dry run shows for what chance would give: Kubernetes' own placeholders, since nothing is taken
/// (ipallocator's and portallocator's dry runs).
pub(super) fn pretend(service: &mut Service, network: Option<Ipv4Addr>) {
    const FIRST_PORT: i32 = 32769;
    if needs_address(service) {
        let spec = service.spec_mut();
        if let Some(network) = network
            && spec.cluster_ip.is_empty()
            && spec.cluster_ips.is_empty()
        {
            spec.cluster_ip = network.to_string();
            spec.cluster_ips = vec![spec.cluster_ip.clone()];
        }
    }
    if !needs_ports(service) {
        return;
    }
    let spec = service.spec_mut();
    let highest = spec.ports.iter().map(|port| port.node_port).max();
    let mut next = highest.map_or(FIRST_PORT, |port| (port + 1).max(FIRST_PORT));
    for index in 0..spec.ports.len() {
        if spec.ports[index].node_port != 0 {
            continue;
        }
        let same = |other: &&ServicePort| {
            other.port == spec.ports[index].port
                && other.protocol != spec.ports[index].protocol
                && other.node_port != 0
        };
        let number = spec.ports.iter().find(same).map(|other| other.node_port);
        spec.ports[index].node_port = number.unwrap_or_else(|| {
            next += 1;
            next - 1
        });
    }
}

/// Kubernetes' words for an address or port that somebody else has.
pub(super) fn taken_cause(service: &Service, holding: &Holding) -> StatusCause {
    match holding {
        Holding::Address(address) => invalid(
            "spec.clusterIPs",
            &shown(&service.spec().cluster_ips),
            &format!("failed to allocate IP {address}: provided IP is already allocated"),
        ),
        Holding::Port(port) => invalid(
            &port_path(service, *port),
            &port.to_string(),
            "provided port is already allocated",
        ),
    }
}

/// Kubernetes' words for an address or port that is not to be given.
pub(super) fn out_of_range_cause(service: &Service, holding: &Holding, ranges: &Ranges) -> StatusCause {
    match holding {
        Holding::Address(address) => invalid(
            "spec.clusterIPs",
            &shown(&service.spec().cluster_ips),
            &format!(
                "failed to allocate IP {address}: the provided network does not match the current range"
            ),
        ),
        Holding::Port(port) => invalid(
            &port_path(service, *port),
            &port.to_string(),
            &format!(
                "provided port is not in the valid range. The range of valid ports is {}",
                ranges.shown_ports()
            ),
        ),
    }
}

fn port_path(service: &Service, number: u16) -> String {
    let mut ports = service.spec().ports.iter();
    match ports.position(|port| port.node_port == i32::from(number)) {
        Some(index) => format!("spec.ports[{index}].nodePort"),
        None => "spec.healthCheckNodePort".into(),
    }
}

fn shown(addresses: &[String]) -> String {
    // Serializing strings cannot fail.
    serde_json::to_string(addresses).unwrap_or_default()
}

fn invalid(field: &str, value: &str, detail: &str) -> StatusCause {
    StatusCause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {value}: {detail}"),
        field: field.into(),
    }
}

#[cfg(test)]
mod tests {
    use gantry_proto::json;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::super::{parse_cidr, parse_port_range};
    use super::*;

    fn ranges() -> Ranges {
        Ranges {
            networks: vec![parse_cidr("10.96.0.0/12").unwrap()],
            ports: parse_port_range("30000-32767").unwrap(),
        }
    }

    fn service(spec: &str) -> Service {
        json::decode(
            format!(r#"{{"metadata": {{"name": "s", "namespace": "default"}}, "spec": {spec}}}"#).as_bytes(),
        )
        .unwrap()
        .object
    }

    #[test]
    fn a_service_gets_what_its_type_needs() {
        let check = |spec: &str, addresses: usize, ports: usize| {
            let mut service = service(spec);
            let rng = &mut StdRng::seed_from_u64(3);
            let allocation = ranges()
                .allocate(&mut service, None, &BTreeSet::new(), std::time::UNIX_EPOCH, rng)
                .unwrap();
            let taken = |address| {
                allocation
                    .take
                    .iter()
                    .filter(|claim| matches!(claim.holding, Holding::Address(_)) == address)
                    .count()
            };
            assert_eq!((taken(true), taken(false)), (addresses, ports), "{spec}");
            assert!(allocation.release.is_empty());
        };
        let ports = r#""ports": [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP", "name": "u"}, {"port": 81, "protocol": "TCP", "name": "b"}]"#;
        check(&format!(r#"{{"type": "ClusterIP", {ports}}}"#), 1, 0);
        check(&format!(r#"{{"type": "NodePort", {ports}}}"#), 1, 2);
        check(
            &format!(r#"{{"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], {ports}}}"#),
            0,
            0,
        );
        check(r#"{"type": "ExternalName", "externalName": "a.b"}"#, 0, 0);
        check(
            &format!(r#"{{"type": "LoadBalancer", "externalTrafficPolicy": "Local", {ports}}}"#),
            1,
            3,
        );
    }

    #[test]
    fn an_update_takes_what_is_new_and_releases_what_is_gone() {
        const ADDRESS: &str = r#""clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"]"#;
        let with = |kind: &str, node_port: i32| {
            let ports = format!(r#""ports": [{{"port": 80, "protocol": "TCP", "nodePort": {node_port}}}]"#);
            service(&format!(r#"{{"type": "{kind}", {ADDRESS}, {ports}}}"#))
        };
        let old = with("NodePort", 30080);
        let check = |mut new: Service, take: &[Holding], release: &[Holding]| {
            let rng = &mut StdRng::seed_from_u64(3);
            let allocation = ranges()
                .allocate(&mut new, Some(&old), &BTreeSet::new(), std::time::UNIX_EPOCH, rng)
                .unwrap();
            let taken: Vec<Holding> = allocation
                .take
                .iter()
                .map(|claim| claim.holding.clone())
                .collect();
            assert_eq!((taken.as_slice(), allocation.release.as_slice()), (take, release));
        };
        let (address, port) = (Holding::Address([10, 96, 1, 1].into()), Holding::Port(30080));
        let port = || [port.clone()];
        check(with("NodePort", 30080), &[], &[]);
        check(with("ClusterIP", 0), &[], &port());
        check(with("NodePort", 30081), &[Holding::Port(30081)], &port());
        let external = service(r#"{"type": "ExternalName", "externalName": "a.b"}"#);
        check(external, &[], &[address, Holding::Port(30080)]);
    }

    #[test]
    fn a_dry_run_shows_placeholders() {
        let mut service = service(
            r#"{"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}, {"port": 81, "protocol": "TCP"}]}"#,
        );
        pretend(&mut service, Some([10, 96, 0, 0].into()));
        let ports: Vec<i32> = service.spec().ports.iter().map(|port| port.node_port).collect();
        assert_eq!(service.spec().cluster_ips, ["10.96.0.0"]);
        assert_eq!(ports, [32769, 32769, 32770]);
    }

    #[test]
    fn what_the_user_chose_must_be_in_range() {
        let check = |spec: &str, expected: &str| {
            let mut service = service(spec);
            let rng = &mut StdRng::seed_from_u64(3);
            let refused = ranges().allocate(&mut service, None, &BTreeSet::new(), std::time::UNIX_EPOCH, rng);
            assert_eq!(
                refused.map(drop).map_err(|status| status.message),
                Err(expected.to_owned())
            );
        };
        check(
            r#"{"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]}"#,
            "Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: failed to allocate IP 10.0.0.1: the provided network does not match the current range",
        );
        check(
            r#"{"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}"#,
            "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        );
    }
}
