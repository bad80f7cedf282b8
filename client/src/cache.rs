//! A component's copy of one kind's objects, kept by list, watch and resume.
//!
//! ```text
//!            list ok                    stream ended, connection lost
//! Listing ------------> Watching(rev) ------------------------------.
//!    ^                     |   ^                                    |
//!    |   Expired           |   `------------ resume from rev <------'
//!    `---------------------'
//! ```
//!
//! Guarantees: the first list is linearizable; changes are reported in the order of their revisions, each
//! after the copy shows it; a relist reports the difference, deletions included; the copy never goes back.
//! Caveat: a reader sees a copy that may be behind; [`Cache::reached`] waits for a known write.

use crate::client::{Client, ListOptions, into_any};
use crate::error::Error;
use gantry_proto::any::Any;
use gantry_proto::api::v1::{WatchEvent, WatchReply};
use gantry_proto::{Key, Kind};
use imbl::OrdMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The first pause after a failed list or watch, doubled with each failure in a row, and the longest: an
/// apiserver that comes back is used again within the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(3);

/// An object as the apiserver sent it.
#[derive(Debug)]
pub struct Entry<K> {
    pub object: K,
    pub revision: i64,
    /// The W3C traceparent of the write that made this version.
    pub cause: Option<Arc<str>>,
}

impl<K> Deref for Entry<K> {
    type Target = K;
    fn deref(&self) -> &K {
        &self.object
    }
}

/// All objects at one moment; cheap to clone and to keep.
pub type Snapshot<K> = OrdMap<Key, Arc<Entry<K>>>;

/// What happened to one key. It wakes; the decision reads the cache.
#[derive(Debug)]
pub struct Change<K> {
    pub key: Key,
    pub old: Option<Arc<Entry<K>>>,
    pub new: Option<Arc<Entry<K>>>,
    /// The traceparent of the write that caused the change; for a deletion, that of the deletion.
    pub cause: Option<Arc<str>>,
}

type OnChange<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// A reader of the copy; cheap to clone.
pub struct Cache<K> {
    state: watch::Receiver<State<K>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Cache {
            state: self.state.clone(),
        }
    }
}

struct State<K> {
    objects: Snapshot<K>,
    revision: i64,
    synced: bool,
}

pub struct CacheBuilder<K> {
    client: Client,
    options: ListOptions,
    on_change: Vec<OnChange<K>>,
}

impl<K: Kind> Cache<K> {
    /// A cache of all objects of the kind.
    pub fn builder(client: Client) -> CacheBuilder<K> {
        CacheBuilder {
            client,
            options: ListOptions::default(),
            on_change: Vec::new(),
        }
    }

    /// Returns when the first list is in.
    pub async fn synced(&self) {
        // The writer ends only at shutdown, when nobody needs an answer any more.
        if self.state.clone().wait_for(|state| state.synced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub fn is_synced(&self) -> bool {
        self.state.borrow().synced
    }

    pub fn get(&self, key: &Key) -> Option<Arc<Entry<K>>> {
        self.state.borrow().objects.get(key).cloned()
    }

    pub fn snapshot(&self) -> Snapshot<K> {
        self.state.borrow().objects.clone()
    }

    /// The objects of one namespace, in the order of their names.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<Entry<K>>> {
        let objects = self.snapshot();
        let range = objects.range(Key::new(namespace, "")..);
        range
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// Every change up to this revision is in.
    pub fn revision(&self) -> i64 {
        self.state.borrow().revision
    }

    /// The gate: returns when every change up to `revision` is in.
    pub async fn reached(&self, revision: i64) {
        if self
            .state
            .clone()
            .wait_for(|state| state.synced && state.revision >= revision)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}

impl<K: Kind> CacheBuilder<K> {
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.options.namespace = namespace.into();
        self
    }

    /// In Kubernetes' syntax, such as `app=web`.
    pub fn label_selector(mut self, selector: impl Into<String>) -> Self {
        self.options.label_selector = selector.into();
        self
    }

    /// In Kubernetes' syntax, such as `spec.nodeName=n1`.
    pub fn field_selector(mut self, selector: impl Into<String>) -> Self {
        self.options.field_selector = selector.into();
        self
    }

    /// Called for each change, in order, by the task that keeps the copy: it must not block.
    pub fn on_change(mut self, on_change: impl Fn(&Change<K>) + Send + Sync + 'static) -> Self {
        self.on_change.push(Box::new(on_change));
        self
    }

    /// Starts the task that keeps the copy until `shutdown`.
    pub fn spawn(self, shutdown: CancellationToken) -> Cache<K> {
        let state = State {
            objects: Snapshot::new(),
            revision: 0,
            synced: false,
        };
        let (sender, receiver) = watch::channel(state);
        let keeper = Keeper {
            client: self.client,
            options: self.options,
            on_change: self.on_change,
            state: sender,
        };
        tokio::spawn(async move {
            let _ = shutdown.run_until_cancelled(keeper.keep()).await;
        });
        Cache { state: receiver }
    }
}

/// The one writer of the copy.
struct Keeper<K> {
    client: Client,
    options: ListOptions,
    on_change: Vec<OnChange<K>>,
    state: watch::Sender<State<K>>,
}

enum Phase {
    Listing,
    Watching { revision: i64 },
}

impl<K: Kind> Keeper<K> {
    async fn keep(self) {
        let mut phase = Phase::Listing;
        // In a row; only an event ends it. A list whose watch ends at once is no success, and neither is a watch
        // that every apiserver ends at once.
        let mut failures: u32 = 0;
        loop {
            let ended = match phase {
                Phase::Listing => match self.list().await {
                    Ok(watching) => {
                        phase = watching;
                        continue;
                    }
                    Err(error) => Err(error),
                },
                Phase::Watching { revision } => {
                    let ended = self.watch(revision, &mut failures).await;
                    phase = Phase::Watching {
                        revision: self.state.borrow().revision,
                    };
                    ended
                }
            };
            failures = failures.saturating_add(1);
            if let Err(error) = ended {
                if error.is_expired() {
                    phase = Phase::Listing;
                }
                if failures > 1 {
                    tracing::warn!(resource = K::INFO.resource, %error, "cannot follow the apiserver, trying again");
                }
            }
            #[allow(
                clippy::disallowed_methods,
                reason = "clients that failed together must not come back together"
            )]
            let spread = rand::random();
            tokio::time::sleep(pause(failures, spread)).await;
        }
    }

    async fn list(&self) -> Result<Phase, Error> {
        let list = self.client.list_raw::<K>(&self.options).await?;
        let mut objects = Snapshot::new();
        for any in list.items {
            if let Some((key, entry)) = decode::<K>(any, None) {
                objects.insert(key, entry);
            }
        }
        let old = self.state.borrow().objects.clone();
        let changes = difference(&old, &objects);
        self.state.send_modify(|state| {
            state.objects = objects;
            state.revision = state.revision.max(list.revision);
            state.synced = true;
        });
        self.report(&changes);
        Ok(Phase::Watching {
            revision: list.revision,
        })
    }

    /// Follows events until the stream ends, which is nobody's fault: apiservers end watches now and then. A watch of
    /// an apiserver that calls have left, because it cannot serve, ends too: it might never tell anything any more.
    async fn watch(&self, revision: i64, failures: &mut u32) -> Result<(), Error> {
        let (connection, mut stream) = self.client.watch_raw::<K>(&self.options, revision).await?;
        let mut left = std::pin::pin!(self.client.left(&connection));
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                () = &mut left => return Ok(()),
            };
            match message {
                Ok(Some(WatchReply { events })) => self.apply(events)?,
                Ok(None) => return Ok(()),
                Err(status) => {
                    self.client.note_failure(&connection, &status);
                    return Err(Error::of_read(status));
                }
            }
            *failures = 0;
        }
    }

    /// One message's events become visible at once, and are then reported one by one.
    fn apply(&self, events: Vec<WatchEvent>) -> Result<(), Error> {
        let (mut objects, mut revision) = {
            let state = self.state.borrow();
            (state.objects.clone(), state.revision)
        };
        let mut changes = Vec::with_capacity(events.len());
        let mut ended = None;
        for event in events {
            if event.r#type == "ERROR" {
                ended = Some(Error::Status(Box::new(event.error.unwrap_or_default())));
                break;
            }
            revision = revision.max(event.revision);
            let cause: Option<Arc<str>> =
                Some(event.trace_parent.into()).filter(|t: &Arc<str>| !t.is_empty());
            let Some(any) = event.object.and_then(into_any) else {
                continue;
            };
            let Some((key, entry)) = decode::<K>(any, cause.clone()) else {
                continue;
            };
            let (old, new) = match event.r#type.as_str() {
                "DELETED" => (objects.remove(&key), None),
                _ => (objects.insert(key.clone(), entry.clone()), Some(entry)),
            };
            changes.push(Change { key, old, new, cause });
        }
        self.state.send_modify(|state| {
            state.objects = objects;
            state.revision = revision;
        });
        self.report(&changes);
        ended.map_or(Ok(()), Err)
    }

    fn report(&self, changes: &[Change<K>]) {
        for change in changes {
            for on_change in &self.on_change {
                on_change(change);
            }
        }
    }
}

/// An object that does not decode is left out and logged: the others must go on.
fn decode<K: Kind>(any: Any, cause: Option<Arc<str>>) -> Option<(Key, Arc<Entry<K>>)> {
    match K::decode(any.value) {
        Ok(object) => {
            let revision = crate::revision(object.metadata());
            Some((
                object.key(),
                Arc::new(Entry {
                    object,
                    revision,
                    cause,
                }),
            ))
        }
        Err(error) => {
            tracing::error!(resource = K::INFO.resource, %error, "an object from the apiserver does not decode");
            None
        }
    }
}

/// What a relist changed.
fn difference<K>(old: &Snapshot<K>, new: &Snapshot<K>) -> Vec<Change<K>> {
    let mut changes = Vec::new();
    for (key, entry) in new {
        let before = old.get(key);
        if before.is_none_or(|before| before.revision != entry.revision) {
            let (old, new) = (before.cloned(), Some(entry.clone()));
            changes.push(Change {
                key: key.clone(),
                old,
                new,
                cause: entry.cause.clone(),
            });
        }
    }
    for (key, entry) in old {
        if !new.contains_key(key) {
            changes.push(Change {
                key: key.clone(),
                old: Some(entry.clone()),
                new: None,
                cause: None,
            });
        }
    }
    changes
}

/// `spread` is random in 0..1 and keeps clients that failed together from coming back together.
fn pause(failures: u32, spread: f64) -> Duration {
    let longest = FIRST_PAUSE
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(LAST_PAUSE);
    longest.mul_f64(0.5 + spread.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::core::v1::ConfigMap;

    fn snapshot(entries: &[(&str, i64)]) -> Snapshot<ConfigMap> {
        let entry = |revision| {
            Arc::new(Entry {
                object: ConfigMap::default(),
                revision,
                cause: None,
            })
        };
        entries
            .iter()
            .map(|(name, revision)| (Key::new("default", *name), entry(*revision)))
            .collect()
    }

    #[test]
    fn a_relist_reports_what_came_what_changed_and_what_went() {
        let changes = difference(
            &snapshot(&[("a", 1), ("b", 2), ("c", 3)]),
            &snapshot(&[("a", 1), ("b", 5), ("d", 6)]),
        );
        let told: Vec<_> = changes
            .iter()
            .map(|c| (c.key.name.as_str(), c.old.is_some(), c.new.is_some()))
            .collect();
        assert_eq!(told, [("b", true, true), ("d", false, true), ("c", true, false)]);
    }

    #[test]
    fn pauses_grow_to_the_longest_and_never_vanish() {
        for (failures, spread, millis) in [
            (1, 0.0, 25),
            (1, 1.0, 50),
            (2, 1.0, 100),
            (30, 1.0, 3000),
            (30, 0.0, 1500),
        ] {
            assert_eq!(
                pause(failures, spread).as_millis(),
                millis,
                "after {failures} failures"
            );
        }
    }
}
