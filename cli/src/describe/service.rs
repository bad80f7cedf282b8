use super::Related;
use super::text::Text;
use crate::cluster::Object;
use crate::failure::Failure;
use crate::tables::labels;
use gantry_proto::core::v1::{Service, ServicePort};
use gantry_proto::discovery::v1::EndpointSlice;
use std::time::SystemTime;

pub fn describe(object: &Object, related: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let service: Service = object.decode()?;
    let spec = service.spec();
    text.head(&object.metadata);
    text.line(0, format_args!("Selector:\t{}", labels(&spec.selector)));
    text.line(0, format_args!("Type:\t{}", spec.r#type));
    if let Some(policy) = &spec.ip_family_policy {
        text.line(0, format_args!("IP Family Policy:\t{policy}"));
    }
    let families = crate::tables::or_none(&spec.ip_families.join(","));
    text.line(0, format_args!("IP Families:\t{families}"));
    text.line(0, format_args!("IP:\t{}", spec.cluster_ip));
    text.line(
        0,
        format_args!("IPs:\t{}", crate::tables::or_none(&spec.cluster_ips.join(","))),
    );
    if !spec.external_ips.is_empty() {
        text.line(0, format_args!("External IPs:\t{}", spec.external_ips.join(",")));
    }
    if !spec.external_name.is_empty() {
        text.line(0, format_args!("External Name:\t{}", spec.external_name));
    }
    spec.ports
        .iter()
        .for_each(|service_port| port(service_port, &related.endpoint_slices, text));
    text.line(0, format_args!("Session Affinity:\t{}", spec.session_affinity));
    if !spec.external_traffic_policy.is_empty() {
        text.line(
            0,
            format_args!("External Traffic Policy:\t{}", spec.external_traffic_policy),
        );
    }
    if let Some(policy) = &spec.internal_traffic_policy {
        text.line(0, format_args!("Internal Traffic Policy:\t{policy}"));
    }
    if !spec.load_balancer_source_ranges.is_empty() {
        let ranges = spec.load_balancer_source_ranges.join(",");
        text.line(0, format_args!("LoadBalancer Source Ranges:\t{ranges}"));
    }
    Ok(())
}

fn port(port: &ServicePort, slices: &[EndpointSlice], text: &mut Text) {
    let name = if port.name.is_empty() {
        "<unset>"
    } else {
        &port.name
    };
    text.line(0, format_args!("Port:\t{name}\t{}/{}", port.port, port.protocol));
    text.line(
        0,
        format_args!("TargetPort:\t{}/{}", port.target_port(), port.protocol),
    );
    if port.node_port != 0 {
        text.line(
            0,
            format_args!("NodePort:\t{name}\t{}/{}", port.node_port, port.protocol),
        );
    }
    text.line(0, format_args!("Endpoints:\t{}", endpoints(&port.name, slices)));
}

/// Addresses that are shown; of the others only the number is.
const SHOWN: usize = 3;

/// The addresses that are ready, for the port of this name.
fn endpoints(port_name: &str, slices: &[EndpointSlice]) -> String {
    let mut addresses = Vec::new();
    for slice in slices {
        let port = slice
            .ports
            .iter()
            .find(|port| port.name.as_deref().unwrap_or_default() == port_name);
        let Some(number) = port.and_then(|port| port.port) else {
            continue;
        };
        let ready = slice
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.conditions().ready != Some(false));
        addresses.extend(ready.flat_map(|endpoint| &endpoint.addresses).map(|address| {
            match address.contains(':') {
                true => format!("[{address}]:{number}"),
                false => format!("{address}:{number}"),
            }
        }));
    }
    match addresses.len() {
        0 => String::new(),
        count if count > SHOWN => format!("{} + {} more...", addresses[..SHOWN].join(","), count - SHOWN),
        _ => addresses.join(","),
    }
}
