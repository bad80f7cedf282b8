//! The variables that tell a container of Services, in Docker's old links form as well.

use gantry_proto::core::v1::Service;
use std::collections::BTreeMap;

/// `services` are those of the pod's namespace that it should know, and `default/kubernetes`.
pub fn service_links<'a>(services: impl IntoIterator<Item = &'a Service>) -> BTreeMap<String, String> {
    let mut result = BTreeMap::new();
    for service in services {
        let (spec, name) = (service.spec(), variable_name(&service.metadata().name));
        let ip = spec.cluster_ip.as_str();
        let Some(first) = spec.ports.first().filter(|_| !ip.is_empty() && ip != "None") else {
            continue;
        };
        let mut set = |suffix: String, value: String| result.insert(format!("{name}_{suffix}"), value);
        set("SERVICE_HOST".into(), ip.into());
        set("SERVICE_PORT".into(), first.port.to_string());
        for port in spec.ports.iter().filter(|port| !port.name.is_empty()) {
            set(
                format!("SERVICE_PORT_{}", variable_name(&port.name)),
                port.port.to_string(),
            );
        }
        for (position, port) in spec.ports.iter().enumerate() {
            let protocol = if port.protocol.is_empty() {
                "TCP"
            } else {
                &port.protocol
            };
            let url = format!("{}://{}", protocol.to_lowercase(), authority(ip, port.port));
            if position == 0 {
                set("PORT".into(), url.clone());
            }
            let prefix = format!("PORT_{}_{protocol}", port.port);
            set(prefix.clone(), url);
            set(format!("{prefix}_PROTO"), protocol.to_lowercase());
            set(format!("{prefix}_PORT"), port.port.to_string());
            set(format!("{prefix}_ADDR"), ip.into());
        }
    }
    result
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn authority(ip: &str, port: i32) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_by_host_port_and_url_and_a_headless_one_not_at_all() {
        let service = |name: &str, ip: &str| {
            let value = serde_json::json!({"metadata": {"name": name},
                "spec": {"clusterIP": ip, "ports": [{"name": "http", "port": 80}, {"port": 53, "protocol": "UDP"}]}});
            gantry_proto::json::decode_value::<Service>(&value)
                .unwrap()
                .object
        };
        let links = service_links(&[service("my-web", "10.96.0.7"), service("quiet", "None")]);
        let text: Vec<String> = links
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let expected = "MY_WEB_PORT=tcp://10.96.0.7:80 MY_WEB_PORT_53_UDP=udp://10.96.0.7:53 \
            MY_WEB_PORT_53_UDP_ADDR=10.96.0.7 MY_WEB_PORT_53_UDP_PORT=53 MY_WEB_PORT_53_UDP_PROTO=udp \
            MY_WEB_PORT_80_TCP=tcp://10.96.0.7:80 MY_WEB_PORT_80_TCP_ADDR=10.96.0.7 \
            MY_WEB_PORT_80_TCP_PORT=80 MY_WEB_PORT_80_TCP_PROTO=tcp MY_WEB_SERVICE_HOST=10.96.0.7 \
            MY_WEB_SERVICE_PORT=80 MY_WEB_SERVICE_PORT_HTTP=80";
        assert_eq!(text.join(" "), expected);
    }
}
