//! What a node, or the scheduler, may report of a pod (ValidatePodStatusUpdate).

use super::field::{Errors, IMMUTABLE, Json, Path, quoted};
use super::{ip, names};
use gantry_proto::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus};
use std::collections::BTreeMap;

const SYSTEM_CONDITIONS: &[&str] = &["PodScheduled", "Ready", "Initialized"];
const PATH: Path = Path::new("status");

/// Keeps what older writers do not know of: the class of service, and which generation was observed.
pub fn keep(new: &mut PodStatus, old: &PodStatus) {
    if new.qos_class.is_empty() {
        new.qos_class.clone_from(&old.qos_class);
    }
    if new.observed_generation == 0 {
        new.observed_generation = old.observed_generation;
    }
    let mut generations: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for condition in old.conditions.iter().rev() {
        generations
            .entry(&condition.r#type)
            .or_default()
            .push(condition.observed_generation);
    }
    for condition in &mut new.conditions {
        let old = generations.get_mut(condition.r#type.as_str()).and_then(Vec::pop);
        if condition.observed_generation == 0 {
            condition.observed_generation = old.unwrap_or(0);
        }
    }
}

pub fn validate(new: &Pod, old: &Pod, errors: &mut Errors) {
    let (status, old_status) = (new.status(), old.status());
    validate_conditions(status, errors);
    if new.spec().node_name != old.spec().node_name {
        errors.forbidden(&PATH.child("nodeName"), "may not be changed directly");
    }
    let nominated = &status.nominated_node_name;
    if *nominated != old_status.nominated_node_name && !nominated.is_empty() {
        let path = PATH.child("nominatedNodeName");
        errors.invalid_each(&path, nominated, names::dns_subdomain(nominated));
        if !old.spec().node_name.is_empty() {
            errors.forbidden(&path, "may not be set on pods that are already bound to a node");
        }
    }
    not_negative(
        status.observed_generation,
        &PATH.child("observedGeneration"),
        errors,
    );
    if status.qos_class != old_status.qos_class {
        errors.invalid(&PATH.child("qosClass"), &status.qos_class, IMMUTABLE);
    }
    let spec = old.spec();
    for (field, new, old, containers) in [
        (
            "containerStatuses",
            &status.container_statuses,
            &old_status.container_statuses,
            &spec.containers,
        ),
        (
            "initContainerStatuses",
            &status.init_container_statuses,
            &old_status.init_container_statuses,
            &spec.init_containers,
        ),
    ] {
        validate_transitions(new, old, containers, spec, &PATH.child(field), errors);
    }
    validate_addresses(status, old_status, errors);
}

fn not_negative(generation: i64, path: &Path, errors: &mut Errors) {
    if generation < 0 {
        errors.invalid(path, generation, "must be a non-negative integer");
    }
}

fn validate_conditions(status: &PodStatus, errors: &mut Errors) {
    let list = PATH.child("conditions");
    for (i, condition) in status.conditions.iter().enumerate() {
        let path = list.index(i);
        not_negative(
            condition.observed_generation,
            &path.child("observedGeneration"),
            errors,
        );
        if !SYSTEM_CONDITIONS.contains(&condition.r#type.as_str()) {
            errors.invalid_each(
                &path.child("Type"),
                &condition.r#type,
                names::qualified(&condition.r#type),
            );
        }
    }
}

/// A container that has ended and is not to be restarted stays ended.
fn validate_transitions(
    new: &[ContainerStatus],
    old: &[ContainerStatus],
    containers: &[Container],
    spec: &PodSpec,
    list: &Path,
    errors: &mut Errors,
) {
    // A rule that restarts every container lets any of them come back.
    let all = spec.containers.iter().chain(&spec.init_containers);
    if all
        .flat_map(|container| &container.restart_policy_rules)
        .any(|rule| rule.action == "RestartAllContainers")
    {
        return;
    }
    for (i, old) in old.iter().enumerate() {
        let Some(ended) = &old.state().terminated else {
            continue;
        };
        let revived = new
            .iter()
            .find(|new| new.name == old.name)
            .is_some_and(|new| new.state().terminated.is_none());
        let container = containers.iter().find(|container| container.name == old.name);
        if revived && !container.is_some_and(|container| restarts(container, spec, ended.exit_code)) {
            let path = list.index(i);
            errors.forbidden(
                &path.child("state"),
                "may not be transitioned to non-terminated state",
            );
        }
    }
}

fn restarts(container: &Container, spec: &PodSpec, exit_code: i32) -> bool {
    let by_rule = container.restart_policy_rules.iter().any(|rule| {
        let codes = rule.exit_codes.as_ref();
        codes.is_some_and(|codes| match codes.operator.as_str() {
            "In" => codes.values.contains(&exit_code),
            _ => !codes.values.contains(&exit_code),
        })
    });
    match container
        .restart_policy
        .as_deref()
        .unwrap_or(&spec.restart_policy)
    {
        _ if by_rule => true,
        "Always" => true,
        "OnFailure" => exit_code != 0,
        _ => false,
    }
}

fn validate_addresses(status: &PodStatus, old: &PodStatus, errors: &mut Errors) {
    let texts =
        |list: &[gantry_proto::core::v1::PodIp]| list.iter().map(|ip| ip.ip.clone()).collect::<Vec<_>>();
    let (pod, old_pod) = (texts(&status.pod_ips), texts(&old.pod_ips));
    validate_list(&pod, &old_pod, shown(&pod), &PATH.child("podIPs"), errors);
    let hosts: Vec<String> = status.host_ips.iter().map(|ip| ip.ip.clone()).collect();
    let old_hosts: Vec<String> = old.host_ips.iter().map(|ip| ip.ip.clone()).collect();
    let path = PATH.child("hostIPs");
    if let Some(first) = hosts.first().filter(|first| **first != status.host_ip) {
        errors.invalid(&path.index(0).child("ip"), first, "must be equal to `hostIP`");
    }
    validate_list(&hosts, &old_hosts, shown(&hosts), &path, errors);
}

/// The addresses with the name that Go's internal type gives them.
fn shown(addresses: &[String]) -> Json {
    let items: Vec<String> = addresses
        .iter()
        .map(|address| format!("{{\"IP\":{}}}", quoted(address)))
        .collect();
    Json::text(format!("[{}]", items.join(",")))
}

fn validate_list(addresses: &[String], kept: &[String], shown: Json, path: &Path, errors: &mut Errors) {
    for (i, address) in addresses.iter().enumerate() {
        ip::validate(address, kept, &path.index(i), errors);
    }
    let dual = ip::is_dual_stack(addresses.iter().map(String::as_str));
    if addresses.len() > 1 && (!dual || addresses.len() > 2) {
        errors.invalid(path, shown, "may specify no more than one IP for each IP family");
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::{Value, json};

    fn pod(restart_policy: &str, status: Value) -> Pod {
        serde_json::from_value(json!({
            "spec": {"restartPolicy": restart_policy, "containers": [{"name": "a"}]}, "status": status,
        }))
        .expect("pod")
    }

    fn check(restart_policy: &str, old: Value, new: Value, expected: &[&str]) {
        let mut errors = Errors::new();
        validate(&pod(restart_policy, new), &pod(restart_policy, old), &mut errors);
        assert_eq!(lines(errors.into_causes()), expected);
    }

    #[test]
    fn a_container_that_has_ended_for_good_stays_ended() {
        let ended = |code: i32| json!({"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": code}}}]});
        let running = json!({"containerStatuses": [{"name": "a", "state": {"running": {}}}]});
        let refused =
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
        check("Always", ended(0), running.clone(), &[]);
        check("OnFailure", ended(1), running.clone(), &[]);
        check("OnFailure", ended(0), running.clone(), &[refused]);
        check("Never", ended(1), running, &[refused]);
        check("Never", ended(1), ended(1), &[]);
    }

    #[test]
    fn addresses_are_one_of_each_family() {
        check(
            "Always",
            json!({}),
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "2001:db8::1"}]}),
            &[],
        );
        check(
            "Always",
            json!({}),
            json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "hostIPs": [{"ip": "x"}], "hostIP": "y"}),
            &[
                "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.2\"}]: may specify no more than \
                 one IP for each IP family",
                "status.hostIPs[0].ip: Invalid value: \"x\": must be equal to `hostIP`",
                "status.hostIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
                 2001:db8::ffff)",
            ],
        );
    }

    #[test]
    fn what_a_reporter_leaves_out_is_kept() {
        let old = pod(
            "Always",
            json!({
                "qosClass": "Burstable", "observedGeneration": 4,
                "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 3}],
            }),
        );
        let mut new = pod(
            "Always",
            json!({"conditions": [{"type": "Ready", "status": "False"}]}),
        );
        keep(new.status_mut(), old.status());
        assert_eq!(new.status().qos_class, "Burstable");
        assert_eq!(new.status().observed_generation, 4);
        assert_eq!(new.status().conditions[0].observed_generation, 3);
    }
}
