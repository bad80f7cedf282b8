use super::*;
use crate::action::Object;
use gantry_proto::apps::v1::Deployment;
use gantry_proto::core::v1::{ConfigMap, Pod};
use gantry_proto::{Key, Kind};

/// Deleted at 100 where it is being deleted.
fn namespace(terminating: bool, finalizers: &[&str]) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata_mut().name = "team".into();
    let deleted = Time {
        seconds: 100,
        nanos: 0,
    };
    namespace.metadata_mut().deletion_timestamp = terminating.then_some(deleted);
    namespace.spec_mut().finalizers = finalizers.iter().map(|name| name.to_string()).collect();
    namespace
}

fn content<K: Kind>(name: &str, is_terminating: bool, finalizers: &[&str]) -> Content {
    Content {
        target: Target {
            kind: K::INFO,
            key: Key::new("team", name),
            uid: name.into(),
        },
        is_terminating,
        finalizers: finalizers.iter().map(|name| name.to_string()).collect(),
    }
}

fn view(namespace: &Namespace, contents: Vec<Content>) -> View<'_> {
    View {
        namespace,
        contents,
        unknown_kinds: vec![],
        errors: vec![],
        pods_grace: Duration::from_secs(30),
        failure: None,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(110),
    }
}

/// The conditions that are not as they should be, with their messages.
fn told(actions: &[Action]) -> Vec<(String, String)> {
    let object = actions.iter().find_map(|action| match action {
        Action::UpdateStatus {
            object: Object::Namespace(namespace),
        } => Some(namespace),
        _ => None,
    });
    let Some(namespace) = object else {
        panic!("{actions:?}")
    };
    let conditions = namespace.status().conditions.iter();
    conditions
        .filter(|condition| condition.status == "True")
        .map(|condition| (condition.r#type.clone(), condition.message.clone()))
        .collect()
}

#[test]
fn only_an_empty_namespace_that_is_being_deleted_is_finalized() {
    let decide = |namespace: &Namespace| reconcile(&view(namespace, vec![]));
    assert_eq!(decide(&namespace(false, &[FINALIZER])), []);
    assert_eq!(decide(&namespace(true, &["other"])), []);
    let expected = namespace(true, &["other"]);
    let decided = decide(&namespace(true, &[FINALIZER, "other"]));
    assert_eq!(decided, [Action::Finalize { namespace: expected }]);
}

#[test]
fn what_is_not_known_to_be_empty_is_not_finalized() {
    let team = namespace(true, &[FINALIZER]);
    let is_finalized = |view: &View| {
        let actions = reconcile(view);
        actions
            .iter()
            .any(|action| matches!(action, Action::Finalize { .. }))
    };
    assert!(is_finalized(&view(&team, vec![])));
    assert!(!is_finalized(&View {
        unknown_kinds: vec!["widgets.example.com".into()],
        ..view(&team, vec![])
    }));
    assert!(!is_finalized(&View {
        errors: vec!["away".into()],
        ..view(&team, vec![])
    }));
}

#[test]
fn a_deletion_that_fails_is_told_before_it_is_tried_again() {
    let failure = Failure {
        of: Attempt::Delete,
        message: "denied".into(),
    };
    let team = namespace(true, &[FINALIZER]);
    let actions = reconcile(&View {
        failure: Some(&failure),
        errors: vec!["away".into()],
        ..view(&team, vec![content::<ConfigMap>("a", false, &[])])
    });
    assert!(
        matches!(
            &actions[..],
            [Action::UpdateStatus { .. }, Action::Delete { .. }, ..]
        ),
        "{actions:?}"
    );
    let message = "Failed to delete all resource types, 2 remaining: away, denied";
    let failed = ("NamespaceDeletionContentFailure".into(), message.into());
    assert!(told(&actions).contains(&failed), "{:?}", told(&actions));
}

#[test]
fn contents_are_deleted_once_and_what_is_waited_for_is_told() {
    let team = namespace(true, &[FINALIZER]);
    let contents = vec![
        content::<Deployment>("a", false, &[]),
        content::<ConfigMap>("b", true, &["example.com/hold"]),
        content::<ConfigMap>("c", false, &[]),
    ];
    let actions = reconcile(&view(&team, contents));
    let deleted: Vec<&str> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Delete { target, .. } => Some(target.key.name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(deleted, ["a", "c"]);
    let messages: Vec<String> = told(&actions).into_iter().map(|(_, message)| message).collect();
    assert_eq!(
        messages,
        [
            "Some resources are remaining: configmaps. has 2 resource instances, deployments.apps has 1 resource \
             instances",
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
        ]
    );
    assert_eq!(actions.last(), Some(&Action::WakeAfter(LOOK_AGAIN)));
}

#[test]
fn what_should_have_gone_by_now_is_told() {
    let team = namespace(true, &[FINALIZER]);
    let check = |contents: Vec<Content>, now: u64, expected: Option<&str>| {
        let actions = reconcile(&View {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(now),
            ..view(&team, contents)
        });
        let failure = told(&actions)
            .into_iter()
            .find(|(kind, _)| kind == "NamespaceDeletionContentFailure");
        let message = failure.map(|(_, message)| message);
        assert_eq!(message.as_deref(), expected);
    };
    let stuck = "Failed to delete all resource types, 1 remaining: unexpected items still remain in namespace: team for \
                 gvr: /v1, Resource=pods";
    check(vec![content::<Pod>("a", true, &[])], 110, None);
    check(vec![content::<Pod>("a", true, &[])], 130, Some(stuck));
    check(vec![content::<Pod>("a", true, &["hold"])], 130, None);
    check(vec![content::<Pod>("a", false, &[])], 130, None);
}
