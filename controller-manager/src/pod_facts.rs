//! What a pod's status says, in the words that controllers decide by.

use gantry_proto::core::v1::{Pod, PodCondition};
use std::time::{Duration, SystemTime};

pub const READY: &str = "Ready";

/// Runs or may still come to run, and nobody has asked it to stop.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// Has ended for good: its containers will not run again.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status().phase.as_str(), "Succeeded" | "Failed")
}

pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata().deletion_timestamp.is_some()
}

pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status()
        .conditions
        .iter()
        .find(|condition| condition.r#type == kind)
}

pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, READY).is_some_and(|condition| condition.status == "True")
}

/// When the pod became ready; `None` while it is not.
pub fn ready_since(pod: &Pod) -> Option<SystemTime> {
    let condition = condition(pod, READY).filter(|condition| condition.status == "True")?;
    condition
        .last_transition_time
        .as_ref()
        .map(|time| time.to_system())
}

/// How far a pod is from counting as available: ready for `min_ready_seconds` without interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    Available,
    /// Ready, but not for long enough until this much time has passed.
    After(Duration),
    Unavailable,
}

pub fn availability(pod: &Pod, min_ready_seconds: i32, now: SystemTime) -> Availability {
    if !is_ready(pod) {
        return Availability::Unavailable;
    }
    let required = Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or(0));
    if required.is_zero() {
        return Availability::Available;
    }
    // A ready condition without a time has been written by somebody who does not say since when: wait in full.
    let ready_for = ready_since(pod).map_or(Duration::ZERO, |since| {
        now.duration_since(since).unwrap_or_default()
    });
    match required.checked_sub(ready_for) {
        None | Some(Duration::ZERO) => Availability::Available,
        Some(rest) => Availability::After(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::core::v1::PodStatus;
    use gantry_proto::meta::v1::Time;

    #[test]
    fn a_pod_is_available_once_it_was_ready_for_long_enough() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let pod = |status: &str| Pod {
            status: Some(PodStatus {
                conditions: vec![PodCondition {
                    r#type: READY.into(),
                    status: status.into(),
                    last_transition_time: Some(Time::from_system(at(100))),
                    ..PodCondition::default()
                }],
                ..PodStatus::default()
            }),
            ..Pod::default()
        };
        let check = |status: &str, min_ready: i32, now: u64, expected: Availability| {
            assert_eq!(
                availability(&pod(status), min_ready, at(now)),
                expected,
                "{status} {min_ready} {now}"
            );
        };
        check("False", 0, 200, Availability::Unavailable);
        check("True", 0, 100, Availability::Available);
        check("True", 10, 100, Availability::After(Duration::from_secs(10)));
        check("True", 10, 109, Availability::After(Duration::from_secs(1)));
        check("True", 10, 110, Availability::Available);
        // The node's clock is ahead of ours.
        check("True", 10, 90, Availability::After(Duration::from_secs(10)));
    }
}
