//! Conditions of an object's status: they change when what they say does, and say since when it is so.

use gantry_proto::core::v1::{Pod, PodCondition};
use gantry_proto::meta::v1::{Condition, Time};
use std::time::SystemTime;

/// Sets a condition among those of its kind; its time is `now` where its status is another than before (apimachinery's
/// meta.SetStatusCondition).
pub fn set(conditions: &mut Vec<Condition>, new: Condition, now: SystemTime) {
    let present = conditions
        .iter_mut()
        .find(|condition| condition.r#type == new.r#type);
    let Some(present) = present else {
        conditions.push(Condition {
            last_transition_time: Some(Time::from_system(now)),
            ..new
        });
        return;
    };
    let since = match present.status == new.status {
        true => present.last_transition_time,
        false => Some(Time::from_system(now)),
    };
    *present = Condition {
        last_transition_time: since,
        ..new
    };
}

pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.r#type == kind)
}

/// The pod's conditions with this one set; `None` where they say so already (pkg/api/v1/pod, UpdatePodCondition).
pub fn of_pod_with(pod: &Pod, new: PodCondition, now: SystemTime) -> Option<Vec<PodCondition>> {
    let mut conditions = pod.status().conditions.clone();
    let mut new = PodCondition {
        observed_generation: pod.metadata().generation,
        last_transition_time: Some(Time::from_system(now)),
        ..new
    };
    let present = conditions
        .iter_mut()
        .find(|condition| condition.r#type == new.r#type);
    let Some(present) = present else {
        conditions.push(new);
        return Some(conditions);
    };
    if present.status == new.status {
        new.last_transition_time = present.last_transition_time;
    }
    let said = |condition: &PodCondition| {
        let condition = condition.clone();
        (condition.status, condition.reason, condition.message)
    };
    if said(present) == said(&new) {
        return None;
    }
    *present = new;
    Some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_condition_says_since_when_its_status_is_so() {
        let condition = |status: &str, reason: &str| Condition {
            r#type: "Ready".into(),
            status: status.into(),
            reason: reason.into(),
            ..Condition::default()
        };
        let mut conditions = Vec::new();
        let mut check = |status: &str, reason: &str, now: u64, since: i64| {
            set(&mut conditions, condition(status, reason), at(now));
            let [only] = &conditions[..] else {
                panic!("{conditions:?}")
            };
            let found = only.last_transition_time.map(|time| time.seconds);
            assert_eq!((only.reason.as_str(), found), (reason, Some(since)));
        };
        check("True", "A", 1, 1);
        check("True", "B", 2, 1);
        check("False", "B", 3, 3);
    }

    #[test]
    fn a_pod_that_says_so_already_is_not_written() {
        let condition = |status: &str, reason: &str| PodCondition {
            r#type: "DisruptionTarget".into(),
            status: status.into(),
            reason: reason.into(),
            ..PodCondition::default()
        };
        let mut pod = Pod::default();
        pod.metadata_mut().generation = 3;
        let first = of_pod_with(&pod, condition("True", "A"), at(1)).unwrap();
        assert_eq!(first[0].observed_generation, 3);
        pod.status_mut().conditions = first;
        assert_eq!(of_pod_with(&pod, condition("True", "A"), at(2)), None);
        let second = of_pod_with(&pod, condition("True", "B"), at(2)).unwrap();
        assert_eq!(second[0].last_transition_time.map(|time| time.seconds), Some(1));
        let third = of_pod_with(&pod, condition("False", ""), at(2)).unwrap();
        assert_eq!(third[0].last_transition_time.map(|time| time.seconds), Some(2));
    }
}
