//! Which Services to look at again, and why.

use crate::service::SERVICE_NAME_LABEL;
use gantry_client::Change;
use gantry_proto::Key;
use gantry_proto::core::v1::Service;
use gantry_proto::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::Notify;

/// Causes that one programming remembers per Service: the rest would only be more links of one span.
const MAX_CAUSES: usize = 8;
/// When the change that a slice reports happened to its pods, by the slice controller.
const TRIGGER_TIME_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Services that changed and are not programmed yet; at most one entry per Service, however often it changes.
#[derive(Clone, Default)]
pub struct Wakes {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    wakes_by_service: Mutex<BTreeMap<Key, Wake>>,
    notify: Notify,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// The slices to look at again.
    pub slices: BTreeSet<Key>,
    /// The traceparents of the writes that changed it, the first first.
    pub causes: Vec<Arc<str>>,
    /// When the first of the changes happened to pods, if somebody says so.
    pub triggered: Option<SystemTime>,
}

impl Wakes {
    pub fn service(&self, change: &Change<Service>) {
        self.wake(change.key.clone(), |wake| wake.add_cause(change.cause.as_ref()));
    }

    pub fn slice(&self, change: &Change<EndpointSlice>) {
        let owner = |entry: &EndpointSlice| service_of(entry);
        let before = change.old.as_ref().and_then(|entry| owner(entry));
        let after = change.new.as_ref().and_then(|entry| owner(entry));
        let triggered = change.new.as_ref().and_then(|entry| trigger_time(entry));
        let moved = before != after;
        for service in [before.filter(|_| moved), after].into_iter().flatten() {
            self.wake(service, |wake| {
                wake.slices.insert(change.key.clone());
                wake.add_cause(change.cause.as_ref());
                wake.triggered = [wake.triggered, triggered].into_iter().flatten().min();
            });
        }
    }

    /// Returns when there is something to take.
    pub async fn some(&self) {
        while self.lock().is_empty() {
            self.shared.notify.notified().await;
        }
    }

    pub fn take(&self) -> BTreeMap<Key, Wake> {
        std::mem::take(&mut *self.lock())
    }

    fn wake(&self, service: Key, change: impl FnOnce(&mut Wake)) {
        change(self.lock().entry(service).or_default());
        self.shared.notify.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Wake>> {
        self.shared
            .wakes_by_service
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake {
    fn add_cause(&mut self, cause: Option<&Arc<str>>) {
        if let Some(cause) =
            cause.filter(|cause| !self.causes.contains(cause) && self.causes.len() < MAX_CAUSES)
        {
            self.causes.push(cause.clone());
        }
    }
}

/// The Service that a slice belongs to.
pub fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let metadata = slice.metadata.as_ref()?;
    let name = metadata.labels.get(SERVICE_NAME_LABEL)?;
    Some(Key::new(&metadata.namespace, name))
}

fn trigger_time(slice: &EndpointSlice) -> Option<SystemTime> {
    let text = slice
        .metadata
        .as_ref()?
        .annotations
        .get(TRIGGER_TIME_ANNOTATION)?;
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_client::Entry;
    use std::collections::BTreeMap;

    /// A slice's version: the Service that it belongs to, and when its pods changed.
    fn entry(service: &str, triggered: &str) -> Option<Arc<Entry<EndpointSlice>>> {
        let mut object = EndpointSlice::default();
        let metadata = object.metadata.get_or_insert_default();
        metadata.namespace = "default".to_owned();
        metadata.labels = BTreeMap::from([(SERVICE_NAME_LABEL.to_owned(), service.to_owned())]);
        metadata.annotations = BTreeMap::from([(TRIGGER_TIME_ANNOTATION.to_owned(), triggered.to_owned())]);
        Some(Arc::new(Entry {
            object,
            revision: 1,
            cause: None,
        }))
    }

    fn change(
        old: Option<Arc<Entry<EndpointSlice>>>,
        new: Option<Arc<Entry<EndpointSlice>>>,
        cause: &str,
    ) -> Change<EndpointSlice> {
        Change {
            key: Key::new("default", "slice"),
            old,
            new,
            cause: Some(cause.into()),
        }
    }

    #[test]
    fn a_slice_wakes_its_service_and_the_one_that_it_left() {
        let wakes = Wakes::default();
        wakes.slice(&change(entry("a", ""), entry("b", ""), "x"));
        let woken: Vec<String> = wakes.take().keys().map(Key::to_string).collect();
        assert_eq!(woken, ["default/a", "default/b"]);
        wakes.slice(&change(entry("a", ""), None, "x"));
        assert_eq!(
            wakes.take().keys().map(Key::to_string).collect::<Vec<_>>(),
            ["default/a"]
        );
        assert!(wakes.take().is_empty());
    }

    #[test]
    fn a_wake_keeps_the_first_causes_and_the_earliest_trigger() {
        let wakes = Wakes::default();
        let (early, late) = ("2026-11-20T10:00:00Z", "2026-11-20T10:00:01Z");
        wakes.slice(&change(None, entry("a", late), "first"));
        wakes.slice(&change(None, entry("a", early), "first"));
        for cause in 0..2 * MAX_CAUSES {
            wakes.slice(&change(None, entry("a", "nonsense"), &cause.to_string()));
        }
        let woken = wakes.take();
        let wake = woken.values().next().unwrap();
        assert_eq!(
            (wake.causes.len(), wake.causes[0].as_ref()),
            (MAX_CAUSES, "first")
        );
        assert_eq!(wake.triggered.map(text_of), Some(early.to_owned()));
    }

    fn text_of(time: SystemTime) -> String {
        jiff::Timestamp::try_from(time).unwrap().to_string()
    }
}
