//! An apiserver, its watches and an unreliable network, in memory and under a seed: what decisions are tried on.

use crate::action::{Action, Object, Target, with_object};
use crate::memory::{Outcome, Seen};
use gantry_proto::json;
use gantry_proto::meta::v1::{ObjectMeta, Time};
use gantry_proto::{Key, KindInfo};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

/// RFC 7386.
pub fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let Value::Object(value) = value else { return };
    for (name, patch) in patch {
        match patch {
            Value::Null => drop(value.remove(name)),
            patch => merge(value.entry(name.clone()).or_insert(Value::Null), patch),
        }
    }
}

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// What may happen to a write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// One write in so many is refused, loses its reply, or loses its reply and lands later; 0 for none.
    pub refused: usize,
    pub reply_lost: usize,
    pub late: usize,
}

type ObjectKey = (&'static str, String);

#[derive(Default)]
pub struct Store {
    pub objects: BTreeMap<ObjectKey, Object>,
    pub revision: i64,
    pub now: Duration,
    pub faults: Faults,
    caches: BTreeMap<&'static str, Cache>,
    /// Writes that were sent, whose senders have given up on them, and that may still land.
    pub late: Vec<Action>,
    /// The name of every pod that ever was.
    pub pod_names: BTreeSet<String>,
    /// Names that were chosen for a new pod after another had had them, and gone.
    pub reused_names: BTreeSet<String>,
}

#[derive(Default)]
struct Cache {
    objects: BTreeMap<String, Object>,
    revision: i64,
    pending: VecDeque<(i64, String, Option<Object>)>,
}

impl Store {
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + self.now
    }

    /// What the cache of a resource shows.
    pub fn cached(&self, resource: &str) -> Vec<&Object> {
        self.caches
            .get(resource)
            .map(|cache| cache.objects.values().collect())
            .unwrap_or_default()
    }

    pub fn stored(&self, resource: &str) -> Vec<&Object> {
        self.objects
            .iter()
            .filter(|((one, _), _)| *one == resource)
            .map(|(_, object)| object)
            .collect()
    }

    /// Lets one cache see one more event. Returns the sides of the change.
    pub fn deliver(&mut self, random: &mut Random) -> Vec<Object> {
        let behind: Vec<&'static str> = self
            .caches
            .iter()
            .filter(|(_, cache)| cache.revision < self.revision)
            .map(|(resource, _)| *resource)
            .collect();
        if behind.is_empty() {
            return Vec::new();
        }
        let revision = self.revision;
        let Some(cache) = self.caches.get_mut(behind[random.below(behind.len())]) else {
            return Vec::new();
        };
        let Some((event_revision, name, object)) = cache.pending.pop_front() else {
            // A bookmark.
            cache.revision = revision;
            return Vec::new();
        };
        cache.revision = event_revision;
        let old = match &object {
            Some(object) => cache.objects.insert(name, object.clone()),
            None => cache.objects.remove(&name),
        };
        old.into_iter().chain(object).collect()
    }

    pub fn is_quiet(&self) -> bool {
        self.late.is_empty() && self.caches.values().all(|cache| cache.pending.is_empty())
    }

    /// A write as a controller makes it, with whatever goes wrong on the way.
    pub fn write(&mut self, action: &Action, random: &mut Random) -> Option<Outcome> {
        if matches!(
            action,
            Action::WakeAfter(_) | Action::CheckAfter(_) | Action::Tell { .. }
        ) {
            return None;
        }
        if let Action::Create {
            object: Object::Pod(pod),
            ..
        } = action
        {
            let name = &pod.metadata().name;
            if self.pod_names.contains(name) && !self.objects.contains_key(&("pods", name.clone())) {
                self.reused_names.insert(name.clone());
            }
        }
        let strikes = |random: &mut Random, chances: usize| chances > 0 && random.one_in(chances);
        if strikes(random, self.faults.refused) {
            return Some(Outcome::Failed {
                message: "refused".into(),
            });
        }
        let message = "the reply was lost".to_string();
        if strikes(random, self.faults.late) {
            self.late.push(action.clone());
            return Some(Outcome::InDoubt {
                fresh: self.revision,
                message,
            });
        }
        if strikes(random, self.faults.reply_lost) {
            if random.one_in(2) {
                self.apply(action);
            }
            if let Action::Create { object, .. } = action
                && let target = object.target()
                && let Some(present) = self.objects.get(&(target.kind.resource, target.key.name))
            {
                return Some(Outcome::Taken {
                    revision: present.metadata().resource_version.parse().unwrap_or(0),
                });
            }
            return Some(Outcome::InDoubt {
                fresh: self.revision,
                message,
            });
        }
        Some(self.apply(action))
    }

    pub fn land_late(&mut self, random: &mut Random) {
        if !self.late.is_empty() {
            let action = self.late.swap_remove(random.below(self.late.len()));
            self.apply(&action);
        }
    }

    pub fn apply(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Create { object, .. } => self.create(object.clone()),
            Action::UpdateStatus { object } => {
                let target = object.target();
                self.modify(&target, &object.metadata().resource_version, |present| {
                    match (present, object) {
                        (Object::Deployment(present), Object::Deployment(new)) => {
                            present.status = new.status.clone()
                        }
                        (Object::ReplicaSet(present), Object::ReplicaSet(new)) => {
                            present.status = new.status.clone()
                        }
                        (present, new) => panic!("{present:?} {new:?}"),
                    }
                })
            }
            Action::Patch { target, patch, .. } | Action::Adopt { target, patch, .. } => {
                let expected = patch["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap_or_default()
                    .to_string();
                self.modify(target, &expected, |present| patched(present, patch))
            }
            Action::Delete { target, .. } => self.delete(target),
            other => panic!("{other:?}"),
        }
    }

    pub fn create(&mut self, mut object: Object) -> Outcome {
        let target = object.target();
        let key = (target.kind.resource, target.key.name);
        if let Some(existing) = self.objects.get(&key) {
            return Outcome::Taken {
                revision: existing.metadata().resource_version.parse().unwrap_or(0),
            };
        }
        let now = Time::from_system(self.time());
        let uid = format!("uid-{}", self.revision + 1);
        let metadata = metadata_mut(&mut object);
        metadata.uid = uid;
        metadata.generation = 1;
        metadata.creation_timestamp = Some(now);
        if key.0 == "pods" {
            self.pod_names.insert(key.1.clone());
        }
        self.put(key, object)
    }

    pub fn modify(&mut self, target: &Target, expected: &str, change: impl FnOnce(&mut Object)) -> Outcome {
        let key = (target.kind.resource, target.key.name.clone());
        let Some(present) = self
            .objects
            .get(&key)
            .filter(|one| one.metadata().uid == target.uid)
        else {
            return Outcome::Gone;
        };
        if !expected.is_empty() && present.metadata().resource_version != expected {
            return Outcome::Outdated {
                message: "the object has been modified".into(),
            };
        }
        let mut changed = present.clone();
        change(&mut changed);
        if changed == *present {
            return Outcome::Written {
                revision: present.metadata().resource_version.parse().unwrap_or(0),
            };
        }
        if spec(&changed) != spec(present) {
            metadata_mut(&mut changed).generation += 1;
        }
        self.put(key, changed)
    }

    fn delete(&mut self, target: &Target) -> Outcome {
        if target.kind.resource == "pods" {
            let now = Time::from_system(self.time());
            self.modify(target, "", |pod| {
                metadata_mut(pod).deletion_timestamp.get_or_insert(now);
            });
            return Outcome::Gone;
        }
        self.remove(target);
        Outcome::Gone
    }

    pub fn remove(&mut self, target: &Target) {
        let key = (target.kind.resource, target.key.name.clone());
        if self
            .objects
            .get(&key)
            .is_some_and(|present| present.metadata().uid == target.uid)
        {
            self.objects.remove(&key);
            self.revision += 1;
            self.tell(key, None);
        }
    }

    fn put(&mut self, key: ObjectKey, mut object: Object) -> Outcome {
        self.revision += 1;
        metadata_mut(&mut object).resource_version = self.revision.to_string();
        self.objects.insert(key.clone(), object.clone());
        self.tell(key, Some(object));
        Outcome::Written {
            revision: self.revision,
        }
    }

    fn tell(&mut self, (resource, name): ObjectKey, object: Option<Object>) {
        let cache = self.caches.entry(resource).or_default();
        cache.pending.push_back((self.revision, name, object));
    }
}

impl Seen for Store {
    fn revision(&self, resource: &str) -> Option<i64> {
        self.caches.get(resource).map(|cache| cache.revision)
    }

    fn has(&self, kind: &KindInfo, key: &Key) -> bool {
        self.caches
            .get(kind.resource)
            .is_some_and(|cache| cache.objects.contains_key(&key.name))
    }

    fn shows(&self, target: &Target) -> bool {
        let cache = self.caches.get(target.kind.resource);
        let object = cache.and_then(|cache| cache.objects.get(&target.key.name));
        object.is_some_and(|object| {
            object.metadata().uid == target.uid && object.metadata().deletion_timestamp.is_none()
        })
    }
}

fn metadata_mut(object: &mut Object) -> &mut ObjectMeta {
    with_object!(object, object => object.metadata_mut())
}

fn spec(object: &Object) -> Value {
    with_object!(object, object => json::to_value(object.as_ref()).get("spec").cloned().unwrap_or_default())
}

fn patched(object: &mut Object, patch: &Value) {
    with_object!(object, object => {
        let mut value = json::to_value(object.as_ref());
        merge(&mut value, patch);
        **object = json::decode_value(&value).unwrap().object;
    });
}
