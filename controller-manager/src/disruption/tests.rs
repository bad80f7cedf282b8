use super::*;
use crate::action::Object;
use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use gantry_proto::core::v1::PodCondition;
use gantry_proto::meta::v1::{IntOrString, OwnerReference};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn reference(api_version: &str, kind: &str, name: &str) -> OwnerReference {
    OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: name.into(),
        uid: name.into(),
        controller: Some(true),
        ..OwnerReference::default()
    }
}

/// Of the ReplicaSet of this name; of nobody with an empty one.
fn pod(name: &str, owner: &str, ready: bool) -> Pod {
    let mut pod = Pod::default();
    let metadata = pod.metadata_mut();
    (metadata.name, metadata.uid) = (name.into(), name.into());
    metadata.labels.insert("app".into(), "web".into());
    if !owner.is_empty() {
        metadata.owner_references = vec![reference("apps/v1", "ReplicaSet", owner)];
    }
    pod.status_mut().phase = "Running".into();
    pod.status_mut().conditions = vec![PodCondition {
        r#type: "Ready".into(),
        status: if ready { "True" } else { "False" }.into(),
        ..PodCondition::default()
    }];
    pod
}

fn replica_set(name: &str, replicas: i32, owner: &str) -> ReplicaSet {
    let mut replica_set = ReplicaSet::default();
    let metadata = replica_set.metadata_mut();
    (metadata.name, metadata.uid) = (name.into(), name.into());
    if !owner.is_empty() {
        metadata.owner_references = vec![reference("apps/v1", "Deployment", owner)];
    }
    replica_set.spec_mut().replicas = Some(replicas);
    replica_set
}

fn deployment(name: &str, replicas: i32) -> Deployment {
    let mut deployment = Deployment::default();
    (deployment.metadata_mut().name, deployment.metadata_mut().uid) = (name.into(), name.into());
    deployment.spec_mut().replicas = Some(replicas);
    deployment
}

fn budget(min_available: Option<IntOrString>, max_unavailable: Option<IntOrString>) -> PodDisruptionBudget {
    let mut budget = PodDisruptionBudget::default();
    budget.metadata_mut().name = "web".into();
    budget.metadata_mut().namespace = "default".into();
    budget.metadata_mut().generation = 2;
    let spec = budget.spec_mut();
    (spec.min_available, spec.max_unavailable) = (min_available, max_unavailable);
    spec.selector = Some(LabelSelector {
        match_labels: [("app".to_string(), "web".to_string())].into(),
        ..LabelSelector::default()
    });
    budget
}

struct World {
    budget: PodDisruptionBudget,
    pods: Vec<Pod>,
    replica_sets: Vec<ReplicaSet>,
    deployments: Vec<Deployment>,
}

impl World {
    fn decide(&self, now: u64) -> Vec<Action> {
        let replica_sets = self
            .replica_sets
            .iter()
            .map(|one| (one.metadata().name.as_str(), one));
        let deployments = self
            .deployments
            .iter()
            .map(|one| (one.metadata().name.as_str(), one));
        reconcile(&View {
            budget: &self.budget,
            pods: self.pods.iter().collect(),
            workloads: Workloads {
                replica_sets: replica_sets.collect(),
                deployments: deployments.collect(),
            },
            now: at(now),
        })
    }
}

/// The numbers, the condition's reason, and the reasons of Events.
fn words(actions: &[Action]) -> String {
    let word = |action: &Action| match action {
        Action::UpdateStatus {
            object: Object::PodDisruptionBudget(budget),
        } => {
            let status = budget.status();
            let [condition] = &status.conditions[..] else {
                panic!("{status:?}")
            };
            format!(
                "{} of {} healthy, {} needed, {} allowed: {} {}",
                status.current_healthy,
                status.expected_pods,
                status.desired_healthy,
                status.disruptions_allowed,
                condition.status,
                condition.reason
            )
        }
        Action::Tell { says } => says.reason.to_string(),
        Action::CheckAfter(delay) => format!("again in {}", delay.as_secs()),
        other => panic!("{other:?}"),
    };
    actions.iter().map(word).collect::<Vec<_>>().join("; ")
}

fn number(number: i32) -> Option<IntOrString> {
    Some(number.into())
}

fn percent(text: &str) -> Option<IntOrString> {
    Some(text.into())
}

#[test]
fn what_is_allowed_is_what_is_healthy_beyond_what_is_needed() {
    let check = |min: Option<IntOrString>, max: Option<IntOrString>, ready: [bool; 3], expected: &str| {
        let pods = ["a", "b", "c"].into_iter().zip(ready);
        let world = World {
            budget: budget(min, max),
            pods: pods.map(|(name, ready)| pod(name, "web-1", ready)).collect(),
            replica_sets: vec![replica_set("web-1", 4, "web")],
            deployments: vec![deployment("web", 5)],
        };
        assert_eq!(words(&world.decide(0)), expected);
    };
    let all = [true; 3];
    check(
        number(2),
        None,
        all,
        "3 of 3 healthy, 2 needed, 1 allowed: True SufficientPods",
    );
    check(
        number(2),
        None,
        [true, true, false],
        "2 of 3 healthy, 2 needed, 0 allowed: False InsufficientPods",
    );
    check(
        number(9),
        None,
        all,
        "3 of 3 healthy, 9 needed, 0 allowed: False InsufficientPods",
    );
    // Of the Deployment's five, not of the three that are there, nor of the four that its ReplicaSet wants.
    check(
        percent("50%"),
        None,
        all,
        "3 of 5 healthy, 3 needed, 0 allowed: False InsufficientPods",
    );
    check(
        None,
        number(3),
        all,
        "3 of 5 healthy, 2 needed, 1 allowed: True SufficientPods",
    );
    check(
        None,
        percent("50%"),
        all,
        "3 of 5 healthy, 2 needed, 1 allowed: True SufficientPods",
    );
    check(
        None,
        percent("100%"),
        all,
        "3 of 5 healthy, 0 needed, 3 allowed: True SufficientPods",
    );
    check(
        None,
        None,
        all,
        "3 of 0 healthy, 0 needed, 0 allowed: False InsufficientPods",
    );
}

#[test]
fn each_workload_counts_once_and_those_without_a_deployment_by_themselves() {
    let world = World {
        budget: budget(None, number(1)),
        pods: vec![
            pod("a", "web-1", true),
            pod("b", "web-2", true),
            pod("c", "db", true),
        ],
        replica_sets: vec![
            replica_set("web-1", 1, "web"),
            replica_set("web-2", 2, "web"),
            replica_set("db", 4, ""),
        ],
        deployments: vec![deployment("web", 3)],
    };
    assert_eq!(
        words(&world.decide(0)),
        "3 of 7 healthy, 6 needed, 0 allowed: False InsufficientPods"
    );
}

#[test]
fn a_budget_that_cannot_be_worked_out_allows_nothing_and_says_why() {
    let check = |mut world: World, change: fn(&mut World), expected: &str, message: &str| {
        change(&mut world);
        world.budget.status_mut().disruptions_allowed = 3;
        let actions = world.decide(0);
        assert_eq!(words(&actions), expected);
        let Some(Action::UpdateStatus {
            object: Object::PodDisruptionBudget(budget),
        }) = actions.first()
        else {
            panic!("{actions:?}")
        };
        assert_eq!(budget.status().conditions[0].message, message);
    };
    let world = || World {
        budget: budget(None, number(1)),
        pods: vec![pod("a", "web-1", true)],
        replica_sets: vec![],
        deployments: vec![],
    };
    let failed =
        "0 of 0 healthy, 0 needed, 0 allowed: False SyncFailed; CalculateExpectedPodCountFailed; again in 10";
    check(world(), |_| {}, failed, "found no controllers for pod \"a\"");
    check(
        world(),
        |world| {
            let references = &mut world.pods[0].metadata_mut().owner_references;
            *references = vec![reference("v1", "ConfigMap", "web")];
        },
        failed,
        "configmaps does not implement the scale subresource",
    );
    check(
        world(),
        |world| {
            let references = &mut world.pods[0].metadata_mut().owner_references;
            *references = vec![reference("example.com/v1", "Fleet", "web")];
        },
        failed,
        "no matches for kind \"Fleet\" in version \"example.com/v1\"",
    );
}

#[test]
fn pods_that_nobody_controls_are_told_of() {
    let world = World {
        budget: budget(None, number(1)),
        pods: vec![pod("a", "", true)],
        replica_sets: vec![],
        deployments: vec![],
    };
    let actions = world.decide(0);
    assert_eq!(
        words(&actions),
        "1 of 0 healthy, 0 needed, 0 allowed: False InsufficientPods; UnmanagedPods"
    );
    let Some(Action::Tell { says }) = actions.last() else {
        panic!("{actions:?}")
    };
    let selector = "(selector: &LabelSelector{MatchLabels:map[string]string{app: web,},\
                    MatchExpressions:[]LabelSelectorRequirement{},})";
    assert!(says.message.contains(selector), "{}", says.message);
}

#[test]
fn a_budget_without_pods_allows_nothing() {
    let mut world = World {
        budget: budget(number(0), None),
        pods: vec![],
        replica_sets: vec![],
        deployments: vec![],
    };
    let none = "0 of 0 healthy, 0 needed, 0 allowed: False InsufficientPods; NoPods";
    assert_eq!(words(&world.decide(0)), none);
    world.pods = vec![pod("a", "web-1", true)];
    world.budget.spec_mut().selector = None;
    assert_eq!(words(&world.decide(0)), none);
    world.budget.spec_mut().selector = Some(LabelSelector::default());
    assert_eq!(
        words(&world.decide(0)),
        "1 of 1 healthy, 0 needed, 1 allowed: True SufficientPods"
    );
}

#[test]
fn a_pod_whose_eviction_was_granted_counts_no_more_until_it_has_gone_or_was_not_deleted() {
    let mut world = World {
        budget: budget(number(1), None),
        pods: vec![pod("a", "web-1", true), pod("b", "web-1", true)],
        replica_sets: vec![],
        deployments: vec![],
    };
    let granted = Time::from_system(at(1000));
    let disrupted = &mut world.budget.status_mut().disrupted_pods;
    disrupted.extend([("a".to_string(), granted), ("gone".to_string(), granted)]);
    let actions = world.decide(1010);
    assert_eq!(
        words(&actions),
        "1 of 2 healthy, 1 needed, 0 allowed: False InsufficientPods; again in 110"
    );
    let Some(Action::UpdateStatus {
        object: Object::PodDisruptionBudget(budget),
    }) = actions.first()
    else {
        panic!("{actions:?}")
    };
    let left: Vec<&String> = budget.status().disrupted_pods.keys().collect();
    assert_eq!(left, ["a"]);
    assert_eq!(
        words(&world.decide(1121)),
        "2 of 2 healthy, 1 needed, 1 allowed: True SufficientPods; NotDeleted"
    );
    world.pods[0].metadata_mut().deletion_timestamp = Some(granted);
    assert_eq!(
        words(&world.decide(1010)),
        "1 of 2 healthy, 1 needed, 0 allowed: False InsufficientPods"
    );
}

#[test]
fn a_status_that_says_so_already_is_not_written() {
    let mut world = World {
        budget: budget(number(1), None),
        pods: vec![pod("a", "web-1", true)],
        replica_sets: vec![],
        deployments: vec![],
    };
    let Some(Action::UpdateStatus {
        object: Object::PodDisruptionBudget(written),
    }) = world.decide(5).first().cloned()
    else {
        panic!()
    };
    world.budget = *written;
    assert_eq!(world.decide(9), []);
    assert_eq!(world.budget.status().observed_generation, 2);
    world.budget.metadata_mut().generation = 3;
    assert_eq!(world.decide(9).len(), 1);
}

#[test]
fn a_disruption_that_does_not_come_is_taken_back() {
    let mut target = pod("a", "", true);
    let said = |reason: &str| PodCondition {
        r#type: "DisruptionTarget".into(),
        status: "True".into(),
        reason: reason.into(),
        message: "because".into(),
        last_transition_time: Some(Time::from_system(at(1000))),
        ..PodCondition::default()
    };
    target.status_mut().conditions.push(said("EvictionByEvictionAPI"));
    let again = [Action::CheckAfter(Duration::from_secs(90))];
    assert_eq!(reconcile_pod(&target, &[], at(1030)), again);
    let actions = reconcile_pod(&target, &[], at(1120));
    let [Action::Patch { patch, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    let condition = &patch["status"]["conditions"][1];
    assert_eq!(
        (&condition["type"], &condition["status"], condition.get("reason")),
        (&"DisruptionTarget".into(), &"False".into(), None)
    );
    let check = |change: fn(&mut Pod)| {
        let mut pod = target.clone();
        change(&mut pod);
        assert_eq!(reconcile_pod(&pod, &[], at(9999)), [], "{pod:?}");
    };
    check(|pod| pod.metadata_mut().deletion_timestamp = Some(Time::default()));
    check(|pod| pod.status_mut().phase = "Failed".into());
    check(|pod| pod.status_mut().conditions[1].reason = "TerminationByKubelet".into());
}

#[test]
fn a_pod_of_two_budgets_is_told_of() {
    let (one, two) = (budget(None, None), budget(None, None));
    let mut pod = pod("a", "", true);
    pod.metadata_mut().namespace = "default".into();
    assert_eq!(reconcile_pod(&pod, &[&one], at(0)), []);
    let actions = reconcile_pod(&pod, &[&one, &two], at(0));
    let [Action::Tell { says }] = &actions[..] else {
        panic!("{actions:?}")
    };
    let message = "Pod \"default\"/\"a\" matches multiple PodDisruptionBudgets.  Chose \"web\" arbitrarily.";
    assert_eq!(
        (says.reason, says.message.as_str()),
        ("MultiplePodDisruptionBudgets", message)
    );
}
