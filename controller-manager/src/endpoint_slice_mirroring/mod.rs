//! Mirroring: Endpoints that somebody keeps by hand, for a Service without a selector, as EndpointSlices, which is what
//! proxies and DNS read (Kubernetes' pkg/controller/endpointslicemirroring).
//!
//! ```text
//! subsets -> repacked -> one slice for each set of ports and address family -> writes
//! ```

pub mod controller;

use crate::action::{Action, Says, Target, reference_to};
use crate::child_names::ChildNames;
use crate::endpoint_slice::{MANAGED_BY, SERVICE_NAME, TRIGGER_TIME};
use crate::endpoints::subsets::repack;
use crate::ownership::controller_reference;
use gantry_proto::core::v1::{self, EndpointAddress, Endpoints, Service};
use gantry_proto::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use gantry_proto::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// On Endpoints: "true" where somebody else looks after the slices.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints that are only there for whoever leads.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// What a user's tool noted about the Endpoints is not true of their slices.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The most addresses of one subset that are mirrored; Kubernetes' --mirroring-max-endpoints-per-subset.
const MAX_PER_SUBSET: usize = 1000;

/// All that a decision about Endpoints looks at.
pub struct View<'a> {
    pub endpoints: Option<&'a Endpoints>,
    /// The Service of the same name.
    pub service: Option<&'a Service>,
    /// Those of the namespace.
    pub slices: Vec<&'a EndpointSlice>,
    pub names: &'a ChildNames,
}

/// Whether the slice is this controller's, for Endpoints of this name.
pub fn is_own(slice: &EndpointSlice, name: &str) -> bool {
    let labels = &slice.metadata().labels;
    let is = |label: &str, value: &str| labels.get(label).is_some_and(|one| one == value);
    is(SERVICE_NAME, name) && is(MANAGED_BY, MANAGER)
}

pub fn reconcile(view: &View, name: &str) -> Vec<Action> {
    let present: Vec<&EndpointSlice> = view
        .slices
        .iter()
        .copied()
        .filter(|slice| is_own(slice, name) && slice.metadata().deletion_timestamp.is_none())
        .collect();
    let has_selector = |service: &Service| !service.spec().selector.is_empty();
    let mirrored = view.endpoints.filter(|endpoints| is_mirrored(endpoints));
    match mirrored.zip(view.service) {
        Some((endpoints, service)) if !has_selector(service) => mirror(view, endpoints, present),
        _ => present.into_iter().map(delete).collect(),
    }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let metadata = endpoints.metadata();
    let skips = metadata
        .labels
        .get(SKIP_MIRROR)
        .is_some_and(|value| value == "true");
    !skips && !metadata.annotations.contains_key(LEADER)
}

/// What one slice should hold.
#[derive(Debug, PartialEq)]
struct Content {
    address_type: &'static str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
}

fn mirror(view: &View, endpoints: &Endpoints, present: Vec<&EndpointSlice>) -> Vec<Action> {
    let (contents, complaints) = contents(endpoints);
    let mut unused = present;
    let mut kept = Vec::new();
    let mut created = Vec::new();
    for content in contents {
        let fits = |slice: &&EndpointSlice| {
            slice.address_type == content.address_type && slice.ports == content.ports
        };
        match unused.iter().position(fits) {
            Some(position) => kept.push((unused.remove(position), content)),
            None => created.push(content),
        }
    }
    // A slice that would go takes what a new one of its family would get.
    created.retain_mut(|content| {
        let recycled = unused
            .iter()
            .position(|slice| slice.address_type == content.address_type);
        let Some(position) = recycled else { return true };
        let taken = Content {
            address_type: content.address_type,
            ports: std::mem::take(&mut content.ports),
            endpoints: std::mem::take(&mut content.endpoints),
        };
        kept.push((unused.remove(position), taken));
        false
    });
    if endpoints.metadata().deletion_timestamp.is_some() {
        created.clear();
    }
    let prefix = format!("{}-", endpoints.metadata().name);
    let taken: BTreeSet<&str> = view
        .slices
        .iter()
        .map(|slice| slice.metadata().name.as_str())
        .collect();
    let names = view
        .names
        .candidates(&prefix)
        .filter(|name| !taken.contains(name.as_str()));
    let created = created.into_iter().zip(names);
    let mut actions: Vec<Action> = created
        .map(|(content, name)| create(endpoints, content, name, &prefix))
        .collect();
    actions.extend(
        kept.iter()
            .filter_map(|(slice, content)| change(endpoints, slice, content)),
    );
    actions.extend(unused.into_iter().map(delete));
    actions.extend(complaints);
    actions
}

/// A slice for each set of ports and address family, and what could not be mirrored.
fn contents(endpoints: &Endpoints) -> (Vec<Content>, Vec<Action>) {
    let (mut contents, mut invalid, mut skipped): (Vec<Content>, usize, usize) = (Vec::new(), 0, 0);
    for subset in repack(&endpoints.subsets) {
        let ports: Vec<EndpointPort> = subset.ports.iter().map(port).collect();
        let mut added = 0;
        let ready = subset.addresses.iter().map(|address| (address, true));
        let others = subset.not_ready_addresses.iter().map(|address| (address, false));
        for (address, is_ready) in ready.chain(others) {
            if added >= MAX_PER_SUBSET {
                skipped += 1;
                continue;
            }
            let Ok(ip) = address.ip.parse::<IpAddr>() else {
                invalid += 1;
                continue;
            };
            added += 1;
            let address_type = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let endpoint = endpoint(address, ip, is_ready);
            let same = contents
                .iter_mut()
                .find(|content| content.address_type == address_type && content.ports == ports);
            match same {
                Some(content) => content.endpoints.push(endpoint),
                None => contents.push(Content {
                    address_type,
                    ports: ports.clone(),
                    endpoints: vec![endpoint],
                }),
            }
        }
    }
    let mut complaints = Vec::new();
    if invalid > 0 {
        let message = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
        complaints.push(complain(endpoints, "InvalidIPAddress", message));
    }
    if skipped > 0 {
        let message = format!(
            "A max of {MAX_PER_SUBSET} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were \
             skipped",
            skipped + invalid
        );
        complaints.push(complain(endpoints, "TooManyAddressesToMirror", message));
    }
    (contents, complaints)
}

fn port(port: &v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(port.port),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, ip: IpAddr, is_ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(is_ready),
            ..EndpointConditions::default()
        }),
        hostname: Some(&address.hostname).filter(|name| !name.is_empty()).cloned(),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        ..Endpoint::default()
    }
}

/// The Endpoints', and those by which slices are found.
fn labels(endpoints: &Endpoints) -> BTreeMap<String, String> {
    let mut labels = endpoints.metadata().labels.clone();
    labels.insert(SERVICE_NAME.into(), endpoints.metadata().name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn annotations(endpoints: &Endpoints) -> BTreeMap<String, String> {
    let mut annotations = endpoints.metadata().annotations.clone();
    annotations.retain(|name, _| name != TRIGGER_TIME && name != LAST_APPLIED);
    annotations
}

fn create(endpoints: &Endpoints, content: Content, name: String, prefix: &str) -> Action {
    let slice = EndpointSlice {
        metadata: Some(ObjectMeta {
            name,
            generate_name: prefix.into(),
            namespace: endpoints.metadata().namespace.clone(),
            labels: labels(endpoints),
            annotations: annotations(endpoints),
            owner_references: vec![controller_reference(endpoints)],
            ..ObjectMeta::default()
        }),
        address_type: content.address_type.into(),
        endpoints: content.endpoints,
        ports: content.ports,
    };
    Action::Create {
        object: slice.into(),
        says: None,
    }
}

fn change(endpoints: &Endpoints, slice: &EndpointSlice, content: &Content) -> Option<Action> {
    let metadata = slice.metadata();
    let (labels, annotations) = (labels(endpoints), annotations(endpoints));
    let owner = [controller_reference(endpoints)];
    let is_same = slice.endpoints == content.endpoints
        && slice.ports == content.ports
        && metadata.labels == labels
        && metadata.annotations == annotations
        && metadata.owner_references == owner;
    if is_same {
        return None;
    }
    Some(Action::Patch {
        target: Target::of(slice),
        subresource: None,
        patch: json!({
            "metadata": {
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
                "labels": changes(&metadata.labels, labels),
                "annotations": changes(&metadata.annotations, annotations),
                "ownerReferences": owner,
            },
            "endpoints": content.endpoints,
            "ports": content.ports,
        }),
        says: None,
    })
}

fn changes(present: &BTreeMap<String, String>, wanted: BTreeMap<String, String>) -> Map<String, Value> {
    let gone = present.keys().filter(|name| !wanted.contains_key(*name));
    let mut changes: Map<String, Value> = gone.map(|name| (name.clone(), Value::Null)).collect();
    changes.extend(wanted.into_iter().map(|(name, value)| (name, value.into())));
    changes
}

fn delete(slice: &EndpointSlice) -> Action {
    Action::Delete {
        target: Target::of(slice),
        resource_version: None,
        grace_seconds: None,
        propagation: None,
        says: None,
    }
}

fn complain(endpoints: &Endpoints, reason: &'static str, message: String) -> Action {
    Action::Tell {
        says: Says {
            about: reference_to(endpoints),
            warning: true,
            reason,
            message,
            on_failure: None,
        },
    }
}

#[cfg(test)]
mod tests;
