//! The ReplicaSets of one Deployment, told apart by template.

use super::hash::same_template;
use gantry_proto::apps::v1::{Deployment, ReplicaSet};

pub struct Fleet<'a> {
    /// The one with the deployment's present template.
    pub new: Option<&'a ReplicaSet>,
    /// Oldest first.
    pub old: Vec<&'a ReplicaSet>,
}

impl<'a> Fleet<'a> {
    pub fn new(deployment: &Deployment, mut owned: Vec<&'a ReplicaSet>) -> Fleet<'a> {
        owned.sort_by_key(|replica_set| age(replica_set));
        let template = deployment.spec().template();
        let position = owned
            .iter()
            .position(|owned| same_template(owned.spec().template(), template));
        let new = position.map(|position| owned.remove(position));
        Fleet { new, old: owned }
    }

    pub fn all(&self) -> impl Iterator<Item = &'a ReplicaSet> {
        self.old.iter().copied().chain(self.new)
    }

    /// Those that are to have pods.
    pub fn active(&self) -> impl Iterator<Item = &'a ReplicaSet> {
        self.all().filter(|replica_set| size(replica_set) > 0)
    }

    /// How many pods the specs ask for.
    pub fn total_size(&self) -> i32 {
        self.all().map(size).sum()
    }

    pub fn total_available(&self) -> i32 {
        self.all().map(available).sum()
    }
}

/// Sorts the oldest first; names decide between those of one second.
pub fn age(replica_set: &ReplicaSet) -> (i64, String) {
    let metadata = replica_set.metadata();
    (
        metadata
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.seconds),
        metadata.name.clone(),
    )
}

pub fn desired(deployment: &Deployment) -> i32 {
    deployment.spec().replicas.unwrap_or(1)
}

pub fn size(replica_set: &ReplicaSet) -> i32 {
    replica_set.spec().replicas.unwrap_or(1)
}

/// Available pods that the ReplicaSet is going to keep: its status may still count those that its spec has
/// already given up.
pub fn available(replica_set: &ReplicaSet) -> i32 {
    replica_set.status().available_replicas.min(size(replica_set))
}
