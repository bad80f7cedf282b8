use super::{Name, port};
use gantry_proto::selector::label::subdomain_complaints;
use serde_json::{Value, json};

/// Create a service
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    service_type: Type,
}

#[derive(clap::Subcommand, Debug)]
enum Type {
    /// One with an address in the cluster, or with none
    #[command(name = "clusterip")]
    ClusterIp {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        ports: Ports,
        /// The address; None for none
        #[arg(long, default_value = "")]
        clusterip: String,
    },
    /// One with a port on every node
    #[command(name = "nodeport")]
    NodePort {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        ports: Ports,
        /// The port on every node [default: a free one]
        #[arg(long, default_value_t = 0)]
        node_port: i32,
    },
    /// One with an address outside of the cluster
    #[command(name = "loadbalancer")]
    LoadBalancer {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        ports: Ports,
    },
    /// Another name for a name outside of the cluster
    #[command(name = "externalname")]
    ExternalName {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        ports: Ports,
        /// The other name
        #[arg(long)]
        external_name: String,
    },
}

#[derive(clap::Args, Debug)]
struct Ports {
    /// PORT or PORT:TARGET, where the target is a number or a name (repeatable)
    #[arg(long = "tcp", value_name = "PORT[:TARGET]", value_delimiter = ',')]
    tcp: Vec<String>,
}

pub fn describe(arguments: Arguments) -> Result<Value, String> {
    let (name, ports, service_type) = match &arguments.service_type {
        Type::ClusterIp { name, ports, .. } => (name, ports, "ClusterIP"),
        Type::NodePort { name, ports, .. } => (name, ports, "NodePort"),
        Type::LoadBalancer { name, ports } => (name, ports, "LoadBalancer"),
        Type::ExternalName { name, ports, .. } => (name, ports, "ExternalName"),
    };
    let labels = json!({"app": name.name});
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name.name, "labels": labels},
        "spec": {"type": service_type, "selector": labels},
    });
    let mut needs_ports = true;
    let mut node_port = 0;
    match &arguments.service_type {
        Type::ClusterIp { clusterip, .. } if !clusterip.is_empty() => {
            needs_ports = clusterip != "None";
            service["spec"]["clusterIP"] = clusterip.as_str().into();
        }
        Type::ExternalName { external_name, .. } => {
            needs_ports = false;
            if !subdomain_complaints(external_name).is_empty() {
                return Err(format!("invalid service external name {external_name}"));
            }
            service["spec"]["externalName"] = external_name.as_str().into();
        }
        Type::NodePort { node_port: given, .. } => node_port = *given,
        Type::ClusterIp { .. } | Type::LoadBalancer { .. } => {}
    }
    if needs_ports && ports.tcp.is_empty() {
        return Err("at least one tcp port specifier must be provided".into());
    }
    if !ports.tcp.is_empty() {
        let ports = ports.tcp.iter().map(|text| service_port(text, node_port));
        service["spec"]["ports"] = ports.collect::<Result<Vec<_>, _>>()?.into();
    }
    Ok(service)
}

fn service_port(text: &str, node_port: i32) -> Result<Value, String> {
    let mut parts = text.split(':');
    let number = port(parts.next().unwrap_or_default())?;
    let target: Value = match parts.next() {
        None => number.into(),
        Some(target) => match target.parse::<i64>() {
            Ok(target) if (1..=65535).contains(&target) => target.into(),
            Ok(_) => return Err("must be between 1 and 65535, inclusive".into()),
            Err(_) => target.into(),
        },
    };
    let mut port =
        json!({"name": text.replace(':', "-"), "port": number, "protocol": "TCP", "targetPort": target});
    if node_port != 0 {
        port["nodePort"] = node_port.into();
    }
    Ok(port)
}
