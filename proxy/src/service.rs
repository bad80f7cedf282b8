//! One Service as the node sees it: the Service and its EndpointSlices, joined and read.

use gantry_proto::core::v1::{Service, ServicePort};
use gantry_proto::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// Chooses how new connections are spread over a Service's endpoints.
pub const LOAD_BALANCING_ANNOTATION: &str = "gantry.dev/load-balancing";
/// Names the Service that a slice belongs to (k8s.io/api/discovery/v1, LabelServiceName).
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What a Service means for packets and names. IPv4 only; other addresses are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceView {
    /// Empty for a headless Service.
    pub cluster_ips: Vec<Ipv4Addr>,
    /// Addresses outside the cluster's range that reach the Service too: externalIPs, and load balancers'.
    pub external_ips: Vec<Ipv4Addr>,
    /// The name that an ExternalName Service stands for.
    pub external_name: Option<String>,
    pub headless: bool,
    pub policy: Policy,
    pub ports: Vec<Port>,
    /// What cluster DNS tells about single endpoints.
    pub hosts: Vec<Host>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub protocol: Protocol,
    pub number: u16,
    pub node_port: Option<u16>,
    /// Where connections go. Empty: they are refused.
    pub endpoints: BTreeSet<Endpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
    /// On this node, or nobody says where.
    pub local: bool,
}

/// A ready endpoint under its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    pub address: Ipv4Addr,
    /// The pod's hostname, where the slice gives one.
    pub hostname: Option<String>,
    pub ports: Vec<(String, Protocol, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// Which endpoint a new connection goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Each in turn.
    #[default]
    RoundRobin,
    Random,
    /// Always the same for one client's address, as long as the number of endpoints stays.
    ClientAddress,
}

impl ServiceView {
    /// Joins a Service with its slices, as seen from the node of this name.
    pub fn new(service: &Service, slices: &[&EndpointSlice], node: &str) -> ServiceView {
        let spec = service.spec();
        if spec.r#type == "ExternalName" {
            let external_name = Some(spec.external_name.clone());
            return ServiceView {
                external_name,
                ..ServiceView::default()
            };
        }
        let slices: Vec<_> = slices
            .iter()
            .copied()
            .filter(|slice| slice.address_type == "IPv4")
            .collect();
        let balancers = service.status().load_balancer().ingress.iter();
        let balancers = balancers.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
        let external = spec
            .external_ips
            .iter()
            .chain(balancers.map(|ingress| &ingress.ip));
        ServiceView {
            cluster_ips: cluster_ips(&spec.cluster_ip, &spec.cluster_ips),
            external_ips: external.filter_map(|ip| ip.parse().ok()).collect(),
            external_name: None,
            headless: spec.cluster_ip == "None",
            policy: policy(service),
            ports: spec
                .ports
                .iter()
                .filter_map(|port| read_port(port, &slices, node))
                .collect(),
            hosts: hosts(&slices),
        }
    }
}

fn cluster_ips(first: &str, all: &[String]) -> Vec<Ipv4Addr> {
    let mut ips: Vec<Ipv4Addr> = all.iter().filter_map(|ip| ip.parse().ok()).collect();
    if ips.is_empty() {
        ips.extend(first.parse::<Ipv4Addr>().ok());
    }
    ips
}

/// An annotation that is no policy counts as none.
fn policy(service: &Service) -> Policy {
    let annotation = service
        .metadata()
        .annotations
        .get(LOAD_BALANCING_ANNOTATION)
        .map(String::as_str);
    match (service.spec().session_affinity.as_str(), annotation) {
        ("ClientIP", _) => Policy::ClientAddress,
        (_, Some("random")) => Policy::Random,
        _ => Policy::RoundRobin,
    }
}

fn read_port(port: &ServicePort, slices: &[&EndpointSlice], node: &str) -> Option<Port> {
    let protocol = Protocol::parse(&port.protocol)?;
    Some(Port {
        name: port.name.clone(),
        protocol,
        number: u16::try_from(port.port).ok().filter(|number| *number != 0)?,
        node_port: u16::try_from(port.node_port).ok().filter(|number| *number != 0),
        endpoints: endpoints(&port.name, protocol, slices, node),
    })
}

/// The ready endpoints; if there are none, those that still serve while they terminate (KEP-1669).
fn endpoints(name: &str, protocol: Protocol, slices: &[&EndpointSlice], node: &str) -> BTreeSet<Endpoint> {
    let mut ready = BTreeMap::new();
    let mut terminating = BTreeMap::new();
    for slice in slices {
        for number in slice_ports(slice)
            .filter(|(n, p, _)| n == name && *p == protocol)
            .map(|(_, _, number)| number)
        {
            for endpoint in &slice.endpoints {
                let chosen = match Phase::of(endpoint) {
                    Phase::Ready => &mut ready,
                    Phase::ServingTerminating => &mut terminating,
                    Phase::Unready => continue,
                };
                let local = endpoint.node_name.as_deref().is_none_or(|name| name == node);
                for address in addresses(endpoint) {
                    // One pod may stand in two slices for a moment while it moves between them.
                    chosen.insert((address, number), local);
                }
            }
        }
    }
    let chosen = if ready.is_empty() { terminating } else { ready };
    chosen
        .into_iter()
        .map(|((address, port), local)| Endpoint { address, port, local })
        .collect()
}

fn hosts(slices: &[&EndpointSlice]) -> Vec<Host> {
    let mut hosts = BTreeSet::new();
    for slice in slices {
        let ports: Vec<_> = slice_ports(slice).collect();
        for endpoint in slice
            .endpoints
            .iter()
            .filter(|endpoint| Phase::of(endpoint) == Phase::Ready)
        {
            let hostname = endpoint.hostname.clone().filter(|hostname| !hostname.is_empty());
            for address in addresses(endpoint) {
                hosts.insert(Host {
                    address,
                    hostname: hostname.clone(),
                    ports: ports.clone(),
                });
            }
        }
    }
    hosts.into_iter().collect()
}

fn slice_ports(slice: &EndpointSlice) -> impl Iterator<Item = (String, Protocol, u16)> {
    slice.ports.iter().filter_map(|port| {
        let number = u16::try_from(port.port?).ok().filter(|number| *number != 0)?;
        let protocol = Protocol::parse(port.protocol.as_deref().unwrap_or("TCP"))?;
        Some((port.name.clone().unwrap_or_default(), protocol, number))
    })
}

/// The addresses of one endpoint are interchangeable, and consumers use the first
/// (k8s.io/api/discovery/v1, Endpoint.addresses).
fn addresses(endpoint: &SliceEndpoint) -> impl Iterator<Item = Ipv4Addr> {
    endpoint
        .addresses
        .first()
        .and_then(|address| address.parse().ok())
        .into_iter()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ready,
    ServingTerminating,
    Unready,
}

impl Phase {
    /// Unknown conditions count as ready and serving, and as not terminating (EndpointConditions).
    fn of(endpoint: &SliceEndpoint) -> Phase {
        let conditions = endpoint.conditions();
        let serving = conditions.serving.unwrap_or(true);
        match (
            conditions.ready.unwrap_or(true),
            serving && conditions.terminating.unwrap_or(false),
        ) {
            (true, _) => Phase::Ready,
            (false, true) => Phase::ServingTerminating,
            (false, false) => Phase::Unready,
        }
    }
}

impl Protocol {
    /// From Kubernetes' name; an empty one means TCP.
    pub fn parse(name: &str) -> Option<Protocol> {
        match name {
            "TCP" | "" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

/// As nftables and DNS write it.
impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

#[cfg(test)]
mod tests;
