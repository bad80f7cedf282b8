//! What the cache holds at one revision, and how a batch of the store's changes leads to the next.

use std::ops::Bound;
use std::sync::Arc;

use gantry_proto::Key;
use gantry_store::{Event, KeyValue, WatchBatch};
use imbl::OrdMap;

use super::entry::{Entry, key_of};
use super::history::{self, Change, History};
use super::selection::Selection;
use crate::strategy::Strategy;

/// The objects of a kind at one revision. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Objects(Map);

/// A change copies the nodes of the tree that lead to it, so keys are shared rather than strings copied.
type Map = OrdMap<Arc<Key>, Arc<Entry>>;

impl Objects {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.0.get(key).cloned()
    }

    /// The objects of a selection, in order, behind `start_after`.
    pub fn select<'a>(
        &'a self,
        selection: &'a Selection,
        start_after: Option<&Key>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let start = start_after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        self.select_from(selection, start)
    }

    /// The objects of a selection, in order, from a place on, which is within the selection's namespace.
    pub fn select_from<'a>(
        &'a self,
        selection: &'a Selection,
        start: Bound<Key>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let namespace = selection.namespace.as_str();
        let start = match start {
            Bound::Unbounded => Bound::Included(Key::new(namespace, "")),
            start => start,
        };
        self.0
            .range::<_, Key>((start, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(move |entry| namespace.is_empty() || entry.key.namespace == namespace)
            .filter(move |entry| selection.matches(entry))
    }
}

/// Everything at one revision.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// False until the first list of the store is in.
    pub synced: bool,
    pub objects: Objects,
    pub history: History,
    /// Every change up to and including this revision is in.
    pub revision: i64,
}

impl State {
    /// The state that a full list of the store shows. It has no history.
    pub fn listed(strategy: &dyn Strategy, kvs: &[KeyValue], revision: i64) -> State {
        State {
            synced: true,
            objects: objects(strategy, kvs),
            history: History::starting_at(revision),
            revision,
        }
    }

    /// The state after a batch of changes. Changes that are in already change nothing.
    pub fn after(&self, strategy: &dyn Strategy, batch: &WatchBatch) -> State {
        let mut next = self.clone();
        for event in batch
            .events
            .iter()
            .filter(|event| event.revision() > self.revision)
        {
            next.apply(strategy, event);
        }
        next.history.trim(history::MAX_EVENTS, history::MAX_BYTES);
        next.revision = next.revision.max(batch.revision);
        next
    }

    fn apply(&mut self, strategy: &dyn Strategy, event: &Event) {
        let revision = event.revision();
        self.revision = self.revision.max(revision);
        let Some(key) = key_of(strategy, event.key()) else {
            let key = &**event.key();
            tracing::warn!(key, revision, "a key in the store names no object of its kind");
            return;
        };
        let after = match event {
            Event::Put { kv, .. } => read(strategy, kv),
            Event::Delete { .. } => None,
        };
        let objects = &mut self.objects.0;
        let before = match &after {
            Some(entry) => objects.insert(entry.key.clone(), entry.clone()),
            None => objects.remove(&key),
        };
        if before.is_some() || after.is_some() {
            self.history.push(Change {
                revision,
                before,
                after,
            });
        }
    }
}

/// The objects that a list of the store shows.
pub fn objects(strategy: &dyn Strategy, kvs: &[KeyValue]) -> Objects {
    let entries = kvs.iter().filter_map(|kv| read(strategy, kv));
    Objects(entries.map(|entry| (entry.key.clone(), entry)).collect())
}

/// A value that cannot be read is as good as absent to every client; only its key can still be deleted.
fn read(strategy: &dyn Strategy, kv: &KeyValue) -> Option<Arc<Entry>> {
    match Entry::read(strategy, kv) {
        Ok(entry) => Some(Arc::new(entry)),
        Err(error) => {
            let (key, revision) = (&*kv.key, kv.mod_revision);
            let error = &error as &dyn std::error::Error;
            tracing::error!(key, revision, error, "a stored object cannot be read");
            None
        }
    }
}
