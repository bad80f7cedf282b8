//! Kubernetes' strict and lenient decoding of a whole object, with the paths of what is wrong.

use super::FieldsVisitor;
use super::duplicates::duplicates;
use crate::Kind;
use serde::Deserializer as _;
use serde_ignored::Path;
use serde_json::error::Category;
use std::marker::PhantomData;

/// So many complaints about one object are kept, as in Kubernetes.
pub(super) const MAX_COMPLAINTS: usize = 100;

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

/// Decodes JSON text. Unknown and duplicate fields are complaints, not errors; of duplicates the last wins. Text
/// that is nested more than 128 deep is an error.
pub fn decode<K: Kind>(text: &[u8]) -> Result<Decoded<K>, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    match read::<K, _>(&mut deserializer) {
        Ok((object, complaints)) => {
            deserializer
                .end()
                .map_err(|error| DecodeError::of(&error, String::new()))?;
            Ok(Decoded { object, complaints })
        }
        Err(error) if error.message.starts_with(super::DUPLICATE) => {
            let value =
                serde_json::from_slice(text).map_err(|error| DecodeError::of(&error, String::new()))?;
            let mut decoded = decode_value::<K>(&value)?;
            decoded.complaints.extend(duplicates(text));
            decoded.complaints.truncate(MAX_COMPLAINTS);
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
    /// An error of syntax is told by its line and column, one of types by the path.
    fn of(error: &serde_json::Error, path: String) -> Self {
        let message = error.to_string();
        if error.classify() != Category::Data {
            return DecodeError {
                path: String::new(),
                message,
            };
        }
        let place = format!(" at line {} column {}", error.line(), error.column());
        DecodeError {
            path,
            message: message.strip_suffix(&place).unwrap_or(&message).to_string(),
        }
    }
}

fn read<'de, K, D>(deserializer: D) -> Result<(K, Vec<String>), DecodeError>
where
    K: Kind,
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    let mut complaints = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut on_unknown = |path: Path| {
        if complaints.len() < MAX_COMPLAINTS {
            complaints.push(format!("unknown field \"{}\"", text(&path)));
        }
    };
    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    let visitor = FieldsVisitor {
        typed: Some(()),
        message: PhantomData,
    };
    let result = serde_ignored::Deserializer::new(tracked, &mut on_unknown).deserialize_map(visitor);
    match result {
        Ok(object) => Ok((object, complaints)),
        Err(error) => Err(DecodeError::of(&error, track.path().to_string())),
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
