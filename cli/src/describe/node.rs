use super::Related;
use super::text::{Text, time};
use crate::age;
use crate::cluster::Object;
use crate::failure::Failure;
use crate::tables::node_roles;
use gantry_proto::core::v1::{Container, Node, Pod, Taint};
use gantry_proto::meta::v1::{MicroTime, Quantity, Time};
use std::collections::BTreeMap;
use std::time::SystemTime;

pub fn describe(object: &Object, related: &Related, now: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let node: Node = object.decode()?;
    let (spec, status) = (node.spec(), node.status());
    text.line(0, format_args!("Name:\t{}", object.metadata.name));
    let roles = crate::tables::or_none(&node_roles(&object.metadata.labels).join(","));
    text.line(0, format_args!("Roles:\t{roles}"));
    text.labels(0, "Labels", &object.metadata.labels);
    text.annotations(0, "Annotations", &object.metadata.annotations);
    text.line(
        0,
        format_args!(
            "CreationTimestamp:\t{}",
            time(object.metadata.creation_timestamp.as_ref())
        ),
    );
    text.list(0, "Taints", &spec.taints.iter().map(taint).collect::<Vec<_>>());
    text.line(0, format_args!("Unschedulable:\t{}", spec.unschedulable));
    lease(related, text);
    conditions(&node, text);
    text.line(0, format_args!("Addresses:"));
    for address in &status.addresses {
        text.line(1, format_args!("{}:\t{}", address.r#type, address.address));
    }
    amounts("Capacity", &status.capacity, text);
    amounts("Allocatable", &status.allocatable, text);
    let info = status.node_info();
    text.line(0, format_args!("System Info:"));
    let facts = [
        ("Machine ID", &info.machine_id),
        ("System UUID", &info.system_uuid),
        ("Boot ID", &info.boot_id),
        ("Kernel Version", &info.kernel_version),
        ("OS Image", &info.os_image),
        ("Operating System", &info.operating_system),
        ("Architecture", &info.architecture),
        ("Container Runtime Version", &info.container_runtime_version),
        ("Kubelet Version", &info.kubelet_version),
    ];
    facts
        .iter()
        .for_each(|(name, value)| text.line(1, format_args!("{name}:\t{value}")));
    if !spec.pod_cidr.is_empty() {
        text.line(0, format_args!("PodCIDR:\t{}", spec.pod_cidr));
        text.line(0, format_args!("PodCIDRs:\t{}", spec.pod_cidrs.join(",")));
    }
    if !spec.provider_id.is_empty() {
        text.line(0, format_args!("ProviderID:\t{}", spec.provider_id));
    }
    pods(&node, &related.pods, now, text);
    Ok(())
}

fn taint(taint: &Taint) -> String {
    match taint.value.as_str() {
        "" => format!("{}:{}", taint.key, taint.effect),
        value => format!("{}={value}:{}", taint.key, taint.effect),
    }
}

fn lease(related: &Related, text: &mut Text) {
    let micro = |time: &Option<MicroTime>| match time {
        Some(micro) => self::time(Some(&Time {
            seconds: micro.seconds,
            nanos: 0,
        })),
        None => "<unset>".into(),
    };
    match &related.node_lease {
        None => text.line(0, format_args!("Lease:\tFailed to get lease")),
        Some(lease) => {
            let spec = lease.spec();
            text.line(0, format_args!("Lease:"));
            let holder = spec.holder_identity.as_deref().unwrap_or("<unset>");
            text.line(1, format_args!("HolderIdentity:\t{holder}"));
            text.line(1, format_args!("AcquireTime:\t{}", micro(&spec.acquire_time)));
            text.line(1, format_args!("RenewTime:\t{}", micro(&spec.renew_time)));
        }
    }
}

fn conditions(node: &Node, text: &mut Text) {
    let conditions = &node.status().conditions;
    if conditions.is_empty() {
        return;
    }
    text.line(0, format_args!("Conditions:"));
    text.line(
        1,
        format_args!("Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage"),
    );
    text.line(
        1,
        format_args!("----\t------\t-----------------\t------------------\t------\t-------"),
    );
    for condition in conditions {
        text.line(
            1,
            format_args!(
                "{} \t{} \t{} \t{} \t{} \t{}",
                condition.r#type,
                condition.status,
                time(condition.last_heartbeat_time.as_ref()),
                time(condition.last_transition_time.as_ref()),
                condition.reason,
                condition.message
            ),
        );
    }
}

fn amounts(title: &str, amounts: &BTreeMap<String, Quantity>, text: &mut Text) {
    text.line(0, format_args!("{title}:"));
    amounts
        .iter()
        .for_each(|(name, amount)| text.line(1, format_args!("{name}:\t{}", amount.string)));
}

/// What pods ask for of one resource, in the resource's smallest unit.
#[derive(Clone, Copy, Default)]
struct Asked {
    requests: i64,
    limits: i64,
}

fn pods(node: &Node, pods: &[Pod], now: SystemTime, text: &mut Text) {
    let running: Vec<&Pod> = pods
        .iter()
        .filter(|pod| !matches!(pod.status().phase.as_str(), "Succeeded" | "Failed"))
        .collect();
    text.line(
        0,
        format_args!("Non-terminated Pods:\t({} in total)", running.len()),
    );
    text.line(
        1,
        format_args!("Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge"),
    );
    text.line(
        1,
        format_args!("---------\t----\t\t------------\t----------\t---------------\t-------------\t---"),
    );
    let allocatable = &node.status().allocatable;
    let cpu_there = allocatable.get("cpu").map_or(0, Quantity::milli_value);
    let memory_there = allocatable.get("memory").map_or(0, Quantity::value);
    let (mut cpu_total, mut memory_total) = (Asked::default(), Asked::default());
    for pod in running {
        let cpu = asked(pod, "cpu", Quantity::milli_value);
        let memory = asked(pod, "memory", Quantity::value);
        for (total, one) in [(&mut cpu_total, cpu), (&mut memory_total, memory)] {
            total.requests += one.requests;
            total.limits += one.limits;
        }
        let metadata = pod.metadata();
        text.line(
            1,
            format_args!(
                "{}\t{}\t\t{}\t{}\t{}\t{}\t{}",
                metadata.namespace,
                metadata.name,
                share(&cpu_text(cpu.requests), cpu.requests, cpu_there),
                share(&cpu_text(cpu.limits), cpu.limits, cpu_there),
                share(&memory_text(memory.requests), memory.requests, memory_there),
                share(&memory_text(memory.limits), memory.limits, memory_there),
                age::since(metadata.creation_timestamp.as_ref(), now)
            ),
        );
    }
    text.line(0, format_args!("Allocated resources:"));
    text.line(
        1,
        format_args!("(Total limits may be over 100 percent, i.e., overcommitted.)"),
    );
    text.line(1, format_args!("Resource\tRequests\tLimits"));
    text.line(1, format_args!("--------\t--------\t------"));
    text.line(
        1,
        format_args!(
            "cpu\t{}\t{}",
            share(&cpu_text(cpu_total.requests), cpu_total.requests, cpu_there),
            share(&cpu_text(cpu_total.limits), cpu_total.limits, cpu_there)
        ),
    );
    text.line(
        1,
        format_args!(
            "memory\t{}\t{}",
            share(
                &memory_text(memory_total.requests),
                memory_total.requests,
                memory_there
            ),
            share(
                &memory_text(memory_total.limits),
                memory_total.limits,
                memory_there
            )
        ),
    );
}

/// Init containers run one after the other and before the others, so the largest of them counts if it is more
/// than all the others together.
fn asked(pod: &Pod, resource: &str, amount: fn(&Quantity) -> i64) -> Asked {
    let of = |amounts: &BTreeMap<String, Quantity>| amounts.get(resource).map_or(0, amount);
    let requests = |container: &Container| of(&container.resources().requests);
    let limits = |container: &Container| of(&container.resources().limits);
    let spec = pod.spec();
    let total = |part: &dyn Fn(&Container) -> i64| {
        let sum: i64 = spec.containers.iter().map(part).sum();
        let largest = spec.init_containers.iter().map(part).max().unwrap_or(0);
        sum.max(largest)
    };
    let overhead = of(&spec.overhead);
    Asked {
        requests: total(&requests) + overhead,
        limits: total(&limits),
    }
}

fn share(text: &str, part: i64, whole: i64) -> String {
    let percent = if whole > 0 {
        part.saturating_mul(100) / whole
    } else {
        0
    };
    format!("{text} ({percent}%)")
}

fn cpu_text(milli: i64) -> String {
    if milli % 1000 == 0 {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    }
}

fn memory_text(bytes: i64) -> String {
    const UNITS: &[(&str, i64)] = &[("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let unit = UNITS.iter().find(|(_, size)| bytes != 0 && bytes % size == 0);
    unit.map_or_else(
        || bytes.to_string(),
        |(unit, size)| format!("{}{unit}", bytes / size),
    )
}
