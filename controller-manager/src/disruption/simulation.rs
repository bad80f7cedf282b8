//! Evictions against a budget, under a seed: whatever the caches show and when, no more pods are away by evictions than
//! the budget allows.

use super::{View, Workloads, reconcile};
use crate::action::{Action, Object};
use crate::test_store::Random;
use gantry_proto::core::v1::{Pod, PodCondition};
use gantry_proto::meta::v1::{LabelSelector, Time};
use gantry_proto::policy::v1::PodDisruptionBudget;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

const PODS: usize = 6;

struct Simulation {
    random: Random,
    seed: u64,
    now: Duration,
    /// What is stored, and what the controller's caches show of it.
    budget: PodDisruptionBudget,
    seen_budget: PodDisruptionBudget,
    pods: BTreeMap<String, Pod>,
    seen_pods: BTreeMap<String, Pod>,
    pending: VecDeque<(String, Option<Pod>)>,
    /// What the controller's cache has ever shown.
    known: BTreeSet<String>,
    /// Deletions that were granted and are under way to the store.
    granted: Vec<String>,
    made: usize,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut budget = PodDisruptionBudget::default();
        budget.metadata_mut().resource_version = "1".into();
        budget.spec_mut().min_available = Some(i32::try_from(PODS).unwrap().saturating_sub(2).into());
        budget.spec_mut().selector = Some(LabelSelector::default());
        let mut simulation = Simulation {
            random: Random(seed),
            seed,
            now: Duration::ZERO,
            seen_budget: budget.clone(),
            budget,
            pods: BTreeMap::new(),
            seen_pods: BTreeMap::new(),
            pending: VecDeque::new(),
            known: BTreeSet::new(),
            granted: Vec::new(),
            made: 0,
        };
        for _ in 0..PODS {
            simulation.make_pod();
        }
        simulation
    }

    fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + self.now
    }

    fn put(&mut self, name: String, pod: Option<Pod>) {
        match &pod {
            Some(pod) => drop(self.pods.insert(name.clone(), pod.clone())),
            None => drop(self.pods.remove(&name)),
        }
        self.pending.push_back((name, pod));
    }

    fn make_pod(&mut self) {
        self.made += 1;
        let name = format!("pod-{}", self.made);
        let mut pod = Pod::default();
        pod.metadata_mut().name = name.clone();
        pod.status_mut().phase = "Running".into();
        pod.status_mut().conditions = vec![PodCondition {
            r#type: "Ready".into(),
            status: "True".into(),
            ..PodCondition::default()
        }];
        self.put(name, Some(pod));
    }

    fn write_budget(&mut self, mut budget: PodDisruptionBudget) {
        let version: u64 = self.budget.metadata().resource_version.parse().unwrap();
        budget.metadata_mut().resource_version = (version + 1).to_string();
        self.budget = budget;
    }

    /// As the apiserver evicts: it takes one of what is allowed, and then deletes.
    fn evict(&mut self) {
        // One that the controller has never seen it would not miss, which is so in Kubernetes too.
        let is_known = |name: &&String| self.known.contains(*name);
        let names: Vec<String> = self.pods.keys().filter(is_known).cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = names[self.random.below(names.len())].clone();
        let status = self.budget.status();
        let is_ending = self.pods[&name].metadata().deletion_timestamp.is_some();
        if is_ending || status.disruptions_allowed <= 0 || status.disrupted_pods.contains_key(&name) {
            return;
        }
        let mut budget = self.budget.clone();
        let now = Time::from_system(self.time());
        let status = budget.status_mut();
        status.disruptions_allowed -= 1;
        status.disrupted_pods.insert(name.clone(), now);
        self.write_budget(budget);
        self.granted.push(name);
    }

    fn land_deletion(&mut self) {
        if self.granted.is_empty() {
            return;
        }
        let name = self.granted.swap_remove(self.random.below(self.granted.len()));
        if let Some(mut pod) = self.pods.get(&name).cloned() {
            pod.metadata_mut().deletion_timestamp = Some(Time::default());
            self.put(name, Some(pod));
        }
    }

    fn end_a_pod(&mut self) {
        let ending = self
            .pods
            .iter()
            .find(|(_, pod)| pod.metadata().deletion_timestamp.is_some());
        if let Some((name, _)) = ending {
            let name = name.clone();
            self.put(name, None);
            self.make_pod();
        }
    }

    fn look(&mut self) {
        let actions = reconcile(&View {
            budget: &self.seen_budget,
            pods: self.seen_pods.values().collect(),
            workloads: Workloads::default(),
            now: self.time(),
        });
        for action in actions {
            if let Action::UpdateStatus {
                object: Object::PodDisruptionBudget(budget),
            } = action
                && budget.metadata().resource_version == self.budget.metadata().resource_version
            {
                self.write_budget(*budget);
            }
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(self.random.below(2_000) as u64);
        match self.random.below(8) {
            0 | 1 => self.evict(),
            2 => self.land_deletion(),
            3 => self.end_a_pod(),
            4 => self.seen_budget = self.budget.clone(),
            5 => self.look(),
            _ => {
                if let Some((name, pod)) = self.pending.pop_front() {
                    self.known.insert(name.clone());
                    match pod {
                        Some(pod) => drop(self.seen_pods.insert(name, pod)),
                        None => drop(self.seen_pods.remove(&name)),
                    }
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        let is_away = |name: &String, pod: &Pod| {
            pod.metadata().deletion_timestamp.is_some() || self.granted.contains(name)
        };
        let there = self.pods.iter().filter(|(name, pod)| !is_away(name, pod)).count();
        assert!(
            there >= PODS - 2,
            "seed {}: {there} pods are left of {PODS}",
            self.seed
        );
    }
}

#[test]
fn no_more_pods_are_away_by_evictions_than_the_budget_allows() {
    let mut evicted = 0;
    for seed in 0..200 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..1_000 {
            simulation.step();
        }
        evicted += simulation.made - PODS;
    }
    assert!(evicted > 1_000, "{evicted} evictions prove little");
}
