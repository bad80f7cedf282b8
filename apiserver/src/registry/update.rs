//! Replacing an object, or what one of its endpoints stands for.

use std::time::SystemTime;

use gantry_proto::autoscaling::v1::Scale;
use gantry_proto::core::v1::Namespace;
use gantry_proto::kinds::Subresource;
use gantry_proto::meta::v1::{ObjectMeta, Preconditions, Status, StatusCause};
use gantry_proto::{Key, KindInfo};

use super::current::{Current, Intent};
use super::unsupported_events::unsupported_since;
use super::{Registry, Writer, Written, bad_request, is_namespace, metadata, no_such_resource};
use crate::allocation::{self, Allocation};
use crate::authentication::User;
use crate::authorization;
use crate::cache::Cache;
use crate::kinds::Target;
use crate::strategy::{self, Object};

pub(super) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// Which part of an object a write goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Main,
    Status,
    Scale,
    /// A namespace's spec.finalizers; when the last is gone, so is the namespace.
    Finalize,
}

impl Endpoint {
    /// The endpoint that a request's subresource names.
    pub fn parse(kind: &KindInfo, subresource: &str) -> Result<Endpoint, Status> {
        match subresource {
            "" => Ok(Endpoint::Main),
            "status" if kind.has(Subresource::Status) => Ok(Endpoint::Status),
            "scale" if kind.has(Subresource::Scale) => Ok(Endpoint::Scale),
            "finalize" if is_namespace(kind) => Ok(Endpoint::Finalize),
            _ => Err(no_such_resource()),
        }
    }

    fn target(self) -> Target {
        match self {
            Endpoint::Main => Target::Main,
            // Finalizing changes neither what is wanted nor how it is.
            Endpoint::Status | Endpoint::Finalize => Target::Status,
            Endpoint::Scale => Target::Scale,
        }
    }
}

/// What a request wants an endpoint to be.
#[derive(Clone)]
pub enum Proposal {
    Object(Box<dyn Object>),
    Scale(Box<Scale>),
}

impl Clone for Box<dyn Object> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

impl Proposal {
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Proposal::Object(object) => object.metadata(),
            Proposal::Scale(scale) => scale.metadata(),
        }
    }
}

/// An update of one endpoint.
pub struct Update {
    pub key: Key,
    pub endpoint: Endpoint,
    pub proposal: Proposal,
    pub writer: Writer,
    pub dry_run: bool,
    pub now: SystemTime,
}

impl Registry {
    pub async fn update(&self, cache: &Cache, update: Update) -> Result<Written, Status> {
        let Update {
            key,
            endpoint,
            proposal,
            writer,
            dry_run,
            now,
        } = update;
        let mut warnings = Vec::new();
        let mut unsupported = Vec::new();
        let mut attempt = 0;
        let decide = |current: &Current| {
            check_condition(cache, endpoint, &proposal)?;
            let revised = self.revise(cache, current, endpoint, proposal.clone(), &writer.user, attempt)?;
            attempt += 1;
            warnings = revised.warnings;
            unsupported = revised.unsupported;
            Ok(revised.intent)
        };
        let mut written = self
            .modify(cache, &key, "update", dry_run, writer.fence.as_ref(), decide)
            .await?;
        if !dry_run {
            self.tell_unsupported(cache.kind(), &written.raw, &unsupported, now)
                .await;
        }
        written.warnings = warnings;
        Ok(written)
    }

    /// What becomes of the present object when an endpoint is to be as proposed.
    pub(super) fn revise(
        &self,
        cache: &Cache,
        current: &Current,
        endpoint: Endpoint,
        proposal: Proposal,
        user: &User,
        attempt: usize,
    ) -> Result<Revised, Status> {
        let (info, strategy) = (cache.kind(), cache.strategy());
        let old = &*current.object;
        check_identity(info, proposal.metadata(), old.metadata())?;
        let mut new = merge(cache, current, endpoint, proposal)?;
        let target = endpoint.target();
        new.metadata_mut()
            .resource_version
            .clone_from(&old.metadata().resource_version);
        new.metadata_mut().managed_fields.clear();
        strategy.set_defaults(&mut *new);
        if endpoint != Endpoint::Finalize {
            strategy.prepare_for_update(&mut *new, old, target);
        }
        if target == Target::Main {
            strategy.admit(&mut *new);
        }
        authorization::admit(user, &*new, Some(old))?;
        new.metadata_mut().generation = old.metadata().generation;
        // A status says how things are: it never counts as a new wish, whatever annotations it carries.
        if target != Target::Status && strategy.generation_changes(&*new, old) {
            new.metadata_mut().generation += 1;
        }
        let causes = strategy.validate_update(&*new, old, target);
        if endpoint != Endpoint::Finalize && !causes.is_empty() {
            return Err(Status::invalid(info, &old.metadata().name, causes));
        }
        let warnings = strategy.warnings(&*new, Some(old));
        let unsupported = match endpoint {
            Endpoint::Main => unsupported_since(strategy, &warnings, old),
            _ => Vec::new(),
        };
        let allocation = match endpoint {
            Endpoint::Main if allocation::concerns(old) => self.allocate(&mut *new, Some(old), attempt)?,
            _ => Allocation::default(),
        };
        let intent = if ends(&*new, old) {
            Intent::Remove {
                allocation: self.ranges.release(old),
            }
        } else if new.equals(old) {
            Intent::Nothing
        } else {
            Intent::put_with(new, allocation)
        };
        Ok(Revised {
            intent,
            warnings,
            unsupported,
        })
    }
}

/// See [`Registry::revise`].
pub(super) struct Revised {
    pub intent: Intent,
    pub warnings: Vec<String>,
    /// Those warnings, of fields that nothing acts on, which the old object did not give rise to.
    pub unsupported: Vec<String>,
}

/// A kind may insist on knowing which version is replaced.
fn check_condition(cache: &Cache, endpoint: Endpoint, proposal: &Proposal) -> Result<(), Status> {
    let unconditional = proposal.metadata().resource_version.is_empty();
    if endpoint != Endpoint::Main || !unconditional || cache.strategy().allows_unconditional_update() {
        return Ok(());
    }
    let cause = StatusCause {
        reason: "FieldValueInvalid".into(),
        message: "Invalid value: 0: must be specified for an update".into(),
        field: "metadata.resourceVersion".into(),
    };
    Err(Status::invalid(
        cache.kind(),
        &proposal.metadata().name,
        vec![cause],
    ))
}

/// Refuses an update that is meant for another object or for another version of it.
fn check_identity(info: &KindInfo, new: &ObjectMeta, old: &ObjectMeta) -> Result<(), Status> {
    if !new.name.is_empty() && new.name != old.name {
        return Err(bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            new.name, old.name
        )));
    }
    if info.namespaced && !new.namespace.is_empty() && new.namespace != old.namespace {
        return Err(bad_request(format!(
            "the namespace of the object ({}) does not match the namespace on the request ({})",
            new.namespace, old.namespace
        )));
    }
    let uid = Some(new.uid.clone()).filter(|uid| !uid.is_empty());
    let preconditions = Preconditions {
        uid,
        resource_version: None,
    };
    metadata::check_preconditions(info, old, &preconditions)?;
    if !new.resource_version.is_empty() && new.resource_version != old.resource_version {
        return Err(Status::conflict(info, &old.name, MODIFIED));
    }
    Ok(())
}

/// The whole object with the endpoint as proposed.
fn merge(
    cache: &Cache,
    current: &Current,
    endpoint: Endpoint,
    proposal: Proposal,
) -> Result<Box<dyn Object>, Status> {
    let old = &current.object;
    let mut new = match (endpoint, proposal) {
        (Endpoint::Main | Endpoint::Status, Proposal::Object(new)) => new,
        (Endpoint::Scale, Proposal::Scale(scale)) => {
            let mut new = old.clone();
            cache.strategy().set_scale(&mut *new, &scale);
            new
        }
        (Endpoint::Finalize, Proposal::Object(proposed)) => {
            let mut new = old.clone();
            let proposed = strategy::typed::<Namespace>(&*proposed).ok_or_else(no_such_resource)?;
            let namespace = strategy::typed_mut::<Namespace>(&mut *new).ok_or_else(no_such_resource)?;
            namespace
                .spec_mut()
                .finalizers
                .clone_from(&proposed.spec().finalizers);
            new
        }
        _ => return Err(no_such_resource()),
    };
    let (name, namespace) = (&old.metadata().name, &old.metadata().namespace);
    new.metadata_mut().name.clone_from(name);
    new.metadata_mut().namespace.clone_from(namespace);
    Ok(new)
}

/// Whether an update ends the object.
fn ends(new: &dyn Object, old: &dyn Object) -> bool {
    match strategy::typed::<Namespace>(new) {
        Some(namespace) => {
            old.metadata().deletion_timestamp.is_some()
                && namespace.spec().finalizers.is_empty()
                && new.metadata().finalizers.is_empty()
        }
        None => metadata::ends_by_update(new.metadata(), old.metadata()),
    }
}
