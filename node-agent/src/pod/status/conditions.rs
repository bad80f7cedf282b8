//! The conditions, with the times of their last change kept.

use super::Facts;
use crate::pod::identity::is_sidecar;
use gantry_proto::core::v1::{Container, ContainerStatus, PodCondition};

/// What a condition says, before it has times.
struct Say {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Say {
    const YES: Say = Say {
        holds: true,
        reason: "",
        message: String::new(),
    };

    fn no(reason: &'static str, message: String) -> Say {
        Say {
            holds: false,
            reason,
            message,
        }
    }
}

pub fn conditions(facts: &Facts, phase: &str, statuses: &[ContainerStatus]) -> Vec<PodCondition> {
    let containers_ready = containers_ready(facts, phase, statuses);
    let ready = match containers_ready.holds {
        true => readiness_gates(facts),
        false => Say::no(containers_ready.reason, containers_ready.message.clone()),
    };
    let has_sandbox = facts.observed.ready_sandbox().is_some();
    let sandbox = if has_sandbox {
        Say::YES
    } else {
        Say::no("", String::new())
    };
    let ours = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(facts, phase, statuses)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Say::YES),
    ];
    let names: Vec<&str> = ours.iter().map(|(name, _)| *name).collect();
    let others = facts
        .before
        .conditions
        .iter()
        .filter(|c| !names.contains(&c.r#type.as_str()))
        .cloned();
    let others: Vec<PodCondition> = others.collect();
    ours.into_iter()
        .map(|(name, say)| condition(facts, name, say))
        .chain(others)
        .collect()
}

fn condition(facts: &Facts, name: &str, say: Say) -> PodCondition {
    let status = if say.holds { "True" } else { "False" };
    let before = facts
        .before
        .conditions
        .iter()
        .find(|c| c.r#type == name && c.status == status);
    let since = before.and_then(|condition| condition.last_transition_time);
    PodCondition {
        r#type: name.into(),
        observed_generation: facts.pod.metadata().generation,
        status: status.into(),
        last_transition_time: Some(since.unwrap_or_else(|| facts.time())),
        reason: say.reason.into(),
        message: say.message,
        ..PodCondition::default()
    }
}

fn containers_ready(facts: &Facts, phase: &str, statuses: &[ContainerStatus]) -> Say {
    match phase {
        "Succeeded" => return Say::no("PodCompleted", String::new()),
        "Failed" => return Say::no("PodFailed", String::new()),
        _ => {}
    }
    let spec = facts.pod.spec();
    let sidecars = spec
        .init_containers
        .iter()
        .filter(|container| is_sidecar(container));
    let unready = names_where(sidecars.chain(&spec.containers), statuses, |_, status| {
        !status.ready
    });
    match unready.is_empty() {
        true => Say::YES,
        false => Say::no(
            "ContainersNotReady",
            format!("containers with unready status: [{}]", unready.join(" ")),
        ),
    }
}

fn initialized(facts: &Facts, phase: &str, statuses: &[ContainerStatus]) -> Say {
    let spec = facts.pod.spec();
    if phase == "Succeeded" {
        return Say {
            holds: true,
            reason: "PodCompleted",
            message: String::new(),
        };
    }
    let has_run = |container: &Container| facts.observed.latest(&container.name).is_some();
    if spec.containers.iter().any(has_run) {
        return Say::YES;
    }
    let incomplete = names_where(spec.init_containers.iter(), statuses, |container, status| {
        if is_sidecar(container) {
            status.started != Some(true)
        } else {
            !status.ready
        }
    });
    match incomplete.is_empty() {
        true => Say::YES,
        false => {
            let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
            Say::no("ContainersNotInitialized", message)
        }
    }
}

fn readiness_gates(facts: &Facts) -> Say {
    let gates = facts.pod.spec().readiness_gates.iter().filter_map(|gate| {
        let name = &gate.condition_type;
        // The gates' conditions are written by others: the API's pod has them, our last word may not.
        match facts
            .pod
            .status()
            .conditions
            .iter()
            .find(|condition| condition.r#type == *name)
        {
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{name}\" does not exist."
            )),
            Some(condition) if condition.status != "True" => Some(format!(
                "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => None,
        }
    });
    let messages: Vec<String> = gates.collect();
    match messages.is_empty() {
        true => Say::YES,
        false => Say::no("ReadinessGatesNotReady", messages.join(", ")),
    }
}

fn names_where<'a>(
    containers: impl Iterator<Item = &'a Container>,
    statuses: &[ContainerStatus],
    holds: impl Fn(&Container, &ContainerStatus) -> bool,
) -> Vec<&'a str> {
    containers
        .filter(|container| {
            statuses
                .iter()
                .find(|status| status.name == container.name)
                .is_none_or(|status| holds(container, status))
        })
        .map(|container| container.name.as_str())
        .collect()
}
