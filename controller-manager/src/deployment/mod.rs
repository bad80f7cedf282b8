//! Deployment: one ReplicaSet per pod template, and the way from the old ones to the new one.
//!
//! ```text
//! claims -> (deleted? status only) -> (paused or resized? proportional sizes) -> Recreate | RollingUpdate -> status
//! ```

pub mod controller;
mod fleet;
pub mod hash;
mod revision;
mod rolling;
mod scaling;
mod status;
#[cfg(test)]
mod simulation;

use crate::action::{Action, Failure, Says, Target, reference_to};
use crate::ownership::{self, Claim};
use crate::pod_facts;
use fleet::{Fleet, size};
use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use gantry_proto::core::v1::Pod;
use gantry_proto::selector::Selector;
use serde_json::json;
use status::Rollout;
use std::time::SystemTime;

/// All that a decision about one Deployment looks at.
pub struct View<'a> {
    pub deployment: &'a Deployment,
    /// Those of the namespace.
    pub replica_sets: Vec<&'a ReplicaSet>,
    /// Those of the namespace, where the strategy is Recreate; else empty.
    pub pods: Vec<&'a Pod>,
    pub failure: Option<&'a Failure>,
    pub now: SystemTime,
}

pub fn reconcile(view: &View) -> Vec<Action> {
    let deployment = view.deployment;
    let selector = deployment.spec().selector.as_ref();
    let selector = selector.and_then(|selector| Selector::from_label_selector(selector).ok());
    if selector.as_ref().is_none_or(Selector::is_empty) {
        return selects_everything(view);
    }
    let mut actions = Vec::new();
    let mut owned = Vec::new();
    for replica_set in &view.replica_sets {
        match ownership::claim(deployment.metadata(), selector.as_ref(), replica_set.metadata()) {
            Claim::Owned => owned.push(*replica_set),
            Claim::Adopt => actions.push(ownership::adopt(deployment, *replica_set)),
            Claim::Release => actions.push(ownership::release(deployment, *replica_set)),
            Claim::Foreign => {}
        }
    }
    if !actions.is_empty() {
        return actions;
    }
    let fleet = Fleet::new(deployment, owned);
    if deployment.metadata().deletion_timestamp.is_some() {
        return status::update(view, &fleet, Rollout::NotEstimated);
    }
    // The new ReplicaSet is brought in step before anything is decided by its annotations.
    if let Some(patch) = fleet
        .new
        .and_then(|new| revision::in_step(deployment, new, &fleet.old))
    {
        return vec![patch];
    }
    let spec = deployment.spec();
    let is_recreate = spec.strategy().r#type == "Recreate";
    // Without a rolling update there are no proportions to keep between several: Recreate sizes them all.
    let is_scaling = scaling::is_scaling(deployment, &fleet) && !(is_recreate && fleet.active().count() > 1);
    if spec.paused || is_scaling {
        let mut actions = resize(deployment, scaling::sizes(deployment, &fleet));
        if spec.paused {
            actions.extend(revision::clean_up(deployment, &fleet.old));
        }
        return finish(view, &fleet, actions, Rollout::NotEstimated);
    }
    match is_recreate {
        true => recreate(view, &fleet),
        false => roll(view, &fleet),
    }
}

/// First more of the new, then less of the old: one of them at a time, each from a fresh picture.
fn roll(view: &View, fleet: &Fleet) -> Vec<Action> {
    let deployment = view.deployment;
    let Some(new) = fleet.new else {
        return create_new(view, fleet);
    };
    let grown = rolling::new_size(deployment, fleet, size(new));
    if grown != size(new) {
        return finish(
            view,
            fleet,
            resize(deployment, vec![(new, grown)]),
            Rollout::Estimated,
        );
    }
    let shrunk = rolling::shrink_old(deployment, fleet, new);
    if !shrunk.is_empty() {
        return finish(view, fleet, resize(deployment, shrunk), Rollout::Estimated);
    }
    complete(view, fleet)
}

/// All of the old away, then the new.
fn recreate(view: &View, fleet: &Fleet) -> Vec<Action> {
    let deployment = view.deployment;
    let active: Vec<_> = fleet
        .old
        .iter()
        .filter(|old| size(old) > 0)
        .map(|old| (*old, 0))
        .collect();
    if !active.is_empty() {
        return finish(view, fleet, resize(deployment, active), Rollout::Estimated);
    }
    if old_pods_run(view, fleet) {
        return finish(view, fleet, Vec::new(), Rollout::Estimated);
    }
    let Some(new) = fleet.new else {
        return create_new(view, fleet);
    };
    let desired = fleet::desired(deployment);
    if size(new) != desired {
        return finish(
            view,
            fleet,
            resize(deployment, vec![(new, desired)]),
            Rollout::Estimated,
        );
    }
    complete(view, fleet)
}

fn old_pods_run(view: &View, fleet: &Fleet) -> bool {
    if fleet.old.iter().any(|old| old.status().replicas > 0) {
        return true;
    }
    view.pods.iter().any(|pod| {
        let controller = ownership::controller_of(pod.metadata());
        let of_old =
            controller.is_some_and(|owner| fleet.old.iter().any(|old| old.metadata().uid == owner.uid));
        of_old && !pod_facts::is_finished(pod)
    })
}

fn complete(view: &View, fleet: &Fleet) -> Vec<Action> {
    let deployment = view.deployment;
    let mut actions = Vec::new();
    if status::is_complete(deployment, deployment.status()) {
        actions = revision::clean_up(deployment, &fleet.old);
    }
    finish(view, fleet, actions, Rollout::Estimated)
}

/// The deployment's own annotation and its status. They are two writes to one object, so never in one round:
/// the second would conflict with the first.
fn finish(view: &View, fleet: &Fleet, mut actions: Vec<Action>, rollout: Rollout) -> Vec<Action> {
    match fleet
        .new
        .and_then(|new| revision::own_revision(view.deployment, new))
    {
        Some(patch) => actions.push(patch),
        None => actions.extend(status::update(view, fleet, rollout)),
    }
    actions
}

fn create_new(view: &View, fleet: &Fleet) -> Vec<Action> {
    let deployment = view.deployment;
    let hash = hash::pod_template_hash(deployment.spec().template(), deployment.status().collision_count);
    let name = revision::replica_set_name(&deployment.metadata().name, &hash);
    if view
        .replica_sets
        .iter()
        .any(|taken| taken.metadata().name == name)
    {
        // Somebody else's, or ours with another template: a name that nobody has is found by counting up.
        return status::update(view, fleet, Rollout::Collided);
    }
    let replicas = rolling::new_size(deployment, fleet, 0);
    let new = revision::new_replica_set(deployment, &name, &hash, replicas, &fleet.old);
    let mut says = says(
        deployment,
        format!("Scaled up replica set {name} from 0 to {replicas}"),
    );
    says.on_failure = Some((
        "ReplicaSetCreateError",
        format!("Failed to create new replica set \"{name}\": "),
    ));
    let create = Action::Create {
        object: new.into(),
        says: Some(says).filter(|_| replicas > 0),
    };
    match view.failure {
        Some(failure) if failure.of == crate::action::Attempt::Create => {
            let rollout = Rollout::CreationFailed {
                name: &name,
                error: &failure.message,
            };
            let mut actions = status::update(view, fleet, rollout);
            actions.push(create);
            actions
        }
        _ => {
            let mut actions = vec![create];
            actions.extend(status::update(view, fleet, Rollout::Created { name: &name }));
            actions
        }
    }
}

fn resize(deployment: &Deployment, sizes: Vec<(&ReplicaSet, i32)>) -> Vec<Action> {
    let in_step = |replica_set: &ReplicaSet, target: i32| {
        let before = size(replica_set);
        let annotations = revision::size_annotations(deployment);
        let annotated = annotations
            .iter()
            .all(|(name, value)| replica_set.metadata().annotations.get(*name) == Some(value));
        if before == target && annotated {
            return None;
        }
        let name = &replica_set.metadata().name;
        let direction = if target > before { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {before} to {target}");
        Some(Action::Patch {
            target: Target::of(replica_set),
            subresource: None,
            patch: json!({
                "metadata": {
                    "uid": replica_set.metadata().uid,
                    "resourceVersion": replica_set.metadata().resource_version,
                    "annotations": annotations,
                },
                "spec": {"replicas": target},
            }),
            says: (before != target).then(|| says(deployment, message)),
        })
    };
    sizes
        .into_iter()
        .filter_map(|(replica_set, target)| in_step(replica_set, target))
        .collect()
}

fn says(deployment: &Deployment, message: String) -> Says {
    Says {
        about: reference_to(deployment),
        warning: false,
        reason: "ScalingReplicaSet",
        message,
        on_failure: None,
    }
}

fn selects_everything(view: &View) -> Vec<Action> {
    let deployment = view.deployment;
    if deployment.status().observed_generation >= deployment.metadata().generation {
        return Vec::new();
    }
    let mut observed = deployment.clone();
    observed.status_mut().observed_generation = deployment.metadata().generation;
    let text = "This deployment is selecting all pods. A non-empty selector is required.";
    let says = Says {
        about: reference_to(deployment),
        warning: true,
        reason: "SelectingAll",
        message: text.into(),
        on_failure: None,
    };
    vec![
        Action::Tell { says },
        Action::UpdateStatus {
            object: observed.into(),
        },
    ]
}
