//! A ReplicaSet's status.

use super::{View, failure_reason};
use crate::action::Action;
use crate::pod_facts::{self, Availability, availability};
use gantry_proto::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::Time;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status update that is due, if any.
pub fn update(view: &View, active: &[&Pod], terminating: usize) -> Option<Action> {
    let status = status(view, active, terminating);
    if status == *view.replica_set.status() {
        return None;
    }
    let mut object = view.replica_set.clone();
    object.status = Some(status);
    Some(Action::UpdateStatus {
        object: object.into(),
    })
}

fn status(view: &View, active: &[&Pod], terminating: usize) -> ReplicaSetStatus {
    let replica_set = view.replica_set;
    let labels = &replica_set.spec().template().metadata().labels;
    let fully_labeled = |pod: &Pod| {
        labels
            .iter()
            .all(|(name, value)| pod.metadata().labels.get(name) == Some(value))
    };
    let min_ready_seconds = replica_set.spec().min_ready_seconds;
    let available = |pod: &Pod| availability(pod, min_ready_seconds, view.now) == Availability::Available;
    ReplicaSetStatus {
        replicas: count(active, |_| true),
        fully_labeled_replicas: count(active, fully_labeled),
        ready_replicas: count(active, pod_facts::is_ready),
        available_replicas: count(active, available),
        terminating_replicas: Some(i32::try_from(terminating).unwrap_or(i32::MAX)),
        observed_generation: replica_set.metadata().generation,
        conditions: conditions(view),
    }
}

fn count(pods: &[&Pod], what: impl Fn(&Pod) -> bool) -> i32 {
    i32::try_from(pods.iter().filter(|pod| what(pod)).count()).unwrap_or(i32::MAX)
}

/// ReplicaFailure while creating or deleting fails. A failure that goes on is not written again, whatever its
/// text, or each attempt would cause the next.
fn conditions(view: &View) -> Vec<ReplicaSetCondition> {
    let mut conditions = view.replica_set.status().conditions.clone();
    let present = conditions
        .iter()
        .find(|condition| condition.r#type == REPLICA_FAILURE);
    let failure = view
        .failure
        .and_then(|failure| Some((failure_reason(failure)?, failure)));
    match failure {
        Some((reason, _)) if present.is_some_and(|present| present.reason == reason) => {}
        Some((reason, failure)) => {
            conditions.retain(|condition| condition.r#type != REPLICA_FAILURE);
            conditions.push(ReplicaSetCondition {
                r#type: REPLICA_FAILURE.into(),
                status: "True".into(),
                last_transition_time: Some(Time::from_system(view.now)),
                reason: reason.into(),
                message: failure.message.clone(),
            });
        }
        None => conditions.retain(|condition| condition.r#type != REPLICA_FAILURE),
    }
    conditions
}
