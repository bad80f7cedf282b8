//! ReplicaSet: as many pods of one template as asked for.

pub mod controller;
mod ranking;
mod status;
#[cfg(test)]
mod tests;

use crate::action::{Action, Attempt, Failure, Says, Target, reference_to};
use crate::child_names::ChildNames;
use crate::ownership::{self, Claim, controller_of, controller_reference};
use crate::pod_facts::{self, Availability, availability};
use gantry_proto::apps::v1::ReplicaSet;
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::ObjectMeta;
use gantry_proto::selector::Selector;
use std::collections::BTreeSet;
use std::time::SystemTime;

/// The most pods that one decision creates or deletes, as in Kubernetes; the next one goes on.
pub const BURST: usize = 500;

/// All that a decision about one ReplicaSet looks at.
pub struct View<'a> {
    pub replica_set: &'a ReplicaSet,
    /// Those of the namespace.
    pub replica_sets: Vec<&'a ReplicaSet>,
    /// Those of the namespace.
    pub pods: Vec<&'a Pod>,
    pub names: &'a ChildNames,
    pub failure: Option<&'a Failure>,
    pub now: SystemTime,
}

pub fn reconcile(view: &View) -> Vec<Action> {
    let replica_set = view.replica_set;
    let selector = replica_set.spec().selector.as_ref();
    // An absent selector matches nothing, an empty one everything; validation refuses both.
    let selector = selector.and_then(|selector| Selector::from_label_selector(selector).ok());
    let selector = selector.filter(|selector| !selector.is_empty());
    let mut claims = Vec::new();
    let mut owned = Vec::new();
    for pod in &view.pods {
        match ownership::claim(replica_set.metadata(), selector.as_ref(), pod.metadata()) {
            Claim::Owned => owned.push(*pod),
            // What has ended needs no owner: adopting it would not count it.
            Claim::Adopt if pod_facts::is_active(pod) => claims.push(ownership::adopt(replica_set, *pod)),
            Claim::Release => claims.push(ownership::release(replica_set, *pod)),
            Claim::Adopt | Claim::Foreign => {}
        }
    }
    if !claims.is_empty() {
        return claims;
    }
    let active: Vec<&Pod> = owned
        .iter()
        .copied()
        .filter(|pod| pod_facts::is_active(pod))
        .collect();
    let terminating = owned.iter().filter(|pod| pod_facts::is_terminating(pod)).count();
    let managed = match replica_set.metadata().deletion_timestamp {
        None => manage(view, &active),
        Some(_) => Vec::new(),
    };
    let status = status::update(view, &active, terminating);
    // The driver stops at a failure: one that persists must not keep the status from telling it.
    let mut actions = match view.failure {
        Some(_) => status.into_iter().chain(managed).collect::<Vec<_>>(),
        None => managed.into_iter().chain(status).collect(),
    };
    let soonest = active.iter().filter_map(|pod| {
        match availability(pod, replica_set.spec().min_ready_seconds, view.now) {
            Availability::After(wait) => Some(wait),
            Availability::Available | Availability::Unavailable => None,
        }
    });
    actions.extend(soonest.min().map(Action::WakeAfter));
    actions
}

fn manage(view: &View, active: &[&Pod]) -> Vec<Action> {
    let desired = usize::try_from(view.replica_set.spec().replicas.unwrap_or(1)).unwrap_or(0);
    if active.len() < desired {
        return create(view, (desired - active.len()).min(BURST));
    }
    let excess = (active.len() - desired).min(BURST);
    if excess == 0 {
        return Vec::new();
    }
    let related = related_pods(view);
    let chosen = ranking::first_to_go(active, &related, excess, view.now);
    chosen
        .into_iter()
        .map(|pod| delete(view.replica_set, pod))
        .collect()
}

fn create(view: &View, count: usize) -> Vec<Action> {
    let replica_set = view.replica_set;
    let prefix = format!("{}-", replica_set.metadata().name);
    let taken: BTreeSet<&str> = view.pods.iter().map(|pod| pod.metadata().name.as_str()).collect();
    view.names
        .candidates(&prefix)
        .filter(|name| !taken.contains(name.as_str()))
        .take(count)
        .map(|name| {
            let says = says(replica_set, "SuccessfulCreate", format!("Created pod: {name}"));
            let on_failure = Some(("FailedCreate", "Error creating: ".to_string()));
            Action::Create {
                object: pod_of(replica_set, &prefix, name).into(),
                says: Some(Says { on_failure, ..says }),
            }
        })
        .collect()
}

fn pod_of(replica_set: &ReplicaSet, prefix: &str, name: String) -> Pod {
    let template = replica_set.spec().template();
    Pod {
        metadata: Some(ObjectMeta {
            name,
            generate_name: prefix.into(),
            namespace: replica_set.metadata().namespace.clone(),
            labels: template.metadata().labels.clone(),
            annotations: template.metadata().annotations.clone(),
            finalizers: template.metadata().finalizers.clone(),
            owner_references: vec![controller_reference(replica_set)],
            ..ObjectMeta::default()
        }),
        spec: template.spec.clone(),
        status: None,
    }
}

fn delete(replica_set: &ReplicaSet, pod: &Pod) -> Action {
    let says = says(
        replica_set,
        "SuccessfulDelete",
        format!("Deleted pod: {}", pod.metadata().name),
    );
    Action::Delete {
        target: Target::of(pod),
        resource_version: None,
        grace_seconds: None,
        propagation: None,
        says: Some(Says {
            on_failure: Some(("FailedDelete", "Error deleting: ".into())),
            ..says
        }),
    }
}

fn says(replica_set: &ReplicaSet, reason: &'static str, message: String) -> Says {
    Says {
        about: reference_to(replica_set),
        warning: false,
        reason,
        message,
        on_failure: None,
    }
}

/// The active pods of all ReplicaSets that have the same controller: those of the same Deployment.
fn related_pods<'a>(view: &View<'a>) -> Vec<&'a Pod> {
    let own = &view.replica_set.metadata().uid;
    let owner = controller_of(view.replica_set.metadata()).map(|reference| &reference.uid);
    let mut uids: BTreeSet<&str> = [own.as_str()].into();
    if owner.is_some() {
        let siblings = view.replica_sets.iter().map(|one| one.metadata());
        let siblings = siblings.filter(|one| controller_of(one).map(|reference| &reference.uid) == owner);
        uids.extend(siblings.map(|one| one.uid.as_str()));
    }
    let related = view.pods.iter().copied().filter(|pod| pod_facts::is_active(pod));
    related
        .filter(|pod| controller_of(pod.metadata()).is_some_and(|owner| uids.contains(owner.uid.as_str())))
        .collect()
}

/// What the last failure is called in the ReplicaFailure condition.
fn failure_reason(failure: &Failure) -> Option<&'static str> {
    match failure.of {
        Attempt::Create => Some("FailedCreate"),
        Attempt::Delete => Some("FailedDelete"),
        Attempt::Write | Attempt::Outdated | Attempt::Unreached => None,
    }
}
