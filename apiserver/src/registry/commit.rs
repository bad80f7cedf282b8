//! One write to the store, certain where certainty can be had.
//!
//! Every transaction compares the revision of the key that it writes, so trying it again after a lost reply
//! cannot do it twice: the second try either does it or finds that the first one did.

use std::time::Duration;

use bytes::Bytes;
use gantry_proto::api::v1::Fence;
use gantry_proto::coordination::v1::Lease;
use gantry_proto::core::v1::Event;
use gantry_proto::meta::v1::{Status, StatusDetails};
use gantry_proto::status::Reason;
use gantry_proto::{Kind, KindInfo, envelope, wire};
use gantry_store::{Compare, Error, KeyValue, Op, Txn, TxnOutcome};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Registry;
use super::fence::Guard;

/// The largest object: what etcd takes in one request by default (1.5 MiB), less room for the key, the envelope
/// and the transaction around it.
pub const MAX_OBJECT_BYTES: usize = (3 << 19) - (4 << 10);
/// For how long a write whose reply was lost is tried again, with this pause: etcd elects a leader within two
/// seconds, and a connection that has fallen silent is given up within nine. The last try may take a call's time more.
const PATIENCE_AFTER_LOSS: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How a transaction ended.
pub(super) enum Commit {
    /// Done, at this revision.
    Done(i64),
    /// Not done: a comparison failed. What was asked to be read then.
    Lost(Vec<Option<KeyValue>>),
}

/// What the transaction's first key looks like if it was done.
pub(super) enum Intended {
    Value(Bytes),
    Absence,
}

impl Registry {
    /// The operation that stores an object, with the trace of the request that causes it.
    pub(super) async fn put(
        &self,
        info: &'static KindInfo,
        store_key: &str,
        raw: Bytes,
    ) -> Result<Op, Status> {
        if raw.len() > MAX_OBJECT_BYTES {
            return Err(too_large());
        }
        // Heartbeats and records of what happened are nobody's cause.
        let silent = [Lease::INFO.message, Event::INFO.message].contains(&info.message);
        let cause = if silent {
            None
        } else {
            gantry_telemetry::trace::current_traceparent()
        };
        let lease = match info.message {
            message if message == Event::INFO.message => Some(self.event_leases.lease(&*self.store).await?),
            _ => None,
        };
        Ok(Op::Put {
            key: store_key.to_owned(),
            value: envelope::seal(info, raw, cause.as_deref().unwrap_or_default()),
            lease,
        })
    }

    /// Carries out a transaction whose first comparison is on the key that `intended` describes, which had
    /// revision `before`, `None` if it did not exist.
    pub(super) async fn commit(
        &self,
        info: &'static KindInfo,
        operation: &'static str,
        txn: Txn,
        intended: Intended,
        before: Option<i64>,
        fence: Option<&Fence>,
    ) -> Result<Commit, Status> {
        // A write that belongs to no trace is not worth a span.
        let span = match tracing::Span::current().is_none() {
            true => tracing::Span::none(),
            false => tracing::info_span!(
                "store.txn",
                gantry.resource = info.resource,
                gantry.operation = operation
            ),
        };
        let commit = async {
            let guard = match fence {
                Some(fence) => Some(self.guard(fence).await?),
                None => None,
            };
            self.commit_guarded(info, operation, txn, intended, before, guard)
                .await
        };
        commit.instrument(span).await
    }

    async fn commit_guarded(
        &self,
        info: &'static KindInfo,
        operation: &'static str,
        txn: Txn,
        intended: Intended,
        before: Option<i64>,
        mut guard: Option<Guard<'_>>,
    ) -> Result<Commit, Status> {
        let mut lost_at: Option<Instant> = None;
        loop {
            let mut attempt = txn.clone();
            if let Some(guard) = &guard {
                guard.join(&mut attempt);
            }
            let error = match self.store.txn(attempt).await {
                Ok(TxnOutcome::Committed { revision }) => {
                    tracing::debug!(object = named(info, &txn), revision, operation, "written");
                    return Ok(Commit::Done(revision));
                }
                Ok(TxnOutcome::CompareFailed {
                    mut current,
                    revision,
                }) => {
                    if lost_at.is_some() {
                        let own = current.first().and_then(Option::as_ref);
                        match verdict(&intended, own, revision, before) {
                            Verdict::Done(revision) => return Ok(Commit::Done(revision)),
                            Verdict::NotDone => {}
                            Verdict::Unknown => return Err(may_have_happened(info, operation)),
                        }
                    }
                    if let Some(guard) = &mut guard
                        && guard.has_moved(current.pop().flatten().as_ref())?
                    {
                        continue;
                    }
                    return Ok(Commit::Lost(current));
                }
                Err(error) => error,
            };
            match error {
                Error::Ambiguous(_) => {}
                Error::Unavailable(_) if lost_at.is_some() => {}
                error @ Error::LeaseNotFound => {
                    self.event_leases.forget().await;
                    return Err(failure(info, operation, &error));
                }
                error => return Err(failure(info, operation, &error)),
            }
            if lost_at.get_or_insert_with(Instant::now).elapsed() >= PATIENCE_AFTER_LOSS {
                return Err(may_have_happened(info, operation));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// In the log, the object that a transaction's first comparison is about.
fn named(info: &KindInfo, txn: &Txn) -> String {
    let key = txn
        .compare
        .first()
        .map(|Compare::ModRevision { key, .. }| key.as_str());
    let name = key.and_then(|key| key.strip_prefix(info.storage_prefix));
    format!("{}/{}", info.resource, name.unwrap_or_default())
}

/// Whether a write whose reply was lost happened.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Done(i64),
    NotDone,
    /// Somebody has changed the object since, before or after us.
    Unknown,
}

fn verdict(intended: &Intended, found: Option<&KeyValue>, revision: i64, before: Option<i64>) -> Verdict {
    match (intended, found) {
        (Intended::Absence, None) => Verdict::Done(revision),
        (Intended::Value(value), Some(kv)) if kv.value == *value => Verdict::Done(kv.mod_revision),
        // Were it done, the object would be there.
        (Intended::Value(_), None) if before.is_none() => Verdict::NotDone,
        // A new object's uid is its creator's own: somebody changed it after us.
        (Intended::Value(value), Some(kv)) if before.is_none() => match (uid(value), uid(&kv.value)) {
            (Some(ours), Some(theirs)) if ours == theirs => Verdict::Done(kv.create_revision),
            _ => Verdict::NotDone,
        },
        (_, Some(kv)) if Some(kv.mod_revision) == before => Verdict::NotDone,
        _ => Verdict::Unknown,
    }
}

fn uid(value: &Bytes) -> Option<String> {
    let envelope = envelope::open(value.clone()).ok()?;
    Some(wire::metadata(&envelope.raw).ok()?.uid).filter(|uid| !uid.is_empty())
}

fn may_have_happened(info: &KindInfo, operation: &str) -> Status {
    let mut status = Status::failure(
        Reason::Timeout,
        format!(
            "Timeout: the store's reply to the {operation} operation against {} was lost: the write may or may not \
             have happened. Read the object before trying again",
            info.group_resource()
        ),
    );
    status.details = Some(StatusDetails {
        group: info.group.into(),
        kind: info.resource.into(),
        retry_after_seconds: 1,
        ..StatusDetails::default()
    });
    status
}

pub(super) fn too_large() -> Status {
    Status::failure(
        Reason::RequestEntityTooLarge,
        format!("Request entity too large: limit is {MAX_OBJECT_BYTES}"),
    )
}

/// What a client is told of a failure of the store. But for [`Error::Ambiguous`] nothing has happened.
pub(super) fn failure(info: &KindInfo, operation: &str, error: &Error) -> Status {
    match error {
        Error::Ambiguous(_) => may_have_happened(info, operation),
        Error::TooLarge => too_large(),
        Error::Compacted { .. } => Status::failure(
            Reason::Expired,
            format!("The resourceVersion is too old: {error}"),
        ),
        Error::NoSpace | Error::Unavailable(_) | Error::Lagged { .. } => Status::failure(
            Reason::ServiceUnavailable,
            format!("the server is currently unable to handle the request: {error}"),
        ),
        Error::FutureRevision { .. } | Error::LeaseNotFound | Error::Refused(_) => super::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(value: &Bytes, create_revision: i64, mod_revision: i64) -> KeyValue {
        KeyValue {
            key: "k".into(),
            value: value.clone(),
            create_revision,
            mod_revision,
            version: 1,
            lease: 0,
        }
    }

    fn object(uid: &str, data: &str) -> Bytes {
        let mut map = gantry_proto::core::v1::ConfigMap::default();
        map.metadata_mut().uid = uid.into();
        map.data.insert("k".into(), data.into());
        envelope::seal(
            gantry_proto::core::v1::ConfigMap::INFO,
            prost::Message::encode_to_vec(&map).into(),
            "",
        )
    }

    #[test]
    fn after_a_lost_reply_the_store_tells_what_happened() {
        let check = |intended: Option<&Bytes>, found: Option<KeyValue>, before, expected| {
            let intended = intended.cloned().map_or(Intended::Absence, Intended::Value);
            assert_eq!(verdict(&intended, found.as_ref(), 9, before), expected);
        };
        let (ours, changed, theirs) = (object("u1", "a"), object("u1", "b"), object("u2", "a"));
        check(Some(&ours), Some(kv(&ours, 5, 5)), None, Verdict::Done(5));
        check(Some(&ours), Some(kv(&changed, 5, 7)), None, Verdict::Done(5));
        check(Some(&ours), Some(kv(&theirs, 5, 5)), None, Verdict::NotDone);
        check(
            Some(&changed),
            Some(kv(&changed, 3, 6)),
            Some(4),
            Verdict::Done(6),
        );
        check(Some(&changed), Some(kv(&ours, 3, 4)), Some(4), Verdict::NotDone);
        check(Some(&changed), Some(kv(&theirs, 3, 6)), Some(4), Verdict::Unknown);
        check(Some(&changed), None, Some(4), Verdict::Unknown);
        check(Some(&ours), None, None, Verdict::NotDone);
        check(None, None, Some(4), Verdict::Done(9));
        check(None, Some(kv(&ours, 3, 4)), Some(4), Verdict::NotDone);
        check(None, Some(kv(&ours, 8, 8)), Some(4), Verdict::Unknown);
    }
}
