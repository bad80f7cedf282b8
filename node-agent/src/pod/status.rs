//! What the agent says about a pod.

mod conditions;
mod containers;
pub use containers::PULL_ERROR_SHOWN;
mod phase;

use crate::pod::memory::Memory;
use crate::pod::observed::Observed;
use crate::pod::plan::{Busy, Subject};
use crate::pod::resources;
use crate::pod::wish::Wish;
use gantry_proto::core::v1::{HostIp, Pod, PodIp, PodStatus};
use gantry_proto::meta::v1::Time;
use std::collections::BTreeMap;
use std::time::SystemTime;

pub struct Facts<'a> {
    pub pod: &'a Pod,
    /// The status that was said last: where transition times come from, and what is gone from the runtime.
    pub before: &'a PodStatus,
    pub observed: &'a Observed,
    pub memory: &'a Memory,
    pub wish: Wish,
    pub busy: &'a BTreeMap<Subject, Busy>,
    pub host_ip: &'a str,
    pub now: SystemTime,
}

impl Facts<'_> {
    fn time(&self) -> Time {
        Time::from_system(self.now)
    }

    /// Nothing of the pod runs and nothing will.
    fn is_over(&self) -> bool {
        self.wish != Wish::Run && !self.observed.instances().any(|instance| instance.may_run())
    }
}

pub fn status(facts: &Facts) -> PodStatus {
    let spec = facts.pod.spec();
    let before = facts.before;
    let init_container_statuses = containers::init_statuses(facts);
    let container_statuses = containers::app_statuses(facts);
    let phase = phase::phase(facts, &init_container_statuses, &container_statuses);
    let all: Vec<_> = init_container_statuses
        .iter()
        .chain(&container_statuses)
        .cloned()
        .collect();
    let conditions = conditions::conditions(facts, phase, &all);
    let ips = match facts.observed.ready_sandbox() {
        Some(_) if spec.host_network => vec![facts.host_ip.to_string()],
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        _ => before.pod_ips.iter().map(|ip| ip.ip.clone()).collect(),
    };
    let (reason, message) = match &facts.memory.ended {
        Some(ended) if phase == "Failed" => (ended.reason.clone(), ended.message.clone()),
        _ => (before.reason.clone(), before.message.clone()),
    };
    PodStatus {
        observed_generation: facts.pod.metadata().generation,
        phase: phase.to_string(),
        conditions,
        message,
        reason,
        nominated_node_name: before.nominated_node_name.clone(),
        host_ip: facts.host_ip.to_string(),
        host_ips: vec![HostIp {
            ip: facts.host_ip.to_string(),
        }],
        pod_ip: ips.first().cloned().unwrap_or_default(),
        pod_ips: ips.into_iter().map(|ip| PodIp { ip }).collect(),
        start_time: Some(before.start_time.unwrap_or_else(|| facts.time())),
        init_container_statuses,
        container_statuses,
        qos_class: match before.qos_class.as_str() {
            "" => resources::qos_class(spec).as_str().to_string(),
            known => known.to_string(),
        },
        ..before.clone()
    }
}

#[cfg(test)]
mod tests;
