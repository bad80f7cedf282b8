//! Patches of objects in JSON form: strategic merge as Kubernetes has it (apimachinery's strategicpatch), RFC 7386
//! merge, and RFC 6902 operations.
//!
//! Strategic merge knows from the descriptors which lists are merged and by which key. Fields that are not in
//! the schema are merged as plain JSON: objects by field, lists replaced.

mod rules;
mod apply;
mod diff;
mod order;
mod operations;
mod refusal;

pub use refusal::undecodable;

use crate::api::v1::PatchType;
use rules::Node;
use serde_json::{Map, Value};

/// Applies a patch of this type to an object of the message with this full name (`KindInfo::message`), as a request
/// brings it: the errors become the `Status` that Kubernetes answers with.
pub fn apply(kind: PatchType, message: &str, original: Value, patch: &Value) -> Result<Value, PatchError> {
    const OBJECT: &str = "map[string]interface {}";
    match (kind, patch) {
        (PatchType::Unspecified, _) => Err(PatchError::Undecodable("the patch's type is not given".into())),
        (PatchType::Json, patch) => operations::apply(original, patch),
        (PatchType::StrategicMerge, Value::Null) => Ok(original),
        (PatchType::StrategicMerge, Value::Object(_)) => strategic_merge(message, original, patch.clone()),
        (PatchType::StrategicMerge, other) => Err(PatchError::Undecodable(not_a(other, OBJECT))),
        (PatchType::Merge, Value::Null) => Err(PatchError::Undecodable("Invalid JSON Patch".into())),
        (PatchType::Merge, Value::Object(_)) => Ok(merge(original, patch.clone())),
        (PatchType::Merge, other) => {
            let why = not_a(other, OBJECT);
            Err(PatchError::Undecodable(format!("error decoding patch: {why}")))
        }
    }
}

/// Applies the operations of an RFC 6902 patch in turn, all or none.
pub fn json(original: Value, operations: &Value) -> Result<Value, PatchError> {
    operations::apply(original, operations)
}

/// Applies a strategic merge patch to an object of the message with this full name (`KindInfo::message`).
///
/// Understands `$patch` (`delete`, `replace`), `$retainKeys`, `$setElementOrder/<list>` and
/// `$deleteFromPrimitiveList/<list>`; null deletes a field.
pub fn strategic_merge(message: &str, original: Value, patch: Value) -> Result<Value, PatchError> {
    let node = Node::of_message(message)?;
    let merged = apply::merge_object(object(original)?, object(patch)?, node, apply::Onto::Object)?;
    Ok(Value::Object(merged))
}

/// The strategic merge patch that `kubectl apply` sends: it takes away what was in `original` (the object as
/// last applied; null or `{}` where there is none) and is no longer in `modified`, sets what differs in
/// `current` from `modified`, and leaves alone what only `current` has. Empty where there is nothing to do.
pub fn three_way(
    message: &str,
    original: &Value,
    modified: &Value,
    current: &Value,
) -> Result<Value, PatchError> {
    let node = Node::of_message(message)?;
    let (original, modified, current) = (fields(original)?, fields(modified)?, fields(current)?);
    three_way_of(&original, &modified, &current, node).map(Value::Object)
}

/// The strategic merge patch that makes `modified` of `original`.
pub fn two_way(message: &str, original: &Value, modified: &Value) -> Result<Value, PatchError> {
    let node = Node::of_message(message)?;
    diff::objects(&fields(original)?, &fields(modified)?, node, diff::Of::All).map(Value::Object)
}

/// Applies an RFC 7386 merge patch: objects merge by field, null deletes, everything else replaces.
pub fn merge(original: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut merged = match original {
        Value::Object(original) => original,
        _ => Map::new(),
    };
    for (key, value) in patch {
        if value.is_null() {
            merged.remove(&key);
        } else {
            let old = merged.remove(&key).unwrap_or_default();
            merged.insert(key, merge(old, value));
        }
    }
    Value::Object(merged)
}

/// A patch that does not fit the object or contradicts itself. The words are Kubernetes' where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("{0}")]
    Undecodable(String),
    #[error("The allowed maximum operations in a JSON patch is {0}, got {1}")]
    TooManyOperations(usize, usize),
    /// An operation of an RFC 6902 patch.
    #[error("{0}")]
    DoesNotApply(String),
    #[error("no message is called {0}")]
    UnknownMessage(String),
    #[error("invalid JSON document")]
    NotAnObject,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("list element types are not identical: {0}")]
    MixedList(String),
    #[error("invalid patch format of primitive list")]
    DeleteFromPrimitiveList,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("{0} and {1} are not deep equal: this may happen when calculating the 3-way diff patch")]
    RetainKeysDiffer(String, String),
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    #[error("The order in patch list:\n{0}\n doesn't match $setElementOrder list:\n{1}\n")]
    OrderMismatch(String, String),
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(String, String),
    #[error("cannot merge lists without merge key")]
    MergeKeyUndeclared,
    #[error("expected a {expected}, but received a {actual}")]
    Type {
        expected: &'static str,
        actual: &'static str,
    },
    #[error("unknown patch type: {0} in map: {1}")]
    Directive(String, String),
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirective,
    #[error("invalid value for special key: $patch")]
    DirectiveValue,
}

/// The directive that an object in a patch may hold about itself.
const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList";
const SET_ELEMENT_ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;

/// The patch is the difference from `current` to `modified` without its deletions, and the deletions from
/// `original` to `modified`.
fn three_way_of<S: rules::Schema>(
    original: &Object,
    modified: &Object,
    current: &Object,
    schema: S,
) -> Result<Object, PatchError> {
    let changes = diff::objects(current, modified, schema, diff::Of::Changes)?;
    let deletions = diff::objects(original, modified, schema, diff::Of::Deletions)?;
    apply::merge_object(deletions, changes, schema, apply::Onto::Patch)
}

fn object(value: Value) -> Result<Object, PatchError> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(PatchError::NotAnObject),
    }
}

fn fields(value: &Value) -> Result<Object, PatchError> {
    if value.is_null() {
        Ok(Map::new())
    } else {
        object(value.clone())
    }
}

/// A value as Go's `%v` prints it: the errors quote values so, and lists are sorted by it.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => go_map_text(map),
        scalar => scalar.to_string(),
    }
}

fn go_map_text(map: &Object) -> String {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    let texts: Vec<_> = entries
        .into_iter()
        .map(|(key, value)| format!("{key}:{}", go_text(value)))
        .collect();
    format!("map[{}]", texts.join(" "))
}

/// What Go's JSON package says of a value that is of another type than the wanted one.
fn not_a(value: &Value, wanted: &str) -> String {
    let actual = operations::json_type(value);
    format!("json: cannot unmarshal {actual} into Go value of type {wanted}")
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn as_object(value: &Value) -> Result<&Object, PatchError> {
    value.as_object().ok_or(PatchError::Type {
        expected: "map[string]interface {}",
        actual: go_type(value),
    })
}

fn as_list(value: &Value) -> Result<&Vec<Value>, PatchError> {
    value.as_array().ok_or(PatchError::Type {
        expected: "[]interface {}",
        actual: go_type(value),
    })
}

fn merge_key_of<'a>(element: &'a Value, merge_key: &str) -> Result<&'a Value, PatchError> {
    let map = as_object(element)?;
    map.get(merge_key)
        .ok_or_else(|| PatchError::NoMergeKey(go_map_text(map), merge_key.to_string()))
}

/// What the elements of lists are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Elements {
    None,
    Objects,
    Scalars,
}

/// All elements of all the lists must be of one type, which is not a list.
fn elements_of(lists: &[&[Value]]) -> Result<Elements, PatchError> {
    let mut first: Option<&Value> = None;
    for value in lists.iter().flat_map(|list| list.iter()) {
        if first.is_none() && value.is_array() {
            return Err(PatchError::ListOfLists);
        }
        if go_type(first.unwrap_or(value)) != go_type(value) {
            let shown: Vec<_> = lists
                .iter()
                .map(|list| go_text(&Value::Array(list.to_vec())))
                .collect();
            return Err(PatchError::MixedList(format!("[{}]", shown.join(" "))));
        }
        first = Some(value);
    }
    Ok(match first {
        None => Elements::None,
        Some(Value::Object(_)) => Elements::Objects,
        Some(_) => Elements::Scalars,
    })
}

#[cfg(test)]
mod tests;
