use super::*;
use crate::action::Object;
use gantry_proto::core::v1::{Container, PodCondition, PodSpec, PodTemplateSpec};
use gantry_proto::meta::v1::{LabelSelector, OwnerReference, Time};
use std::time::Duration;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)
}

fn replica_set(replicas: i32) -> ReplicaSet {
    let labels = [("app".to_string(), "web".to_string())];
    let mut replica_set = ReplicaSet::default();
    let metadata = replica_set.metadata_mut();
    (metadata.name, metadata.namespace, metadata.uid) = ("web-abc".into(), "default".into(), "rs".into());
    metadata.generation = 1;
    let spec = replica_set.spec_mut();
    spec.replicas = Some(replicas);
    spec.selector = Some(LabelSelector {
        match_labels: labels.clone().into(),
        ..LabelSelector::default()
    });
    spec.template = Some(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: labels.into(),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![Container::default()],
            ..PodSpec::default()
        }),
    });
    replica_set
}

fn pod(name: &str, ready_since: Option<u64>) -> Pod {
    let mut pod = Pod::default();
    let metadata = pod.metadata_mut();
    (metadata.name, metadata.namespace, metadata.uid) = (name.into(), "default".into(), name.into());
    metadata.labels.insert("app".into(), "web".into());
    metadata.owner_references = vec![OwnerReference {
        uid: "rs".into(),
        controller: Some(true),
        ..OwnerReference::default()
    }];
    pod.status_mut().phase = "Running".into();
    pod.status_mut()
        .conditions
        .extend(ready_since.map(|seconds| PodCondition {
            r#type: "Ready".into(),
            status: "True".into(),
            last_transition_time: Some(Time {
                seconds: seconds as i64,
                nanos: 0,
            }),
            ..PodCondition::default()
        }));
    pod
}

fn decide(replica_set: &ReplicaSet, pods: &[Pod], failure: Option<&Failure>) -> Vec<Action> {
    let names = ChildNames::new(7, "rs");
    reconcile(&View {
        replica_set,
        replica_sets: vec![replica_set],
        pods: pods.iter().collect(),
        names: &names,
        failure,
        now: now(),
    })
}

/// One word for each action.
fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Create { says: Some(says), .. } => says
            .message
            .replace("web-abc-", "")
            .split(' ')
            .next()
            .unwrap()
            .into(),
        Action::Delete { target, .. } => format!("delete {}", target.key.name),
        Action::Adopt { target, .. } => format!("adopt {}", target.key.name),
        Action::Patch { target, .. } => format!("release {}", target.key.name),
        Action::UpdateStatus {
            object: Object::ReplicaSet(object),
        } => {
            let status = object.status();
            format!(
                "status {}/{}/{}",
                status.replicas, status.ready_replicas, status.available_replicas
            )
        }
        Action::WakeAfter(delay) => format!("wake {}", delay.as_secs()),
        other => panic!("{other:?}"),
    };
    actions.iter().map(word).collect()
}

#[test]
fn pods_are_made_up_to_the_number_and_taken_down_to_it() {
    let check = |replicas: i32, pods: &[Pod], expected: &[&str]| {
        assert_eq!(words(&decide(&replica_set(replicas), pods, None)), expected);
    };
    let ready = |name: &str| pod(name, Some(500));
    check(2, &[], &["Created", "Created", "status 0/0/0"]);
    check(2, &[ready("a"), ready("b")], &["status 2/2/2"]);
    check(1, &[ready("a"), pod("b", None)], &["delete b", "status 2/1/1"]);
    check(0, &[ready("a")], &["delete a", "status 1/1/1"]);
    let mut ended = ready("a");
    ended.status_mut().phase = "Failed".into();
    check(1, &[ended], &["Created", "status 0/0/0"]);
    let mut ending = ready("a");
    ending.metadata_mut().deletion_timestamp = Some(Time::default());
    check(1, &[ending], &["Created", "status 0/0/0"]);
}

#[test]
fn a_decision_makes_no_more_than_a_burst() {
    let actions = decide(&replica_set(2_000), &[], None);
    assert_eq!(
        actions
            .iter()
            .filter(|action| matches!(action, Action::Create { .. }))
            .count(),
        BURST
    );
}

#[test]
fn orphans_that_match_are_adopted_before_anything_is_counted() {
    let mut orphan = pod("a", None);
    orphan.metadata_mut().owner_references.clear();
    assert_eq!(
        words(&decide(&replica_set(1), &[orphan.clone()], None)),
        ["adopt a"]
    );
    orphan.status_mut().phase = "Succeeded".into();
    assert_eq!(
        words(&decide(&replica_set(1), &[orphan], None)),
        ["Created", "status 0/0/0"]
    );
    let mut stray = pod("b", None);
    stray.metadata_mut().labels.clear();
    assert_eq!(words(&decide(&replica_set(1), &[stray], None)), ["release b"]);
}

#[test]
fn a_pod_counts_as_available_after_min_ready_seconds() {
    let mut replica_set = replica_set(2);
    replica_set.spec_mut().min_ready_seconds = 30;
    let actions = decide(&replica_set, &[pod("a", Some(900)), pod("b", Some(990))], None);
    assert_eq!(words(&actions), ["status 2/2/1", "wake 20"]);
}

#[test]
fn a_new_pod_has_the_template_and_a_name_of_the_series() {
    let actions = decide(&replica_set(1), &[], None);
    let [
        Action::Create {
            object: Object::Pod(pod),
            says: Some(says),
        },
        ..,
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    let metadata = pod.metadata();
    assert_eq!(metadata.generate_name, "web-abc-");
    assert!(metadata.name.starts_with("web-abc-") && metadata.name.len() == "web-abc-".len() + 5);
    assert_eq!(
        controller_of(metadata).map(|owner| owner.uid.as_str()),
        Some("rs")
    );
    assert_eq!(
        (says.reason, says.message.clone()),
        ("SuccessfulCreate", format!("Created pod: {}", metadata.name))
    );
    // The name is somebody else's: the next of the series it is.
    let mut taken = Pod::default();
    taken.metadata_mut().name = metadata.name.clone();
    let again = decide(&replica_set(1), &[taken], None);
    let [Action::Create { object, .. }, ..] = &again[..] else {
        panic!("{again:?}")
    };
    assert_ne!(object.metadata().name, metadata.name);
}

#[test]
fn a_failure_is_told_once_and_until_it_is_over() {
    let failure = Failure {
        of: Attempt::Create,
        message: "exceeded quota".into(),
    };
    let mut set = replica_set(1);
    let actions = decide(&set, &[], Some(&failure));
    // The status comes first, because the creation will fail again.
    let [
        Action::UpdateStatus {
            object: Object::ReplicaSet(told),
        },
        Action::Create { .. },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    let condition = &told.status().conditions[0];
    assert_eq!(
        (condition.r#type.as_str(), condition.reason.as_str()),
        ("ReplicaFailure", "FailedCreate")
    );
    assert_eq!(condition.message, "exceeded quota");
    set.status = told.status.clone();
    let other = Failure {
        message: "exceeded quota again".into(),
        ..failure
    };
    assert_eq!(words(&decide(&set, &[], Some(&other))), ["Created"]);
    let actions = decide(&set, &[pod("a", Some(500))], None);
    let [
        Action::UpdateStatus {
            object: Object::ReplicaSet(over),
        },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(over.status().conditions, []);
}

#[test]
fn an_outage_is_no_failure_of_the_replica_set() {
    let mut set = replica_set(1);
    let outage = Failure {
        of: Attempt::Unreached,
        message: "no apiserver is there".into(),
    };
    let actions = decide(&set, &[], Some(&outage));
    let told = actions.iter().find_map(|action| match action {
        Action::UpdateStatus {
            object: Object::ReplicaSet(told),
        } => Some(told),
        _ => None,
    });
    assert!(
        told.is_some_and(|told| told.status().conditions.is_empty()),
        "{actions:?}"
    );
    set.status = told.and_then(|told| told.status.clone());
    assert_eq!(words(&decide(&set, &[], Some(&outage))), ["Created"]);
}

#[test]
fn a_replica_set_that_is_being_deleted_makes_no_pods() {
    let mut set = replica_set(3);
    set.metadata_mut().deletion_timestamp = Some(Time::default());
    assert_eq!(words(&decide(&set, &[], None)), ["status 0/0/0"]);
}
