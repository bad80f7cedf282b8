//! One object version in the cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gantry_proto::{Key, envelope, wire};
use gantry_store::KeyValue;

use crate::strategy::{Field, Strategy};

/// An object version, ready to send, with what selectors need to know of it.
#[derive(Debug)]
pub struct Entry {
    pub key: Arc<Key>,
    /// The revision that wrote it: its resourceVersion.
    pub revision: i64,
    /// The message in wire form, resourceVersion included.
    pub raw: Bytes,
    pub labels: BTreeMap<String, String>,
    /// Whether its deletion has begun.
    pub is_going: bool,
    /// The kind's selectable fields beyond those of the metadata.
    pub fields: Vec<Field>,
    /// The traceparent of the write; empty where it has none.
    pub cause: Arc<str>,
}

/// A stored value that is not an object of the kind.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the key {0} does not name an object of {1}")]
    Key(Arc<str>, &'static str),
    #[error(transparent)]
    Envelope(#[from] envelope::Error),
    #[error("the value is a {0}")]
    OtherKind(String),
    #[error("the object does not decode")]
    Decode(#[from] prost::DecodeError),
}

impl Entry {
    /// Reads what the store has under a key.
    pub fn read(strategy: &dyn Strategy, kv: &KeyValue) -> Result<Entry, Unreadable> {
        let info = strategy.info();
        let key = key_of(strategy, &kv.key).ok_or_else(|| Unreadable::Key(kv.key.clone(), info.kind))?;
        let envelope = envelope::open(kv.value.clone())?;
        if envelope.kind != info.kind {
            return Err(Unreadable::OtherKind(envelope.kind));
        }
        let (fields, metadata) = match strategy.field_names() {
            [] => (Vec::new(), wire::metadata(&envelope.raw)?),
            _ => {
                let mut object = strategy.decode(&envelope.raw)?;
                (strategy.fields(&*object), std::mem::take(object.metadata_mut()))
            }
        };
        Ok(Entry {
            key: key.into(),
            revision: kv.mod_revision,
            raw: wire::splice_resource_version(&envelope.raw, &kv.mod_revision.to_string()),
            labels: metadata.labels,
            is_going: metadata.deletion_timestamp.is_some(),
            fields,
            cause: envelope.trace_parent.into(),
        })
    }

    /// The value of a selectable field; `None` for a field that the kind does not have.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(&self.key.name),
            "metadata.namespace" => Some(&self.key.namespace),
            _ => self
                .fields
                .iter()
                .find(|(own, _)| *own == name)
                .map(|(_, value)| value.as_str()),
        }
    }

    /// About how much memory the entry takes.
    pub fn bytes(&self) -> usize {
        let labels: usize = self
            .labels
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        size_of::<Entry>() + self.raw.len() + labels
    }
}

/// Which object of the strategy's kind a store key names.
pub fn key_of(strategy: &dyn Strategy, store_key: &str) -> Option<Key> {
    let info = strategy.info();
    let rest = store_key.strip_prefix(info.storage_prefix)?;
    if !info.namespaced {
        return Some(Key::cluster(rest));
    }
    let (namespace, name) = rest.split_once('/')?;
    Some(Key::new(namespace, name))
}

/// An object that has nothing but a size, for tests of limits.
#[cfg(test)]
pub fn sized(revision: i64, bytes: usize) -> Entry {
    Entry {
        key: Arc::new(Key::new("default", format!("o{revision}"))),
        revision,
        raw: Bytes::from(vec![0; bytes]),
        labels: BTreeMap::new(),
        is_going: false,
        fields: Vec::new(),
        cause: "".into(),
    }
}
