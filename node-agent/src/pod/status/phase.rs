//! The phase: one word for all containers. It never goes backwards, and is final only when nothing runs: others
//! give away what the pod had then.

use super::Facts;
use crate::pod::identity::is_sidecar;
use gantry_proto::core::v1::{Container, ContainerStatus};

pub fn phase(facts: &Facts, inits: &[ContainerStatus], apps: &[ContainerStatus]) -> &'static str {
    match facts.before.phase.as_str() {
        "Succeeded" => return "Succeeded",
        "Failed" => return "Failed",
        _ => {}
    }
    let phase = match &facts.memory.ended {
        Some(_) => "Failed",
        None => computed(facts, inits, apps),
    };
    let may_run = facts.observed.instances().any(|instance| instance.may_run());
    match (phase, facts.before.phase.as_str()) {
        ("Pending", "Running") => "Running",
        ("Succeeded" | "Failed", "" | "Pending") if may_run => "Pending",
        ("Succeeded" | "Failed", _) if may_run => "Running",
        (phase, _) => phase,
    }
}

fn computed(facts: &Facts, inits: &[ContainerStatus], apps: &[ContainerStatus]) -> &'static str {
    let spec = facts.pod.spec();
    let policy = spec.restart_policy.as_str();
    let of = |container: &Container| inits.iter().find(|status| status.name == container.name);
    let mut is_pending = false;
    for (container, status) in spec.init_containers.iter().filter_map(|c| Some((c, of(c)?))) {
        if is_sidecar(container) {
            is_pending |= status.started != Some(true) && !facts.is_over();
        } else if let Some(exit) = &status.state().terminated {
            if exit.exit_code != 0 && policy == "Never" {
                return "Failed";
            }
            is_pending |= exit.exit_code != 0;
        } else {
            is_pending = true;
        }
    }
    let counts = Counts::of(apps);
    if facts.is_over() && (counts.stopped > 0 || is_pending || counts.waiting > 0) {
        let succeeded = !is_pending && counts.waiting == 0 && counts.stopped == counts.succeeded;
        return if succeeded { "Succeeded" } else { "Failed" };
    }
    // Sidecars restart while the containers proper run: that does not undo the phase.
    if is_pending && counts.running + counts.stopped == 0 || counts.waiting > 0 {
        return "Pending";
    }
    match (counts.running, counts.stopped, policy) {
        (1.., _, _) => "Running",
        (0, 0, _) => "Pending",
        (0, stopped, _) if stopped == counts.succeeded && matches!(policy, "Never" | "OnFailure") => {
            "Succeeded"
        }
        (0, _, "Never") => "Failed",
        _ => "Running",
    }
}

#[derive(Default)]
struct Counts {
    running: usize,
    waiting: usize,
    /// Ended, including those that wait for their restart.
    stopped: usize,
    succeeded: usize,
}

impl Counts {
    fn of(statuses: &[ContainerStatus]) -> Counts {
        let mut counts = Counts::default();
        for status in statuses {
            let exit = status
                .state()
                .terminated
                .as_ref()
                .or(status.last_state().terminated.as_ref());
            match (&status.state().running, exit) {
                (Some(_), _) => counts.running += 1,
                (None, Some(exit)) => {
                    counts.stopped += 1;
                    counts.succeeded += usize::from(exit.exit_code == 0);
                }
                (None, None) => counts.waiting += 1,
            }
        }
        counts
    }
}
