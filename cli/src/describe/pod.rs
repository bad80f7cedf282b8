use super::containers::{self, IN_POD, toleration};
use super::text::{Text, controller, time};
use super::{Related, volumes};
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use gantry_proto::core::v1::Pod;
use std::time::SystemTime;

pub fn describe(object: &Object, _: &Related, now: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let pod: Pod = object.decode()?;
    let (metadata, spec, status) = (&object.metadata, pod.spec(), pod.status());
    text.line(0, format_args!("Name:\t{}", metadata.name));
    text.line(0, format_args!("Namespace:\t{}", metadata.namespace));
    if let Some(priority) = spec.priority {
        text.line(0, format_args!("Priority:\t{priority}"));
    }
    let optional = |text: &mut Text, title: &str, value: &str| {
        if !value.is_empty() {
            text.line(0, format_args!("{title}:\t{value}"));
        }
    };
    optional(text, "Priority Class Name", &spec.priority_class_name);
    optional(
        text,
        "Runtime Class Name",
        spec.runtime_class_name.as_deref().unwrap_or_default(),
    );
    optional(text, "Service Account", &spec.service_account_name);
    match spec.node_name.as_str() {
        "" => text.line(0, format_args!("Node:\t<none>")),
        node => text.line(0, format_args!("Node:\t{node}/{}", status.host_ip)),
    }
    if status.start_time.is_some() {
        text.line(
            0,
            format_args!("Start Time:\t{}", time(status.start_time.as_ref())),
        );
    }
    text.labels(0, "Labels", &metadata.labels);
    text.annotations(0, "Annotations", &metadata.annotations);
    let terminal = matches!(status.phase.as_str(), "Failed" | "Succeeded");
    match &metadata.deletion_timestamp {
        Some(deletion) if !terminal => {
            text.line(
                0,
                format_args!("Status:\tTerminating (lasts {})", age::since(Some(deletion), now)),
            );
            let seconds = metadata.deletion_grace_period_seconds.unwrap_or_default();
            text.line(0, format_args!("Termination Grace Period:\t{seconds}s"));
        }
        _ => text.line(0, format_args!("Status:\t{}", status.phase)),
    }
    optional(text, "Reason", &status.reason);
    optional(text, "Message", &status.message);
    text.line(0, format_args!("IP:\t{}", status.pod_ip));
    if status.pod_ips.is_empty() {
        text.line(0, format_args!("IPs:\t<none>"));
    } else {
        text.line(0, format_args!("IPs:"));
        status
            .pod_ips
            .iter()
            .for_each(|pod_ip| text.line(1, format_args!("IP:\t{}", pod_ip.ip)));
    }
    optional(text, "Controlled By", &controller(metadata).unwrap_or_default());
    optional(text, "NominatedNodeName", &status.nominated_node_name);
    if !spec.init_containers.is_empty() {
        let statuses = &status.init_container_statuses;
        containers::describe("Init Containers", &spec.init_containers, statuses, &IN_POD, text);
    }
    containers::describe(
        "Containers",
        &spec.containers,
        &status.container_statuses,
        &IN_POD,
        text,
    );
    conditions(&pod, text);
    volumes::describe(&spec.volumes, &IN_POD, text);
    text.line(0, format_args!("QoS Class:\t{}", status.qos_class));
    text.labels(0, "Node-Selectors", &spec.node_selector);
    text.list(
        0,
        "Tolerations",
        &spec.tolerations.iter().map(toleration).collect::<Vec<_>>(),
    );
    Ok(())
}

fn conditions(pod: &Pod, text: &mut Text) {
    let conditions = &pod.status().conditions;
    let gates = &pod.spec().readiness_gates;
    if !gates.is_empty() {
        text.line(0, format_args!("Readiness Gates:"));
        text.line(1, format_args!("Type\tStatus"));
        for gate in gates {
            let condition = conditions
                .iter()
                .find(|condition| condition.r#type == gate.condition_type);
            let status = condition.map_or("<none>", |condition| &condition.status);
            text.line(1, format_args!("{} \t{status} ", gate.condition_type));
        }
    }
    if !conditions.is_empty() {
        text.line(0, format_args!("Conditions:"));
        text.line(1, format_args!("Type\tStatus"));
        conditions
            .iter()
            .for_each(|c| text.line(1, format_args!("{} \t{} ", c.r#type, c.status)));
    }
}
