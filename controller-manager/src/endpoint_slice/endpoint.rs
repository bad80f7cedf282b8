//! What a pod contributes to a Service: an endpoint, under the ports that this pod has.

use super::View;
use crate::pod_facts;
use gantry_proto::core::v1::{Container, ObjectReference, Pod, Service, ServicePort};
use gantry_proto::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

/// Endpoints that have the same ports, and so can share a slice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<Endpoint>,
}

pub fn groups(view: &View, family: &str) -> Vec<Group> {
    let service = view.service;
    let mut groups: Vec<Group> = Vec::new();
    let selected = view.pods.iter().filter(|pod| selects(service, pod));
    for pod in selected {
        // A pod without an address has nothing to offer yet, and one that has ended nothing any more.
        let Some(address) = address(pod, family).filter(|_| !pod_facts::is_finished(pod)) else {
            continue;
        };
        let ports = ports(service, pod);
        let endpoint = endpoint(view, pod, address);
        match groups.iter_mut().find(|group| group.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => groups.push(Group {
                ports,
                endpoints: vec![endpoint],
            }),
        }
    }
    groups
}

pub fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = &pod.metadata().labels;
    let selector = &service.spec().selector;
    !selector.is_empty()
        && selector
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
}

/// The pod's first address of the family, `IPv4` or `IPv6`.
pub fn address<'a>(pod: &'a Pod, family: &str) -> Option<&'a str> {
    let status = pod.status();
    let all = status
        .pod_ips
        .iter()
        .map(|pod_ip| pod_ip.ip.as_str())
        .chain([status.pod_ip.as_str()]);
    all.filter(|address| !address.is_empty())
        .find(|address| (family == "IPv6") == address.contains(':'))
}

/// A terminating pod stays, with `ready` false: its connections may go on while it serves.
fn endpoint(view: &View, pod: &Pod, address: &str) -> Endpoint {
    let service = view.service;
    let serving = pod_facts::is_ready(pod);
    let terminating = pod_facts::is_terminating(pod);
    let ready = service.spec().publish_not_ready_addresses || serving && !terminating;
    let spec = pod.spec();
    let node = Some(&spec.node_name).filter(|name| !name.is_empty());
    Endpoint {
        addresses: vec![address.into()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod).map(str::to_string),
        target_ref: Some(ObjectReference {
            kind: "Pod".into(),
            namespace: pod.metadata().namespace.clone(),
            name: pod.metadata().name.clone(),
            uid: pod.metadata().uid.clone(),
            ..ObjectReference::default()
        }),
        node_name: node.cloned(),
        zone: node
            .and_then(|name| view.zones_by_node.get(name.as_str()))
            .map(|zone| zone.to_string()),
        ..Endpoint::default()
    }
}

/// The name under which the Service's domain has the pod.
pub fn hostname<'a>(service: &Service, pod: &'a Pod) -> Option<&'a str> {
    let spec = pod.spec();
    let is_named = !spec.hostname.is_empty() && spec.subdomain == service.metadata().name;
    is_named.then_some(spec.hostname.as_str())
}

/// The Service's ports with the numbers that they have in this pod; a named port that the pod lacks is left out.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec().ports.iter();
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone()),
                protocol: Some(protocol(&port.protocol).into()),
                port: Some(number(port, pod)?),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

/// The port's number in this pod; `None` for a named port that the pod lacks.
pub fn number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let target = port.target_port.clone().unwrap_or_default();
    let Some(name) = target.as_str().filter(|name| !name.is_empty()) else {
        return Some(target.as_int().filter(|number| *number != 0).unwrap_or(port.port));
    };
    // Init containers that keep running (sidecars) offer ports like any other.
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let containers = pod
        .spec()
        .containers
        .iter()
        .chain(pod.spec().init_containers.iter().filter(sidecar));
    containers
        .flat_map(|container| &container.ports)
        .find(|offered| offered.name == name && protocol(&offered.protocol) == protocol(&port.protocol))
        .map(|offered| offered.container_port)
}

pub fn protocol(protocol: &str) -> &str {
    if protocol.is_empty() { "TCP" } else { protocol }
}
