//! Endpoints: the addresses behind each Service that has a selector, in the older form that clients still read
//! (Kubernetes' pkg/controller/endpoint).
//!
//! ```text
//! pods -> a subset for each pod and port -> repacked into the canonical form -> cut off at 1000 -> one write
//! ```

pub mod controller;
pub mod subsets;

use crate::action::{Action, Says, Target, reference_to};
use crate::endpoint_slice::endpoint::{address, hostname, number, protocol, selects};
use crate::endpoint_slice::{HEADLESS, TRIGGER_TIME};
use crate::pod_facts;
use gantry_proto::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use gantry_proto::meta::v1::{ObjectMeta, Time};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpoint-controller";
/// Says "truncated" where there are more addresses than one object may hold.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The most addresses of one object, Kubernetes' maxCapacity.
const MAX_ADDRESSES: usize = 1000;

/// All that a decision about one Service looks at.
pub struct View<'a> {
    pub service: &'a Service,
    /// Those of the namespace.
    pub pods: Vec<&'a Pod>,
    /// The object of the Service's name.
    pub endpoints: Option<&'a Endpoints>,
}

pub fn reconcile(view: &View) -> Vec<Action> {
    let spec = view.service.spec();
    // Somebody else looks after the addresses of a Service without a selector.
    if spec.selector.is_empty() || spec.r#type == "ExternalName" {
        return Vec::new();
    }
    let mut subsets = subsets::repack(&subsets_of(view));
    let is_truncated = truncate(&mut subsets);
    match view.endpoints {
        Some(present) => change(view, present, subsets, is_truncated).into_iter().collect(),
        None => vec![create(view, subsets, is_truncated)],
    }
}

/// Whether Endpoints that no Service has the name of go: those of this controller, and those whose Service was seen to
/// go. Others may have come before their Service.
pub fn reconcile_leftover(endpoints: &Endpoints, service_went: bool) -> Vec<Action> {
    let labels = &endpoints.metadata().labels;
    let is_own = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    if !is_own && !service_went || endpoints.metadata().deletion_timestamp.is_some() {
        return Vec::new();
    }
    vec![Action::Delete {
        target: Target::of(endpoints),
        resource_version: None,
        grace_seconds: None,
        propagation: None,
        says: None,
    }]
}

/// One for each pod and port.
fn subsets_of(view: &View) -> Vec<EndpointSubset> {
    let service = view.service;
    let spec = service.spec();
    let family = spec.ip_families.first().map_or("IPv4", String::as_str);
    let publishes_all = spec.publish_not_ready_addresses;
    let mut subsets = Vec::new();
    for pod in view.pods.iter().filter(|pod| selects(service, pod)) {
        let has_ended = pod_facts::is_finished(pod) || pod_facts::is_terminating(pod) && !publishes_all;
        let Some(ip) = address(pod, family).filter(|_| !has_ended) else {
            continue;
        };
        let address = address_of(service, pod, ip);
        let is_ready = publishes_all || pod_facts::is_ready(pod);
        let mut add = |ports: Vec<EndpointPort>| {
            let (addresses, not_ready_addresses) = match is_ready {
                true => (vec![address.clone()], Vec::new()),
                false => (Vec::new(), vec![address.clone()]),
            };
            subsets.push(EndpointSubset {
                addresses,
                not_ready_addresses,
                ports,
            });
        };
        if spec.ports.is_empty() && spec.cluster_ip == "None" {
            add(Vec::new());
        }
        for port in &spec.ports {
            if let Some(number) = number(port, pod) {
                add(vec![EndpointPort {
                    name: port.name.clone(),
                    port: number,
                    protocol: protocol(&port.protocol).into(),
                    app_protocol: port.app_protocol.clone(),
                }]);
            }
        }
    }
    subsets
}

fn address_of(service: &Service, pod: &Pod, ip: &str) -> EndpointAddress {
    EndpointAddress {
        ip: ip.into(),
        hostname: hostname(service, pod).unwrap_or_default().into(),
        node_name: Some(pod.spec().node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: "Pod".into(),
            namespace: pod.metadata().namespace.clone(),
            name: pod.metadata().name.clone(),
            uid: pod.metadata().uid.clone(),
            ..ObjectReference::default()
        }),
    }
}

/// Leaves out what is too much, those that are not ready first, from each subset in proportion. Returns whether anything
/// was left out.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let total = |count: fn(&EndpointSubset) -> usize| subsets.iter().map(count).sum::<usize>();
    let ready = total(|subset| subset.addresses.len());
    let not_ready = total(|subset| subset.not_ready_addresses.len());
    if ready + not_ready <= MAX_ADDRESSES {
        return false;
    }
    let cuts_ready = ready > MAX_ADDRESSES;
    let (most, of) = match cuts_ready {
        true => (MAX_ADDRESSES, ready),
        false => (MAX_ADDRESSES - ready, not_ready),
    };
    let mut left = most;
    for subset in subsets {
        if cuts_ready {
            subset.not_ready_addresses.clear();
        }
        let addresses = match cuts_ready {
            true => &mut subset.addresses,
            false => &mut subset.not_ready_addresses,
        };
        let share = (addresses.len() * most).div_ceil(of);
        addresses.truncate(share.min(left));
        left -= addresses.len();
    }
    true
}

/// The Service's, and those by which it is known whose the object is.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata().labels.clone();
    match service.spec().cluster_ip.as_str() {
        "" | "None" => drop(labels.insert(HEADLESS.into(), String::new())),
        _ => drop(labels.remove(HEADLESS)),
    }
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn create(view: &View, subsets: Vec<EndpointSubset>, is_truncated: bool) -> Action {
    let metadata = view.service.metadata();
    let mut annotations = BTreeMap::new();
    if let Some(time) = metadata.creation_timestamp.as_ref().and_then(written) {
        annotations.insert(TRIGGER_TIME.to_string(), time);
    }
    if is_truncated {
        annotations.insert(OVER_CAPACITY.to_string(), "truncated".to_string());
    }
    let endpoints = Endpoints {
        metadata: Some(ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            labels: labels(view.service),
            annotations,
            ..ObjectMeta::default()
        }),
        subsets,
    };
    let prefix = format!(
        "Failed to create endpoint for service {}/{}: ",
        metadata.namespace, metadata.name
    );
    let says = Says::only_on_failure(reference_to(&endpoints), "FailedToCreateEndpoint", prefix);
    Action::Create {
        object: endpoints.into(),
        says: Some(says),
    }
}

fn change(
    view: &View,
    present: &Endpoints,
    subsets: Vec<EndpointSubset>,
    is_truncated: bool,
) -> Option<Action> {
    let metadata = present.metadata();
    let labels = labels(view.service);
    let said = metadata.annotations.get(OVER_CAPACITY).map(String::as_str);
    let to_say = is_truncated.then_some("truncated");
    if is_same(&present.subsets, &subsets) && metadata.labels == labels && said == to_say {
        return None;
    }
    // What an earlier write told of says nothing about this one.
    let triggered = triggered(view, &present.subsets, &subsets);
    let mut annotations = Map::new();
    if said != to_say {
        annotations.insert(OVER_CAPACITY.into(), to_say.map_or(Value::Null, Value::from));
    }
    if triggered.is_some() || metadata.annotations.contains_key(TRIGGER_TIME) {
        annotations.insert(TRIGGER_TIME.into(), triggered.map_or(Value::Null, Value::from));
    }
    let gone = metadata.labels.keys().filter(|name| !labels.contains_key(*name));
    let mut label_changes: Map<String, Value> = gone.map(|name| (name.clone(), Value::Null)).collect();
    label_changes.extend(labels.into_iter().map(|(name, value)| (name, value.into())));
    let prefix = format!(
        "Failed to update endpoint {}/{}: ",
        metadata.namespace, metadata.name
    );
    Some(Action::Patch {
        target: Target::of(present),
        subresource: None,
        patch: json!({
            "metadata": {
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
                "labels": label_changes,
                "annotations": annotations,
            },
            "subsets": subsets,
        }),
        says: Some(Says::only_on_failure(
            reference_to(present),
            "FailedToUpdateEndpoint",
            prefix,
        )),
    })
}

/// Which version of a pod was seen is of no interest.
fn is_same(present: &[EndpointSubset], subsets: &[EndpointSubset]) -> bool {
    if present == subsets {
        return true;
    }
    let mut present = present.to_vec();
    for subset in &mut present {
        let all = subset.addresses.iter_mut().chain(&mut subset.not_ready_addresses);
        for reference in all.filter_map(|address| address.target_ref.as_mut()) {
            reference.resource_version.clear();
        }
    }
    present == subsets
}

/// When the first of the pods that are ready now, or no longer, and were not, or were, when the object was written, did so
/// change.
fn triggered(view: &View, before: &[EndpointSubset], after: &[EndpointSubset]) -> Option<String> {
    let (before, after) = (readiness(before), readiness(after));
    let is_news = |uid: &str| before.get(uid) != after.get(uid);
    let changed = view
        .pods
        .iter()
        .filter(|pod| selects(view.service, pod) && is_news(&pod.metadata().uid));
    let times = changed.filter_map(|pod| pod_facts::condition(pod, pod_facts::READY)?.last_transition_time);
    written(&times.min_by_key(Time::to_system)?)
}

fn readiness(subsets: &[EndpointSubset]) -> BTreeMap<&str, bool> {
    subsets
        .iter()
        .flat_map(|subset| {
            let ready = subset
                .addresses
                .iter()
                .map(|one| (one.target_ref().uid.as_str(), true));
            let others = subset.not_ready_addresses.iter();
            ready.chain(others.map(|one| (one.target_ref().uid.as_str(), false)))
        })
        .collect()
}

fn written(time: &Time) -> Option<String> {
    serde_json::to_value(time).ok()?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
