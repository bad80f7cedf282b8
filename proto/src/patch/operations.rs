//! RFC 6902 patches, as Kubernetes applies them (gopkg.in/evanphx/json-patch.v4), whose words and habits these are:
//! indices may be negative and count from the end, `replace` sets a field that is not there, and `test` with null is
//! true of a field that is not there.

use super::{Object, PatchError};
use serde_json::Value;
use std::num::IntErrorKind;

/// How many operations a patch may have (maxJSONPatchOperations).
const OPERATIONS_MAX: usize = 10_000;
/// By how much the copies of a patch may make an object longer: what a request may have (JSONPatchMaxCopyBytes).
const COPIES_MAX_BYTES: usize = 3 << 20;
/// How deep a document may be: as deep as serde_json reads one.
const MAX_DEPTH: usize = 128;
/// Values that a patch may place, those in them included: a large object some hundred times.
const MAX_VALUES: usize = 5_000_000;

/// A patch's operations one after the other. None is carried out where one does not apply.
pub fn apply(mut document: Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = read(patch)?;
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations(OPERATIONS_MAX, operations.len()));
    }
    let mut spent = Spent::default();
    for operation in operations {
        carry_out(&operation, &mut document, &mut spent).map_err(PatchError::DoesNotApply)?;
    }
    Ok(document)
}

/// An operation, of which only what it is meant to do is known to be there.
struct Operation<'a> {
    op: &'a str,
    path: Option<&'a str>,
    from: Option<&'a str>,
    /// An absent value is null.
    value: &'a Value,
}

fn read(patch: &Value) -> Result<Vec<Operation<'_>>, PatchError> {
    let list = match patch {
        Value::Array(list) => list.as_slice(),
        Value::Null => &[],
        other => return Err(unreadable(other, "[]handlers.jsonPatchOp")),
    };
    list.iter()
        .map(|operation| match operation {
            Value::Object(fields) => read_operation(fields),
            other => Err(unreadable(other, "handlers.jsonPatchOp")),
        })
        .collect()
}

fn read_operation(fields: &Object) -> Result<Operation<'_>, PatchError> {
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(PatchError::Undecodable(format!(
            "error decoding patch: json: cannot unmarshal {} into Go struct field jsonPatchOp.{name} of type string",
            json_type(other)
        ))),
    };
    Ok(Operation {
        op: text("op")?.unwrap_or("unknown"),
        path: text("path")?,
        from: text("from")?,
        value: fields.get("value").unwrap_or(&Value::Null),
    })
}

fn unreadable(value: &Value, wanted: &str) -> PatchError {
    PatchError::Undecodable(format!("error decoding patch: {}", super::not_a(value, wanted)))
}

/// How Go's JSON package calls a value's type.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn carry_out(operation: &Operation, document: &mut Value, spent: &mut Spent) -> Result<(), String> {
    match operation.op {
        "add" => add(operation, document, spent),
        "remove" => remove(operation, document),
        "replace" => replace(operation, document, spent),
        "move" => move_value(operation, document, spent),
        "test" => test(operation, document),
        "copy" => copy(operation, document, spent),
        other => Err(format!("Unexpected kind: {other}")),
    }
}

/// What the operations of a patch have used up.
#[derive(Default)]
struct Spent {
    copied_bytes: usize,
    /// Values that were looked at to see how deep they are.
    values: usize,
}

impl Spent {
    /// Refuses a value that would be deeper in the document than a parser lets a document be: everything that goes
    /// through it afterwards does so by a call for each level.
    fn place(&mut self, path: &str, value: &Value) -> Result<(), String> {
        let levels = path.matches('/').count();
        if self.fits(value, MAX_DEPTH.saturating_sub(levels)) {
            return Ok(());
        }
        Err(format!(
            "a value at path '{path}' would be more than {MAX_DEPTH} levels deep, or the operations move too many values"
        ))
    }

    fn fits(&mut self, value: &Value, levels: usize) -> bool {
        self.values += 1;
        if levels == 0 || self.values > MAX_VALUES {
            return false;
        }
        match value {
            Value::Array(items) => items.iter().all(|item| self.fits(item, levels - 1)),
            Value::Object(fields) => fields.values().all(|field| self.fits(field, levels - 1)),
            _ => true,
        }
    }
}

fn add(operation: &Operation, document: &mut Value, spent: &mut Spent) -> Result<(), String> {
    let path = path_of(operation, "add operation failed to decode path: missing value")?;
    let place = place(document, path).ok_or_else(|| {
        format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
    })?;
    spent.place(path, operation.value)?;
    place
        .add(operation.value.clone())
        .map_err(|error| format!("error in add for path: '{path}': {error}"))
}

fn remove(operation: &Operation, document: &mut Value) -> Result<(), String> {
    let path = path_of(operation, "remove operation failed to decode path: missing value")?;
    let place = place(document, path).ok_or_else(|| {
        format!("remove operation does not apply: doc is missing path: \"{path}\": missing value")
    })?;
    place
        .remove()
        .map(|_| ())
        .map_err(|error| format!("error in remove for path: '{path}': {error}"))
}

fn replace(operation: &Operation, document: &mut Value, spent: &mut Spent) -> Result<(), String> {
    let path = path_of(
        operation,
        "replace operation failed to decode path: operation missing path field: missing value",
    )?;
    if path.is_empty() {
        if !operation.value.is_object() && !operation.value.is_array() {
            return Err("replace operation value must be object or array".into());
        }
        *document = operation.value.clone();
        return Ok(());
    }
    let place = place(document, path).ok_or_else(|| {
        format!("replace operation does not apply: doc is missing path: {path}: missing value")
    })?;
    spent.place(path, operation.value)?;
    place
        .set(operation.value.clone())
        .map_err(|_| format!("replace operation does not apply: doc is missing key: {path}: missing value"))
}

fn move_value(operation: &Operation, document: &mut Value, spent: &mut Spent) -> Result<(), String> {
    let from = operation
        .from
        .ok_or("move operation failed to decode from: operation, missing from field: missing value")?;
    let source = place(document, from).ok_or_else(|| {
        format!("move operation does not apply: doc is missing from path: {from}: missing value")
    })?;
    let key = source.key().to_string();
    let value = source
        .remove()
        .map_err(|error| format!("error in move for path: '{key}': {error}"))?;
    let path = path_of(
        operation,
        "move operation failed to decode path: operation missing path field: missing value",
    )?;
    let target = place(document, path).ok_or_else(|| {
        format!("move operation does not apply: doc is missing destination path: {path}: missing value")
    })?;
    spent.place(path, &value)?;
    target
        .add(value)
        .map_err(|error| format!("error in move for path: '{path}': {error}"))
}

fn copy(operation: &Operation, document: &mut Value, spent: &mut Spent) -> Result<(), String> {
    let from = operation
        .from
        .ok_or("copy operation failed to decode from: operation, missing from field: missing value")?;
    let source = place(document, from).ok_or_else(|| {
        format!("copy operation does not apply: doc is missing from path: {from}: missing value")
    })?;
    let value = source
        .get()
        .map_err(|error| format!("error in copy for from: '{from}': {error}"))?;
    let path = path_of(operation, "copy operation failed to decode path: missing value")?;
    spent.place(path, value)?;
    let value = value.clone();
    let target = place(document, path).ok_or_else(|| {
        format!("copy operation does not apply: doc is missing destination path: {path}: missing value")
    })?;
    spent.copied_bytes += value.to_string().len();
    if spent.copied_bytes > COPIES_MAX_BYTES {
        return Err(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit \
             {COPIES_MAX_BYTES}",
            spent.copied_bytes
        ));
    }
    target
        .add(value)
        .map_err(|error| format!("error while adding value during copy: {error}"))
}

fn test(operation: &Operation, document: &mut Value) -> Result<(), String> {
    let path = path_of(
        operation,
        "test operation failed to decode path: operation missing path field: missing value",
    )?;
    let found = if path.is_empty() {
        &*document
    } else {
        let place = place(document, path).ok_or_else(|| {
            format!("test operation does not apply: is missing path: {path}: missing value")
        })?;
        place
            .get()
            .map_err(|error| format!("error in test for path: '{path}': {error}"))?
    };
    if found == operation.value {
        Ok(())
    } else {
        Err(format!("testing value {path} failed: test failed"))
    }
}

fn path_of<'a>(operation: &Operation<'a>, missing: &str) -> Result<&'a str, String> {
    operation.path.ok_or_else(|| missing.to_string())
}

/// Where a path leads: into an object or a list, of which the last part of the path is a key or an index.
enum Place<'a> {
    Field(&'a mut Object, String),
    Item(&'a mut Vec<Value>, String),
}

/// `None` where there is nothing that could have the path's last part.
fn place<'a>(document: &'a mut Value, path: &str) -> Option<Place<'a>> {
    let mut parts = path.split('/');
    // What is before the first slash is nothing's name.
    parts.next()?;
    let mut key = unescaped(parts.next()?);
    let mut container = document;
    for next in parts {
        container = match container {
            Value::Object(fields) => fields.get_mut(&key)?,
            Value::Array(items) => {
                let at = index(&key, items.len()).ok().filter(|at| *at < items.len())?;
                &mut items[at]
            }
            _ => return None,
        };
        key = unescaped(next);
    }
    match container {
        Value::Object(fields) => Some(Place::Field(fields, key)),
        Value::Array(items) => Some(Place::Item(items, key)),
        _ => None,
    }
}

/// RFC 6901, section 4.
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

impl<'a> Place<'a> {
    fn key(&self) -> &str {
        match self {
            Place::Field(_, key) | Place::Item(_, key) => key,
        }
    }

    /// A field that is not there is null.
    fn get(self) -> Result<&'a Value, String> {
        match self {
            Place::Field(fields, key) => Ok(fields.get(&key).unwrap_or(&Value::Null)),
            Place::Item(items, key) => {
                let at = present(&key, items.len())?;
                Ok(&items[at])
            }
        }
    }

    fn add(self, value: Value) -> Result<(), String> {
        match self {
            Place::Field(fields, key) => {
                fields.insert(key, value);
            }
            Place::Item(items, key) if key == "-" => items.push(value),
            Place::Item(items, key) => {
                let at = index(&key, items.len() + 1).map_err(|error| match error {
                    Index::NoNumber(error) => format!("value was not a proper array index: '{key}': {error}"),
                    Index::Outside(error) => error,
                })?;
                if at > items.len() {
                    return Err(outside(&key));
                }
                items.insert(at, value);
            }
        }
        Ok(())
    }

    fn set(self, value: Value) -> Result<(), String> {
        match self {
            Place::Field(fields, key) => {
                fields.insert(key, value);
            }
            Place::Item(items, key) => {
                let at = present(&key, items.len())?;
                items[at] = value;
            }
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, String> {
        match self {
            Place::Field(fields, key) => fields
                .remove(&key)
                .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value")),
            Place::Item(items, key) => {
                let at = present(&key, items.len())?;
                Ok(items.remove(at))
            }
        }
    }
}

enum Index {
    NoNumber(String),
    Outside(String),
}

/// The index of an item that is there.
fn present(key: &str, length: usize) -> Result<usize, String> {
    let at = index(key, length).map_err(|error| match error {
        Index::NoNumber(error) | Index::Outside(error) => error,
    })?;
    if at < length { Ok(at) } else { Err(outside(key)) }
}

/// A negative index counts from `length`. What is beyond the end is the caller's to refuse.
fn index(key: &str, length: usize) -> Result<usize, Index> {
    let number: i64 = key.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Index::NoNumber(format!("strconv.Atoi: parsing \"{key}\": {why}"))
    })?;
    let from_start = if number < 0 {
        number + length as i64
    } else {
        number
    };
    usize::try_from(from_start).map_err(|_| Index::Outside(outside(key)))
}

fn outside(key: &str) -> String {
    let number = key
        .parse::<i64>()
        .map_or(key.to_string(), |number| number.to_string());
    format!("Unable to access invalid index: {number}: invalid index referenced")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_does_not_grow_deeper_than_it_could_be_read() {
        let refused = |operations: Vec<Value>| {
            let done = apply(json!({"a": {"a": {}}}), &Value::Array(operations));
            let error = format!("{:?}", done.unwrap_err());
            assert!(error.contains("levels deep"), "{error}");
        };
        // A chain that is copied to its own end is twice as long.
        let copy = |power: u32| json!({"op": "copy", "from": "/a", "path": "/a".repeat(1 + (1 << power))});
        refused((1..8).map(copy).collect());
        let deep = |levels| (0..levels).fold(Value::Null, |inner, _| json!({"a": inner}));
        refused(vec![json!({"op": "add", "path": "/a/a/b", "value": deep(126)})]);
        refused(vec![json!({"op": "replace", "path": "/a/a", "value": deep(127)})]);
        refused(vec![
            json!({"op": "add", "path": "/b", "value": deep(126)}),
            json!({"op": "move", "from": "/b", "path": "/a/a/b"}),
        ]);
        let shallow = vec![json!({"op": "add", "path": "/a/a/b", "value": deep(100)})];
        assert!(apply(json!({"a": {"a": {}}}), &Value::Array(shallow)).is_ok());
    }
}
