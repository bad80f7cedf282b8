//! An object as the store has it, and the loop that changes one: read, decide, compare and write.

use std::time::Duration;

use bytes::Bytes;
use gantry_proto::api::v1::Fence;
use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;
use gantry_proto::{Key, KindInfo, envelope, wire};
use gantry_store::{Compare, KeyValue, Op, Txn};
use tokio::time::Instant;

use super::commit::{Commit, Intended};
use super::{Registry, Written, commit, internal};
use crate::allocation::Allocation;
use crate::cache::{Cache, Entry};
use crate::strategy::Object;

/// For how long a request that names no version follows an object that others change (Kubernetes'
/// requestTimeoutUpperBound). With a hundred writers at one object, the last has a hundred attempts behind it after a
/// tenth of a second.
const PATIENCE: Duration = Duration::from_secs(34);
/// How often addresses and ports that were chosen at random may go to somebody else: from the third time on, only free
/// ones are chosen from.
const MAX_TAKEN: usize = 16;

/// What an object is at this moment.
pub(super) struct Current {
    /// With its resourceVersion set.
    pub object: Box<dyn Object>,
    pub revision: i64,
    /// In wire form, possibly with a resourceVersion of its own.
    raw: Bytes,
    /// Read from the store, not from the cache: what is decided on it is final.
    fresh: bool,
}

/// What a request wants to do with an object.
pub(super) enum Intent {
    /// The object is in its stored form: without a resourceVersion, which is the store's revision.
    Put {
        object: Box<dyn Object>,
        allocation: Allocation,
    },
    Remove {
        allocation: Allocation,
    },
    Nothing,
}

impl Intent {
    pub fn put(object: Box<dyn Object>) -> Intent {
        Intent::put_with(object, Allocation::default())
    }

    pub fn put_with(mut object: Box<dyn Object>, allocation: Allocation) -> Intent {
        object.metadata_mut().resource_version.clear();
        Intent::Put { object, allocation }
    }
}

impl Current {
    pub fn raw_with_revision(&self) -> Bytes {
        wire::splice_resource_version(&self.raw, &self.revision.to_string())
    }

    fn of_store(cache: &Cache, kv: &KeyValue) -> Result<Current, Status> {
        let envelope = envelope::open(kv.value.clone()).map_err(internal)?;
        Current::new(cache, envelope.raw, kv.mod_revision, true)
    }

    fn of_cache(cache: &Cache, entry: &Entry) -> Result<Current, Status> {
        Current::new(cache, entry.raw.clone(), entry.revision, false)
    }

    fn new(cache: &Cache, raw: Bytes, revision: i64, fresh: bool) -> Result<Current, Status> {
        let mut object = cache.strategy().decode(&raw).map_err(internal)?;
        object.metadata_mut().resource_version = revision.to_string();
        Ok(Current {
            object,
            revision,
            raw,
            fresh,
        })
    }
}

impl Registry {
    /// What the store has of the object, or NotFound.
    pub(super) async fn stored(&self, info: &'static KindInfo, key: &Key) -> Result<KeyValue, Status> {
        let read = self.store.get(&info.storage_key(key)).await;
        let read = read.map_err(|error| commit::failure(info, "get", &error))?;
        read.kv.ok_or_else(|| Status::not_found(info, &key.name))
    }

    /// The object as the store has it, or NotFound.
    pub(super) async fn current(&self, cache: &Cache, key: &Key) -> Result<Current, Status> {
        Current::of_store(cache, &self.stored(cache.kind(), key).await?)
    }

    /// Changes an object as `decide` says, again and again while others change it in between.
    ///
    /// Begins with what the cache has, which is nearly always current; a refusal, or an object that would not
    /// change, is only believed when the store said so.
    pub(super) async fn modify(
        &self,
        cache: &Cache,
        key: &Key,
        operation: &'static str,
        dry_run: bool,
        fence: Option<&Fence>,
        mut decide: impl FnMut(&Current) -> Result<Intent, Status> + Send,
    ) -> Result<Written, Status> {
        let info = cache.kind();
        // What a dry run shows is not compared with the store afterwards.
        let mut current = match cache.get(key) {
            Some(entry) if !dry_run => Current::of_cache(cache, &entry)?,
            _ => self.current(cache, key).await?,
        };
        let deadline = Instant::now() + PATIENCE;
        let mut taken = 0;
        while Instant::now() < deadline && taken < MAX_TAKEN {
            let decided = decide(&current);
            let intent = match decided {
                Err(_) | Ok(Intent::Nothing) if !current.fresh => {
                    current = self.current(cache, key).await?;
                    continue;
                }
                decided => decided?,
            };
            if dry_run || matches!(intent, Intent::Nothing) {
                return Ok(shown(cache, &current, intent));
            }
            let outcome = self
                .write(cache, key, operation, &current, &intent, fence)
                .await?;
            match outcome {
                Outcome::Done(written) => return Ok(written),
                Outcome::Changed(Some(kv)) => current = Current::of_store(cache, &kv)?,
                Outcome::Changed(None) => return Err(Status::not_found(info, &key.name)),
                Outcome::Taken => taken += 1,
            }
        }
        Err(out_of_time())
    }

    async fn write(
        &self,
        cache: &Cache,
        key: &Key,
        operation: &'static str,
        current: &Current,
        intent: &Intent,
        fence: Option<&Fence>,
    ) -> Result<Outcome, Status> {
        let info = cache.kind();
        let store_key = info.storage_key(key);
        let (allocation, main, raw) = match intent {
            Intent::Nothing => return Ok(Outcome::Taken),
            Intent::Remove { allocation } => (
                allocation,
                Op::Delete {
                    key: store_key.clone(),
                },
                None,
            ),
            Intent::Put { object, allocation } => {
                let raw = object.encode();
                let put = self.put(info, &store_key, raw.clone()).await?;
                (allocation, put, Some(raw))
            }
        };
        let intended = match &main {
            Op::Put { value, .. } => Intended::Value(value.clone()),
            Op::Delete { .. } => Intended::Absence,
        };
        let mut txn = Txn {
            compare: vec![Compare::ModRevision {
                key: store_key.clone(),
                revision: current.revision,
            }],
            success: vec![main],
            read_on_failure: vec![store_key],
        };
        allocation.join(&mut txn);
        let commit = self
            .commit(info, operation, txn, intended, Some(current.revision), fence)
            .await?;
        let mut found = match commit {
            Commit::Done(revision) => {
                let raw = raw.map_or_else(
                    || current.raw_with_revision(),
                    |raw| wire::splice_resource_version(&raw, &revision.to_string()),
                );
                return Ok(Outcome::Done(Written {
                    raw,
                    message: info.message,
                    warnings: Vec::new(),
                }));
            }
            Commit::Lost(found) => found.into_iter(),
        };
        let own = found.next().flatten();
        if own.as_ref().is_none_or(|kv| kv.mod_revision != current.revision) {
            return Ok(Outcome::Changed(own));
        }
        allocation.refuse_taken(info, &key.name, found)?;
        Ok(Outcome::Taken)
    }
}

/// The words are Kubernetes' (apiserver/pkg/endpoints/handlers/finisher).
pub fn out_of_time() -> Status {
    Status::failure(
        Reason::Timeout,
        "Timeout: request did not complete within requested timeout - context deadline exceeded",
    )
}

enum Outcome {
    Done(Written),
    /// Somebody else changed the object first.
    Changed(Option<KeyValue>),
    /// An address or port that was chosen at random went to somebody else first: choose again.
    Taken,
}

/// What the request would have left, or left as it was.
fn shown(cache: &Cache, current: &Current, intent: Intent) -> Written {
    let raw = match intent {
        Intent::Put { object, .. } => {
            wire::splice_resource_version(&object.encode(), &current.revision.to_string())
        }
        Intent::Remove { .. } | Intent::Nothing => current.raw_with_revision(),
    };
    Written {
        raw,
        message: cache.kind().message,
        warnings: Vec::new(),
    }
}
