//! Deployments and ReplicaSets run to their end in a simulated cluster, under a seed, with caches that lag and
//! writes that fail. What must hold is checked after every step.

use super::View;
use crate::action::{Action, Object, Target};
use crate::memory::Memory;
use crate::ownership::controller_of;
use crate::pod_facts::{self, Availability, availability};
use crate::replica_set;
use crate::test_store::{Faults, Random, Store};
use gantry_proto::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, RollingUpdateDeployment,
};
use gantry_proto::core::v1::{Container, Pod, PodCondition, PodSpec, PodTemplateSpec};
use gantry_proto::meta::v1::{IntOrString, LabelSelector, ObjectMeta, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A Deployment with this many replicas and these fences.
pub fn deployment(replicas: i32, surge: &str, unavailable: &str) -> Deployment {
    let fence = |text: &str| {
        text.parse::<i32>()
            .map_or_else(|_| IntOrString::from(text), IntOrString::from)
    };
    let labels: BTreeMap<String, String> = [("app".to_string(), "web".to_string())].into();
    Deployment {
        metadata: Some(ObjectMeta {
            name: "web".into(),
            namespace: "default".into(),
            ..ObjectMeta::default()
        }),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            selector: Some(LabelSelector {
                match_labels: labels.clone(),
                ..LabelSelector::default()
            }),
            template: Some(PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels,
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![Container {
                        name: "web".into(),
                        image: "web:1".into(),
                        ..Container::default()
                    }],
                    ..PodSpec::default()
                }),
            }),
            strategy: Some(DeploymentStrategy {
                r#type: "RollingUpdate".into(),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(fence(surge)),
                    max_unavailable: Some(fence(unavailable)),
                }),
            }),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// A ReplicaSet of this size whose status shows all its pods, and this many of them available.
pub fn replica_set(name: &str, replicas: i32, available: i32) -> ReplicaSet {
    let mut replica_set = ReplicaSet::default();
    replica_set.metadata_mut().name = name.into();
    replica_set.spec_mut().replicas = Some(replicas);
    let status = replica_set.status_mut();
    (status.replicas, status.ready_replicas, status.available_replicas) = (replicas, available, available);
    replica_set
}

struct Cluster {
    store: Store,
    random: Random,
    seed: u64,
    woken: BTreeSet<(&'static str, String)>,
    memories: BTreeMap<(&'static str, String), Memory>,
    timers: Vec<(Duration, (&'static str, String))>,
    /// Whether availability and surge are checked after each step.
    is_checked: bool,
}

impl Cluster {
    fn new(seed: u64, faults: Faults, deployment: Deployment) -> Cluster {
        let mut store = Store::default();
        store.faults = faults;
        store.create(deployment.into());
        Cluster {
            store,
            random: Random(seed),
            seed,
            woken: BTreeSet::new(),
            memories: BTreeMap::new(),
            timers: Vec::new(),
            is_checked: false,
        }
    }

    fn deployment(&self) -> &Deployment {
        match self.store.stored("deployments")[..] {
            [Object::Deployment(deployment)] => deployment,
            ref other => panic!("{other:?}"),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Deployment)) {
        let target = Target::of(self.deployment());
        self.store.modify(&target, "", |object| {
            if let Object::Deployment(deployment) = object {
                change(deployment);
            }
        });
    }

    fn pods(&self) -> Vec<&Pod> {
        self.store.stored("pods").into_iter().map(pod).collect()
    }

    fn step(&mut self) {
        let millis = self.random.below(200) as u64;
        self.store.now += Duration::from_millis(millis);
        match self.random.below(10) {
            0..=3 => {
                for object in self.store.deliver(&mut self.random) {
                    self.wake_for(&object);
                }
            }
            4..=6 => self.look_at_one(),
            7 => self.advance_a_pod(),
            8 => self.end_a_pod(),
            _ => {
                if self.random.one_in(5) {
                    self.store.land_late(&mut self.random);
                }
                // An event that comes twice, or a resync.
                let names: Vec<_> = self.memories.keys().cloned().collect();
                if !names.is_empty() && self.random.one_in(3) {
                    self.woken.insert(names[self.random.below(names.len())].clone());
                }
            }
        }
        let due: Vec<_> = self
            .timers
            .extract_if(.., |(at, _)| *at <= self.store.now)
            .collect();
        self.woken.extend(due.into_iter().map(|(_, key)| key));
        if self.is_checked {
            self.check();
        }
    }

    fn wake_for(&mut self, object: &Object) {
        match object {
            Object::Deployment(deployment) => {
                self.woken
                    .insert(("deployment", deployment.metadata().name.clone()));
            }
            Object::ReplicaSet(replica_set) => {
                self.woken
                    .insert(("replica_set", replica_set.metadata().name.clone()));
                self.woken.insert(("deployment", "web".into()));
            }
            Object::Pod(pod) => {
                let owner = controller_of(pod.metadata()).map(|owner| owner.name.clone());
                self.woken.extend(owner.map(|owner| ("replica_set", owner)));
            }
            other => panic!("{other:?}"),
        }
    }

    fn look_at_one(&mut self) {
        let open: Vec<_> = self
            .woken
            .iter()
            .filter(|key| {
                self.memories
                    .get(*key)
                    .is_none_or(|memory| memory.gate.awaits(&self.store).is_none())
            })
            .cloned()
            .collect();
        if open.is_empty() {
            return;
        }
        let key = open[self.random.below(open.len())].clone();
        self.woken.remove(&key);
        let mut memory = self
            .memories
            .remove(&key)
            .unwrap_or_else(|| Memory::new(self.seed));
        memory.gate.open();
        memory.settle(&self.store);
        let actions = self.decide(&key, &memory);
        let had_failed = memory.failure.take().is_some();
        for action in &actions {
            if let Action::WakeAfter(delay) = action {
                self.timers.push((self.store.now + *delay, key.clone()));
            }
            let Some(outcome) = self.store.write(action, &mut self.random) else {
                continue;
            };
            memory.note(action, &outcome);
            if memory.failure.is_some() {
                break;
            }
        }
        if had_failed || memory.failure.is_some() {
            self.timers
                .push((self.store.now + Duration::from_millis(50), key.clone()));
        }
        self.memories.insert(key, memory);
    }

    fn decide(&self, (controller, name): &(&'static str, String), memory: &Memory) -> Vec<Action> {
        let replica_sets: Vec<&ReplicaSet> = self
            .store
            .cached("replicasets")
            .into_iter()
            .map(|object| match object {
                Object::ReplicaSet(replica_set) => replica_set.as_ref(),
                other => panic!("{other:?}"),
            })
            .collect();
        let pods: Vec<&Pod> = self.store.cached("pods").into_iter().map(pod).collect();
        let (failure, now) = (memory.failure.as_ref(), self.store.time());
        if *controller == "deployment" {
            let [Object::Deployment(deployment)] = self.store.cached("deployments")[..] else {
                return Vec::new();
            };
            return super::reconcile(&View {
                deployment,
                replica_sets,
                pods,
                failure,
                now,
            });
        }
        let Some(replica_set) = replica_sets
            .iter()
            .copied()
            .find(|one| one.metadata().name == *name)
        else {
            return Vec::new();
        };
        let names = &memory.names(&replica_set.metadata().uid);
        replica_set::reconcile(&replica_set::View {
            replica_set,
            replica_sets,
            pods,
            names,
            failure,
            now,
        })
    }

    /// A pod that is not ready becomes so.
    fn advance_a_pod(&mut self) {
        let now = Time::from_system(self.store.time());
        let waiting: Vec<Target> = self
            .pods()
            .into_iter()
            .filter(|pod| pod_facts::is_active(pod) && !pod_facts::is_ready(pod))
            .map(Target::of)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let target = waiting[self.random.below(waiting.len())].clone();
        self.store.modify(&target, "", |object| {
            if let Object::Pod(pod) = object {
                pod.status_mut().phase = "Running".into();
                pod.status_mut().conditions = vec![PodCondition {
                    r#type: "Ready".into(),
                    status: "True".into(),
                    last_transition_time: Some(now),
                    ..PodCondition::default()
                }];
            }
        });
    }

    /// A pod that is being deleted has ended and goes.
    fn end_a_pod(&mut self) {
        let ending: Vec<Target> = self
            .pods()
            .into_iter()
            .filter(|pod| pod_facts::is_terminating(pod))
            .map(Target::of)
            .collect();
        if !ending.is_empty() {
            self.store
                .remove(&ending[self.random.below(ending.len())].clone());
        }
    }

    fn check(&self) {
        let deployment = self.deployment();
        let fences = super::rolling::fences(deployment);
        let desired = deployment.spec().replicas.unwrap_or(1);
        let active = self
            .pods()
            .into_iter()
            .filter(|pod| pod_facts::is_active(pod))
            .count();
        let most = usize::try_from(desired + fences.surge).unwrap();
        assert!(
            active <= most,
            "seed {}: {active} pods, at most {most} allowed",
            self.seed
        );
        let available = self.available();
        let least = usize::try_from(desired - fences.unavailable).unwrap_or(0);
        assert!(
            available >= least,
            "seed {}: {available} pods available, at least {least} needed",
            self.seed
        );
    }

    fn available(&self) -> usize {
        let min_ready_seconds = self.deployment().spec().min_ready_seconds;
        let now = self.store.time();
        let is_available = |pod: &&Pod| {
            pod_facts::is_active(pod) && availability(pod, min_ready_seconds, now) == Availability::Available
        };
        self.pods().iter().filter(|pod| is_available(pod)).count()
    }

    fn is_done(&self) -> bool {
        let deployment = self.deployment();
        let desired = usize::try_from(deployment.spec().replicas.unwrap_or(1)).unwrap();
        let image = &deployment.spec().template().spec().containers[0].image;
        let pods = self.pods();
        self.store.is_quiet()
            && pods.len() == desired
            && pods.iter().all(|pod| pod.spec().containers[0].image == *image)
            && super::status::is_complete(deployment, deployment.status())
    }

    fn run_until_done(&mut self) {
        const MOST_STEPS: usize = 30_000;
        for _ in 0..MOST_STEPS {
            if self.is_done() {
                return;
            }
            self.step();
        }
        let status = self.deployment().status();
        panic!(
            "seed {}: not done after {MOST_STEPS} steps: {status:?}",
            self.seed
        );
    }

    /// No name was chosen for a second pod after its first had gone.
    fn check_names(&self) {
        assert!(
            self.store.reused_names.is_empty(),
            "seed {}: {:?}",
            self.seed,
            self.store.reused_names
        );
    }
}

fn pod(object: &Object) -> &Pod {
    match object {
        Object::Pod(pod) => pod,
        other => panic!("{other:?}"),
    }
}

fn set_image(cluster: &mut Cluster, image: &str) {
    cluster.change(|deployment| {
        deployment.spec_mut().template_mut().spec_mut().containers[0].image = image.into()
    });
}

const FENCES: [(i32, &str, &str); 8] = [
    (3, "25%", "25%"),
    (10, "25%", "25%"),
    (5, "0", "1"),
    (5, "1", "0"),
    (1, "1", "0"),
    (4, "100%", "100%"),
    (7, "3", "2"),
    (2, "0", "0"),
];

fn for_each_seed(mut run: impl FnMut(u64, Deployment)) {
    let first: u64 = std::env::var("GANTRY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0);
    for seed in first..first + 64 {
        let (replicas, surge, unavailable) = FENCES[seed as usize % FENCES.len()];
        let mut deployment = deployment(replicas, surge, unavailable);
        deployment.spec_mut().min_ready_seconds = if seed % 3 == 0 { 2 } else { 0 };
        deployment.spec_mut().revision_history_limit = Some(2);
        deployment.spec_mut().progress_deadline_seconds = Some(600);
        run(seed, deployment);
    }
}

#[test]
fn a_rolling_update_keeps_within_its_fences_whatever_fails() {
    for_each_seed(|seed, deployment| {
        let faults = Faults {
            refused: 15,
            reply_lost: 15,
            late: 0,
        };
        let mut cluster = Cluster::new(seed, faults, deployment);
        cluster.run_until_done();
        cluster.is_checked = true;
        set_image(&mut cluster, "web:2");
        cluster.run_until_done();
        // Another one in the middle of the last, and back to the first.
        set_image(&mut cluster, "web:3");
        for _ in 0..cluster.random.below(200) {
            cluster.step();
        }
        set_image(&mut cluster, "web:4");
        for _ in 0..cluster.random.below(200) {
            cluster.step();
        }
        set_image(&mut cluster, "web:1");
        cluster.run_until_done();
        cluster.check_names();
    });
}

#[test]
fn a_write_that_lands_late_makes_no_second_child() {
    for_each_seed(|seed, deployment| {
        let faults = Faults {
            refused: 20,
            reply_lost: 10,
            late: 8,
        };
        let desired = usize::try_from(deployment.spec().replicas.unwrap_or(1)).unwrap();
        let mut cluster = Cluster::new(seed, faults, deployment);
        // With one ReplicaSet there is nothing that could make room for more.
        for _ in 0..3_000 {
            cluster.step();
            let pods = cluster.pods().len();
            assert!(pods <= desired, "seed {seed}: {pods} pods, {desired} wanted");
        }
        cluster.run_until_done();
        assert_eq!(cluster.store.pod_names.len(), desired, "seed {seed}");
        set_image(&mut cluster, "web:2");
        cluster.run_until_done();
        cluster.check_names();
    });
}

#[test]
fn a_deployment_that_is_resized_paused_and_updated_at_once_comes_to_rest() {
    for_each_seed(|seed, deployment| {
        let faults = Faults {
            refused: 15,
            reply_lost: 15,
            late: 15,
        };
        let mut cluster = Cluster::new(seed, faults, deployment);
        for round in 0..12 {
            let choice = cluster.random.below(5);
            let replicas = cluster.random.below(12) as i32;
            cluster.change(|deployment| {
                let spec = deployment.spec_mut();
                match choice {
                    0 => spec.replicas = Some(replicas),
                    1 => spec.paused = !spec.paused,
                    2 => spec.strategy_mut().r#type = "Recreate".into(),
                    3 => spec.strategy_mut().r#type = "RollingUpdate".into(),
                    _ => spec.template_mut().spec_mut().containers[0].image = format!("web:{round}"),
                }
            });
            for _ in 0..cluster.random.below(300) {
                cluster.step();
            }
        }
        cluster.change(|deployment| deployment.spec_mut().paused = false);
        cluster.run_until_done();
        cluster.check_names();
        // The history is cut, once the last rollout is done.
        for _ in 0..2_000 {
            cluster.step();
        }
        let sets = cluster.store.stored("replicasets").len();
        assert!(sets <= 1 + 2, "seed {seed}: {sets} ReplicaSets");
    });
}

#[test]
fn a_rollout_that_is_resized_as_it_becomes_a_recreate_comes_to_rest() {
    for_each_seed(|seed, deployment| {
        let mut cluster = Cluster::new(seed, Faults::default(), deployment);
        cluster.run_until_done();
        set_image(&mut cluster, "web:2");
        for _ in 0..cluster.random.below(100) {
            cluster.step();
        }
        cluster.change(|deployment| {
            let spec = deployment.spec_mut();
            spec.strategy_mut().r#type = "Recreate".into();
            spec.replicas = spec.replicas.map(|replicas| replicas + 1);
        });
        cluster.run_until_done();
    });
}

#[test]
fn a_recreate_never_runs_old_and_new_together() {
    for_each_seed(|seed, mut deployment| {
        deployment.spec_mut().strategy_mut().r#type = "Recreate".into();
        deployment.spec_mut().strategy_mut().rolling_update = None;
        let mut cluster = Cluster::new(
            seed,
            Faults {
                refused: 15,
                reply_lost: 15,
                late: 0,
            },
            deployment,
        );
        cluster.run_until_done();
        set_image(&mut cluster, "web:2");
        while !cluster.is_done() {
            cluster.step();
            let pods = cluster.pods();
            let images: BTreeSet<&str> = pods
                .iter()
                .map(|pod| pod.spec().containers[0].image.as_str())
                .collect();
            assert!(images.len() <= 1, "seed {seed}: {images:?}");
        }
    });
}
