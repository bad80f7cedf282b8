//! The garbage collector against an apiserver in memory, under a seed: random graphs, caches that lag and relist, lost
//! replies, a collector that starts anew. What must hold at every step is checked at every write; what must hold in the
//! end, when everything has calmed down.

use super::graph::{Graph, Item};
use super::sight::{Reads, decide};
use super::{Dependent, FOREGROUND, ORPHAN, awaits};
use crate::action::{Action, Attempt, Propagation, Target};
use crate::memory::{Memory, Outcome, Seen};
use crate::test_store::{Random, merge};
use futures::FutureExt as _;
use gantry_client::Error;
use gantry_proto::meta::v1::{ObjectMeta, OwnerReference, Time};
use gantry_proto::{Key, KindInfo};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

const KINDS: [(&str, &str); 5] = [
    ("v1", "Node"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("v1", "Pod"),
    ("v1", "ConfigMap"),
];
const NAMESPACES: [&str; 2] = ["one", "two"];
const HOLD: &str = "example.com/hold";

fn kind(index: usize) -> &'static KindInfo {
    let (api_version, name) = KINDS[index % KINDS.len()];
    KindInfo::of_object(api_version, name).unwrap()
}

fn kind_of(item: &Item) -> &'static KindInfo {
    KindInfo::of_resource(&item.resource).unwrap()
}

type Event = (i64, Item, Option<ObjectMeta>);

#[derive(Default)]
struct Cache {
    objects: BTreeMap<Key, ObjectMeta>,
    revision: i64,
    pending: VecDeque<Event>,
}

/// The server, and what the collector sees of it.
#[derive(Default)]
struct Server {
    objects: BTreeMap<Item, ObjectMeta>,
    revision: i64,
    caches: BTreeMap<String, Cache>,
    /// Fresh reads fail now and then while this is so.
    is_faulty: bool,
    /// Fresh reads are not fresh: what must not be.
    is_stale: bool,
    /// Drawn by reads, which cannot change anything else.
    dice: Mutex<u64>,
}

impl Server {
    fn read_fails(&self) -> bool {
        let mut dice = self.dice.lock().unwrap();
        let mut random = Random(*dice);
        let fails = random.one_in(8);
        *dice = random.0;
        self.is_faulty && fails
    }

    fn put(&mut self, item: Item, mut metadata: ObjectMeta) {
        self.revision += 1;
        metadata.resource_version = self.revision.to_string();
        self.objects.insert(item.clone(), metadata.clone());
        self.tell(item, Some(metadata));
    }

    fn remove(&mut self, item: &Item) {
        self.revision += 1;
        self.objects.remove(item);
        self.tell(item.clone(), None);
    }

    fn tell(&mut self, item: Item, metadata: Option<ObjectMeta>) {
        let revision = self.revision;
        let cache = self.caches.entry(item.resource.clone()).or_default();
        cache.pending.push_back((revision, item, metadata));
    }

    /// As the apiserver deletes: finalizers keep the object.
    fn delete(&mut self, item: &Item, propagation: Propagation) {
        let Some(mut metadata) = self.objects.get(item).cloned() else {
            return;
        };
        metadata
            .finalizers
            .retain(|name| name != FOREGROUND && name != ORPHAN);
        match propagation {
            Propagation::Background => {}
            Propagation::Foreground => metadata.finalizers.push(FOREGROUND.into()),
            Propagation::Orphan => metadata.finalizers.push(ORPHAN.into()),
        }
        if metadata.finalizers.is_empty() {
            return self.remove(item);
        }
        metadata.deletion_timestamp.get_or_insert(Time::default());
        self.put(item.clone(), metadata);
    }

    fn change(&mut self, item: &Item, change: impl FnOnce(&mut ObjectMeta)) {
        let Some(before) = self.objects.get(item).cloned() else {
            return;
        };
        let mut after = before.clone();
        change(&mut after);
        if after.deletion_timestamp.is_some() && after.finalizers.is_empty() {
            self.remove(item);
        } else if after != before {
            self.put(item.clone(), after);
        }
    }

    fn apply(&mut self, action: &Action) -> Outcome {
        let (target, uid, version) = match action {
            Action::Delete {
                target,
                resource_version,
                ..
            } => (target, target.uid.clone(), resource_version.clone()),
            Action::Patch { target, patch, .. } => {
                let of = |name: &str| patch["metadata"][name].as_str().map(str::to_string);
                (target, of("uid").unwrap(), of("resourceVersion"))
            }
            other => panic!("{other:?}"),
        };
        let item = Item::of(target);
        let Some(present) = self.objects.get(&item) else {
            return Outcome::Gone;
        };
        // Whatever the collector writes is about this version of this object and no other.
        assert!(version.is_some(), "{action:?}");
        if present.uid != uid || Some(&present.resource_version) != version.as_ref() {
            return Outcome::Outdated {
                message: "the object has been modified".into(),
            };
        }
        match action {
            Action::Delete { propagation, .. } => {
                self.delete(&item, propagation.unwrap());
                Outcome::Gone
            }
            Action::Patch { patch, .. } => {
                self.change(&item, |metadata| {
                    let mut value = serde_json::to_value(&*metadata).unwrap();
                    merge(&mut value, &patch["metadata"]);
                    *metadata = serde_json::from_value(value).unwrap();
                });
                Outcome::Written {
                    revision: self.revision,
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Reads for Server {
    fn cached(&self, kind: &'static KindInfo, key: &Key) -> Option<ObjectMeta> {
        self.caches.get(&kind.group_resource())?.objects.get(key).cloned()
    }

    fn shows_uid(&self, kind: &'static KindInfo, uid: &str) -> bool {
        let cache = self.caches.get(&kind.group_resource());
        cache.is_some_and(|cache| cache.objects.values().any(|metadata| metadata.uid == uid))
    }

    async fn live(&self, kind: &'static KindInfo, key: &Key) -> Result<Option<ObjectMeta>, Error> {
        if self.read_fails() {
            return Err(Error::Unavailable("away".into()));
        }
        if self.is_stale {
            return Ok(self.cached(kind, key));
        }
        let item = Item {
            resource: kind.group_resource(),
            key: key.clone(),
        };
        Ok(self.objects.get(&item).cloned())
    }

    async fn live_dependents(&self, owner: &ObjectMeta) -> Result<Vec<Dependent>, Error> {
        if self.read_fails() {
            return Err(Error::Unavailable("away".into()));
        }
        Ok(self
            .objects
            .iter()
            .filter(|(item, _)| owner.namespace.is_empty() || item.key.namespace == owner.namespace)
            .filter(|(_, metadata)| metadata.owner_references.iter().any(|one| one.uid == owner.uid))
            .map(|(item, metadata)| Dependent {
                target: Target {
                    kind: kind_of(item),
                    key: item.key.clone(),
                    uid: metadata.uid.clone(),
                },
                metadata: metadata.clone(),
            })
            .collect())
    }
}

impl Seen for Server {
    fn revision(&self, resource: &str) -> Option<i64> {
        let mut caches = self.caches.iter();
        let own = |name: &str| name.split('.').next() == Some(resource);
        caches
            .find(|(name, _)| own(name))
            .map(|(_, cache)| cache.revision)
    }

    fn shows(&self, target: &Target) -> bool {
        let cached = self.cached(target.kind, &target.key);
        cached.is_some_and(|one| one.uid == target.uid && one.deletion_timestamp.is_none())
    }

    fn has(&self, kind: &KindInfo, key: &Key) -> bool {
        let cache = self.caches.get(&kind.group_resource());
        cache.is_some_and(|cache| cache.objects.contains_key(key))
    }
}

struct Simulation {
    seed: u64,
    random: Random,
    server: Server,
    graph: Graph,
    woken: BTreeSet<Item>,
    memories: BTreeMap<Item, Memory>,
    timers: Vec<(Duration, Item)>,
    now: Duration,
    made: u64,
    /// By an owner's uid, the uids of the dependents that it was to leave behind.
    to_orphan: BTreeMap<String, BTreeSet<String>>,
    invalid_references_told: usize,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut server = Server {
            is_faulty: true,
            ..Server::default()
        };
        *server.dice.get_mut().unwrap() = seed;
        for index in 0..KINDS.len() {
            server
                .caches
                .insert(kind(index).group_resource(), Cache::default());
        }
        Simulation {
            seed,
            random: Random(seed),
            server,
            graph: Graph::default(),
            woken: BTreeSet::new(),
            memories: BTreeMap::new(),
            timers: Vec::new(),
            now: Duration::ZERO,
            made: 0,
            to_orphan: BTreeMap::new(),
            invalid_references_told: 0,
        }
    }

    fn any_item(&mut self) -> Option<Item> {
        let items: Vec<&Item> = self.server.objects.keys().collect();
        (!items.is_empty()).then(|| items[self.random.below(items.len())].clone())
    }

    fn a_reference(&mut self) -> Option<OwnerReference> {
        let owner = self.any_item()?;
        let uid = self.server.objects[&owner].uid.clone();
        let info = kind_of(&owner);
        let mut reference = OwnerReference {
            api_version: info.api_version(),
            kind: info.kind.into(),
            name: owner.key.name,
            uid,
            controller: None,
            block_owner_deletion: [None, Some(true), Some(true), Some(false)][self.random.below(4)],
        };
        match self.random.below(20) {
            0 => reference.uid = format!("never-{}", self.made),
            1 => reference.name = "elsewhere".into(),
            2 => reference.kind = "Unknown".into(),
            _ => {}
        }
        Some(reference)
    }

    fn user_creates(&mut self) {
        self.made += 1;
        let info = kind(self.random.below(KINDS.len()));
        let namespace = match info.namespaced {
            true => NAMESPACES[self.random.below(NAMESPACES.len())],
            false => "",
        };
        let mut metadata = ObjectMeta {
            // Few names, so that they are taken again by others.
            name: format!("name-{}", self.random.below(6)),
            namespace: namespace.into(),
            uid: format!("uid-{}", self.made),
            ..ObjectMeta::default()
        };
        for _ in 0..self.random.below(3) {
            metadata.owner_references.extend(self.a_reference());
        }
        metadata
            .owner_references
            .dedup_by(|one, other| one.uid == other.uid);
        if self.random.one_in(6) {
            metadata.finalizers.push(HOLD.into());
        }
        let item = Item {
            resource: info.group_resource(),
            key: Key::new(namespace, &metadata.name),
        };
        if !self.server.objects.contains_key(&item) {
            self.server.put(item, metadata);
        }
    }

    fn user_deletes(&mut self) {
        let Some(item) = self.any_item() else { return };
        let metadata = self.server.objects[&item].clone();
        if metadata.deletion_timestamp.is_some() {
            return;
        }
        let propagation = [
            Propagation::Background,
            Propagation::Foreground,
            Propagation::Orphan,
        ][self.random.below(3)];
        if propagation == Propagation::Orphan {
            let dependents = self.server.live_dependents(&metadata);
            let Some(Ok(dependents)) = dependents.now_or_never() else {
                return;
            };
            let uids = dependents
                .iter()
                .filter(|dependent| names(&dependent.metadata, &item, &metadata.uid))
                .map(|dependent| dependent.metadata.uid.clone());
            self.to_orphan.insert(metadata.uid.clone(), uids.collect());
        }
        self.server.delete(&item, propagation);
    }

    fn user_changes_owners(&mut self) {
        let (Some(item), Some(reference)) = (self.any_item(), self.a_reference()) else {
            return;
        };
        let adds = self.random.one_in(2);
        if adds {
            // Whoever gives it an owner again asks for what follows.
            let uid = &self.server.objects[&item].uid;
            for left in self.to_orphan.values_mut() {
                left.remove(uid);
            }
        }
        self.server.change(&item, |metadata| {
            let references = &mut metadata.owner_references;
            if !adds {
                references.pop();
            } else if references.iter().all(|one| one.uid != reference.uid) {
                references.push(reference);
            }
        });
    }

    fn user_lets_go(&mut self) {
        if let Some(item) = self.any_item() {
            self.server
                .change(&item, |metadata| metadata.finalizers.retain(|name| name != HOLD));
        }
    }

    fn any_resource(&mut self) -> String {
        kind(self.random.below(KINDS.len())).group_resource()
    }

    /// Lets one cache see one more event.
    fn deliver(&mut self, resource: &str) {
        let latest = self.server.revision;
        let Some(cache) = self.server.caches.get_mut(resource) else {
            return;
        };
        let Some((revision, item, new)) = cache.pending.pop_front() else {
            cache.revision = latest;
            return;
        };
        cache.revision = revision;
        let old = match &new {
            Some(new) => cache.objects.insert(item.key.clone(), new.clone()),
            None => cache.objects.remove(&item.key),
        };
        self.woken
            .extend(self.graph.observe(&item, old.as_ref(), new.as_ref()));
    }

    /// What a cache does whose watch has expired: what came and went in between nobody tells.
    fn relist(&mut self, resource: &str) {
        let revision = self.server.revision;
        let stored = self.server.objects.iter();
        let now: BTreeMap<Key, ObjectMeta> = stored
            .filter(|(item, _)| item.resource == resource)
            .map(|(item, metadata)| (item.key.clone(), metadata.clone()))
            .collect();
        let Some(cache) = self.server.caches.get_mut(resource) else {
            return;
        };
        cache.pending.clear();
        cache.revision = revision;
        let before = std::mem::replace(&mut cache.objects, now.clone());
        let keys: BTreeSet<&Key> = before.keys().chain(now.keys()).collect();
        for key in keys {
            let (old, new) = (before.get(key), now.get(key));
            if old != new {
                let item = Item {
                    resource: resource.into(),
                    key: key.clone(),
                };
                self.woken.extend(self.graph.observe(&item, old, new));
            }
        }
    }

    /// Another process leads: it knows nothing but what it lists.
    fn start_anew(&mut self) {
        self.graph = Graph::default();
        (self.woken, self.memories, self.timers) = Default::default();
        for index in 0..KINDS.len() {
            let resource = kind(index).group_resource();
            self.server.caches.insert(resource.clone(), Cache::default());
            self.relist(&resource);
        }
    }

    fn collect_one(&mut self) {
        let is_open = |item: &&Item| {
            let memory = self.memories.get(*item);
            memory.is_none_or(|memory| memory.gate.awaits(&self.server).is_none())
        };
        let open: Vec<Item> = self.woken.iter().filter(is_open).cloned().collect();
        if open.is_empty() {
            return;
        }
        let item = open[self.random.below(open.len())].clone();
        self.woken.remove(&item);
        let mut memory = self.memories.remove(&item).unwrap_or_default();
        memory.gate.open();
        let is_outdated = memory.failure.take().map(|failure| failure.of) == Some(Attempt::Outdated);
        let decided = decide(&self.graph, &self.server, &item, is_outdated).now_or_never();
        let actions = match decided.unwrap() {
            Ok(None) => return,
            Ok(Some(actions)) => actions,
            Err(_) => {
                self.timers.push((self.now + Duration::from_secs(1), item));
                return;
            }
        };
        for action in &actions {
            match action {
                Action::CheckAfter(delay) => self.timers.push((self.now + *delay, item.clone())),
                Action::Tell { .. } => self.invalid_references_told += 1,
                write => {
                    let outcome = self.write(write);
                    memory.note(write, &outcome);
                }
            }
            if memory.failure.is_some() {
                self.timers
                    .push((self.now + Duration::from_secs(1), item.clone()));
                break;
            }
        }
        self.memories.insert(item, memory);
    }

    fn write(&mut self, action: &Action) -> Outcome {
        if self.server.is_faulty && self.random.one_in(10) {
            if self.random.one_in(2) {
                self.check(action);
                self.server.apply(action);
            }
            return Outcome::InDoubt {
                fresh: self.server.revision,
                message: "the reply was lost".into(),
            };
        }
        self.check(action);
        self.server.apply(action)
    }

    /// Nothing with a live owner is ever deleted, nor what its owner was to leave behind.
    fn check(&self, action: &Action) {
        let Action::Delete { target, .. } = action else {
            return;
        };
        let item = Item::of(target);
        let Some(metadata) = self.server.objects.get(&item).filter(|one| one.uid == target.uid) else {
            return;
        };
        let Action::Delete {
            resource_version: Some(version),
            ..
        } = action
        else {
            panic!("{action:?}")
        };
        if *version != metadata.resource_version {
            return;
        }
        let owners = self.server.objects.iter();
        let alive = owners
            .filter(|(_, owner)| owner.deletion_timestamp.is_none())
            .find(|(owner, of)| names(metadata, owner, &of.uid));
        assert!(alive.is_none(), "seed {}: {item} has {alive:?}", self.seed);
        for reference in &metadata.owner_references {
            let left = self.to_orphan.get(&reference.uid);
            let is_left = left.is_some_and(|left| left.contains(&metadata.uid));
            assert!(!is_left, "seed {}: {item} was to be left behind", self.seed);
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.random.below(400) as u64);
        let due: Vec<_> = self.timers.extract_if(.., |(at, _)| *at <= self.now).collect();
        self.woken.extend(due.into_iter().map(|(_, item)| item));
        match self.random.below(24) {
            0..=2 => self.user_creates(),
            3 => self.user_deletes(),
            4 => self.user_changes_owners(),
            5 => self.user_lets_go(),
            6 if self.random.one_in(4) => {
                let resource = self.any_resource();
                self.relist(&resource);
            }
            7 if self.random.one_in(20) => self.start_anew(),
            8..=15 => {
                let resource = self.any_resource();
                self.deliver(&resource);
            }
            _ => self.collect_one(),
        }
    }

    /// Nobody interferes any more, and nothing fails.
    fn calm_down(&mut self) {
        const MOST_ROUNDS: usize = 20_000;
        self.server.is_faulty = false;
        let items: Vec<Item> = self.server.objects.keys().cloned().collect();
        for item in items {
            self.server.change(&item, |metadata| {
                metadata.finalizers.retain(|name| name != HOLD);
                // A dependent whose owners nobody can know holds the others up, until somebody mends it.
                let mended = metadata
                    .owner_references
                    .iter()
                    .filter(|one| is_knowable(metadata, one));
                metadata.owner_references = mended.cloned().collect();
            });
        }
        let mut quiet = 0;
        for _ in 0..MOST_ROUNDS {
            self.now += Duration::from_secs(1);
            let due: Vec<_> = self.timers.extract_if(.., |(at, _)| *at <= self.now).collect();
            self.woken.extend(due.into_iter().map(|(_, item)| item));
            let before = self.server.revision;
            for index in 0..KINDS.len() {
                self.deliver(&kind(index).group_resource());
            }
            self.collect_one();
            let is_idle = self.woken.is_empty() && self.timers.is_empty() && before == self.server.revision;
            let lags = self.server.caches.values().any(|cache| !cache.pending.is_empty());
            quiet = if is_idle && !lags { quiet + 1 } else { 0 };
            if quiet > 3 {
                return;
            }
        }
        panic!(
            "seed {}: never calm: {:?} {:?}",
            self.seed, self.woken, self.timers
        );
    }

    /// Everything that lost its owners is gone, and everything that was deleted.
    fn check_end(&self) {
        for (item, metadata) in &self.server.objects {
            let seed = self.seed;
            for finalizer in [FOREGROUND, ORPHAN] {
                let waits = awaits(metadata, finalizer);
                assert!(!waits, "seed {seed}: {item} still waits: {metadata:?}");
            }
            assert!(
                metadata.deletion_timestamp.is_none(),
                "seed {seed}: {item} is still being deleted"
            );
            for reference in &metadata.owner_references {
                let mut all = self.server.objects.iter();
                let is_there =
                    all.any(|(owner, of)| of.uid == reference.uid && names(metadata, owner, &of.uid));
                assert!(
                    is_there,
                    "seed {seed}: {item} names {reference:?}, which is not there"
                );
            }
        }
    }
}

fn is_knowable(dependent: &ObjectMeta, reference: &OwnerReference) -> bool {
    let owner = super::graph::owner_of(dependent, reference);
    owner.is_some_and(|(kind, _)| !kind.namespaced || !dependent.namespace.is_empty())
}

/// Whether one of the references means this object.
fn names(dependent: &ObjectMeta, owner: &Item, owner_uid: &str) -> bool {
    dependent.owner_references.iter().any(|reference| {
        let means = super::graph::owner_of(dependent, reference);
        let is_it =
            means.is_some_and(|(kind, key)| kind.group_resource() == owner.resource && key == owner.key);
        is_it && reference.uid == owner_uid
    })
}

fn for_each_seed(run: impl Fn(&mut Simulation)) {
    let first: u64 = std::env::var("GANTRY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0);
    // 0, 5 and 168 have found references by a uid at another name, an owner of its own, and a circle deleted at once.
    for seed in (first..first + 80).chain([168]) {
        run(&mut Simulation::new(seed));
    }
}

#[test]
fn what_lost_its_owners_goes_and_nothing_else_does_whatever_fails() {
    for_each_seed(|simulation| {
        for _ in 0..1_500 {
            simulation.step();
        }
        simulation.calm_down();
        simulation.check_end();
    });
}

#[test]
#[should_panic(expected = "has Some")]
fn a_collector_that_believed_its_caches_would_delete_what_has_an_owner() {
    for_each_seed(|simulation| {
        simulation.server.is_stale = true;
        for _ in 0..1_500 {
            simulation.step();
        }
    });
}

#[test]
fn nothing_is_kept_of_objects_that_are_gone() {
    for_each_seed(|simulation| {
        for _ in 0..400 {
            simulation.step();
        }
        simulation.server.is_faulty = false;
        let items: Vec<Item> = simulation.server.objects.keys().cloned().collect();
        for item in items {
            simulation.server.remove(&item);
        }
        simulation.calm_down();
        assert!(simulation.graph.is_empty(), "seed {}", simulation.seed);
    });
}

#[test]
fn an_owner_in_another_namespace_is_none_and_is_complained_of() {
    let mut simulation = Simulation::new(1);
    simulation.server.is_faulty = false;
    let object = |namespace: &str, name: &str| ObjectMeta {
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("{namespace}-{name}"),
        ..ObjectMeta::default()
    };
    let item = |resource: &str, metadata: &ObjectMeta| Item {
        resource: resource.into(),
        key: Key::new(&metadata.namespace, &metadata.name),
    };
    let owner = object("one", "owner");
    let mut child = object("two", "child");
    child.owner_references = vec![OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "owner".into(),
        uid: owner.uid.clone(),
        ..OwnerReference::default()
    }];
    let mut node = object("", "node");
    node.owner_references = child.owner_references.clone();
    simulation.server.put(item("configmaps", &owner), owner);
    simulation.server.put(item("pods", &child), child.clone());
    simulation.server.put(item("nodes", &node), node.clone());
    simulation.start_anew();
    for _ in 0..10 {
        simulation.collect_one();
    }
    assert_eq!(simulation.invalid_references_told, 2);
    assert!(!simulation.server.objects.contains_key(&item("pods", &child)));
    // An object without a namespace cannot have an owner in one, and is left alone.
    assert!(simulation.server.objects.contains_key(&item("nodes", &node)));
}
