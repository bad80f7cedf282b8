//! Kubernetes' strict and lenient decoding of a whole object, with the paths of what is wrong.

use super::FieldsVisitor;
use crate::Kind;
use serde::Deserializer as _;
use serde_ignored::Path;
use std::marker::PhantomData;

/// A decoded object, and the fields that were in the text but not in the schema, or in it twice.
pub struct Decoded<K> {
    pub object: K,
    /// In Kubernetes' words, such as `unknown field "spec.replica"`.
    pub complaints: Vec<String>,
}

/// Text that is not JSON, or JSON that does not fit the kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}{message}", if path.is_empty() || path == "." { String::new() } else { format!("{path}: ") })]
pub struct DecodeError {
    /// Where, such as `spec.template.spec.containers[0].ports[0].containerPort`.
    pub path: String,
    pub message: String,
}

/// Decodes JSON text. Unknown and duplicate fields are complaints, not errors; of duplicates the last wins.
pub fn decode<K: Kind>(text: &[u8]) -> Result<Decoded<K>, DecodeError> {
    let first = read::<K, _>(&mut serde_json::Deserializer::from_slice(text));
    match first {
        Ok((object, complaints)) => {
            // A second value after the first is an error too.
            let mut rest = serde_json::Deserializer::from_slice(text);
            serde::de::IgnoredAny::deserialize_from(&mut rest)?;
            rest.end().map_err(DecodeError::syntax)?;
            Ok(Decoded { object, complaints })
        }
        Err(error) if error.message.starts_with("duplicate field") => {
            let path = join(&error.path, duplicate_name(&error.message));
            let value = serde_json::from_slice(text).map_err(DecodeError::syntax)?;
            let mut decoded = decode_value::<K>(&value)?;
            decoded.complaints.push(format!("duplicate field \"{path}\""));
            Ok(decoded)
        }
        Err(error) => Err(error),
    }
}

/// Decodes a JSON value.
pub fn decode_value<K: Kind>(value: &serde_json::Value) -> Result<Decoded<K>, DecodeError> {
    let (object, complaints) = read::<K, _>(value)?;
    Ok(Decoded { object, complaints })
}

impl DecodeError {
    fn syntax(error: serde_json::Error) -> Self {
        DecodeError {
            path: String::new(),
            message: error.to_string(),
        }
    }
}

trait DeserializeFrom<'de>: Sized {
    fn deserialize_from<D>(deserializer: D) -> Result<Self, DecodeError>
    where
        D: serde::Deserializer<'de, Error = serde_json::Error>;
}

impl<'de> DeserializeFrom<'de> for serde::de::IgnoredAny {
    fn deserialize_from<D>(deserializer: D) -> Result<Self, DecodeError>
    where
        D: serde::Deserializer<'de, Error = serde_json::Error>,
    {
        serde::Deserialize::deserialize(deserializer).map_err(DecodeError::syntax)
    }
}

fn read<'de, K, D>(deserializer: D) -> Result<(K, Vec<String>), DecodeError>
where
    K: Kind,
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    let mut complaints = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut on_unknown = |path: Path| complaints.push(format!("unknown field \"{}\"", text(&path)));
    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    let visitor = FieldsVisitor {
        typed: Some(()),
        message: PhantomData,
    };
    let result = serde_ignored::Deserializer::new(tracked, &mut on_unknown).deserialize_map(visitor);
    match result {
        Ok(object) => Ok((object, complaints)),
        Err(error) => Err(DecodeError {
            path: track.path().to_string(),
            message: error.to_string(),
        }),
    }
}

fn duplicate_name(message: &str) -> &str {
    message.split('"').nth(1).unwrap_or_default()
}

fn join(parent: &str, name: &str) -> String {
    // The tracker already stands on the key whose second value was refused.
    if parent.is_empty() || parent == "." {
        name.to_string()
    } else if parent == name || parent.ends_with(&format!(".{name}")) {
        parent.to_string()
    } else {
        format!("{parent}.{name}")
    }
}

fn text(path: &Path) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", text(parent)),
        Path::Map { parent, key } => match text(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            text(parent)
        }
    }
}
