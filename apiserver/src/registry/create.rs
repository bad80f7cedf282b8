//! Creating an object.

use std::time::SystemTime;

use gantry_proto::api::v1::Fence;
use gantry_proto::meta::v1::{ObjectMeta, Status, StatusDetails};
use gantry_proto::status::Reason;
use gantry_proto::{Key, KindInfo, envelope, wire};
use gantry_store::{Compare, KeyValue, Op, Txn};

use super::admission::Standing;
use super::commit::{self, Commit, Intended};
use super::unsupported_events::unsupported;
use super::{Registry, Writer, Written, bad_request, current, metadata, names};
use crate::allocation::{self, Allocation};
use crate::authorization;
use crate::cache::Cache;
use crate::strategy::Object;

/// How often a name is generated before the request fails (Kubernetes' maxNameGenerationCreateAttempts).
const NAME_ATTEMPTS: usize = 8;
/// How often addresses and ports are chosen at random before the free ones are listed, and then again.
const ALLOCATION_ATTEMPTS: usize = 16;
/// How often the namespace may change under a creation. Namespaces hardly ever do.
const NAMESPACE_MOVES: usize = 16;
/// When a client may try again whose name, or whose prefix of names, was taken.
const NAME_RETRY_SECONDS: i32 = 1;

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
        let double_owners = metadata::remove_double_owners(object.metadata_mut(), "");
        strategy.set_defaults(&mut *object);
        let standing = self.check_namespace(info, object.metadata()).await?;
        authorization::admit(&writer.user, &*object, None)?;
        self.admit_priority(&mut *object).await?;
        let version = std::mem::take(&mut object.metadata_mut().resource_version);
        metadata::begin(object.metadata_mut(), uuid::Uuid::new_v4().to_string(), now);
        let generates = object.metadata().name.is_empty() && !object.metadata().generate_name.is_empty();
        if generates {
            give_name(&mut *object);
        }
        strategy.prepare_for_create(&mut *object);
        strategy.admit(&mut *object);
        let causes = strategy.validate(&*object);
        if !causes.is_empty() {
            return Err(Status::invalid(info, &object.metadata().name, causes));
        }
        self.catch_up(cache).await?;
        self.check_default_class(&*object, None)?;
        if !matches!(version.as_str(), "" | "0") {
            return Err(versioned());
        }
        let mut written = match (dry_run, generates) {
            (true, _) => self.pretend_to_insert(cache, &mut *object).await,
            (false, false) => {
                self.insert_into(standing, cache, &mut *object, writer.fence.as_ref())
                    .await
            }
            (false, true) => {
                self.insert_under_new_names(standing, cache, &mut *object, writer.fence.as_ref())
                    .await
            }
        }?;
        written.warnings = double_owners.into_iter().collect();
        written.warnings.extend(strategy.warnings(&*object, None));
        if !dry_run {
            let fields = unsupported(&written.warnings);
            self.tell_unsupported(info, &written.raw, &fields, now).await;
        }
        Ok(written)
    }

    async fn insert_under_new_names(
        &self,
        standing: Option<Standing>,
        cache: &Cache,
        object: &mut dyn Object,
        fence: Option<&Fence>,
    ) -> Result<Written, Status> {
        for _ in 1..NAME_ATTEMPTS {
            match self.insert_into(standing.clone(), cache, object, fence).await {
                Err(status) if status.reason_code() == Reason::AlreadyExists => give_name(object),
                result => return result,
            }
        }
        self.insert_into(standing, cache, object, fence).await
    }

    /// What [`Registry::insert`] would do, without doing it.
    async fn pretend_to_insert(&self, cache: &Cache, object: &mut dyn Object) -> Result<Written, Status> {
        let info = cache.kind();
        let key = Key::new(&object.metadata().namespace, &object.metadata().name);
        let read = self.store.get(&info.storage_key(&key)).await;
        let read = read.map_err(|error| commit::failure(info, "create", &error))?;
        if let Some(existing) = read.kv {
            return Err(already_exists(info, object.metadata(), &existing));
        }
        self.pretend_to_allocate(object)?;
        Ok(Written {
            raw: object.encode(),
            message: info.message,
            warnings: Vec::new(),
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
        self.insert_into(None, cache, object, fence).await
    }

    /// The same, where the namespace must be as it was seen.
    async fn insert_into(
        &self,
        mut standing: Option<Standing>,
        cache: &Cache,
        object: &mut dyn Object,
        fence: Option<&Fence>,
    ) -> Result<Written, Status> {
        let info = cache.kind();
        let key = Key::new(&object.metadata().namespace, &object.metadata().name);
        let store_key = info.storage_key(&key);
        let (mut attempt, mut moves) = (0, 0);
        while attempt < ALLOCATION_ATTEMPTS {
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
            if let Some(standing) = &standing {
                standing.join(&mut txn);
            }
            match self.commit(info, "create", txn, intended, None, fence).await? {
                Commit::Done(revision) => {
                    return Ok(Written {
                        raw: wire::splice_resource_version(&raw, &revision.to_string()),
                        message: info.message,
                        warnings: Vec::new(),
                    });
                }
                Commit::Lost(mut found) => {
                    let namespace = standing.as_ref().and_then(|_| found.pop().flatten());
                    let mut found = found.into_iter();
                    if let Some(existing) = found.next().flatten() {
                        return Err(already_exists(info, object.metadata(), &existing));
                    }
                    allocation.refuse_taken(info, &key.name, found)?;
                    let has_moved = |standing: &Standing| standing.has_moved(namespace.as_ref());
                    if standing.as_ref().is_some_and(has_moved) {
                        moves += 1;
                        if moves == NAMESPACE_MOVES {
                            return Err(current::out_of_time());
                        }
                        standing = Some(self.look_at_namespace(info, object.metadata()).await?);
                    } else {
                        attempt += 1;
                    }
                }
            }
        }
        Err(allocation::full("serviceIP or nodePort"))
    }
}

fn check_placement(info: &KindInfo, object: &dyn Object) -> Result<(), Status> {
    if info.namespaced && object.metadata().namespace.is_empty() {
        return Err(bad_request("an empty namespace may not be set during creation"));
    }
    Ok(())
}

/// What Kubernetes' store says, for which its server knows no reason.
fn versioned() -> Status {
    Status::failure(
        Reason::Unknown,
        "resourceVersion should not be set on objects to be created",
    )
}

#[allow(clippy::disallowed_methods, reason = "where a request meets chance")]
fn give_name(object: &mut dyn Object) {
    let metadata = object.metadata_mut();
    metadata.name = names::generated(&metadata.generate_name, &mut rand::rng());
}

/// The object is there already. Whoever left the name to the server, or gave it a prefix besides, may try again
/// (apiserver/pkg/registry/rest/create.go, CheckGeneratedNameError).
fn already_exists(info: &KindInfo, metadata: &ObjectMeta, existing: &KeyValue) -> Status {
    let mut status = Status::already_exists(info, &metadata.name);
    if !metadata.generate_name.is_empty() {
        status.message = format!(
            "{}, the server was not able to generate a unique name for the object",
            status.message
        );
        status
            .details
            .get_or_insert_with(StatusDetails::default)
            .retry_after_seconds = NAME_RETRY_SECONDS;
    }
    let existing = envelope::open(existing.value.clone())
        .ok()
        .and_then(|envelope| wire::metadata(&envelope.raw).ok());
    if existing.is_some_and(|metadata| metadata.deletion_timestamp.is_some()) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

#[cfg(test)]
mod tests {
    use gantry_proto::Kind as _;
    use gantry_proto::core::v1::ConfigMap;
    use gantry_proto::meta::v1::Time;
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_taken_name_is_told_with_what_can_be_done_about_it() {
        let check = |generate_name: &str, is_going: bool, expected: (&str, i32)| {
            let mut existing = ConfigMap::default();
            existing.metadata_mut().deletion_timestamp = is_going.then(Time::default);
            let existing = KeyValue {
                key: "k".into(),
                value: envelope::seal(ConfigMap::INFO, existing.encode_to_vec().into(), ""),
                create_revision: 1,
                mod_revision: 1,
                version: 1,
                lease: 0,
            };
            let metadata = ObjectMeta {
                name: "web-x".into(),
                generate_name: generate_name.into(),
                ..ObjectMeta::default()
            };
            let status = already_exists(ConfigMap::INFO, &metadata, &existing);
            let retry = status
                .details
                .as_ref()
                .map_or(0, |details| details.retry_after_seconds);
            assert_eq!((status.message.as_str(), retry), expected);
        };
        check("", false, ("configmaps \"web-x\" already exists", 0));
        check(
            "web-",
            false,
            (
                "configmaps \"web-x\" already exists, the server was not able to generate a unique name for the \
                 object",
                1,
            ),
        );
        check(
            "",
            true,
            ("object is being deleted: configmaps \"web-x\" already exists", 0),
        );
    }
}
