//! The stored form of an object: Kubernetes' `k8s\0` and `runtime.Unknown`, with the cause of the write in
//! an extra field that a kube-apiserver skips.

use crate::KindInfo;
use crate::meta::v1::{TypeMeta, Unknown};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

const MAGIC: &[u8] = b"k8s\0";

/// A stored value, taken apart without copying the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub api_version: String,
    pub kind: String,
    /// The object's message in wire form.
    pub raw: Bytes,
    /// The W3C traceparent of the write; empty where it has none.
    pub trace_parent: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("stored value does not start with the bytes of Kubernetes' protobuf encoding")]
    Magic,
    #[error("stored value's envelope does not decode")]
    Decode(#[from] prost::DecodeError),
}

pub fn seal(kind: &KindInfo, raw: Bytes, trace_parent: &str) -> Bytes {
    let unknown = Unknown {
        type_meta: Some(TypeMeta {
            api_version: kind.api_version(),
            kind: kind.kind.into(),
        }),
        raw,
        content_encoding: String::new(),
        content_type: String::new(),
        trace_parent: trace_parent.into(),
    };
    let mut value = BytesMut::with_capacity(MAGIC.len() + unknown.encoded_len());
    value.put_slice(MAGIC);
    // The buffer grows, so that encoding into it cannot fail.
    unknown.encode(&mut value).unwrap_or_default();
    value.freeze()
}

pub fn open(mut value: Bytes) -> Result<Envelope, Error> {
    if !value.starts_with(MAGIC) {
        return Err(Error::Magic);
    }
    let unknown = Unknown::decode(value.split_off(MAGIC.len()))?;
    let type_meta = unknown.type_meta.unwrap_or_default();
    Ok(Envelope {
        api_version: type_meta.api_version,
        kind: type_meta.kind,
        raw: unknown.raw,
        trace_parent: unknown.trace_parent,
    })
}
