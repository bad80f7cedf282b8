//! Services. Addresses and node ports are given out by the caller, once an object is found to be right.

use super::field::{Errors, Json, Path, quoted};
use super::ports::{validate_number, validate_number_or_name, validate_protocol};
use super::selector::validate_labels;
use super::{Rules, Target, ip, metadata, names, service_addresses, service_update, unsupported};
use gantry_proto::core::v1::{ClientIpConfig, Service, ServicePort, ServiceSpec, SessionAffinityConfig};
use gantry_proto::meta::v1::{IntOrString, StatusCause};
use std::collections::BTreeSet;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITY_SECONDS: i32 = 10_800;
const AFFINITY_MOST_SECONDS: i32 = 86_400;
const TRAFFIC_DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
pub(super) const NONE: &str = "None";

pub struct Services;

impl Rules for Services {
    type Object = Service;

    fn set_defaults(&self, service: &mut Service) {
        set_spec_defaults(service.spec_mut());
        if service.spec().r#type == "LoadBalancer" {
            for ingress in &mut service.status_mut().load_balancer_mut().ingress {
                if !ingress.ip.is_empty() && ingress.ip_mode.is_none() {
                    ingress.ip_mode = Some("VIP".into());
                }
            }
        }
    }

    fn prepare_for_create(&self, service: &mut Service) {
        metadata::clear_for_create(service.metadata_mut(), 0);
        service.status = None;
        let spec = service.spec_mut();
        if !spec.cluster_ip.is_empty() && spec.cluster_ips.is_empty() {
            spec.cluster_ips = vec![spec.cluster_ip.clone()];
        }
        service_addresses::set_families(spec, None);
    }

    fn prepare_for_update(&self, new: &mut Service, old: &Service, target: Target) {
        if target == Target::Status {
            metadata::keep_for_status(new.metadata_mut(), old.metadata());
            new.spec.clone_from(&old.spec);
            return;
        }
        metadata::keep_for_update(new.metadata_mut(), old.metadata());
        new.status.clone_from(&old.status);
        service_update::keep_allocated(new.spec_mut(), old.spec());
        service_update::drop_for_type(new, old);
        service_addresses::set_families(new.spec_mut(), Some(old.spec()));
    }

    fn validate(&self, service: &Service) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_strictly(service.metadata(), true, names::dns_label, &mut errors);
        validate(service, None, &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &Service, old: &Service, target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        if target == Target::Status {
            service_update::validate_status(new, old, &mut errors);
        } else {
            service_update::validate(new.spec(), old.spec(), &mut errors);
            validate(new, Some(old), &mut errors);
        }
        errors.into_causes()
    }

    fn warnings(&self, new: &Service, old: Option<&Service>) -> Vec<String> {
        let spec = new.spec();
        // Who reports a status is told nothing.
        if old.is_some_and(|old| old.spec() == spec && old.status() != new.status()) {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        if new.metadata().annotations.contains_key(TOPOLOGY_HINTS) {
            warnings.push(format!(
                "annotation {TOPOLOGY_HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
            ));
        }
        if is_headless(spec) && spec.r#type == "ClusterIP" {
            for (field, is_set) in [
                ("loadBalancerIP", !spec.load_balancer_ip.is_empty()),
                ("externalIPs", !spec.external_ips.is_empty()),
                ("SessionAffinity", spec.session_affinity != NONE),
            ] {
                if is_set {
                    warnings.push(format!("spec.{field} is ignored for headless services"));
                }
            }
        }
        let external_ips = Path::new("spec.externalIPs");
        for (i, address) in spec.external_ips.iter().enumerate() {
            warnings.extend(ip::warning(address, &external_ips.index(i)));
        }
        if !spec.external_ips.is_empty() && spec.cluster_ip != NONE && spec.r#type != "ExternalName" {
            warnings.push(
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters".into(),
            );
        }
        warnings.extend(ip::warning(
            &spec.load_balancer_ip,
            &Path::new("spec.loadBalancerIP"),
        ));
        if spec.r#type == "ExternalName" && !spec.external_ips.is_empty() {
            warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
        }
        if spec.r#type != "ExternalName" && !spec.external_name.is_empty() {
            warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
        }
        if spec.traffic_distribution.as_deref() == Some("PreferClose") {
            let detail = "\"PreferClose\" is deprecated; use \"PreferSameZone\"";
            warnings.push(format!("spec.trafficDistribution: {detail}"));
        }
        if old.is_none_or(|old| old.spec() != spec) {
            unsupported::service_spec(spec, &Path::new("spec"), &mut warnings);
        }
        warnings
    }

    fn fields(&self, service: &Service) -> Vec<(&'static str, String)> {
        let spec = service.spec();
        vec![
            ("spec.clusterIP", spec.cluster_ip.clone()),
            ("spec.type", spec.r#type.clone()),
        ]
    }
}

pub(super) fn is_headless(spec: &ServiceSpec) -> bool {
    matches!(&spec.cluster_ips[..], [only] if only == NONE)
}

/// Whether something outside the cluster may reach it.
pub(super) fn is_external(spec: &ServiceSpec) -> bool {
    match spec.r#type.as_str() {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.external_ips.is_empty(),
        _ => false,
    }
}

/// Whether a load balancer has to ask each node whether it has an endpoint.
pub(super) fn needs_health_check(spec: &ServiceSpec) -> bool {
    spec.r#type == "LoadBalancer" && spec.external_traffic_policy == "Local"
}

fn set_spec_defaults(spec: &mut ServiceSpec) {
    if spec.session_affinity.is_empty() {
        spec.session_affinity = NONE.into();
    }
    match spec.session_affinity.as_str() {
        NONE => spec.session_affinity_config = None,
        "ClientIP"
            if spec
                .session_affinity_config()
                .client_ip()
                .timeout_seconds
                .is_none() =>
        {
            let client_ip = Some(ClientIpConfig {
                timeout_seconds: Some(AFFINITY_SECONDS),
            });
            spec.session_affinity_config = Some(SessionAffinityConfig { client_ip });
        }
        _ => {}
    }
    if spec.r#type.is_empty() {
        spec.r#type = "ClusterIP".into();
    }
    for port in &mut spec.ports {
        if port.protocol.is_empty() {
            port.protocol = "TCP".into();
        }
        let target = port.target_port();
        if target.as_int() == Some(0) || target.as_str() == Some("") {
            port.target_port = Some(IntOrString::from(port.port));
        }
    }
    if is_external(spec) && spec.external_traffic_policy.is_empty() {
        spec.external_traffic_policy = "Cluster".into();
    }
    if ["NodePort", "LoadBalancer", "ClusterIP"].contains(&spec.r#type.as_str()) {
        spec.internal_traffic_policy
            .get_or_insert_with(|| "Cluster".into());
    }
    if spec.r#type == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

fn validate(service: &Service, old: Option<&Service>, errors: &mut Errors) {
    let (spec, path) = (service.spec(), Path::new("spec"));
    validate_type(spec, &path, errors);
    validate_ports(spec, &path, errors);
    validate_labels(&spec.selector, &path.child("selector"), errors);
    validate_affinity(spec, &path, errors);
    let old_spec = old.map(Service::spec);
    service_addresses::validate(spec, old_spec, errors);
    let external_ips = path.child("externalIPs");
    let kept = old_spec
        .map(|old| old.external_ips.as_slice())
        .unwrap_or_default();
    for (i, address) in spec.external_ips.iter().enumerate() {
        if ip::validate(address, kept, &external_ips.index(i), errors) {
            ip::validate_endpoint(address, &external_ips.index(i), errors);
        }
    }
    if spec.r#type.is_empty() {
        errors.required(&path.child("type"), "");
    } else if !TYPES.contains(&spec.r#type.as_str()) {
        errors.not_supported(&path.child("type"), &spec.r#type, TYPES);
    }
    validate_numbers(spec, &path, errors);
    validate_source_ranges(service, old, errors);
    validate_load_balancer(spec, &path, errors);
    validate_traffic(spec, &path, errors);
}

/// What each type needs and rules out.
fn validate_type(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let headless = is_headless(spec);
    let kind = spec.r#type.as_str();
    if spec.ports.is_empty() && !headless && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), NONE, detail);
        }
        "ExternalName" => {
            for (field, is_set) in [
                ("clusterIPs", !spec.cluster_ips.is_empty()),
                ("ipFamilies", !spec.ip_families.is_empty()),
                ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
            ] {
                if is_set {
                    errors.forbidden(&path.child(field), "may not be set for ExternalName services");
                }
            }
            let name = spec
                .external_name
                .strip_suffix('.')
                .unwrap_or(&spec.external_name);
            if name.is_empty() {
                errors.required(&path.child("externalName"), "");
            } else {
                errors.invalid_each(&path.child("externalName"), name, names::dns_subdomain(name));
            }
        }
        _ => {}
    }
}

fn validate_ports(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let list = path.child("ports");
    let mut seen = BTreeSet::new();
    for (i, port) in spec.ports.iter().enumerate() {
        let path = list.index(i);
        if port.name.is_empty() {
            // Several ports are told apart by name.
            if spec.ports.len() > 1 {
                errors.required(&path.child("name"), "");
            }
        } else {
            errors.invalid_each(&path.child("name"), &port.name, names::dns_label(&port.name));
            if !seen.insert(&port.name) {
                errors.duplicate(&path.child("name"), &port.name);
            }
        }
        validate_number(port.port, &path.child("port"), errors);
        validate_protocol(&port.protocol, &path.child("protocol"), errors);
        validate_number_or_name(port.target_port(), &path.child("targetPort"), errors);
        if let Some(protocol) = &port.app_protocol {
            errors.invalid_each(&path.child("appProtocol"), protocol, names::qualified(protocol));
        }
    }
}

fn validate_affinity(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let config = path.child("sessionAffinityConfig");
    match spec.session_affinity.as_str() {
        "" => errors.required(&path.child("sessionAffinity"), ""),
        NONE => {
            if spec.session_affinity_config.is_some() {
                errors.forbidden(&config, "must not be set when session affinity is None");
            }
        }
        "ClientIP" => match spec.session_affinity_config().client_ip().timeout_seconds {
            None => {
                let detail = "when session affinity type is ClientIP";
                errors.required(&config.child("clientIP.timeoutSeconds"), detail);
            }
            Some(seconds) if !(1..=AFFINITY_MOST_SECONDS).contains(&seconds) => {
                let detail = format!("must be greater than 0 and less than {AFFINITY_MOST_SECONDS}");
                errors.invalid(&config.child("clientIP.timeoutSeconds"), seconds, detail);
            }
            Some(_) => {}
        },
        other => errors.not_supported(&path.child("sessionAffinity"), other, &["ClientIP", NONE]),
    }
}

/// Each number, and each node port, is there once for each protocol.
fn validate_numbers(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let list = path.child("ports");
    if spec.r#type == "ClusterIP" {
        for (i, _) in spec
            .ports
            .iter()
            .enumerate()
            .filter(|(_, port)| port.node_port != 0)
        {
            errors.forbidden(
                &list.index(i).child("nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            );
        }
    }
    let mut node_ports = BTreeSet::new();
    for (i, port) in spec
        .ports
        .iter()
        .enumerate()
        .filter(|(_, port)| port.node_port != 0)
    {
        if !node_ports.insert((&port.protocol, port.node_port)) {
            errors.duplicate(&list.index(i).child("nodePort"), port.node_port);
        }
    }
    let mut numbers = BTreeSet::new();
    for (i, ServicePort { protocol, port, .. }) in spec.ports.iter().enumerate() {
        if !numbers.insert((protocol, *port)) {
            // The names are those of Go's internal type.
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{port},\"TargetPort\":0,\"NodePort\":0}}",
                quoted(protocol)
            );
            errors.duplicate(&list.index(i), Json::text(shown));
        }
    }
}

fn validate_source_ranges(service: &Service, old: Option<&Service>, errors: &mut Errors) {
    let spec = service.spec();
    let only_for = "may only be used when `type` is 'LoadBalancer'";
    if !spec.load_balancer_source_ranges.is_empty() {
        let path = Path::new("spec.LoadBalancerSourceRanges");
        if spec.r#type != "LoadBalancer" {
            errors.forbidden(&path, only_for);
        }
        let old = old
            .map(|old| old.spec().load_balancer_source_ranges.as_slice())
            .unwrap_or_default();
        let kept: Vec<String> = old.iter().map(|range| range.trim().to_string()).collect();
        for (i, range) in spec.load_balancer_source_ranges.iter().enumerate() {
            ip::validate_cidr(range.trim(), &kept, &path.index(i), errors);
        }
    } else if let Some(value) = service.metadata().annotations.get(SOURCE_RANGES) {
        let annotations = Path::new("metadata.annotations");
        let path = annotations.key(SOURCE_RANGES);
        if spec.r#type != "LoadBalancer" {
            errors.forbidden(&path, only_for);
        }
        let old = old.and_then(|old| old.metadata().annotations.get(SOURCE_RANGES));
        if old != Some(value) && !value.trim().is_empty() {
            for range in value.trim().split(',') {
                ip::validate_cidr(range.trim(), &[], &path, errors);
            }
        }
    }
}

fn validate_load_balancer(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let balances = spec.r#type == "LoadBalancer";
    let only_for = "may only be used when `type` is 'LoadBalancer'";
    match (balances, spec.allocate_load_balancer_node_ports) {
        (false, Some(_)) => errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), only_for),
        (true, None) => errors.required(&Path::new("allocateLoadBalancerNodePorts"), ""),
        _ => {}
    }
    if let Some(class) = &spec.load_balancer_class {
        let path = path.child("loadBalancerClass");
        if balances {
            errors.invalid_each(&path, class, names::qualified(class));
        } else {
            errors.forbidden(&path, only_for);
        }
    }
}

fn validate_traffic(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let external = path.child("externalTrafficPolicy");
    let policy = spec.external_traffic_policy.as_str();
    match (is_external(spec), policy) {
        (false, "") | (true, "Cluster" | "Local") => {}
        (false, _) => errors.invalid(
            &external,
            policy,
            "may only be set for externally-accessible services",
        ),
        (true, "") => errors.required(&external, ""),
        (true, _) => errors.not_supported(&external, policy, &["Cluster", "Local"]),
    }
    let health = path.child("healthCheckNodePort");
    if spec.health_check_node_port != 0 {
        // Where the port is needed and absent, the caller gives one out.
        if needs_health_check(spec) {
            validate_number(spec.health_check_node_port, &health, errors);
        } else {
            let detail =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&health, spec.health_check_node_port, detail);
        }
    }
    let internal = path.child("internalTrafficPolicy");
    match spec.internal_traffic_policy.as_deref() {
        None if ["NodePort", "LoadBalancer", "ClusterIP"].contains(&spec.r#type.as_str()) => {
            errors.required(&internal, "");
        }
        None | Some("Cluster" | "Local") => {}
        Some(other) => errors.not_supported(&internal, other, &["Cluster", "Local"]),
    }
    if let Some(other) = spec
        .traffic_distribution
        .as_deref()
        .filter(|other| !TRAFFIC_DISTRIBUTIONS.contains(other))
    {
        errors.not_supported(&path.child("trafficDistribution"), other, TRAFFIC_DISTRIBUTIONS);
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        let mut service: Service = serde_json::from_value(
            json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}),
        )
        .expect("service");
        Services.set_defaults(&mut service);
        Services.prepare_for_create(&mut service);
        service
    }

    fn check(spec: Value, expected: &[&str]) {
        assert_eq!(lines(Services.validate(&service(spec))), expected);
    }

    #[test]
    fn a_minimal_service_is_completed_as_a_cluster_shows_it() {
        let mut service = service(json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}));
        assert!(Services.validate(&service).is_empty());
        assert!(Services.warnings(&service, None).is_empty());
        // What the allocator adds.
        service.spec_mut().cluster_ip = "10.96.0.7".into();
        service.spec_mut().cluster_ips = vec!["10.96.0.7".into()];
        assert!(Services.validate(&service).is_empty());
        assert_eq!(
            gantry_proto::json::to_value(&service),
            json!({
                "kind": "Service",
                "apiVersion": "v1",
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {
                    "ports": [{"protocol": "TCP", "port": 80, "targetPort": 80}],
                    "selector": {"app": "web"},
                    "clusterIP": "10.96.0.7",
                    "clusterIPs": ["10.96.0.7"],
                    "type": "ClusterIP",
                    "sessionAffinity": "None",
                    "ipFamilies": ["IPv4"],
                    "ipFamilyPolicy": "SingleStack",
                    "internalTrafficPolicy": "Cluster",
                },
                "status": {"loadBalancer": {}},
            })
        );
    }

    #[test]
    fn names_may_begin_with_a_digit() {
        let mut service = service(json!({"ports": [{"port": 80}]}));
        service.metadata_mut().name = "1web".into();
        assert!(Services.validate(&service).is_empty());
        service.metadata_mut().name = "web.x".into();
        assert_eq!(
            lines(Services.validate(&service)),
            ["metadata.name: Invalid value: \"web.x\": must not contain dots"]
        );
    }

    #[test]
    fn ports_are_told_apart() {
        check(json!({}), &["spec.ports: Required value"]);
        check(
            json!({"ports": [{"port": 80}, {"port": 81}]}),
            &[
                "spec.ports[0].name: Required value",
                "spec.ports[1].name: Required value",
            ],
        );
        check(
            json!({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 80}]}),
            &[
                "spec.ports[1].name: Duplicate value: \"a\"",
                "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\
                 \"TargetPort\":0,\"NodePort\":0}",
            ],
        );
        check(
            json!({"ports": [{"port": 0, "targetPort": "UPPER", "protocol": "ICMP"}]}),
            &[
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "spec.ports[0].targetPort: Invalid value: \"UPPER\": must contain only alpha-numeric characters \
                 (a-z, 0-9), and hyphens (-)",
                "spec.ports[0].targetPort: Invalid value: \"UPPER\": must contain at least one letter (a-z)",
            ],
        );
        check(
            json!({"ports": [{"port": 80, "nodePort": 30000}]}),
            &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        );
    }

    #[test]
    fn each_type_has_its_own_fields() {
        check(
            json!({"type": "Cluster", "ports": [{"port": 80}]}),
            &[
                "spec.type: Unsupported value: \"Cluster\": supported values: \"ClusterIP\", \"ExternalName\", \
               \"LoadBalancer\", \"NodePort\"",
            ],
        );
        check(json!({"clusterIP": "None"}), &[]);
        check(
            json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
            &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        );
        check(
            json!({"type": "ExternalName", "externalName": "db.example.com."}),
            &[],
        );
        check(
            json!({"type": "ExternalName"}),
            &["spec.externalName: Required value"],
        );
        check(
            json!({"externalTrafficPolicy": "Local", "ports": [{"port": 80}]}),
            &[
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible \
               services",
            ],
        );
        check(
            json!({"sessionAffinity": "ClientIP", "ports": [{"port": 80}],
                   "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}),
            &[
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less \
               than 86400",
            ],
        );
    }

    #[test]
    fn what_is_not_acted_on_is_warned_of() {
        let warnings = |spec: Value| Services.warnings(&service(spec), None);
        let ports = json!([{"port": 80}]);
        assert_eq!(
            warnings(json!({"type": "LoadBalancer", "ports": ports, "externalTrafficPolicy": "Local"})),
            [
                "spec.type: accepted and stored, but not acted on yet (LoadBalancer: nothing gives it an \
                 address; its node ports are served)",
                "spec.externalTrafficPolicy: accepted and stored, but not acted on yet",
            ]
        );
        assert!(warnings(json!({"type": "NodePort", "ports": ports})).is_empty());
        assert!(warnings(json!({"clusterIP": "None", "ports": ports})).is_empty());
    }
}
