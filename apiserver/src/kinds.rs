//! The rules of each stored kind: what is filled in, what is refused, what is warned about and what can be
//! selected by. They are Kubernetes 1.36's (pkg/apis/*/v1/defaults.go, pkg/apis/*/validation,
//! pkg/registry/*/strategy.go), with its words and field paths, and its feature gates at their defaults.
//!
//! Everything here is pure: no clock, no randomness, no store. What needs the rest of the cluster (addresses,
//! node ports, uids, whether a namespace exists) is done by the code that calls these rules.

pub mod config_map;
pub mod controller_revision;
pub mod deployment;
pub mod disruption_budget;
pub mod endpoint_slice;
pub mod endpoints;
pub mod event;
pub mod ip_address;
pub mod lease;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod pod_template;
pub mod priority_class;
pub mod replica_set;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod service_cidr;

pub mod eviction;

pub mod field;
pub mod unsupported;

mod affinity;
mod condition;
mod container;
mod difference;
mod environment;
mod ip;
mod label_keys;
mod metadata;
pub(crate) mod names;
mod pod_defaults;
mod pod_spec;
mod pod_status;
mod pod_update;
mod pod_warnings;
mod ports;
mod probe;
mod projected;
mod quality;
mod resources;
mod scheduling;
mod security;
mod selector;
mod semantic;
mod service_addresses;
mod service_update;
mod volume;
mod volume_mounts;

use gantry_proto::Kind;
use gantry_proto::autoscaling::v1::Scale;
use gantry_proto::meta::v1::StatusCause;

/// Which endpoint of an object a write goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Main,
    Status,
    Scale,
}

/// The rules of one kind.
///
/// A create runs `set_defaults`, `prepare_for_create`, `admit`, then `validate`. An update runs `set_defaults`,
/// `prepare_for_update`, `admit` at the main endpoint, then `validate_update` alone, which includes what `validate` says of the new object
/// as far as Kubernetes checks it again. Both forms report everything that is wrong, in Kubernetes' order.
pub trait Rules: Send + Sync + 'static {
    type Object: Kind;

    /// Fills in what the writer left out, and settles fields that say the same thing twice. Idempotent.
    fn set_defaults(&self, _object: &mut Self::Object) {}

    /// Clears what a creator may not set: status, and metadata that the server owns. Sets the first generation
    /// for kinds that count generations.
    fn prepare_for_create(&self, object: &mut Self::Object) {
        metadata::clear_for_create(object.metadata_mut(), 0);
    }

    /// Adds what Kubernetes' admission plug-ins that are always on give an object that is written to its main
    /// endpoint, after its preparation and before its validation.
    fn admit(&self, _object: &mut Self::Object) {}

    /// Restores what this endpoint may not change. The generation becomes the old one; the caller raises it
    /// where `generation_changes` says so.
    fn prepare_for_update(&self, new: &mut Self::Object, old: &Self::Object, _target: Target) {
        metadata::keep_for_update(new.metadata_mut(), old.metadata());
    }

    /// Whether the update changes what is wanted. Always false for kinds that count no generations.
    fn generation_changes(&self, _new: &Self::Object, _old: &Self::Object) -> bool {
        false
    }

    /// What is wrong with an object that is being created, metadata included.
    fn validate(&self, object: &Self::Object) -> Vec<StatusCause>;

    /// What is wrong with an update.
    fn validate_update(&self, new: &Self::Object, old: &Self::Object, target: Target) -> Vec<StatusCause>;

    /// What the writer should know although the write is accepted: fields that are deprecated, and fields that
    /// are stored but not acted on yet. An update that leaves the spec as it was is told nothing.
    fn warnings(&self, _new: &Self::Object, _old: Option<&Self::Object>) -> Vec<String> {
        Vec::new()
    }

    /// The selectable fields beyond `metadata.name` and `metadata.namespace`.
    fn fields(&self, _object: &Self::Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// `Some(seconds)` where deletion has two phases: the object is first marked, and goes once its node has
    /// confirmed or the time is over. Zero seconds delete at once.
    fn graceful_seconds(&self, _object: &Self::Object, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// The scale subresource, for kinds that have it.
    fn scale(&self, _object: &Self::Object) -> Option<Scale> {
        None
    }

    fn set_scale(&self, _object: &mut Self::Object, _scale: &Scale) {}

    /// Whether an update without a resourceVersion is taken to mean "whatever is there now".
    fn allows_unconditional_update(&self) -> bool {
        true
    }
}

/// Receives every kind's rules, one call each.
pub trait Visitor {
    fn kind<R: Rules>(&mut self, rules: R);
}

/// The one list of stored kinds.
pub fn visit(visitor: &mut impl Visitor) {
    visitor.kind(namespace::Namespaces);
    visitor.kind(node::Nodes);
    visitor.kind(pod::Pods);
    visitor.kind(service::Services);
    visitor.kind(endpoint_slice::EndpointSlices);
    visitor.kind(endpoints::EndpointsRules);
    visitor.kind(pod_template::PodTemplates);
    visitor.kind(config_map::ConfigMaps);
    visitor.kind(secret::Secrets);
    visitor.kind(service_account::ServiceAccounts);
    visitor.kind(event::Events);
    visitor.kind(lease::Leases);
    visitor.kind(ip_address::IpAddresses);
    visitor.kind(service_cidr::ServiceCidrs);
    visitor.kind(disruption_budget::DisruptionBudgets);
    visitor.kind(priority_class::PriorityClasses);
    visitor.kind(controller_revision::ControllerRevisions);
    visitor.kind(deployment::Deployments);
    visitor.kind(replica_set::ReplicaSets);
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::kinds::KINDS;

    #[test]
    fn every_stored_kind_has_rules_and_only_those() {
        struct Names(Vec<&'static str>);
        impl Visitor for Names {
            fn kind<R: Rules>(&mut self, _rules: R) {
                self.0.push(R::Object::KIND);
            }
        }
        let mut names = Names(Vec::new());
        visit(&mut names);
        let stored: Vec<&str> = KINDS
            .iter()
            .filter(|info| info.stored)
            .map(|info| info.kind)
            .collect();
        assert_eq!(names.0, stored);
    }
}
