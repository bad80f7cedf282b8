//! `google.protobuf.Any` whose value is shared bytes.

use bytes::Bytes;

/// An object's message and which message it is. The value is never copied between the cache and a reply's
/// encoder.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Any {
    /// Such as `type.googleapis.com/gantry.core.v1.Pod`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// What precedes the message's full name in a type URL.
pub const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

impl Any {
    /// `message` is the full name, such as `gantry.core.v1.Pod`.
    pub fn new(message: &str, value: Bytes) -> Self {
        Any {
            type_url: format!("{TYPE_URL_PREFIX}{message}"),
            value,
        }
    }

    /// The message's full name.
    pub fn message(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}
