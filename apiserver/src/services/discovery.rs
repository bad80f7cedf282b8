//! What the server has.

use gantry_proto::api::v1::{DiscoverReply, ResourceInfo, SubresourceInfo};
use gantry_proto::core::v1::{Binding, Namespace};
use gantry_proto::kinds::Subresource;
use gantry_proto::{Kind as _, KindInfo};

use crate::registry::deletes_collections;

/// The version of the Kubernetes API that is served, and ours.
pub const SERVER_VERSION: &str = gantry_telemetry::metrics::KUBERNETES_VERSION;

/// Of every stored kind; most have deletecollection besides.
const VERBS: [&str; 7] = ["create", "delete", "get", "list", "patch", "update", "watch"];

pub fn discover(kinds: impl Iterator<Item = &'static KindInfo>) -> DiscoverReply {
    // A Binding is never stored, but sent by itself too; an Eviction only to its pod.
    let mut kinds: Vec<_> = kinds.chain([Binding::INFO]).collect();
    kinds.sort_by_key(|info| (info.group, info.resource));
    DiscoverReply {
        resources: kinds.into_iter().map(resource).collect(),
        server_version: SERVER_VERSION.into(),
    }
}

fn resource(info: &'static KindInfo) -> ResourceInfo {
    let mut subresources: Vec<_> = info
        .subresources
        .iter()
        .map(|subresource| known(info, *subresource))
        .collect();
    if info.message == Namespace::INFO.message {
        subresources.push(named("finalize", info.kind, &["update"]));
    }
    let mut verbs = owned(if info.stored { &VERBS } else { &["create"] });
    if deletes_collections(info) {
        verbs.push("deletecollection".into());
        verbs.sort_unstable();
    }
    ResourceInfo {
        group: info.group.into(),
        version: info.version.into(),
        kind: info.kind.into(),
        resource: info.resource.into(),
        singular: info.singular.into(),
        short_names: owned(info.short_names),
        namespaced: info.namespaced,
        verbs,
        subresources,
        message: info.message.into(),
        categories: owned(info.categories),
    }
}

fn known(info: &KindInfo, subresource: Subresource) -> SubresourceInfo {
    let (kind, verbs): (&str, &[&str]) = match subresource {
        Subresource::Status => (info.kind, &["get", "patch", "update"]),
        Subresource::Scale => ("Scale", &["get", "patch", "update"]),
        Subresource::Binding => ("Binding", &["create"]),
        Subresource::Eviction => ("Eviction", &["create"]),
        Subresource::Log => (info.kind, &["get"]),
    };
    named(subresource.name(), kind, verbs)
}

fn named(name: &str, kind: &str, verbs: &[&str]) -> SubresourceInfo {
    SubresourceInfo {
        name: name.into(),
        kind: kind.into(),
        verbs: owned(verbs),
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
