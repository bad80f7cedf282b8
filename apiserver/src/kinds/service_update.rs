//! What an update of a Service keeps, drops and may not change.

use super::field::{Errors, IMMUTABLE, Json, Path};
use super::service::{is_external, is_headless, needs_health_check};
use super::{ip, names};
use gantry_proto::core::v1::{Service, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Puts back what was given out, where the writer left it out (patchAllocatedValues, normalizeClusterIPs):
/// applying the same manifest twice changes nothing.
pub fn keep_allocated(new: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(new) && needs_cluster_ip(old) {
        if new.cluster_ip.is_empty() {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if new.cluster_ips.is_empty() {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
        if new.ip_families.is_empty() {
            new.ip_families.clone_from(&old.ip_families);
        }
        if new.ip_family_policy.is_none() {
            new.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    }
    if needs_node_ports(new) && needs_node_ports(old) {
        keep_node_ports(new, old);
    }
    if needs_health_check(new) && needs_health_check(old) && new.health_check_node_port == 0 {
        new.health_check_node_port = old.health_check_node_port;
    }
    // A writer that knows only the singular has changed it.
    if new.cluster_ip != old.cluster_ip && new.cluster_ips == old.cluster_ips {
        new.cluster_ips = match new.cluster_ip.as_str() {
            "" => Vec::new(),
            address => vec![address.to_string()],
        };
    }
}

fn keep_node_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let used =
        |spec: &ServiceSpec| -> BTreeSet<i32> { spec.ports.iter().map(|port| port.node_port).collect() };
    let taken: BTreeSet<i32> = used(old)
        .intersection(&used(new))
        .copied()
        .filter(|port| *port != 0)
        .collect();
    let by_name: BTreeMap<&str, i32> = old
        .ports
        .iter()
        .map(|port| (port.name.as_str(), port.node_port))
        .collect();
    for port in new.ports.iter_mut().filter(|port| port.node_port == 0) {
        let before = by_name.get(port.name.as_str()).copied().unwrap_or(0);
        if !taken.contains(&before) {
            port.node_port = before;
        }
    }
}

/// Drops what the new type has no use for, where the writer did not set it anew.
pub fn drop_for_type(new: &mut Service, old: &Service) {
    let old = old.spec();
    let spec = new.spec_mut();
    if needs_cluster_ip(old) && !needs_cluster_ip(spec) {
        if old.cluster_ip == spec.cluster_ip && old.cluster_ips == spec.cluster_ips {
            spec.cluster_ip.clear();
            spec.cluster_ips.clear();
        }
        if old.ip_families == spec.ip_families {
            spec.ip_families.clear();
        }
        if old.ip_family_policy == spec.ip_family_policy {
            spec.ip_family_policy = None;
        }
    }
    let has_node_ports = |spec: &ServiceSpec| ["NodePort", "LoadBalancer"].contains(&spec.r#type.as_str());
    let known: BTreeSet<i32> = old.ports.iter().map(|port| port.node_port).collect();
    let same = spec
        .ports
        .iter()
        .all(|port| port.node_port == 0 || known.contains(&port.node_port));
    if has_node_ports(old) && !has_node_ports(spec) && same {
        for port in &mut spec.ports {
            port.node_port = 0;
        }
    }
    let same = old.health_check_node_port == spec.health_check_node_port;
    if needs_health_check(old) && !needs_health_check(spec) && same {
        spec.health_check_node_port = 0;
    }
    if balances(old) && !balances(spec) {
        if old.allocate_load_balancer_node_ports == spec.allocate_load_balancer_node_ports {
            spec.allocate_load_balancer_node_ports = None;
        }
        if old.load_balancer_class == spec.load_balancer_class {
            spec.load_balancer_class = None;
        }
    }
    if is_external(old) && !is_external(spec) && old.external_traffic_policy == spec.external_traffic_policy {
        spec.external_traffic_policy.clear();
    }
    if !balances(spec)
        && let Some(status) = &mut new.status
    {
        status.load_balancer = None;
    }
}

pub fn validate(new: &ServiceSpec, old: &ServiceSpec, errors: &mut Errors) {
    if needs_cluster_ip(new) && needs_cluster_ip(old) {
        if !(is_headless(new) && is_headless(old)) {
            validate_addresses(new, old, errors);
        }
        if !is_headless(new) && !is_headless(old) {
            validate_families(new, old, errors);
        }
    }
    if balances(new) && balances(old) && new.load_balancer_class != old.load_balancer_class {
        let path = Path::new("spec.loadBalancerClass");
        errors.invalid(&path, &new.load_balancer_class, "may not change once set");
    }
    let ports = (new.health_check_node_port, old.health_check_node_port);
    if needs_health_check(new) && needs_health_check(old) && ports.0 != ports.1 {
        errors.forbidden(&Path::new("spec.healthCheckNodePort"), IMMUTABLE);
    }
}

/// The first address stays; a second one may come and go.
fn validate_addresses(new: &ServiceSpec, old: &ServiceSpec, errors: &mut Errors) {
    let (new_ips, old_ips) = (&new.cluster_ips, &old.cluster_ips);
    let list = Path::new("spec.clusterIPs");
    let shown = || Json::of(new_ips);
    if new_ips.len() == old_ips.len() {
        for (i, _) in new_ips
            .iter()
            .zip(old_ips)
            .enumerate()
            .filter(|(_, (new, old))| new != old)
        {
            errors.invalid(&list.index(i), shown(), "may not change once set");
        }
        return;
    }
    match (new_ips.first(), old_ips.first()) {
        (None, Some(_)) => errors.invalid(&list.index(0), shown(), "primary clusterIP can not be unset"),
        (Some(new), Some(old)) if new != old => {
            errors.invalid(&list.index(0), shown(), "may not change once set")
        }
        _ => {}
    }
    if old_ips.len() > new_ips.len() && new_ips.len() == 1 {
        validate_single_stack(
            new,
            "must be set to 'SingleStack' when releasing the secondary clusterIP",
            errors,
        );
    }
}

fn validate_families(new: &ServiceSpec, old: &ServiceSpec, errors: &mut Errors) {
    let (new_families, old_families) = (&new.ip_families, &old.ip_families);
    let list = Path::new("spec.ipFamilies");
    let shown = || Json::of(new_families);
    if new_families.len() == old_families.len() {
        for _ in new_families
            .iter()
            .zip(old_families)
            .filter(|(new, old)| new != old)
        {
            errors.invalid(&list.index(0), shown(), "may not change once set");
        }
        return;
    }
    let released = old_families.len() > new_families.len();
    if released && new.cluster_ips.is_empty() {
        errors.invalid(&list.index(0), shown(), "primary ipFamily can not be unset");
    }
    if let (Some(new_first), Some(old_first)) = (new_families.first(), old_families.first())
        && new_first != old_first
    {
        errors.invalid(
            &list.index(0),
            Json::of(&new.cluster_ips),
            "may not change once set",
        );
    }
    if released && new_families.len() == 1 {
        validate_single_stack(
            new,
            "must be set to 'SingleStack' when releasing the secondary ipFamily",
            errors,
        );
    }
}

fn validate_single_stack(new: &ServiceSpec, detail: &str, errors: &mut Errors) {
    if new.ip_family_policy.as_deref() != Some("SingleStack") {
        errors.invalid(&Path::new("spec.ipFamilyPolicy"), &new.ip_family_policy, detail);
    }
}

/// What a load balancer's controller may report.
pub fn validate_status(new: &Service, old: &Service, errors: &mut Errors) {
    let ingress = &new.status().load_balancer().ingress;
    let list = Path::new("status.loadBalancer.ingress");
    if !balances(new.spec()) && !ingress.is_empty() {
        errors.forbidden(&list, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    let kept: Vec<String> = old
        .status()
        .load_balancer()
        .ingress
        .iter()
        .map(|ingress| ingress.ip.clone())
        .collect();
    for (i, ingress) in ingress.iter().enumerate() {
        let path = list.index(i);
        if !ingress.ip.is_empty() {
            ip::validate(&ingress.ip, &kept, &path.child("ip"), errors);
        }
        match (ingress.ip_mode.as_deref(), ingress.ip.is_empty()) {
            (None, false) => errors.required(&path.child("ipMode"), "must be specified when `ip` is set"),
            (Some(_), true) => {
                errors.forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set")
            }
            (Some(mode), false) if !["Proxy", "VIP"].contains(&mode) => {
                errors.not_supported(&path.child("ipMode"), mode, &["Proxy", "VIP"]);
            }
            _ => {}
        }
        if !ingress.hostname.is_empty() {
            let path = path.child("hostname");
            errors.invalid_each(&path, &ingress.hostname, names::dns_subdomain(&ingress.hostname));
            if ip::is_v4(&ingress.hostname) || ip::is_v6(&ingress.hostname) {
                errors.invalid(&path, &ingress.hostname, "must be a DNS name, not an IP address");
            }
        }
    }
}

fn needs_cluster_ip(spec: &ServiceSpec) -> bool {
    spec.r#type != "ExternalName"
}

fn needs_node_ports(spec: &ServiceSpec) -> bool {
    spec.r#type == "NodePort" || balances(spec) && spec.allocate_load_balancer_node_ports != Some(false)
}

fn balances(spec: &ServiceSpec) -> bool {
    spec.r#type == "LoadBalancer"
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::super::service::Services;
    use super::super::{Rules, Target};
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        let mut service: Service = serde_json::from_value(
            json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}),
        )
        .expect("service");
        Services.set_defaults(&mut service);
        service
    }

    fn stored(mut spec: Value) -> Service {
        spec["clusterIP"] = json!("10.96.0.7");
        spec["clusterIPs"] = json!(["10.96.0.7"]);
        let mut service = service(spec);
        Services.prepare_for_create(&mut service);
        service
    }

    fn update(old: &Service, spec: Value) -> Service {
        let mut new = service(spec);
        Services.prepare_for_update(&mut new, old, Target::Main);
        new
    }

    #[test]
    fn what_was_given_out_is_kept_where_it_is_left_out() {
        let old = stored(json!({"type": "NodePort", "ports": [
            {"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081},
        ]}));
        let new = update(
            &old,
            json!({"type": "NodePort", "ports": [{"name": "b", "port": 82}, {"name": "a", "port": 80}]}),
        );
        assert_eq!(new.spec().cluster_ips, ["10.96.0.7"]);
        assert_eq!(new.spec().ip_families, ["IPv4"]);
        let node_ports: Vec<i32> = new.spec().ports.iter().map(|port| port.node_port).collect();
        assert_eq!(node_ports, [30081, 30080]);
        assert!(Services.validate_update(&new, &old, Target::Main).is_empty());
    }

    #[test]
    fn a_change_of_type_drops_what_the_new_one_has_no_use_for() {
        let old = stored(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
        let mut as_read = serde_json::to_value(old.spec()).expect("json");
        as_read["type"] = json!("ClusterIP");
        let new = update(&old, as_read.clone());
        assert_eq!(new.spec().ports[0].node_port, 0);
        assert!(new.spec().external_traffic_policy.is_empty());
        assert!(Services.validate_update(&new, &old, Target::Main).is_empty());
        as_read["type"] = json!("ExternalName");
        as_read["externalName"] = json!("db.example.com");
        let new = update(&old, as_read);
        assert!(new.spec().cluster_ips.is_empty() && new.spec().ip_families.is_empty());
        assert_eq!(
            lines(Services.validate_update(&new, &old, Target::Main)),
            Vec::<String>::new()
        );
    }

    #[test]
    fn the_cluster_address_never_changes() {
        let old = stored(json!({"ports": [{"port": 80}]}));
        let new = update(&old, json!({"clusterIP": "10.96.0.8", "ports": [{"port": 80}]}));
        assert_eq!(
            lines(Services.validate_update(&new, &old, Target::Main))[0],
            "spec.clusterIPs[0]: Invalid value: [\"10.96.0.7\"]: may not change once set"
                .replace("0.7", "0.8")
        );
    }

    #[test]
    fn only_load_balancers_have_ingress() {
        let old = stored(json!({"ports": [{"port": 80}]}));
        let mut new = old.clone();
        new.status = serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}))
            .expect("status");
        assert_eq!(
            lines(Services.validate_update(&new, &old, Target::Status)),
            ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
        );
    }
}
