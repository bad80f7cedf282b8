//! The patch between two objects: what it changes and adds, what it deletes, or both.

use super::order::{self, Identity};
use super::rules::{Rule, Schema};
use super::{
    DELETE_FROM_PRIMITIVE_LIST, DIRECTIVE, Elements, Object, PatchError, RETAIN_KEYS, SET_ELEMENT_ORDER,
    elements_of, go_text, go_type, merge_key_of,
};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

/// Which part of the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    All,
    /// Changes and additions.
    Changes,
    Deletions,
}

impl Of {
    fn changes(self) -> bool {
        self != Of::Deletions
    }

    fn deletions(self) -> bool {
        self != Of::Changes
    }
}

pub fn objects<S: Schema>(
    original: &Object,
    modified: &Object,
    schema: S,
    of: Of,
) -> Result<Object, PatchError> {
    diff_objects(original, modified, schema, of, false)
}

/// `retains` says whether the patch must name the fields that stay.
fn diff_objects<S: Schema>(
    original: &Object,
    modified: &Object,
    schema: S,
    of: Of,
    retains: bool,
) -> Result<Object, PatchError> {
    let mut patch = Map::new();
    for (key, new) in modified {
        match (original.get(key), new) {
            (Some(old), new) if key == DIRECTIVE => {
                if !old.is_string() || !new.is_string() {
                    return Err(PatchError::DirectiveValue);
                }
                if old != new {
                    patch.insert(key.clone(), new.clone());
                }
            }
            (Some(Value::Object(old)), Value::Object(new)) => {
                let Rule { strategy, inner, .. } = schema.rule(key);
                if strategy.replace {
                    if of.changes() {
                        patch.insert(key.clone(), Value::Object(new.clone()));
                    }
                    continue;
                }
                let inner = diff_objects(old, new, inner, of, strategy.retain_keys)?;
                if !inner.is_empty() {
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                diff_list_field(key, old, new, &schema.rule(key), of, &mut patch)?;
            }
            (old, new) => {
                if of.changes() && old != Some(new) {
                    patch.insert(key.clone(), new.clone());
                }
            }
        }
    }
    let gone = || original.iter().filter(|(key, _)| !modified.contains_key(*key));
    if of.deletions() {
        patch.extend(gone().map(|(key, _)| (key.clone(), Value::Null)));
    }
    if retains && (!patch.is_empty() || gone().any(|(_, value)| !value.is_null())) {
        let mut names: Vec<&String> = modified
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(key, _)| key)
            .collect();
        names.sort();
        if !names.is_empty() {
            patch.insert(RETAIN_KEYS.to_string(), json!(names));
        }
    }
    Ok(patch)
}

fn diff_list_field<S: Schema>(
    key: &str,
    original: &[Value],
    modified: &[Value],
    rule: &Rule<S>,
    of: Of,
    patch: &mut Object,
) -> Result<(), PatchError> {
    if !rule.strategy.merge {
        if of.changes() && original != modified {
            patch.insert(key.to_string(), Value::Array(modified.to_vec()));
        }
        return Ok(());
    }
    let ListPatch {
        added,
        deleted,
        order,
    } = diff_lists(original, modified, rule, of)?;
    let named = [
        (key.to_string(), added),
        (format!("{DELETE_FROM_PRIMITIVE_LIST}/{key}"), deleted),
        (format!("{SET_ELEMENT_ORDER}/{key}"), order),
    ];
    patch.extend(
        named
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(key, list)| (key, Value::Array(list))),
    );
    Ok(())
}

/// The lists that together patch a list.
#[derive(Default)]
struct ListPatch {
    /// The list itself in the patch: elements to add and change, and objects to delete.
    added: Vec<Value>,
    /// Scalars to delete.
    deleted: Vec<Value>,
    order: Vec<Value>,
}

fn diff_lists<S: Schema>(
    original: &[Value],
    modified: &[Value],
    rule: &Rule<S>,
    of: Of,
) -> Result<ListPatch, PatchError> {
    if original.is_empty() {
        let added = if of.changes() {
            modified.to_vec()
        } else {
            Vec::new()
        };
        return Ok(ListPatch {
            added,
            ..ListPatch::default()
        });
    }
    match elements_of(&[original, modified])? {
        Elements::Objects => diff_lists_of_objects(original, modified, rule, of),
        _ => diff_lists_of_scalars(original, modified, of),
    }
}

fn diff_lists_of_objects<S: Schema>(
    original: &[Value],
    modified: &[Value],
    rule: &Rule<S>,
    of: Of,
) -> Result<ListPatch, PatchError> {
    let merge_key = rule.merge_key;
    let identity = Identity {
        elements: Elements::Objects,
        merge_key,
    };
    let (old, new) = (by_key(original, merge_key)?, by_key(modified, merge_key)?);
    let (mut added, mut deleted) = (Vec::new(), Vec::new());
    for pair in pairs(&old, &new, |element| go_text(&element[merge_key])) {
        match pair {
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                let mut element = diff_objects(old, new, rule.inner, of, rule.strategy.retain_keys)?;
                if !element.is_empty() {
                    element.insert(merge_key.to_string(), new[merge_key].clone());
                    added.push(Value::Object(element));
                }
            }
            (None, Some(new)) if of.changes() => added.push(new.clone()),
            (Some(old), None) if of.deletions() => {
                deleted.push(json!({ merge_key: old[merge_key], DIRECTIVE: "delete" }));
            }
            _ => {}
        }
    }
    let mut added = order::sorted_by(added, modified, identity)?;
    added.extend(deleted);
    let same_order = original.len() == modified.len()
        && original
            .iter()
            .zip(modified)
            .all(|(old, new)| old[merge_key] == new[merge_key]);
    let ordered = !added.is_empty() || of.changes() && !same_order;
    let keys = modified
        .iter()
        .map(|element| json!({ merge_key: element[merge_key] }));
    Ok(ListPatch {
        added,
        deleted: Vec::new(),
        order: if ordered { keys.collect() } else { Vec::new() },
    })
}

fn diff_lists_of_scalars(original: &[Value], modified: &[Value], of: Of) -> Result<ListPatch, PatchError> {
    let identity = Identity {
        elements: Elements::Scalars,
        merge_key: "",
    };
    let sorted = |list: &[Value]| {
        let mut list = list.to_vec();
        list.sort_by_cached_key(go_text);
        list
    };
    let (old, new) = (sorted(original), sorted(modified));
    let (mut added, mut deleted) = (Vec::new(), Vec::new());
    for pair in pairs(&old, &new, go_text) {
        match pair {
            (None, Some(new)) if of.changes() => added.push(new.clone()),
            (Some(old), None) if of.deletions() && !deleted.contains(old) => deleted.push(old.clone()),
            _ => {}
        }
    }
    let added = order::sorted_by(added, modified, identity)?;
    // Kubernetes compares with the sorted original: an order that differs only there goes unnoticed.
    let ordered = !deleted.is_empty() || of.changes() && old != modified;
    Ok(ListPatch {
        added,
        deleted,
        order: if ordered { modified.to_vec() } else { Vec::new() },
    })
}

fn by_key(list: &[Value], merge_key: &str) -> Result<Vec<Value>, PatchError> {
    if merge_key.is_empty() {
        return Err(PatchError::MergeKeyUndeclared);
    }
    for element in list {
        if !element.is_object() {
            return Err(PatchError::Type {
                expected: "map[string]interface {}",
                actual: go_type(element),
            });
        }
        merge_key_of(element, merge_key)?;
    }
    let mut list = list.to_vec();
    list.sort_by_cached_key(|element| go_text(&element[merge_key]));
    Ok(list)
}

/// Walks two sorted lists, with elements of the same name side by side.
fn pairs<'a>(
    old: &'a [Value],
    new: &'a [Value],
    name: impl Fn(&Value) -> String,
) -> Vec<(Option<&'a Value>, Option<&'a Value>)> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut pairs = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => name(old).cmp(&name(new)),
        };
        pairs.push(match order {
            Ordering::Less => (old.next(), None),
            Ordering::Equal => (old.next(), new.next()),
            Ordering::Greater => (None, new.next()),
        });
    }
}
