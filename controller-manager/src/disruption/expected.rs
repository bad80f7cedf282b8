//! How many pods a budget expects: as many as it finds where it asks for a number, and else the scale of the workloads
//! that its pods belong to, so that pods that are away count too.

use crate::ownership::controller_of;
use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use gantry_proto::core::v1::Pod;
use gantry_proto::int_or_string::Rounding;
use gantry_proto::kinds::Subresource;
use gantry_proto::meta::v1::{IntOrString, ObjectMeta, OwnerReference};
use gantry_proto::policy::v1::PodDisruptionBudget;
use gantry_proto::{Kind, KindInfo};
use std::collections::BTreeMap;

/// The workloads of a namespace, by their names.
#[derive(Default)]
pub struct Workloads<'a> {
    pub replica_sets: BTreeMap<&'a str, &'a ReplicaSet>,
    pub deployments: BTreeMap<&'a str, &'a Deployment>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub count: i32,
    pub desired_healthy: i32,
    /// The names of pods that nobody controls.
    pub unmanaged: Vec<String>,
}

/// Fails where a pod's workload is not found.
pub fn expected(
    budget: &PodDisruptionBudget,
    pods: &[&Pod],
    workloads: &Workloads,
) -> Result<Expected, String> {
    let spec = budget.spec();
    if let Some(max_unavailable) = &spec.max_unavailable {
        let scale = scale(pods, workloads)?;
        let unavailable = scaled(max_unavailable, scale.count)?;
        return Ok(Expected {
            desired_healthy: scale.count.saturating_sub(unavailable).max(0),
            ..scale
        });
    }
    match &spec.min_available {
        None => Ok(Expected::default()),
        Some(number) if number.as_int().is_some() => Ok(Expected {
            count: i32::try_from(pods.len()).unwrap_or(i32::MAX),
            desired_healthy: number.as_int().unwrap_or_default(),
            unmanaged: Vec::new(),
        }),
        Some(percentage) => {
            let scale = scale(pods, workloads)?;
            Ok(Expected {
                desired_healthy: scaled(percentage, scale.count)?,
                ..scale
            })
        }
    }
}

fn scaled(value: &IntOrString, total: i32) -> Result<i32, String> {
    let invalid = || "invalid value for IntOrString: invalid type: string is not a percentage".to_string();
    value.scaled(total, Rounding::Up).ok_or_else(invalid)
}

/// The sum of the scales of the pods' workloads, each counted once.
fn scale(pods: &[&Pod], workloads: &Workloads) -> Result<Expected, String> {
    let mut scales_by_uid: BTreeMap<&str, i32> = BTreeMap::new();
    let mut unmanaged = Vec::new();
    for pod in pods {
        let name = &pod.metadata().name;
        let Some(controller) = controller_of(pod.metadata()) else {
            unmanaged.push(name.clone());
            continue;
        };
        // A Deployment is found through each of its ReplicaSets.
        if scales_by_uid.contains_key(controller.uid.as_str()) {
            continue;
        }
        let (uid, replicas) = workloads
            .scale(controller)?
            .ok_or_else(|| format!("found no controllers for pod {name:?}"))?;
        scales_by_uid.insert(uid, replicas);
    }
    Ok(Expected {
        count: scales_by_uid
            .values()
            .fold(0, |sum, replicas| sum.saturating_add(*replicas)),
        desired_healthy: 0,
        unmanaged,
    })
}

impl<'a> Workloads<'a> {
    /// The uid and the scale of the workload that a pod with this controller belongs to in the end.
    fn scale(&self, controller: &OwnerReference) -> Result<Option<(&'a str, i32)>, String> {
        let group = controller
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let is_apps = ["apps", "extensions"].contains(&group);
        if controller.kind == ReplicaSet::KIND && is_apps {
            let found = self.replica_set(controller).and_then(|replica_set| {
                let deployment = controller_of(replica_set.metadata());
                match deployment.filter(|deployment| deployment.kind == Deployment::KIND) {
                    Some(deployment) => self.deployment(deployment).map(of_deployment),
                    None => Some(of_replica_set(replica_set)),
                }
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        self.by_scale_subresource(controller)
    }

    /// Whatever has a scale counts.
    fn by_scale_subresource(&self, controller: &OwnerReference) -> Result<Option<(&'a str, i32)>, String> {
        let (kind, version) = (&controller.kind, &controller.api_version);
        let Some(info) = KindInfo::of_object(version, kind) else {
            return Err(format!("no matches for kind {kind:?} in version {version:?}"));
        };
        if !info.has(Subresource::Scale) {
            let resource = info.group_resource();
            return Err(format!("{resource} does not implement the scale subresource"));
        }
        Ok(match info.message {
            message if message == ReplicaSet::INFO.message => {
                self.replica_set(controller).map(of_replica_set)
            }
            message if message == Deployment::INFO.message => self.deployment(controller).map(of_deployment),
            _ => None,
        })
    }

    fn replica_set(&self, reference: &OwnerReference) -> Option<&'a ReplicaSet> {
        let found = self.replica_sets.get(reference.name.as_str()).copied();
        found.filter(|one| is_same(one.metadata(), reference))
    }

    fn deployment(&self, reference: &OwnerReference) -> Option<&'a Deployment> {
        let found = self.deployments.get(reference.name.as_str()).copied();
        found.filter(|one| is_same(one.metadata(), reference))
    }
}

fn is_same(metadata: &ObjectMeta, reference: &OwnerReference) -> bool {
    metadata.uid == reference.uid
}

fn of_replica_set(replica_set: &ReplicaSet) -> (&str, i32) {
    let replicas = replica_set.spec().replicas.unwrap_or(1);
    (&replica_set.metadata().uid, replicas)
}

fn of_deployment(deployment: &Deployment) -> (&str, i32) {
    let replicas = deployment.spec().replicas.unwrap_or(1);
    (&deployment.metadata().uid, replicas)
}
