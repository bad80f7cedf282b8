//! A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure with Kubernetes'
//! reasons and messages.

use super::View;
use super::fleet::{Fleet, desired};
use super::rolling::max_unavailable;
use crate::action::Action;
use gantry_proto::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use gantry_proto::meta::v1::Time;
use std::time::{Duration, SystemTime};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_REPLICA_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What a round did that the Progressing condition tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollout<'a> {
    /// Paused, resized or deleted: progress is not judged.
    NotEstimated,
    Estimated,
    Created {
        name: &'a str,
    },
    CreationFailed {
        name: &'a str,
        error: &'a str,
    },
    /// The name of the new ReplicaSet is taken.
    Collided,
}

/// The status update that is due, if any, and when to look again for the progress deadline.
pub fn update(view: &View, fleet: &Fleet, rollout: Rollout) -> Vec<Action> {
    let deployment = view.deployment;
    let status = status(view, fleet, rollout);
    if status == *deployment.status() {
        return deadline(deployment, &status, view.now)
            .map(Action::WakeAfter)
            .into_iter()
            .collect();
    }
    let mut object = deployment.clone();
    object.status = Some(status);
    vec![Action::UpdateStatus {
        object: object.into(),
    }]
}

/// The rollout is done: all pods are new, available, and no old one is left.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let desired = desired(deployment);
    status.updated_replicas == desired
        && status.replicas == desired
        && status.available_replicas == desired
        && status.observed_generation >= deployment.metadata().generation
}

fn status(view: &View, fleet: &Fleet, rollout: Rollout) -> DeploymentStatus {
    let deployment = view.deployment;
    let before = deployment.status();
    let total = fleet.total_size();
    let available: i32 = fleet.all().map(|one| one.status().available_replicas).sum();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata().generation,
        replicas: fleet.all().map(|one| one.status().replicas).sum(),
        updated_replicas: fleet.new.map_or(0, |new| new.status().replicas),
        ready_replicas: fleet.all().map(|one| one.status().ready_replicas).sum(),
        available_replicas: available,
        unavailable_replicas: (total - available).max(0),
        terminating_replicas: Some(
            fleet
                .all()
                .map(|one| one.status().terminating_replicas.unwrap_or(0))
                .sum(),
        ),
        conditions: before.conditions.clone(),
        collision_count: before.collision_count,
    };
    if rollout == Rollout::Collided {
        status.collision_count = Some(before.collision_count.unwrap_or(0) + 1);
    }
    let mut conditions = Conditions {
        list: &mut status.conditions,
        now: view.now,
    };
    if available >= desired(deployment) - max_unavailable(deployment) {
        let message = "Deployment has minimum availability.";
        conditions.set(AVAILABLE, "True", "MinimumReplicasAvailable", message.into());
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set(AVAILABLE, "False", "MinimumReplicasUnavailable", message.into());
    }
    progressing(view, fleet, rollout, &mut status);
    replica_failure(view, fleet, &mut status);
    status
}

fn progressing(view: &View, fleet: &Fleet, rollout: Rollout, status: &mut DeploymentStatus) {
    let deployment = view.deployment;
    if progress_deadline(deployment).is_none() {
        status
            .conditions
            .retain(|condition| condition.r#type != PROGRESSING);
        return;
    }
    let counts = status.clone();
    let mut conditions = Conditions {
        list: &mut status.conditions,
        now: view.now,
    };
    pause(deployment, &mut conditions);
    if let (None, Some(new)) = (conditions.get(PROGRESSING), fleet.new) {
        let message = format!("Found new replica set \"{}\"", new.metadata().name);
        conditions.set(PROGRESSING, "True", "FoundNewReplicaSet", message);
    }
    let (kind, name) = match fleet.new {
        Some(new) => ("ReplicaSet", new.metadata().name.as_str()),
        None => ("Deployment", deployment.metadata().name.as_str()),
    };
    match rollout {
        Rollout::NotEstimated | Rollout::Collided => {}
        Rollout::Created { name } => {
            let message = format!("Created new replica set \"{name}\"");
            conditions.set(PROGRESSING, "True", "NewReplicaSetCreated", message);
        }
        Rollout::CreationFailed { name, error } => {
            let message = format!("Failed to create new replica set \"{name}\": {error}");
            conditions.set(PROGRESSING, "False", "ReplicaSetCreateError", message);
        }
        Rollout::Estimated => {
            let current = conditions.get(PROGRESSING).cloned();
            let finished_before = counts.replicas == counts.updated_replicas
                && current
                    .as_ref()
                    .is_some_and(|one| one.reason == NEW_REPLICA_SET_AVAILABLE);
            if finished_before {
                return;
            }
            if is_complete(deployment, &counts) {
                let message = format!("{kind} \"{name}\" has successfully progressed.");
                conditions.set(PROGRESSING, "True", NEW_REPLICA_SET_AVAILABLE, message);
            } else if has_progressed(deployment.status(), &counts) {
                let message = format!("{kind} \"{name}\" is progressing.");
                conditions.renew(PROGRESSING, "True", "ReplicaSetUpdated", message);
            } else if has_timed_out(deployment, current.as_ref(), view.now) {
                let message = format!("{kind} \"{name}\" has timed out progressing.");
                conditions.set(PROGRESSING, "False", TIMED_OUT, message);
            }
        }
    }
}

/// A pause stops the clock of the progress deadline, and a resumption starts it anew.
fn pause(deployment: &Deployment, conditions: &mut Conditions) {
    let reason = conditions
        .get(PROGRESSING)
        .map(|condition| condition.reason.clone());
    if reason.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let was_paused = reason.as_deref() == Some(PAUSED);
    match (deployment.spec().paused, was_paused) {
        (true, false) => conditions.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".into()),
        (false, true) => {
            conditions.set(
                PROGRESSING,
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed".into(),
            );
        }
        _ => {}
    }
}

/// The failure of one ReplicaSet, of the new one first.
fn replica_failure(view: &View, fleet: &Fleet, status: &mut DeploymentStatus) {
    let all = fleet.new.into_iter().chain(fleet.old.iter().copied());
    let failure = all
        .flat_map(|one| &one.status().conditions)
        .find(|condition| condition.r#type == REPLICA_FAILURE);
    match failure {
        Some(failure) => {
            let mut conditions = Conditions {
                list: &mut status.conditions,
                now: view.now,
            };
            conditions.set(
                REPLICA_FAILURE,
                &failure.status,
                &failure.reason,
                failure.message.clone(),
            );
        }
        None => status
            .conditions
            .retain(|condition| condition.r#type != REPLICA_FAILURE),
    }
}

fn has_progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    now.updated_replicas > before.updated_replicas
        || now.replicas - now.updated_replicas < before.replicas - before.updated_replicas
        || now.ready_replicas > before.ready_replicas
        || now.available_replicas > before.available_replicas
}

fn has_timed_out(deployment: &Deployment, current: Option<&DeploymentCondition>, now: SystemTime) -> bool {
    let (Some(current), Some(deadline)) = (current, progress_deadline(deployment)) else {
        return false;
    };
    match current.reason.as_str() {
        NEW_REPLICA_SET_AVAILABLE => false,
        TIMED_OUT => true,
        _ => current
            .last_update_time
            .as_ref()
            .is_some_and(|since| since.elapsed_at(now) > deadline),
    }
}

/// When a rollout that makes no progress has to be looked at for its deadline.
fn deadline(deployment: &Deployment, status: &DeploymentStatus, now: SystemTime) -> Option<Duration> {
    /// Times are kept in whole seconds: a second later the deadline has surely passed.
    const GRANULARITY: Duration = Duration::from_secs(1);
    let deadline = progress_deadline(deployment)?;
    let current = status
        .conditions
        .iter()
        .find(|condition| condition.r#type == PROGRESSING)?;
    if deployment.spec().paused
        || is_complete(deployment, status)
        || matches!(current.reason.as_str(), TIMED_OUT | NEW_REPLICA_SET_AVAILABLE)
    {
        return None;
    }
    let since = current.last_update_time.as_ref()?;
    Some(deadline.saturating_sub(since.elapsed_at(now)) + GRANULARITY)
}

/// `None` where progress has no deadline.
fn progress_deadline(deployment: &Deployment) -> Option<Duration> {
    let seconds = deployment
        .spec()
        .progress_deadline_seconds
        .filter(|seconds| *seconds != i32::MAX)?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

struct Conditions<'a> {
    list: &'a mut Vec<DeploymentCondition>,
    now: SystemTime,
}

impl Conditions<'_> {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.r#type == kind)
    }

    /// Leaves a condition alone whose status and reason are the same.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        if self
            .get(kind)
            .is_none_or(|current| current.status != status || current.reason != reason)
        {
            self.renew(kind, status, reason, message);
        }
    }

    /// Writes the condition with a new update time, and a new transition time if the status changes.
    fn renew(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let now = Time::from_system(self.now);
        let since = self.get(kind).filter(|current| current.status == status);
        let transition = since
            .and_then(|current| current.last_transition_time)
            .unwrap_or(now);
        self.list.retain(|condition| condition.r#type != kind);
        self.list.push(DeploymentCondition {
            r#type: kind.into(),
            status: status.into(),
            last_update_time: Some(now),
            last_transition_time: Some(transition),
            reason: reason.into(),
            message,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::size;
    use super::super::simulation::{deployment, replica_set};
    use super::*;
    use gantry_proto::apps::v1::ReplicaSet;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn progressing_of(deployment: &Deployment, new: &ReplicaSet, now: u64) -> (String, String, String) {
        let view = View {
            deployment,
            replica_sets: vec![new],
            pods: vec![],
            failure: None,
            now: at(now),
        };
        let fleet = Fleet {
            new: Some(new),
            old: vec![],
        };
        let status = status(&view, &fleet, Rollout::Estimated);
        let condition = status
            .conditions
            .into_iter()
            .find(|one| one.r#type == PROGRESSING);
        condition
            .map(|one| (one.status, one.reason, one.message))
            .unwrap_or_default()
    }

    fn with_condition(mut deployment: Deployment, reason: &str, updated_at: u64) -> Deployment {
        deployment.status_mut().conditions = vec![DeploymentCondition {
            r#type: PROGRESSING.into(),
            status: "True".into(),
            reason: reason.into(),
            last_update_time: Some(Time::from_system(at(updated_at))),
            ..DeploymentCondition::default()
        }];
        deployment
    }

    #[test]
    fn progress_is_told_with_kubernetes_words() {
        let mut deployment = deployment(3, "1", "0");
        deployment.spec_mut().progress_deadline_seconds = Some(600);
        let created = with_condition(deployment, "NewReplicaSetCreated", 1000);
        let check = |deployment: &Deployment, new: &ReplicaSet, now: u64, expected: [&str; 3]| {
            let (status, reason, message) = progressing_of(deployment, new, now);
            assert_eq!([&*status, &*reason, &*message], expected);
        };
        let progressing = ["True", "ReplicaSetUpdated", "ReplicaSet \"new\" is progressing."];
        check(&created, &replica_set("new", 3, 1), 1100, progressing);
        let done = [
            "True",
            "NewReplicaSetAvailable",
            "ReplicaSet \"new\" has successfully progressed.",
        ];
        check(&created, &replica_set("new", 3, 3), 1100, done);
        let mut stuck = created.clone();
        let status = stuck.status_mut();
        (
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
        ) = (3, 3, 1, 1);
        check(
            &stuck,
            &replica_set("new", 3, 1),
            1600,
            ["True", "NewReplicaSetCreated", ""],
        );
        let late = [
            "False",
            "ProgressDeadlineExceeded",
            "ReplicaSet \"new\" has timed out progressing.",
        ];
        check(&stuck, &replica_set("new", 3, 1), 1601, late);
    }

    #[test]
    fn a_stuck_rollout_is_looked_at_when_its_deadline_passes() {
        let mut deployment = deployment(3, "1", "0");
        deployment.spec_mut().progress_deadline_seconds = Some(600);
        let deployment = with_condition(deployment, "ReplicaSetUpdated", 1000);
        let check = |now: u64, expected: u64| {
            let wake = deadline(&deployment, deployment.status(), at(now));
            assert_eq!(wake, Some(Duration::from_secs(expected)), "{now}");
        };
        check(1000, 601);
        check(1590, 11);
        check(2000, 1);
    }

    #[test]
    fn sizes_and_counts_add_up() {
        let deployment = deployment(5, "1", "1");
        let new = replica_set("new", 2, 1);
        let old = replica_set("old", 4, 4);
        let view = View {
            deployment: &deployment,
            replica_sets: vec![],
            pods: vec![],
            failure: None,
            now: at(0),
        };
        let fleet = Fleet {
            new: Some(&new),
            old: vec![&old],
        };
        let status = status(&view, &fleet, Rollout::Estimated);
        let counts = (
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        );
        assert_eq!((counts, status.unavailable_replicas), ((6, 2, 5), 1));
        assert_eq!(size(&new) + size(&old), status.replicas);
    }
}
