use super::Column::{Always, Wide};
use super::{Table, labels, or_none};
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::{Service, ServicePort};
use std::time::SystemTime;

pub const TABLE: Table = Table {
    columns: &[
        Always("NAME"),
        Always("TYPE"),
        Always("CLUSTER-IP"),
        Always("EXTERNAL-IP"),
        Always("PORT(S)"),
        Always("AGE"),
        Wide("SELECTOR"),
    ],
    cells,
};

fn cells(object: &Object, now: SystemTime) -> Result<Vec<String>, Failure> {
    let service: Service = object.decode()?;
    let spec = service.spec();
    let ports: Vec<String> = spec.ports.iter().map(port).collect();
    Ok(vec![
        object.metadata.name.clone(),
        spec.r#type.clone(),
        or_none(spec.cluster_ips.first().map_or("", |ip| ip)),
        external_ips(&service),
        or_none(&ports.join(",")),
        age::since(object.metadata.creation_timestamp.as_ref(), now),
        labels(&spec.selector),
    ])
}

fn port(port: &ServicePort) -> String {
    let protocol = if port.protocol.is_empty() {
        "TCP"
    } else {
        &port.protocol
    };
    match port.node_port {
        0 => format!("{}/{protocol}", port.port),
        node_port => format!("{}:{node_port}/{protocol}", port.port),
    }
}

/// How a service is reached from outside.
pub fn external_ips(service: &Service) -> String {
    let spec = service.spec();
    match spec.r#type.as_str() {
        "ExternalName" => spec.external_name.clone(),
        "LoadBalancer" => {
            let ingress = service.status().load_balancer().ingress.iter();
            let balanced = ingress.map(|i| {
                if i.ip.is_empty() {
                    i.hostname.clone()
                } else {
                    i.ip.clone()
                }
            });
            let all: Vec<String> = balanced.chain(spec.external_ips.iter().cloned()).collect();
            if all.is_empty() {
                "<pending>".into()
            } else {
                all.join(",")
            }
        }
        "ClusterIP" | "NodePort" => or_none(&spec.external_ips.join(",")),
        _ => "<unknown>".into(),
    }
}
