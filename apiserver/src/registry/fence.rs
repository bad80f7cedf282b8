//! Writes that depend on a Lease's holder: a leader that was paused and comes back late is refused, because the
//! Lease's revision is compared in the write's own transaction.

use gantry_proto::api::v1::Fence;
use gantry_proto::coordination::v1::Lease;
use gantry_proto::meta::v1::{Status, StatusCause, StatusDetails};
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind as _, envelope};
use gantry_store::{Compare, KeyValue, Txn};
use prost::Message as _;

use super::{Registry, commit, internal};

/// The cause by which a client knows this refusal from other conflicts.
const FENCED_OFF: &str = "FencedOff";

/// A Lease that is held as a fence says, at this revision.
pub(super) struct Guard<'a> {
    fence: &'a Fence,
    store_key: String,
    revision: i64,
}

impl Registry {
    /// Finds the fence's Lease, or refuses the write if it is not held as the fence says. The cache may be behind,
    /// so only the store can say no.
    pub(super) async fn guard<'a>(&self, fence: &'a Fence) -> Result<Guard<'a>, Status> {
        let key = Key::new(&fence.namespace, &fence.name);
        let mut guard = Guard {
            fence,
            store_key: Lease::INFO.storage_key(&key),
            revision: 0,
        };
        let cached = self.cache::<Lease>()?.get(&key);
        if let Some(entry) = cached.filter(|entry| holds(fence, &entry.raw)) {
            guard.revision = entry.revision;
            return Ok(guard);
        }
        let read = self.store.get(&guard.store_key).await;
        let read = read.map_err(|error| commit::failure(Lease::INFO, "get", &error))?;
        guard.has_moved(read.kv.as_ref())?;
        Ok(guard)
    }
}

impl Guard<'_> {
    /// Makes the transaction depend on the Lease, which is the last that it reads when it fails.
    pub fn join(&self, txn: &mut Txn) {
        txn.compare.push(Compare::ModRevision {
            key: self.store_key.clone(),
            revision: self.revision,
        });
        txn.read_on_failure.push(self.store_key.clone());
    }

    /// Whether the Lease was written since and is held all the same: then the transaction failed for that, perhaps,
    /// and is tried again. Refuses where it is held no more.
    pub fn has_moved(&mut self, found: Option<&KeyValue>) -> Result<bool, Status> {
        let Some(kv) = found else {
            return Err(self.refused("it is gone"));
        };
        if kv.mod_revision == self.revision {
            return Ok(false);
        }
        let envelope = envelope::open(kv.value.clone()).map_err(internal)?;
        if !holds(self.fence, &envelope.raw) {
            return Err(self.refused("another holder has it, or had it since"));
        }
        self.revision = kv.mod_revision;
        Ok(true)
    }

    fn refused(&self, why: &str) -> Status {
        let Fence {
            namespace,
            name,
            holder,
            transitions,
        } = self.fence;
        let message = format!(
            "the write is fenced off: the Lease {namespace}/{name} is no longer held by {holder:?} in its term \
             {transitions}: {why}"
        );
        let mut status = Status::failure(Reason::Conflict, message.clone());
        status.details = Some(StatusDetails {
            name: name.clone(),
            group: Lease::INFO.group.into(),
            kind: Lease::INFO.resource.into(),
            causes: vec![StatusCause {
                reason: FENCED_OFF.into(),
                message,
                field: String::new(),
            }],
            ..StatusDetails::default()
        });
        status
    }
}

fn holds(fence: &Fence, raw: &[u8]) -> bool {
    let Ok(lease) = Lease::decode(raw) else {
        return false;
    };
    let spec = lease.spec();
    spec.holder_identity.as_deref() == Some(&fence.holder)
        && spec.lease_transitions.unwrap_or(0) == fence.transitions
}
