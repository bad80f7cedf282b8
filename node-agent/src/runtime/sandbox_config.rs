//! A pod's sandbox in CRI's terms.

use crate::pod::identity::{grace_seconds, hostname};
use crate::pod::resources::qos_class;
use crate::runtime::labels;
use gantry_proto::core::v1::{Pod, PodSpec};
use k8s_cri::v1 as cri;
use std::collections::HashMap;

/// What a sandbox has from its node.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    pub node_name: String,
    pub log_directory: String,
    /// The cgroup above all pods of the node.
    pub cgroup_parent: String,
    pub cluster_dns: String,
    pub cluster_domain: String,
    /// The host's own resolver configuration.
    pub host_dns: cri::DnsConfig,
}

/// The kernel's limit is none any more, but Kubernetes keeps to what resolvers took for long.
const SEARCHES: usize = 32;

pub fn sandbox_config(pod: &Pod, attempt: u32, node: &NodeFacts) -> cri::PodSandboxConfig {
    let (metadata, spec) = (pod.metadata(), pod.spec());
    let name = |key: &str, value: &str| (key.to_string(), value.to_string());
    let own_labels = [
        name(labels::POD_NAME, &metadata.name),
        name(labels::POD_NAMESPACE, &metadata.namespace),
        name(labels::POD_UID, &metadata.uid),
        name(labels::NODE_NAME, &node.node_name),
    ];
    let pod_labels = metadata.labels.iter().map(|(key, value)| name(key, value));
    let grace = (labels::GRACE_PERIOD.to_string(), grace_seconds(spec).to_string());
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            namespace: metadata.namespace.clone(),
            attempt,
        }),
        hostname: if spec.host_network {
            String::new()
        } else {
            hostname(pod)
        },
        log_directory: node.log_directory.clone(),
        dns_config: dns_config(pod, node),
        port_mappings: port_mappings(spec),
        labels: pod_labels.chain(own_labels).collect(),
        annotations: [grace].into(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: cgroup(pod, node),
            security_context: Some(security_context(spec)),
            sysctls: spec
                .security_context()
                .sysctls
                .iter()
                .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
                .collect::<HashMap<String, String>>(),
            ..cri::LinuxPodSandboxConfig::default()
        }),
        ..cri::PodSandboxConfig::default()
    }
}

/// The pod's cgroup, as a path below each hierarchy's root.
pub fn cgroup(pod: &Pod, node: &NodeFacts) -> String {
    let uid = &pod.metadata().uid;
    match qos_class(pod.spec()).cgroup() {
        Some(class) => format!("{}/{class}/pod{uid}", node.cgroup_parent),
        None => format!("{}/pod{uid}", node.cgroup_parent),
    }
}

pub fn namespace_options(spec: &PodSpec) -> cri::NamespaceOption {
    let node_or = |is_host: bool, other| if is_host { cri::NamespaceMode::Node } else { other };
    let pid = match spec.share_process_namespace {
        Some(true) => cri::NamespaceMode::Pod,
        _ => cri::NamespaceMode::Container,
    };
    cri::NamespaceOption {
        network: node_or(spec.host_network, cri::NamespaceMode::Pod) as i32,
        pid: node_or(spec.host_pid, pid) as i32,
        ipc: node_or(spec.host_ipc, cri::NamespaceMode::Pod) as i32,
        ..cri::NamespaceOption::default()
    }
}

fn security_context(spec: &PodSpec) -> cri::LinuxSandboxSecurityContext {
    let context = spec.security_context();
    let number = |value: i64| cri::Int64Value { value };
    let is_privileged = spec
        .init_containers
        .iter()
        .chain(&spec.containers)
        .any(|container| container.security_context().privileged == Some(true));
    cri::LinuxSandboxSecurityContext {
        namespace_options: Some(namespace_options(spec)),
        run_as_user: context.run_as_user.map(number),
        run_as_group: context.run_as_group.map(number),
        supplemental_groups: context
            .fs_group
            .into_iter()
            .chain(context.supplemental_groups.clone())
            .collect(),
        privileged: is_privileged,
        seccomp: Some(cri::SecurityProfile {
            profile_type: cri::security_profile::ProfileType::RuntimeDefault as i32,
            ..cri::SecurityProfile::default()
        }),
        ..cri::LinuxSandboxSecurityContext::default()
    }
}

fn port_mappings(spec: &PodSpec) -> Vec<cri::PortMapping> {
    if spec.host_network {
        return Vec::new();
    }
    let ports = spec.containers.iter().flat_map(|container| &container.ports);
    ports
        .filter(|port| port.host_port > 0)
        .map(|port| cri::PortMapping {
            protocol: match port.protocol.as_str() {
                "UDP" => cri::Protocol::Udp,
                "SCTP" => cri::Protocol::Sctp,
                _ => cri::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port,
            host_ip: port.host_ip.clone(),
        })
        .collect()
}

/// The pod's resolver configuration, by its dnsPolicy, with its dnsConfig merged in.
fn dns_config(pod: &Pod, node: &NodeFacts) -> Option<cri::DnsConfig> {
    let spec = pod.spec();
    let policy = match spec.dns_policy.as_str() {
        // A pod on the host's network asks the host's servers unless it says otherwise.
        "ClusterFirst" | "" if spec.host_network => "Default",
        "ClusterFirstWithHostNet" | "" => "ClusterFirst",
        policy => policy,
    };
    let mut dns = match policy {
        "None" => cri::DnsConfig::default(),
        "Default" => node.host_dns.clone(),
        _ => cluster_dns(&pod.metadata().namespace, node),
    };
    let extra = spec.dns_config();
    merge(&mut dns.servers, &extra.nameservers);
    merge(&mut dns.searches, &extra.searches);
    dns.searches.truncate(SEARCHES);
    for option in &extra.options {
        let text = match &option.value {
            Some(value) if !value.is_empty() => format!("{}:{value}", option.name),
            _ => option.name.clone(),
        };
        dns.options
            .retain(|old| old.split(':').next() != Some(&option.name));
        dns.options.push(text);
    }
    Some(dns)
}

fn cluster_dns(namespace: &str, node: &NodeFacts) -> cri::DnsConfig {
    let domain = &node.cluster_domain;
    let mut searches = vec![
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.clone(),
    ];
    merge(&mut searches, &node.host_dns.searches);
    cri::DnsConfig {
        servers: vec![node.cluster_dns.clone()],
        searches,
        options: vec!["ndots:5".into()],
    }
}

fn merge(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// Reads a resolv.conf(5).
pub fn parse_resolv_conf(text: &str) -> cri::DnsConfig {
    let mut dns = cri::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_string)),
            // The last search line wins.
            Some("search") => dns.searches = words.map(str::to_string).collect(),
            Some("options") => dns.options = words.map(str::to_string).collect(),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeFacts {
        NodeFacts {
            node_name: "a".into(),
            cgroup_parent: "/gantry/a".into(),
            cluster_dns: "169.254.20.10".into(),
            cluster_domain: "cluster.local".into(),
            host_dns: parse_resolv_conf(
                "# c\nnameserver 192.0.2.53\nsearch example.org\noptions timeout:2\n",
            ),
            ..NodeFacts::default()
        }
    }

    fn config(spec: serde_json::Value) -> cri::PodSandboxConfig {
        let value =
            serde_json::json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
        let pod = gantry_proto::json::decode_value::<Pod>(&value).unwrap().object;
        sandbox_config(&pod, 0, &node())
    }

    #[test]
    fn the_resolver_follows_the_policy() {
        let check = |spec: serde_json::Value, servers: &str, searches: &str, options: &str| {
            let dns = config(spec.clone()).dns_config.unwrap();
            let found = (
                dns.servers.join(" "),
                dns.searches.join(" "),
                dns.options.join(" "),
            );
            assert_eq!(found, (servers.into(), searches.into(), options.into()), "{spec}");
        };
        use serde_json::json;
        let cluster = "n.svc.cluster.local svc.cluster.local cluster.local example.org";
        check(
            json!({"dnsPolicy": "ClusterFirst"}),
            "169.254.20.10",
            cluster,
            "ndots:5",
        );
        let host = ("192.0.2.53", "example.org", "timeout:2");
        check(json!({"dnsPolicy": "Default"}), host.0, host.1, host.2);
        check(
            json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}),
            host.0,
            host.1,
            host.2,
        );
        check(
            json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}),
            "169.254.20.10",
            cluster,
            "ndots:5",
        );
        let own = json!({"nameservers": ["9.9.9.9"], "searches": ["x.y"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        check(
            json!({"dnsPolicy": "None", "dnsConfig": own}),
            "9.9.9.9",
            "x.y",
            "ndots:2 edns0",
        );
    }

    #[test]
    fn the_cgroup_tells_node_class_and_pod() {
        let parent = |spec| config(spec).linux.unwrap().cgroup_parent;
        use serde_json::json;
        assert_eq!(
            parent(json!({"containers": [{"name": "c"}]})),
            "/gantry/a/besteffort/podu"
        );
        let both = json!({"cpu": "1", "memory": "1Mi"});
        let container = json!({"name": "c", "resources": {"limits": both, "requests": both}});
        assert_eq!(parent(json!({"containers": [container]})), "/gantry/a/podu");
    }

    #[test]
    fn host_ports_are_mapped_unless_the_pod_is_on_the_hosts_network() {
        use serde_json::json;
        let containers =
            json!([{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]}]);
        assert_eq!(config(json!({"containers": containers})).port_mappings.len(), 1);
        assert_eq!(
            config(json!({"containers": containers, "hostNetwork": true}))
                .port_mappings
                .len(),
            0
        );
    }
}
