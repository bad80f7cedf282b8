use std::time::{Duration, UNIX_EPOCH};

use super::*;

const NOW: i64 = 1000;
const PLAIN: Manner = Manner {
    grace_seconds: None,
    has_dependents: true,
};

fn graceful(seconds: i64) -> Manner {
    Manner {
        grace_seconds: Some(seconds),
        ..PLAIN
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW as u64)
}

/// With the moment of its deletion and its grace period, where it is going.
fn meta(deletion: Option<(i64, i64)>, finalizers: &[&str]) -> ObjectMeta {
    ObjectMeta {
        name: "x".into(),
        generation: 3,
        deletion_timestamp: deletion.map(|(seconds, _)| Time { seconds, nanos: 0 }),
        deletion_grace_period_seconds: deletion.map(|(_, grace)| grace),
        finalizers: owned(finalizers),
        ..ObjectMeta::default()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn stays(deletion: (i64, i64), finalizers: &[&str], generation: i64) -> Fate {
    Fate::Stay(Box::new(ObjectMeta {
        generation,
        ..meta(Some(deletion), finalizers)
    }))
}

fn policy(policy: &str) -> DeleteOptions {
    DeleteOptions {
        propagation_policy: Some(policy.to_owned()),
        ..DeleteOptions::default()
    }
}

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions {
        grace_period_seconds: Some(seconds),
        ..DeleteOptions::default()
    }
}

fn orphan(orphan: bool) -> DeleteOptions {
    DeleteOptions {
        orphan_dependents: Some(orphan),
        ..DeleteOptions::default()
    }
}

fn check(old: &ObjectMeta, options: &DeleteOptions, manner: Manner, expected: &Fate) {
    let found = fate(old, options, manner, now());
    assert_eq!(found, *expected, "{old:?} {options:?}");
}

#[test]
fn an_object_without_grace_goes_at_once_unless_somebody_holds_it() {
    let nothing = DeleteOptions::default();
    check(&meta(None, &[]), &nothing, PLAIN, &Fate::Remove);
    check(&meta(None, &["a"]), &nothing, PLAIN, &stays((1000, 0), &["a"], 4));
    check(&meta(Some((900, 0)), &["a"]), &nothing, PLAIN, &Fate::Unchanged);
    check(&meta(Some((900, 0)), &[]), &nothing, PLAIN, &Fate::Remove);
    check(
        &meta(Some((1900, 7)), &["a"]),
        &nothing,
        PLAIN,
        &stays((1000, 0), &["a"], 3),
    );
}

#[test]
fn the_policy_says_what_becomes_of_dependents() {
    check(
        &meta(None, &[]),
        &policy("Foreground"),
        PLAIN,
        &stays((1000, 0), &[FOREGROUND], 4),
    );
    check(
        &meta(None, &["a"]),
        &policy("Orphan"),
        PLAIN,
        &stays((1000, 0), &["a", ORPHAN], 4),
    );
    check(
        &meta(None, &[ORPHAN]),
        &policy("Background"),
        PLAIN,
        &Fate::Remove,
    );
    check(
        &meta(Some((900, 0)), &[FOREGROUND]),
        &policy("Background"),
        PLAIN,
        &Fate::Remove,
    );
    check(
        &meta(Some((900, 0)), &[FOREGROUND]),
        &policy("Orphan"),
        PLAIN,
        &stays((900, 0), &[ORPHAN], 3),
    );
    check(
        &meta(None, &[]),
        &orphan(true),
        PLAIN,
        &stays((1000, 0), &[ORPHAN], 4),
    );
    check(&meta(None, &[FOREGROUND]), &orphan(false), PLAIN, &Fate::Remove);
    // Without a policy the object's own finalizers stay, and of two the first counts.
    let nothing = DeleteOptions::default();
    check(
        &meta(None, &[ORPHAN]),
        &nothing,
        PLAIN,
        &stays((1000, 0), &[ORPHAN], 4),
    );
    check(
        &meta(None, &[FOREGROUND, ORPHAN]),
        &nothing,
        PLAIN,
        &stays((1000, 0), &[FOREGROUND], 4),
    );
    let event = Manner {
        has_dependents: false,
        ..PLAIN
    };
    check(&meta(None, &[]), &policy("Foreground"), event, &Fate::Remove);
}

#[test]
fn a_pod_goes_when_its_node_has_ended_it() {
    let nothing = DeleteOptions::default();
    check(
        &meta(None, &[]),
        &nothing,
        graceful(30),
        &stays((1030, 30), &[], 4),
    );
    check(&meta(None, &[]), &grace(0), graceful(0), &Fate::Remove);
    check(
        &meta(None, &["a"]),
        &grace(0),
        graceful(0),
        &stays((1000, 0), &["a"], 4),
    );
    check(
        &meta(None, &["a"]),
        &policy("Foreground"),
        graceful(30),
        &stays((1030, 30), &["a", FOREGROUND], 4),
    );
}

#[test]
fn a_grace_period_only_becomes_shorter() {
    let going = meta(Some((1020, 30)), &[]);
    let nothing = DeleteOptions::default();
    check(&going, &nothing, graceful(30), &Fate::Unchanged);
    check(&going, &grace(30), graceful(30), &Fate::Unchanged);
    check(&going, &grace(60), graceful(60), &Fate::Unchanged);
    check(&going, &grace(15), graceful(15), &stays((1005, 15), &[], 3));
    // It began at 990 and would have ended at 995: the node gets a second.
    check(&going, &grace(5), graceful(5), &stays((1000, 1), &[], 3));
    check(&going, &grace(0), graceful(0), &Fate::Remove);
    check(
        &meta(Some((1020, 30)), &["a"]),
        &grace(0),
        graceful(0),
        &stays((1000, 0), &["a"], 3),
    );
}

#[test]
fn a_pod_on_its_way_takes_no_other_policy() {
    let mut foreground = policy("Foreground");
    check(
        &meta(Some((1020, 30)), &[]),
        &foreground,
        graceful(30),
        &Fate::Unchanged,
    );
    foreground.grace_period_seconds = Some(20);
    check(
        &meta(Some((1020, 30)), &[]),
        &foreground,
        graceful(20),
        &stays((1010, 20), &[FOREGROUND], 3),
    );
    // One that nothing but a finalizer holds does.
    check(
        &meta(Some((900, 0)), &["a"]),
        &policy("Foreground"),
        graceful(0),
        &stays((900, 0), &["a", FOREGROUND], 3),
    );
}

#[test]
fn an_update_ends_an_object_that_was_only_held_by_its_last_finalizer() {
    let check = |old: ObjectMeta, finalizers: &[&str], expected| {
        let new = ObjectMeta {
            finalizers: owned(finalizers),
            ..old.clone()
        };
        assert_eq!(ends_by_update(&new, &old), expected, "{old:?}");
    };
    check(meta(Some((9, 0)), &["a"]), &[], true);
    check(meta(Some((9, 0)), &["a", "b"]), &["b"], false);
    check(meta(Some((9, 30)), &["a"]), &[], false);
    check(meta(None, &["a"]), &[], false);
    let mut without_grace = meta(Some((9, 0)), &["a"]);
    without_grace.deletion_grace_period_seconds = None;
    check(without_grace, &[], true);
}

#[test]
fn a_namespace_is_marked_first_and_goes_when_it_is_finalized() {
    let namespace = |going: bool, spec: &[&str], finalizers: &[&str]| {
        let mut namespace = Namespace::default();
        namespace.metadata_mut().deletion_timestamp = going.then_some(Time {
            seconds: 900,
            nanos: 0,
        });
        namespace.metadata_mut().finalizers = owned(finalizers);
        namespace.spec_mut().finalizers = owned(spec);
        namespace
    };
    let marked = |finalizers: &[&str]| {
        let mut metadata = namespace(true, &[], finalizers).metadata().clone();
        metadata.deletion_timestamp = Some(Time {
            seconds: NOW,
            nanos: 0,
        });
        Fate::Stay(Box::new(metadata))
    };
    let check = |namespace: &Namespace, options: &DeleteOptions, expected: &Fate| {
        assert_eq!(
            fate_of_namespace(namespace, options, now()),
            *expected,
            "{options:?}"
        );
    };
    let nothing = DeleteOptions::default();
    check(&namespace(false, &["kubernetes"], &[]), &nothing, &marked(&[]));
    check(&namespace(false, &[], &["a"]), &nothing, &marked(&["a"]));
    check(
        &namespace(false, &["kubernetes"], &[]),
        &policy("Orphan"),
        &marked(&[ORPHAN]),
    );
    check(
        &namespace(false, &["kubernetes"], &[]),
        &orphan(false),
        &marked(&[FOREGROUND]),
    );
    check(&namespace(true, &["kubernetes"], &[]), &nothing, &Fate::Unchanged);
    check(&namespace(true, &[], &[]), &nothing, &Fate::Remove);
}
