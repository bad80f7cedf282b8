//! What etcd itself says happened, read by one watch that was open all along, and how clients' histories compare.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gantry_client::Change;
use gantry_proto::core::v1::ConfigMap;
use gantry_proto::envelope;
use gantry_store::{Event, Range, Store};
use prost::Message as _;

use crate::cluster::DEADLINE;
use crate::{LOOK_AGAIN, PREFIX};

/// A version of an object: its revision and its value.
pub type Version = (i64, String);

/// What happened to one key at a revision: its new value, or none if it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub revision: i64,
    pub name: String,
    pub value: Option<String>,
}

/// What a client had between one list and the next.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    pub listed_at: i64,
    pub listed: BTreeMap<String, Version>,
    pub events: Vec<Happened>,
}

pub struct Truth {
    began: i64,
    start: BTreeMap<String, Version>,
    happened: Arc<Mutex<Vec<Happened>>>,
    _following: tokio::task::JoinHandle<()>,
}

fn value_of(object: &[u8]) -> String {
    let map = ConfigMap::decode(object).unwrap();
    map.data.get("k").cloned().unwrap_or_default()
}

impl Truth {
    /// Follows the store from `start` on.
    pub async fn follow(store: &impl Store, start: i64) -> Truth {
        let page = store
            .list(Range {
                prefix: PREFIX,
                revision: Some(start),
                ..Range::default()
            })
            .await
            .unwrap();
        let name = |key: &str| key.strip_prefix(PREFIX).unwrap().to_owned();
        let value = |value: bytes::Bytes| value_of(&envelope::open(value).unwrap().raw);
        let present = page.kvs.into_iter();
        let present = present
            .map(|kv| (name(&kv.key), (kv.mod_revision, value(kv.value))))
            .collect();
        let mut watch = store.watch(PREFIX, start).await.unwrap();
        let happened = Arc::new(Mutex::new(Vec::new()));
        let log = happened.clone();
        let following = tokio::spawn(async move {
            while let Some(batch) = watch.next().await {
                let events = batch.expect("the truth must be whole").events;
                let events = events.into_iter().map(|event| match event {
                    Event::Put { kv } => Happened {
                        revision: kv.mod_revision,
                        name: name(&kv.key),
                        value: Some(value(kv.value)),
                    },
                    Event::Delete { key, revision } => Happened {
                        revision,
                        name: name(&key),
                        value: None,
                    },
                });
                log.lock().unwrap().extend(events);
            }
        });
        Truth {
            began: start,
            start: present,
            happened,
            _following: following,
        }
    }

    /// How far it is.
    pub fn last(&self) -> i64 {
        let happened = self.happened.lock().unwrap();
        happened.last().map_or(self.began, |last| last.revision)
    }

    pub async fn until(&self, revision: i64) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while self.last() < revision {
            assert!(tokio::time::Instant::now() < deadline, "etcd tells of {revision}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What was there at a revision.
    fn state_at(&self, revision: i64) -> BTreeMap<String, Version> {
        let mut state = self.start.clone();
        for event in self.happened.lock().unwrap().iter() {
            if event.revision > revision {
                break;
            }
            match &event.value {
                Some(value) => state.insert(event.name.clone(), (event.revision, value.clone())),
                None => state.remove(&event.name),
            };
        }
        state
    }

    /// Each list shows exactly what was there, and its watches told everything that happened until the next, once and in
    /// order.
    pub fn check_segments(&self, segments: &[Segment], last: i64, whose: &str) {
        assert!(!segments.is_empty(), "{whose} has listed");
        for segment in segments {
            assert_eq!(
                segment.listed,
                self.state_at(segment.listed_at),
                "{whose}: the list at {}",
                segment.listed_at
            );
            let end = segment
                .events
                .last()
                .map_or(segment.listed_at, |event| event.revision);
            let happened = self.happened.lock().unwrap();
            let expected = happened
                .iter()
                .filter(|event| event.revision > segment.listed_at && event.revision <= end);
            let expected: Vec<&Happened> = expected.collect();
            for (number, event) in segment.events.iter().enumerate() {
                assert_eq!(
                    Some(&event),
                    expected.get(number),
                    "{whose}: event {number} after the list"
                );
            }
            assert_eq!(
                segment.events.len(),
                expected.len(),
                "{whose}: all events up to {end}"
            );
        }
        let end = segments.last().map_or(0, |segment| {
            segment
                .events
                .last()
                .map_or(segment.listed_at, |event| event.revision)
        });
        assert!(end >= last, "{whose} is at {end}, and {last} happened");
    }

    /// The cache told each key's changes in order, and all of them if it never had to list again.
    pub fn check_cache(&self, log: &CacheLog, is_whole: bool) {
        let told = log.0.lock().unwrap();
        let mut happened: BTreeMap<String, Vec<Option<Version>>> = BTreeMap::new();
        for (name, version) in &self.start {
            happened
                .entry(name.clone())
                .or_default()
                .push(Some(version.clone()));
        }
        for event in self.happened.lock().unwrap().iter() {
            let version = event.value.clone().map(|value| (event.revision, value));
            happened.entry(event.name.clone()).or_default().push(version);
        }
        for (name, expected) in &happened {
            let told = told.get(name).cloned().unwrap_or_default();
            if is_whole {
                assert_eq!(&told, expected, "the cache's history of {name}");
                continue;
            }
            let mut rest = expected.iter();
            for version in &told {
                assert!(rest.any(|own| own == version), "{name}: {version:?} in its order");
            }
            if expected.last() != Some(&None) {
                assert_eq!(told.last(), expected.last(), "the last of {name}");
            } else {
                assert!(told.last().is_none_or(Option::is_none), "{name} is gone");
            }
        }
    }
}

/// What a cache reported, by key: the new version, or none for a deletion.
#[derive(Default)]
pub struct CacheLog(Mutex<BTreeMap<String, Vec<Option<Version>>>>);

impl CacheLog {
    pub fn note(&self, change: &Change<ConfigMap>) {
        let version = change.new.as_ref().map(|entry| {
            let value = entry.object.data.get("k").cloned().unwrap_or_default();
            (entry.revision, value)
        });
        let mut log = self.0.lock().unwrap();
        log.entry(change.key.name.clone()).or_default().push(version);
    }
}
