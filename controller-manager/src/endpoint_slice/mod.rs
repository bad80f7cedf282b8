//! EndpointSlice: the addresses behind each Service that has a selector.
//!
//! ```text
//! pods -> endpoints, grouped by the ports they really have -> placement into slices -> writes
//! ```

pub mod controller;
pub mod endpoint;
mod placement;

use crate::action::{Action, Target};
use crate::child_names::ChildNames;
use crate::ownership::controller_reference;
use endpoint::{Group, groups};
use gantry_proto::core::v1::{Pod, Service};
use gantry_proto::discovery::v1::{Endpoint, EndpointSlice};
use gantry_proto::meta::v1::ObjectMeta;
use placement::{Placement, place};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The label by which everybody finds a Service's slices.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// When the change of pods happened that a slice's last write tells of. Proxies measure by it how long they take.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// All that a decision about one Service looks at.
pub struct View<'a> {
    pub service: &'a Service,
    /// Those of the namespace.
    pub pods: Vec<&'a Pod>,
    /// Those of the namespace.
    pub slices: Vec<&'a EndpointSlice>,
    /// From the node's topology.kubernetes.io/zone label.
    pub zones_by_node: BTreeMap<&'a str, &'a str>,
    pub names: &'a ChildNames,
}

pub fn reconcile(view: &View) -> Vec<Action> {
    let service = view.service;
    let spec = service.spec();
    // Somebody else looks after the addresses of a Service without a selector.
    if spec.selector.is_empty()
        || spec.r#type == "ExternalName"
        || service.metadata().deletion_timestamp.is_some()
    {
        return Vec::new();
    }
    let own: Vec<&EndpointSlice> = view
        .slices
        .iter()
        .copied()
        .filter(|slice| is_own(service, slice))
        .collect();
    let mut changes = Changes::default();
    let families = families(service);
    for family in &families {
        let present = own.iter().copied().filter(|slice| slice.address_type == *family);
        changes.of_family(family, groups(view, family), present.collect());
    }
    let other = own
        .iter()
        .filter(|slice| !families.contains(&slice.address_type.as_str()));
    changes.deleted.extend(other);
    changes.into_actions(view)
}

/// Whether the slice is this controller's, for this Service.
pub fn is_own(service: &Service, slice: &EndpointSlice) -> bool {
    let labels = &slice.metadata().labels;
    let manager = labels.get(MANAGED_BY).map(String::as_str);
    labels.get(SERVICE_NAME) == Some(&service.metadata().name)
        && manager == Some(MANAGER)
        && slice.metadata().deletion_timestamp.is_none()
}

/// Address types of the slices: those of the Service's IP families.
fn families(service: &Service) -> Vec<&str> {
    match &service.spec().ip_families[..] {
        [] => vec!["IPv4"],
        families => families.iter().map(String::as_str).collect(),
    }
}

#[derive(Default)]
struct Changes<'a> {
    created: Vec<(String, Group)>,
    /// With what the slice should hold.
    kept: Vec<(&'a EndpointSlice, Group)>,
    deleted: Vec<&'a EndpointSlice>,
}

impl<'a> Changes<'a> {
    fn of_family(&mut self, family: &str, groups: Vec<Group>, present: Vec<&'a EndpointSlice>) {
        let mut placed = false;
        let mut created_groups = Vec::new();
        let mut unused: Vec<&EndpointSlice> = Vec::new();
        let ports: Vec<_> = groups.iter().map(|group| group.ports.clone()).collect();
        let (matching, obsolete): (Vec<_>, Vec<_>) = present
            .into_iter()
            .partition(|slice| ports.contains(&slice.ports));
        unused.extend(obsolete);
        for group in groups {
            let present = matching
                .iter()
                .copied()
                .filter(|slice| slice.ports == group.ports)
                .collect();
            let Placement {
                kept,
                created,
                emptied,
            } = place(&group, present);
            placed |= !kept.is_empty() || !created.is_empty();
            let with = |endpoints| Group {
                ports: group.ports.clone(),
                endpoints,
            };
            self.kept.extend(
                kept.into_iter()
                    .map(|(slice, endpoints)| (slice, with(endpoints))),
            );
            created_groups.extend(created.into_iter().map(with));
            unused.extend(emptied);
        }
        // A slice that would go takes what a new one would get.
        for group in created_groups {
            match unused.pop() {
                Some(slice) => self.kept.push((slice, group)),
                None => self.created.push((family.to_string(), group)),
            }
        }
        if !placed {
            // A Service without endpoints has one empty slice, so that readers can tell it from one that
            // nobody has looked at yet.
            match unused.pop() {
                Some(slice) => self.kept.push((slice, Group::default())),
                None => self.created.push((family.to_string(), Group::default())),
            }
        }
        self.deleted.extend(unused);
    }

    /// Creations and changes first: an endpoint that moves is there twice for a moment, never missing.
    fn into_actions(self, view: &View) -> Vec<Action> {
        let service = view.service;
        let labels = labels(service);
        let mut actions = Vec::new();
        for (slice, group) in self.kept {
            actions.extend(change(view, slice, &group, &labels));
        }
        let prefix = format!("{}-", service.metadata().name);
        let taken: BTreeSet<&str> = view
            .slices
            .iter()
            .map(|slice| slice.metadata().name.as_str())
            .collect();
        let names = view
            .names
            .candidates(&prefix)
            .filter(|name| !taken.contains(name.as_str()));
        for ((family, group), name) in self.created.into_iter().zip(names) {
            let slice = EndpointSlice {
                metadata: Some(ObjectMeta {
                    name,
                    generate_name: prefix.clone(),
                    namespace: service.metadata().namespace.clone(),
                    labels: labels.clone(),
                    annotations: triggered(view, &[], &group.endpoints)
                        .map(|time| (TRIGGER_TIME.to_string(), time))
                        .into_iter()
                        .collect(),
                    owner_references: vec![controller_reference(service)],
                    ..ObjectMeta::default()
                }),
                address_type: family,
                endpoints: group.endpoints,
                ports: group.ports,
            };
            actions.push(Action::Create {
                object: slice.into(),
                says: None,
            });
        }
        actions.extend(self.deleted.into_iter().map(|slice| Action::Delete {
            target: Target::of(slice),
            resource_version: None,
            grace_seconds: None,
            propagation: None,
            says: None,
        }));
        actions
    }
}

/// The Service's labels and those by which slices are found.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata().labels.clone();
    labels.retain(|name, _| name != HEADLESS);
    labels.insert(SERVICE_NAME.into(), service.metadata().name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if service.spec().cluster_ip == "None" {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels
}

/// When the last of the pods whose endpoints now become ready, or cease to be, did so: to the second, as the API has it.
/// A pod that is only told to end has not changed yet.
fn triggered(view: &View, before: &[Endpoint], after: &[Endpoint]) -> Option<String> {
    let ready_before: BTreeMap<&str, Option<bool>> = before
        .iter()
        .map(|endpoint| (endpoint.target_ref().uid.as_str(), endpoint.conditions().ready))
        .collect();
    let pods: BTreeMap<&str, &&Pod> = view
        .pods
        .iter()
        .map(|pod| (pod.metadata().uid.as_str(), pod))
        .collect();
    let changes = after.iter().filter_map(|endpoint| {
        let (uid, ready) = (endpoint.target_ref().uid.as_str(), endpoint.conditions().ready);
        if ready_before.get(uid) == Some(&ready) {
            return None;
        }
        let conditions = &pods.get(uid)?.status().conditions;
        let condition = conditions.iter().find(|condition| condition.r#type == "Ready")?;
        let is_its_own = Some(condition.status == "True") == ready;
        condition.last_transition_time.filter(|_| is_its_own)
    });
    let last = changes.max_by_key(|time| time.to_system())?;
    serde_json::to_value(last).ok()?.as_str().map(str::to_owned)
}

fn change(
    view: &View,
    slice: &EndpointSlice,
    group: &Group,
    labels: &BTreeMap<String, String>,
) -> Option<Action> {
    let present = &slice.metadata().labels;
    if slice.endpoints == group.endpoints && slice.ports == group.ports && present == labels {
        return None;
    }
    let mut label_changes: Map<String, Value> = present
        .keys()
        .filter(|name| !labels.contains_key(*name))
        .map(|name| (name.clone(), Value::Null))
        .collect();
    let set = labels
        .iter()
        .filter(|(name, value)| present.get(*name) != Some(value));
    label_changes.extend(set.map(|(name, value)| (name.clone(), value.clone().into())));
    // What an earlier write told of says nothing about this one.
    let triggered = triggered(view, &slice.endpoints, &group.endpoints);
    let mut annotation_changes = Map::new();
    if triggered.is_some() || slice.metadata().annotations.contains_key(TRIGGER_TIME) {
        annotation_changes.insert(TRIGGER_TIME.into(), triggered.map_or(Value::Null, Value::from));
    }
    Some(Action::Patch {
        target: Target::of(slice),
        subresource: None,
        patch: json!({
            "metadata": {
                "uid": slice.metadata().uid,
                "resourceVersion": slice.metadata().resource_version,
                "labels": label_changes,
                "annotations": annotation_changes,
            },
            "endpoints": group.endpoints,
            "ports": group.ports,
        }),
        says: None,
    })
}

#[cfg(test)]
mod tests;
