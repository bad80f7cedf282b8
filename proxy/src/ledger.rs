//! What changes in the kernel when one Service changes, without looking at the others.
//!
//! Most items belong to one Service. A cluster address, a port of it, a node port and a local endpoint can be
//! claimed by several; then the Service that came first has it, and the next one gets it afterwards.

use crate::ruleset::{Item, Items, Value, items};
use crate::topology::{Placed, Replaced};
use std::collections::{BTreeMap, HashMap};

/// From what to what each item changes; `None` is absence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub by_item: BTreeMap<Item, Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// Who claims the items that several Services may claim.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Claims by the order of their Services.
    claims_by_item: HashMap<Item, Vec<(u64, Value)>>,
}

impl Ledger {
    /// Adds to `changes` what one Service's replacement means.
    pub fn replace(&mut self, replaced: &Replaced, changes: &mut Changes) {
        let mut old = replaced.old.as_ref().map(items).unwrap_or_default();
        let order = |placed: &Placed| placed.order;
        let new_order = replaced.new.as_ref().map(order);
        let new = replaced.new.as_ref().map(items).unwrap_or_default();
        for (item, value) in new {
            let former = old.remove(&item);
            if former.as_ref() != Some(&value) {
                self.set(item, former, new_order.map(|order| (order, value)), changes);
            }
        }
        for (item, value) in old {
            let order = replaced.old.as_ref().map(order);
            self.withdraw(item, order.unwrap_or_default(), value, changes);
        }
    }

    fn set(&mut self, item: Item, former: Option<Value>, claim: Option<(u64, Value)>, changes: &mut Changes) {
        let Some((order, value)) = claim else { return };
        if item.belongs_to_one() {
            changes.record(item, former, Some(value));
            return;
        }
        let claims = self.claims_by_item.entry(item.clone()).or_default();
        let before = winner(claims);
        claims.retain(|(claimant, _)| *claimant != order);
        let place = claims.partition_point(|(claimant, _)| *claimant < order);
        claims.insert(place, (order, value));
        changes.record(item, before, winner(claims));
    }

    fn withdraw(&mut self, item: Item, order: u64, value: Value, changes: &mut Changes) {
        if item.belongs_to_one() {
            changes.record(item, Some(value), None);
            return;
        }
        let Some(claims) = self.claims_by_item.get_mut(&item) else {
            return;
        };
        let before = winner(claims);
        claims.retain(|(claimant, _)| *claimant != order);
        let after = winner(claims);
        if claims.is_empty() {
            self.claims_by_item.remove(&item);
        }
        changes.record(item, before, after);
    }
}

fn winner(claims: &[(u64, Value)]) -> Option<Value> {
    claims.first().map(|(_, value)| value.clone())
}

impl Changes {
    /// The difference of two states.
    pub fn between(old: &Items, new: &Items) -> Changes {
        let mut changes = Changes::default();
        for (item, value) in new {
            changes.record(item.clone(), old.get(item).cloned(), Some(value.clone()));
        }
        for (item, value) in old.iter().filter(|(item, _)| !new.contains_key(item)) {
            changes.record(item.clone(), Some(value.clone()), None);
        }
        changes
    }

    pub fn is_empty(&self) -> bool {
        self.by_item.is_empty()
    }

    /// A later change of the same item continues an earlier one; there and back is no change.
    fn record(&mut self, item: Item, old: Option<Value>, new: Option<Value>) {
        let first = self.by_item.remove(&item).map_or(old, |change| change.old);
        if first != new {
            self.by_item.insert(item, Change { old: first, new });
        }
    }
}

impl Item {
    /// Its key contains the Service, or a number that only one Service has.
    fn belongs_to_one(&self) -> bool {
        match self {
            Item::Chain(_) | Item::Endpoint(..) => true,
            Item::EndpointMap(..)
            | Item::Service(..)
            | Item::NodePort(..)
            | Item::ClusterIp(_)
            | Item::LocalEndpoint(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
