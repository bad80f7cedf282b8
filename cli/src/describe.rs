//! What `describe` shows of an object: everything about it, what belongs to it, and its events, in the layout of
//! kubectl's describers. One file per kind.

mod text;
mod containers;
mod volumes;
mod events;
mod pod;
mod deployment;
mod replica_set;
mod service;
mod node;
mod config_map;
mod secret;
mod pod_disruption_budget;
mod priority_class;
mod endpoints;
mod namespace;
mod other;

pub use containers::template;

use crate::aligned::tabbed;
use crate::cluster::{Object, Selection};
use crate::failure::Failure;
use crate::session::Connected;
use gantry_proto::apps::v1::ReplicaSet;
use gantry_proto::coordination::v1::Lease;
use gantry_proto::core::v1::{Event, Pod};
use gantry_proto::discovery::v1::EndpointSlice;
use gantry_proto::{Key, KindInfo};
use std::time::SystemTime;
use text::Text;

/// Spaces between columns.
const PADDING: usize = 2;
/// Where the nodes' heartbeats are.
const NODE_LEASES: &str = "kube-node-lease";

/// What else is read to describe an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    PodsOfNamespace,
    PodsOfNode,
    ReplicaSets,
    EndpointSlices,
    NodeLease,
}

/// What was read besides the object. What could not be read is left out of the description.
#[derive(Default)]
pub struct Related {
    pods: Vec<Pod>,
    replica_sets: Vec<ReplicaSet>,
    endpoint_slices: Vec<EndpointSlice>,
    node_lease: Option<Lease>,
    events: Vec<Event>,
}

struct Describer {
    kind: &'static str,
    needs: &'static [Need],
    describe: fn(&Object, &Related, SystemTime, &mut Text) -> Result<(), Failure>,
}

const DESCRIBERS: &[Describer] = &[
    Describer {
        kind: "Pod",
        needs: &[],
        describe: pod::describe,
    },
    Describer {
        kind: "Deployment",
        needs: &[Need::ReplicaSets],
        describe: deployment::describe,
    },
    Describer {
        kind: "ReplicaSet",
        needs: &[Need::PodsOfNamespace],
        describe: replica_set::describe,
    },
    Describer {
        kind: "Service",
        needs: &[Need::EndpointSlices],
        describe: service::describe,
    },
    Describer {
        kind: "Node",
        needs: &[Need::PodsOfNode, Need::NodeLease],
        describe: node::describe,
    },
    Describer {
        kind: "ConfigMap",
        needs: &[],
        describe: config_map::describe,
    },
    Describer {
        kind: "Secret",
        needs: &[],
        describe: secret::describe,
    },
    Describer {
        kind: "PodDisruptionBudget",
        needs: &[],
        describe: pod_disruption_budget::describe,
    },
    Describer {
        kind: "PriorityClass",
        needs: &[],
        describe: priority_class::describe,
    },
    Describer {
        kind: "Endpoints",
        needs: &[],
        describe: endpoints::describe,
    },
    Describer {
        kind: "Namespace",
        needs: &[],
        describe: namespace::describe,
    },
];

const OTHER: &Describer = &Describer {
    kind: "",
    needs: &[],
    describe: other::describe,
};

fn describer(kind: &KindInfo) -> &'static Describer {
    DESCRIBERS
        .iter()
        .find(|describer| describer.kind == kind.kind)
        .unwrap_or(OTHER)
}

/// Reads what belongs to the object.
pub async fn related(object: &Object, connected: &Connected) -> Related {
    let cluster = &connected.cluster;
    let mut related = Related::default();
    let namespace = &object.metadata.namespace;
    let name = &object.metadata.name;
    let here = Selection {
        namespace: namespace.clone(),
        ..Selection::default()
    };
    for need in describer(object.kind).needs {
        match need {
            Need::PodsOfNamespace => related.pods = cluster.list_as(&here).await.unwrap_or_default(),
            Need::PodsOfNode => {
                let fields = format!("spec.nodeName={name}");
                let selection = Selection {
                    fields,
                    ..Selection::default()
                };
                related.pods = cluster.list_as(&selection).await.unwrap_or_default();
            }
            Need::ReplicaSets => related.replica_sets = cluster.list_as(&here).await.unwrap_or_default(),
            Need::EndpointSlices => {
                let labels = format!("kubernetes.io/service-name={name}");
                let selection = Selection {
                    labels,
                    ..here.clone()
                };
                related.endpoint_slices = cluster.list_as(&selection).await.unwrap_or_default();
            }
            Need::NodeLease => related.node_lease = cluster.get_as(&Key::new(NODE_LEASES, name)).await.ok(),
        }
    }
    let kind = object.kind.kind;
    // Events about objects without a namespace are in "default".
    let namespace = if namespace.is_empty() {
        "default".to_string()
    } else {
        namespace.clone()
    };
    let fields = format!("involvedObject.name={name},involvedObject.kind={kind}");
    let about = Selection {
        namespace,
        fields,
        ..Selection::default()
    };
    let events = cluster.list_as::<Event>(&about).await.unwrap_or_default();
    let uid = &object.metadata.uid;
    // A node's own events carry its name where others carry a uid.
    let same = |event: &Event| {
        let event_uid = &event.involved_object().uid;
        event_uid == uid || event_uid == name || event_uid.is_empty()
    };
    related.events = events.into_iter().filter(same).collect();
    related
}

/// The description, with a line end.
pub fn describe(object: &Object, related: &Related, now: SystemTime) -> Result<String, Failure> {
    let mut text = Text::default();
    (describer(object.kind).describe)(object, related, now, &mut text)?;
    // kubectl looks for no events about a namespace itself.
    if object.kind.kind != "Namespace" {
        events::describe(&related.events, now, &mut text);
    }
    Ok(tabbed(&text.text, PADDING))
}

#[cfg(test)]
mod tests;
