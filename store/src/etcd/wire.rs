//! etcd's messages in this crate's words, and key ranges in etcd's.

use std::sync::Arc;

use bytes::Bytes;
use etcd_client::EventType;
use etcd_client::proto::{PbEvent, PbKeyValue, PbResponseHeader, PbResponseOp, PbTxnOpResponse};

use crate::{Error, Event, KeyValue, Revision};

pub(super) fn key_value(kv: PbKeyValue) -> Result<KeyValue, Error> {
    Ok(KeyValue {
        key: key(kv.key)?,
        value: Bytes::from(kv.value),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    })
}

pub(super) fn event(event: PbEvent) -> Result<Event, Error> {
    let is_delete = event.r#type == EventType::Delete as i32;
    let kv = event.kv.ok_or_else(|| broken("an event without a key"))?;
    if is_delete {
        return Ok(Event::Delete {
            key: key(kv.key)?,
            revision: kv.mod_revision,
        });
    }
    Ok(Event::Put { kv: key_value(kv)? })
}

pub(super) fn revision(header: Option<&PbResponseHeader>) -> Result<Revision, Error> {
    header
        .map(|header| header.revision)
        .ok_or_else(|| broken("a reply without a header"))
}

/// The read that answers one key of a failed transaction's `read_on_failure`.
pub(super) fn read_in_txn(reply: PbResponseOp) -> Result<Option<KeyValue>, Error> {
    match reply.response {
        Some(PbTxnOpResponse::ResponseRange(range)) => {
            range.kvs.into_iter().next().map(key_value).transpose()
        }
        _ => Err(broken("a transaction's reply in which a read is missing")),
    }
}

/// Where the range of a prefix begins, or goes on behind a key.
pub(super) fn range_start(prefix: &str, start_after: Option<&str>) -> Vec<u8> {
    match start_after {
        Some(key) if key >= prefix => just_behind(key),
        // etcd refuses an empty key; this is the first there can be.
        _ if prefix.is_empty() => vec![0],
        _ => prefix.as_bytes().to_vec(),
    }
}

/// The first key behind all keys with the prefix; `\0` is etcd's word for no end.
pub(super) fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

pub(super) fn just_behind(key: &str) -> Vec<u8> {
    let mut next = key.as_bytes().to_vec();
    next.push(0);
    next
}

fn key(bytes: Vec<u8>) -> Result<Arc<str>, Error> {
    match String::from_utf8(bytes) {
        Ok(key) => Ok(Arc::from(key)),
        Err(error) => Err(Error::Refused(format!(
            "etcd holds the key {:?}, which is not UTF-8 and therefore not ours; give Gantry an etcd of its own",
            String::from_utf8_lossy(error.as_bytes()),
        ))),
    }
}

fn broken(what: &str) -> Error {
    Error::Refused(format!("etcd sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        for (prefix, end) in [("/registry/pods/", "/registry/pods0"), ("a", "b"), ("", "\0")] {
            assert_eq!(range_end(prefix), end.as_bytes(), "{prefix}");
        }
    }

    #[test]
    fn a_range_goes_on_behind_a_key_and_never_before_its_prefix() {
        let cases = [
            ("/a/", None, "/a/"),
            ("/a/", Some("/a/x"), "/a/x\0"),
            ("/b/", Some("/a/x"), "/b/"),
            ("", None, "\0"),
        ];
        for (prefix, start_after, start) in cases {
            assert_eq!(
                range_start(prefix, start_after),
                start.as_bytes(),
                "{prefix} {start_after:?}"
            );
        }
    }
}
