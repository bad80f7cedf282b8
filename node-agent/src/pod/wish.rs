//! What is wanted of a pod at the moment.

use crate::pod::identity::{self, grace_seconds, is_sidecar};
use crate::pod::memory::{Ended, Memory};
use crate::pod::observed::Observed;
use gantry_proto::core::v1::{Container, Pod, PodSpec};
use std::time::{Duration, SystemTime};

/// The kubelet never gives a container less time to end.
const LEAST_GRACE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wish {
    Run,
    /// Nothing of it will run any more; its containers stay for their logs.
    Finish {
        stop_by: SystemTime,
    },
    /// Its deletion was asked for: stop, clean up, delete it from the API.
    Delete {
        stop_by: SystemTime,
    },
    /// The API has it no longer: stop and clean up.
    Forget {
        stop_by: SystemTime,
    },
}

impl Wish {
    pub fn stop_by(self) -> Option<SystemTime> {
        match self {
            Wish::Run => None,
            Wish::Finish { stop_by } | Wish::Delete { stop_by } | Wish::Forget { stop_by } => Some(stop_by),
        }
    }
}

/// `since` is when the pod was first seen to be gone from the API.
pub fn wish(
    pod: &Pod,
    gone_since: Option<SystemTime>,
    observed: &Observed,
    memory: &Memory,
    now: SystemTime,
) -> Wish {
    let spec = pod.spec();
    let grace = Duration::from_secs(grace_seconds(spec));
    let least = now + LEAST_GRACE;
    if let Some(since) = gone_since {
        return Wish::Forget {
            stop_by: (since + grace).max(least),
        };
    }
    if let Some(deletion) = &pod.metadata().deletion_timestamp {
        let grace = pod
            .metadata()
            .deletion_grace_period_seconds
            .and_then(identity::grace);
        let stop_by = match (memory.deleting_since, grace) {
            // The timestamp is by the apiserver's clock, which may differ by more than the grace period.
            (Some(since), Some(grace)) => since + Duration::from_secs(grace),
            _ => deletion.to_system(),
        };
        return Wish::Delete {
            stop_by: stop_by.max(least),
        };
    }
    let is_over = matches!(pod.status().phase.as_str(), "Succeeded" | "Failed");
    if is_over || memory.ended.is_some() || is_finished(spec, observed) {
        return Wish::Finish { stop_by: now + grace };
    }
    Wish::Run
}

/// Whether the pod has run longer than it may; `None` while it has not.
pub fn past_deadline(pod: &Pod, now: SystemTime) -> Option<Ended> {
    let seconds = u64::try_from(pod.spec().active_deadline_seconds?).unwrap_or(0);
    let started = pod.status().start_time.as_ref()?.to_system();
    (now >= started + Duration::from_secs(seconds)).then(|| Ended {
        reason: "DeadlineExceeded".into(),
        message: "Pod was active on the node longer than the specified deadline".into(),
    })
}

/// When [`past_deadline`] will hold.
pub fn deadline(pod: &Pod) -> Option<SystemTime> {
    let seconds = u64::try_from(pod.spec().active_deadline_seconds?).ok()?;
    Some(pod.status().start_time.as_ref()?.to_system() + Duration::from_secs(seconds))
}

/// Whether every container has ended and none will be started again.
fn is_finished(spec: &PodSpec, observed: &Observed) -> bool {
    let ended = |container: &Container| {
        observed
            .latest(&container.name)
            .is_some_and(|last| last.exit().is_some())
    };
    let succeeded = |container: &Container| {
        observed
            .latest(&container.name)
            .is_some_and(|last| last.succeeded())
    };
    match spec.restart_policy.as_str() {
        "Never" => {
            let started = spec.containers.iter().any(|c| observed.latest(&c.name).is_some());
            let init_failed = spec
                .init_containers
                .iter()
                .any(|c| !is_sidecar(c) && ended(c) && !succeeded(c));
            spec.containers.iter().all(ended) || init_failed && !started
        }
        "OnFailure" => spec.containers.iter().all(succeeded),
        _ => false,
    }
}
