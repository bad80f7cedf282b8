//! Merging a patch into an object, or into another patch.

use super::order::{self, Identity};
use super::rules::{Rule, Schema, Strategy};
use super::{
    DELETE_FROM_PRIMITIVE_LIST, DIRECTIVE, Elements, Object, PatchError, RETAIN_KEYS, SET_ELEMENT_ORDER,
    as_list, as_object, elements_of, go_map_text, go_text, go_type, merge_key_of,
};
use serde_json::{Map, Value};

/// What a patch is merged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// Directives and nulls are carried out.
    Object,
    /// Directives and nulls stay: the result is a patch again.
    Patch,
}

pub fn merge_object<S: Schema>(
    mut original: Object,
    mut patch: Object,
    schema: S,
    onto: Onto,
) -> Result<Object, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => {
                let text = go_text(&directive);
                patch.insert(DIRECTIVE.to_string(), directive);
                Err(PatchError::Directive(text, go_map_text(&patch)))
            }
        };
    }
    retain_keys(&mut original, &mut patch, onto)?;
    merge_ordered_lists(&mut original, &mut patch, schema, onto)?;
    for (key, value) in patch {
        if !key.starts_with(DELETE_FROM_PRIMITIVE_LIST) {
            merge_field(&mut original, key, value, schema, onto)?;
        } else if onto == Onto::Patch {
            original.insert(key, value);
        } else {
            delete_from_list(&mut original, &key, value)?;
        }
    }
    Ok(original)
}

fn merge_field<S: Schema>(
    original: &mut Object,
    key: String,
    value: Value,
    schema: S,
    onto: Onto,
) -> Result<(), PatchError> {
    if value.is_null() {
        original.remove(&key);
        if onto == Onto::Patch {
            original.insert(key, value);
        }
        return Ok(());
    }
    let rule = schema.rule(&key);
    let merged = match (original.remove(&key), value) {
        (Some(Value::Object(_)), Value::Object(new)) if rule.strategy.replace => Some(Value::Object(new)),
        (Some(Value::Object(old)), Value::Object(new)) => {
            Some(Value::Object(merge_object(old, new, rule.inner, onto)?))
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            Some(Value::Array(merge_list(old, new, &rule, onto)?))
        }
        (_, new) => taken_over(new, onto),
    };
    original.extend(merged.map(|merged| (key, merged)));
    Ok(())
}

/// With `$retainKeys`, the fields that it does not name go.
fn retain_keys(original: &mut Object, patch: &mut Object, onto: Onto) -> Result<(), PatchError> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    if onto == Onto::Patch {
        let first = original.entry(RETAIN_KEYS).or_insert_with(|| retained.clone());
        return if *first == retained {
            Ok(())
        } else {
            Err(PatchError::RetainKeysDiffer(go_text(first), go_text(&retained)))
        };
    }
    let names = retained.as_array().ok_or(PatchError::RetainKeys)?;
    let is_retained = |key: &str| names.iter().any(|name| name == key);
    let is_parallel =
        |key: &str| key.starts_with(DELETE_FROM_PRIMITIVE_LIST) || key.starts_with(SET_ELEMENT_ORDER);
    if patch
        .iter()
        .any(|(key, value)| !value.is_null() && !is_parallel(key) && !is_retained(key))
    {
        return Err(PatchError::RetainKeys);
    }
    original.retain(|key, _| is_retained(key));
    Ok(())
}

/// Merges the lists for which the patch gives an order.
fn merge_ordered_lists<S: Schema>(
    original: &mut Object,
    patch: &mut Object,
    schema: S,
    onto: Onto,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(SET_ELEMENT_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let Some(wanted) = patch.remove(&directive) else {
            continue;
        };
        if onto == Onto::Patch && *original.entry(&directive).or_insert_with(|| wanted.clone()) != wanted {
            return Err(PatchError::SetElementOrder);
        }
        let wanted = as_list(&wanted)?;
        let key = list_named_by(&directive, SET_ELEMENT_ORDER).ok_or(PatchError::SetElementOrder)?;
        let rule = schema.rule(key);
        let list_in = |map: &Object| map.get(key).map(|list| as_list(list).cloned()).transpose();
        let (old, new) = (list_in(original)?, list_in(patch)?);
        check_order(new.as_deref().unwrap_or_default(), wanted, rule.merge_key)?;
        let merged = match (old.clone(), new.clone()) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new
                .into_iter()
                .filter_map(|element| taken_over(element, onto))
                .collect(),
            (Some(old), Some(new)) => merge_list(old, new, &rule, onto)?,
        };
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        elements_of(&[&old, &new])?;
        let server_order = server_order(old, new, rule.merge_key)?;
        let arranged = order::arrange(merged, wanted, &server_order, identity(rule.merge_key))?;
        original.insert(key.to_string(), Value::Array(arranged));
        patch.remove(key);
    }
    Ok(())
}

/// Where the object's own elements stand. In Kubernetes, elements that the patch adds move into the places at
/// the end that deleted ones leave, and so are ordered behind the object's own.
fn server_order(old: Vec<Value>, new: Vec<Value>, merge_key: &str) -> Result<Vec<Value>, PatchError> {
    let deletes = |list: &[Value]| list.iter().any(order::is_deletion);
    if merge_key.is_empty() || !deletes(&new) {
        return Ok(old);
    }
    let places = old.len();
    let (mut order, added) = carry_out_directives(old, new, merge_key)?;
    for element in added {
        if order.len() < places && identity(merge_key).position(&order, &element).is_none() {
            order.push(element);
        }
    }
    Ok(order)
}

/// Lists without a merge key are lists of scalars, or it would not be known which elements are the same.
fn identity(merge_key: &str) -> Identity<'_> {
    let elements = if merge_key.is_empty() {
        Elements::Scalars
    } else {
        Elements::Objects
    };
    Identity { elements, merge_key }
}

/// The patch's elements must be among those of the order, in the same relative order.
fn check_order(patch: &[Value], wanted: &[Value], merge_key: &str) -> Result<(), PatchError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut left: Vec<&Value> = Vec::with_capacity(patch.len());
    for value in patch {
        if merge_key.is_empty() || !order::is_deletion(as_object_value(value)?) {
            left.push(value);
        }
    }
    let (mut at, mut place) = (0, 0);
    while at < left.len() && place < wanted.len() {
        // An element that replaces is no part of the order. As in Kubernetes, it must not be the last one.
        if left[at].get(DIRECTIVE).is_some() {
            at += 1;
            continue;
        }
        if are_the_same(left[at], &wanted[place], merge_key)? {
            at += 1;
        }
        place += 1;
    }
    if at < left.len() {
        let text = |list: &[Value]| go_text(&Value::Array(list.to_vec()));
        return Err(PatchError::OrderMismatch(text(patch), text(wanted)));
    }
    Ok(())
}

fn as_object_value(value: &Value) -> Result<&Value, PatchError> {
    as_object(value).map(|_| value)
}

fn are_the_same(one: &Value, other: &Value, merge_key: &str) -> Result<bool, PatchError> {
    if merge_key.is_empty() {
        return Ok(one == other);
    }
    Ok(merge_key_of(one, merge_key)? == merge_key_of(other, merge_key)?)
}

fn merge_list<S: Schema>(
    original: Vec<Value>,
    patch: Vec<Value>,
    rule: &Rule<S>,
    onto: Onto,
) -> Result<Vec<Value>, PatchError> {
    let Strategy { merge: true, .. } = rule.strategy else {
        return Ok(patch);
    };
    match elements_of(&[&original, &patch])? {
        Elements::None => Ok(original),
        Elements::Scalars => {
            let identity = Identity {
                elements: Elements::Scalars,
                merge_key: "",
            };
            let mut merged = Vec::with_capacity(original.len() + patch.len());
            for value in original.iter().chain(&patch) {
                if !merged.contains(value) {
                    merged.push(value.clone());
                }
            }
            order::arrange(merged, &patch, &original, identity)
        }
        Elements::Objects if rule.merge_key.is_empty() => Err(PatchError::MergeKeyUndeclared),
        Elements::Objects => {
            let (original, patch) = carry_out_directives(original, patch, rule.merge_key)?;
            let merged = merge_elements(original.clone(), &patch, rule, onto)?;
            let identity = Identity {
                elements: Elements::Objects,
                merge_key: rule.merge_key,
            };
            order::arrange(merged, &patch, &original, identity)
        }
    }
}

/// Takes the elements with a `$patch` from the patch, and what they delete from the original.
fn carry_out_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut plain, mut replaces) = (Vec::new(), false);
    for element in patch {
        match element.get(DIRECTIVE) {
            None => plain.push(element),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    let key = merge_key_of(&element, merge_key)?;
                    if let Some(other) = original.iter().find(|other| !other.is_object()) {
                        return Err(PatchError::Type {
                            expected: "map[string]interface {}",
                            actual: go_type(other),
                        });
                    }
                    original.retain(|other| other.get(merge_key) != Some(key));
                }
                Some("replace") => replaces = true,
                Some("merge") => return Err(PatchError::MergeDirective),
                _ => return Err(PatchError::Directive(go_text(directive), go_text(&element))),
            },
        }
    }
    Ok(if replaces {
        (plain, Vec::new())
    } else {
        (original, plain)
    })
}

fn merge_elements<S: Schema>(
    mut original: Vec<Value>,
    patch: &[Value],
    rule: &Rule<S>,
    onto: Onto,
) -> Result<Vec<Value>, PatchError> {
    for element in patch {
        let key = merge_key_of(element, rule.merge_key)?;
        match original
            .iter_mut()
            .find(|other| other.get(rule.merge_key) == Some(key))
        {
            Some(found) => {
                let (old, new) = (as_object(found)?.clone(), as_object(element)?.clone());
                *found = Value::Object(merge_object(old, new, rule.inner, onto)?);
            }
            None if onto == Onto::Object => original.extend(taken_over(element.clone(), onto)),
            None => original.push(element.clone()),
        }
    }
    Ok(original)
}

/// Carries out `$deleteFromPrimitiveList/<list>`.
fn delete_from_list(original: &mut Object, directive: &str, deleted: Value) -> Result<(), PatchError> {
    let key =
        list_named_by(directive, DELETE_FROM_PRIMITIVE_LIST).ok_or(PatchError::DeleteFromPrimitiveList)?;
    if deleted.is_null() {
        original.remove(key);
        return Ok(());
    }
    if let (Some(Value::Array(list)), Value::Array(deleted)) = (original.get_mut(key), &deleted) {
        elements_of(&[list, deleted])?;
        list.retain(|value| !deleted.contains(value));
    }
    Ok(())
}

fn list_named_by<'a>(directive: &'a str, prefix: &str) -> Option<&'a str> {
    directive.strip_prefix(prefix)?.strip_prefix('/')
}

/// What becomes of a patch's value where there is nothing to merge it with. Kubernetes takes elements that are added to
/// a list as they are, for its decoder to drop nulls and directives: it so adds what the patch says to delete in them.
/// Here it is not added.
fn taken_over(value: Value, onto: Onto) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let dropped =
                |key: &str, value: &Value| onto == Onto::Object && (value.is_null() || is_about_a_list(key));
            let kept = map.into_iter().filter(|(key, value)| !dropped(key, value));
            let fields = kept.filter_map(|(key, value)| Some((key, taken_over(value, onto)?)));
            Some(Value::Object(fields.collect()))
        }
        Value::Array(list) => Some(Value::Array(
            list.into_iter()
                .filter_map(|element| taken_over(element, onto))
                .collect(),
        )),
        scalar => Some(scalar),
    }
}

fn is_about_a_list(key: &str) -> bool {
    key == RETAIN_KEYS || key.starts_with(DELETE_FROM_PRIMITIVE_LIST) || key.starts_with(SET_ELEMENT_ORDER)
}
