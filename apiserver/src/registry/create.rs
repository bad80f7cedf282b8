//! Creating an object.

use std::collections::BTreeSet;
use std::time::SystemTime;

use gantry_proto::api::v1::Fence;
use gantry_proto::core::v1::{Namespace, Service};
use gantry_proto::meta::v1::{Status, StatusCause, StatusDetails};
use gantry_proto::{Key, KindInfo, envelope, wire};
use gantry_store::{Compare, KeyValue, Op, Txn};
use prost::Message as _;

use super::commit::{Commit, Intended};
use super::unsupported_events::unsupported;
use super::{Registry, Writer, Written, bad_request, metadata, names};
use crate::allocation::{self, Allocation, Holding};
use crate::authorization;
use crate::cache::{Cache, Selection};
use crate::strategy::Object;

/// How often a name is generated before the request fails (Kubernetes' maxNameGenerationCreateAttempts).
const NAME_ATTEMPTS: usize = 8;
/// How often addresses and ports are chosen at random before the free ones are listed, and then again.
const ALLOCATION_ATTEMPTS: usize = 16;

/// An object that is to be.
pub struct Creation {
    pub object: Box<dyn Object>,
    pub writer: Writer,
    pub dry_run: bool,
    pub now: SystemTime,
}

impl Registry {
    pub async fn create(&self, cache: &Cache, creation: Creation) -> Result<Written, Status> {
        let Creation {
            mut object,
            writer,
            dry_run,
            now,
        } = creation;
        let (info, strategy) = (cache.kind(), cache.strategy());
        check_placement(info, &*object)?;
        strategy.set_defaults(&mut *object);
        metadata::begin(object.metadata_mut(), uuid::Uuid::new_v4().to_string(), now);
        strategy.prepare_for_create(&mut *object);
        strategy.admit(&mut *object);
        let generates = object.metadata().name.is_empty() && !object.metadata().generate_name.is_empty();
        if generates {
            give_name(&mut *object);
        }
        self.check_namespace(info, &*object).await?;
        authorization::admit(&writer.user, &*object, None)?;
        let causes = strategy.validate(&*object);
        if !causes.is_empty() {
            return Err(Status::invalid(info, &object.metadata().name, causes));
        }
        let mut written = match (dry_run, generates) {
            (true, _) => Ok(dry(info, &*object)),
            (false, false) => self.insert(cache, &mut *object, writer.fence.as_ref()).await,
            (false, true) => {
                self.insert_under_new_names(cache, &mut *object, writer.fence.as_ref())
                    .await
            }
        }?;
        written.warnings = strategy.warnings(&*object, None);
        if !dry_run {
            let fields = unsupported(&written.warnings);
            self.tell_unsupported(info, &written.raw, &fields, now).await;
        }
        Ok(written)
    }

    async fn insert_under_new_names(
        &self,
        cache: &Cache,
        object: &mut dyn Object,
        fence: Option<&Fence>,
    ) -> Result<Written, Status> {
        for _ in 1..NAME_ATTEMPTS {
            match self.insert(cache, object, fence).await {
                Err(status) if status.reason_code() == gantry_proto::status::Reason::AlreadyExists => {
                    give_name(object);
                }
                result => return result,
            }
        }
        let result = self.insert(cache, object, fence).await;
        result.map_err(|mut status| {
            if status.reason_code() == gantry_proto::status::Reason::AlreadyExists {
                status.message = format!(
                    "{}, the server was not able to generate a unique name for the object",
                    status.message
                );
            }
            status
        })
    }

    /// Writes the object, which has no resourceVersion, with what it takes from the cluster's addresses and ports,
    /// all or nothing.
    pub(super) async fn insert(
        &self,
        cache: &Cache,
        object: &mut dyn Object,
        fence: Option<&Fence>,
    ) -> Result<Written, Status> {
        let info = cache.kind();
        let key = Key::new(&object.metadata().namespace, &object.metadata().name);
        let store_key = info.storage_key(&key);
        for attempt in 0..ALLOCATION_ATTEMPTS {
            let (raw, allocation) = if allocation::concerns(object) {
                let mut candidate = object.boxed_clone();
                let allocation = self.allocate(&mut *candidate, None, attempt)?;
                (candidate.encode(), allocation)
            } else {
                (object.encode(), Allocation::default())
            };
            let put = self.put(info, &store_key, raw.clone()).await?;
            let intended = match &put {
                Op::Put { value, .. } => Intended::Value(value.clone()),
                Op::Delete { .. } => Intended::Absence,
            };
            let mut txn = Txn {
                compare: vec![Compare::ModRevision {
                    key: store_key.clone(),
                    revision: 0,
                }],
                success: vec![put],
                read_on_failure: vec![store_key.clone()],
            };
            allocation.join(&mut txn);
            match self.commit(info, "create", txn, intended, None, fence).await? {
                Commit::Done(revision) => {
                    return Ok(Written {
                        raw: wire::splice_resource_version(&raw, &revision.to_string()),
                        message: info.message,
                        warnings: Vec::new(),
                    });
                }
                Commit::Lost(found) => {
                    let mut found = found.into_iter();
                    if let Some(existing) = found.next().flatten() {
                        return Err(already_exists(info, &key.name, &existing));
                    }
                    allocation.refuse_taken(info, &key.name, found)?;
                }
            }
        }
        Err(allocation::full("serviceIP or nodePort"))
    }

    /// What the object takes and releases, with the choices written into it. Only Services take anything.
    ///
    /// `attempt` counts how often chance has failed: after twice the ranges are nearly full, and what others have
    /// is looked up.
    #[allow(clippy::disallowed_methods, reason = "where a request meets chance")]
    pub(super) fn allocate(
        &self,
        new: &mut dyn Object,
        old: Option<&dyn Object>,
        attempt: usize,
    ) -> Result<Allocation, Status> {
        if !allocation::concerns(new) {
            return Ok(Allocation::default());
        }
        let taken = if attempt < 2 {
            BTreeSet::new()
        } else {
            self.holdings()?
        };
        self.ranges.allocate(new, old, &taken, &mut rand::rng())
    }

    /// What the Services have, as far as the cache knows.
    fn holdings(&self) -> Result<BTreeSet<Holding>, Status> {
        let services = self.cache::<Service>()?.present();
        let all = Selection::all("");
        let services = services.objects.select(&all, None);
        let services = services.filter_map(|entry| Service::decode(&*entry.raw).ok());
        Ok(services.flat_map(|service| allocation::held(&service)).collect())
    }

    /// Refuses to create something in a namespace that is not there or on its way out
    /// (apiserver/pkg/admission/plugin/namespace/lifecycle).
    async fn check_namespace(&self, info: &'static KindInfo, object: &dyn Object) -> Result<(), Status> {
        if !info.namespaced {
            return Ok(());
        }
        let key = Key::cluster(&object.metadata().namespace);
        let namespaces = self.cache::<Namespace>()?;
        if namespaces.get(&key).is_some_and(|entry| !entry.is_going) {
            return Ok(());
        }
        // Another server may have made it a moment ago.
        let namespace = self.current(namespaces, &key).await?;
        if namespace.object.metadata().deletion_timestamp.is_none() {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            key.name
        );
        let mut status = Status::forbidden(info, &object.metadata().name, &why);
        let details = status.details.get_or_insert_with(StatusDetails::default);
        details.causes.push(StatusCause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {} is being terminated", key.name),
            field: "metadata.namespace".into(),
        });
        Err(status)
    }
}

fn check_placement(info: &KindInfo, object: &dyn Object) -> Result<(), Status> {
    let metadata = object.metadata();
    if info.namespaced && metadata.namespace.is_empty() {
        return Err(bad_request("an empty namespace may not be set during creation"));
    }
    if !metadata.resource_version.is_empty() {
        return Err(bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "where a request meets chance")]
fn give_name(object: &mut dyn Object) {
    let metadata = object.metadata_mut();
    metadata.name = names::generated(&metadata.generate_name, &mut rand::rng());
}

fn dry(info: &'static KindInfo, object: &dyn Object) -> Written {
    Written {
        raw: object.encode(),
        message: info.message,
        warnings: Vec::new(),
    }
}

fn already_exists(info: &KindInfo, name: &str, existing: &KeyValue) -> Status {
    let mut status = Status::already_exists(info, name);
    let metadata = envelope::open(existing.value.clone())
        .ok()
        .and_then(|envelope| wire::metadata(&envelope.raw).ok());
    if metadata.is_some_and(|metadata| metadata.deletion_timestamp.is_some()) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}
