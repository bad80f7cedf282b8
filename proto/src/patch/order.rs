//! The order of a merged list: the patch's items in the patch's order, the object's own between them where its
//! order allows.

use super::{DIRECTIVE, Elements, PatchError, merge_key_of};
use serde_json::Value;

/// How the elements of a list are told apart: objects by their merge key, scalars by themselves.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    pub elements: Elements,
    pub merge_key: &'a str,
}

impl Identity<'_> {
    fn of<'v>(&self, value: &'v Value) -> &'v Value {
        match self.elements {
            Elements::Objects => value.get(self.merge_key).unwrap_or(&Value::Null),
            _ => value,
        }
    }

    pub fn position(&self, list: &[Value], value: &Value) -> Option<usize> {
        list.iter().position(|other| self.of(other) == self.of(value))
    }

    fn check(&self, list: &[Value]) -> Result<(), PatchError> {
        match self.elements {
            Elements::Objects => list
                .iter()
                .try_for_each(|value| merge_key_of(value, self.merge_key).map(|_| ())),
            _ => Ok(()),
        }
    }
}

/// The merged list in the order of `patch_order` and, for what is not in there, of `server_order`.
pub fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    identity: Identity,
) -> Result<Vec<Value>, PatchError> {
    identity.check(&merged)?;
    let (patch, server_only): (Vec<_>, Vec<_>) = merged
        .into_iter()
        .partition(|value| identity.position(patch_order, value).is_some());
    let patch = sorted_by(patch, patch_order, identity)?;
    let server_only = sorted_by(server_only, server_order, identity)?;
    Ok(interleave(server_only, patch, server_order, identity))
}

/// Sorts by the places in `order`. Elements that are to be deleted come last.
pub fn sorted_by(list: Vec<Value>, order: &[Value], identity: Identity) -> Result<Vec<Value>, PatchError> {
    identity.check(&list)?;
    identity.check(order)?;
    let (deleted, mut kept): (Vec<_>, Vec<_>) = list.into_iter().partition(is_deletion);
    kept.sort_by_key(|value| identity.position(order, value).unwrap_or(usize::MAX));
    kept.extend(deleted);
    Ok(kept)
}

pub fn is_deletion(value: &Value) -> bool {
    value
        .get(DIRECTIVE)
        .is_some_and(|directive| directive == "delete")
}

/// Both lists keep their order. An item of `server_only` goes before the first of `patch` that stands behind
/// it in `server_order`.
fn interleave(
    server_only: Vec<Value>,
    patch: Vec<Value>,
    server_order: &[Value],
    identity: Identity,
) -> Vec<Value> {
    let mut all = Vec::with_capacity(server_only.len() + patch.len());
    let (mut left, mut right) = (server_only.into_iter().peekable(), patch.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        let places = (
            identity.position(server_order, l),
            identity.position(server_order, r),
        );
        match places {
            (Some(l), Some(r)) if l < r => all.extend(left.next()),
            _ => all.extend(right.next()),
        }
    }
    all.extend(left);
    all.extend(right);
    all
}
