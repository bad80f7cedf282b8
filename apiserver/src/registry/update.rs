//! Replacing an object, or what one of its endpoints stands for.

use std::time::SystemTime;

use gantry_proto::autoscaling::v1::Scale;
use gantry_proto::coordination::v1::Lease;
use gantry_proto::core::v1::{Endpoints, Event, Namespace, Service};
use gantry_proto::kinds::Subresource;
use gantry_proto::meta::v1::{ObjectMeta, Preconditions, Status};
use gantry_proto::{Key, Kind as _, KindInfo};

use super::current::{Current, Intent};
use super::unsupported_events::unsupported_since;
use super::{
    Creation, Registry, Writer, Written, fate, is_namespace, metadata, no_such_resource, placement,
    preconditions, priority, scale, version,
};
use crate::allocation::{self, Allocation};
use crate::authentication::User;
use crate::authorization;
use crate::cache::Cache;
use crate::kinds::Target;
use crate::strategy::{self, Object};

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

    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Proposal::Object(object) => object.metadata_mut(),
            Proposal::Scale(scale) => scale.metadata_mut(),
        }
    }
}

/// An update of one endpoint.
#[derive(Clone)]
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
            mut proposal,
            writer,
            dry_run,
            now,
        } = update;
        let info = cache.kind();
        let double_owners = metadata::remove_double_owners(proposal.metadata_mut(), "");
        placement::check_name(&key, proposal.metadata())?;
        self.catch_up(cache).await?;
        let conditions = Preconditions {
            uid: Some(proposal.metadata().uid.clone()).filter(|uid| !uid.is_empty()),
            resource_version: None,
        };
        let mut warnings = Vec::new();
        let mut unsupported = Vec::new();
        let mut attempt = 0;
        let decide = |current: &Current| {
            preconditions::check_stored(info, &key, current.object.metadata(), &conditions)?;
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
            self.tell_unsupported(info, &written.raw, &unsupported, now).await;
        }
        written.warnings = double_owners.into_iter().chain(warnings).collect();
        Ok(written)
    }

    /// Makes the object of an update that found none, where the kind allows it.
    pub async fn create_by_update(&self, cache: &Cache, update: Update) -> Result<Written, Status> {
        let info = cache.kind();
        let Proposal::Object(mut object) = update.proposal else {
            return Err(Status::not_found(info, &update.key.name));
        };
        let metadata = object.metadata_mut();
        let conditions = Preconditions {
            uid: Some(std::mem::take(&mut metadata.uid)).filter(|uid| !uid.is_empty()),
            resource_version: None,
        };
        preconditions::check_stored(info, &update.key, &ObjectMeta::default(), &conditions)?;
        // It was that of an object that has gone.
        metadata.resource_version.clear();
        let creation = Creation {
            object,
            writer: update.writer,
            dry_run: update.dry_run,
            now: update.now,
        };
        self.create(cache, creation).await
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
        version::check(cache, proposal.metadata(), current)?;
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
            priority::keep(&mut *new, old);
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
        self.check_default_class(&*new, Some(old))?;
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
                allocation: self.release(old),
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

/// Whether an update of a missing object creates it (AllowCreateOnUpdate of the kinds' strategies).
pub fn creates_by_update(info: &KindInfo) -> bool {
    let kinds = [
        Service::INFO.message,
        Endpoints::INFO.message,
        Event::INFO.message,
        Lease::INFO.message,
    ];
    kinds.contains(&info.message)
}

/// The whole object with the endpoint as proposed.
fn merge(
    cache: &Cache,
    current: &Current,
    endpoint: Endpoint,
    proposal: Proposal,
) -> Result<Box<dyn Object>, Status> {
    let old = &current.object;
    Ok(match (endpoint, proposal) {
        (Endpoint::Main | Endpoint::Status, Proposal::Object(new)) => new,
        (Endpoint::Scale, Proposal::Scale(scale)) => {
            scale::check(cache.kind(), &scale, old.metadata())?;
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
    })
}

/// Whether an update ends the object.
fn ends(new: &dyn Object, old: &dyn Object) -> bool {
    match strategy::typed::<Namespace>(new) {
        Some(namespace) => {
            namespace.spec().finalizers.is_empty() && fate::ends_by_update(new.metadata(), old.metadata())
        }
        None => fate::ends_by_update(new.metadata(), old.metadata()),
    }
}
