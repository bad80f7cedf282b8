use super::*;
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::Time;
use gantry_proto::{Key, Kind};

fn target(name: &str) -> Target {
    Target {
        kind: Pod::INFO,
        key: Key::new("default", name),
        uid: name.into(),
    }
}

fn owned_by(owners: &[&str]) -> ObjectMeta {
    let reference = |uid: &&str| OwnerReference {
        uid: uid.to_string(),
        block_owner_deletion: Some(true),
        ..OwnerReference::default()
    };
    ObjectMeta {
        uid: "item".into(),
        owner_references: owners.iter().map(reference).collect(),
        ..ObjectMeta::default()
    }
}

fn decide(metadata: &ObjectMeta, owners: &[OwnerState], dependents: &[ObjectMeta], fresh: bool) -> Decision {
    reconcile(&View {
        target: target("item"),
        metadata,
        owners: owners.to_vec(),
        dependents: dependents
            .iter()
            .map(|metadata| Dependent {
                target: target("child"),
                metadata,
            })
            .collect(),
        dependents_are_fresh: fresh,
    })
}

fn acts(decision: Decision) -> Vec<Action> {
    match decision {
        Decision::Act(actions) => actions,
        Decision::NeedsFreshDependents => panic!("undecided"),
    }
}

#[test]
fn a_dependent_stays_while_one_owner_does() {
    use OwnerState::{Gone, Present, WaitsForDependents};
    let check = |states: &[OwnerState], expected: &str| {
        let owners: Vec<&str> = ["a", "b", "c"][..states.len()].to_vec();
        let actions = acts(decide(&owned_by(&owners), states, &[], false));
        let what = match &actions[..] {
            [] => "nothing".to_string(),
            [Action::Delete { propagation, .. }] => format!("delete {propagation:?}"),
            [Action::Patch { patch, .. }] => {
                let stay = patch["metadata"]["ownerReferences"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                format!(
                    "keep {:?}",
                    stay.iter()
                        .map(|one| one["uid"].as_str().unwrap_or(""))
                        .collect::<Vec<_>>()
                )
            }
            other => format!("{other:?}"),
        };
        assert_eq!(what, expected, "{states:?}");
    };
    check(&[], "nothing");
    check(&[Present], "nothing");
    check(&[Present, Present], "nothing");
    check(&[Gone], "delete Some(Background)");
    check(&[Gone, Gone], "delete Some(Background)");
    check(&[Gone, Present], "keep [\"b\"]");
    check(&[WaitsForDependents, Present], "keep [\"b\"]");
    check(&[WaitsForDependents], "delete Some(Background)");
}

#[test]
fn a_dependent_that_is_waited_for_waits_for_its_own() {
    let actions = acts(decide(
        &owned_by(&["a"]),
        &[OwnerState::WaitsForDependents],
        &[owned_by(&["item"])],
        false,
    ));
    assert!(matches!(
        &actions[..],
        [Action::Delete {
            propagation: Some(Propagation::Foreground),
            ..
        }]
    ));
}

#[test]
fn an_object_that_has_changed_owners_since_it_was_read_is_not_deleted() {
    let mut read = owned_by(&["a"]);
    read.resource_version = "7".into();
    let actions = acts(decide(&read, &[OwnerState::Gone], &[], false));
    let [Action::Delete { resource_version, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(resource_version.as_deref(), Some("7"));
}

fn ending(finalizers: &[&str]) -> ObjectMeta {
    ObjectMeta {
        deletion_timestamp: Some(Time::default()),
        finalizers: finalizers.iter().map(|name| name.to_string()).collect(),
        ..owned_by(&[])
    }
}

#[test]
fn a_foreground_deletion_waits_for_dependents_that_block_it() {
    let owner = ending(&[FOREGROUND, "other"]);
    assert_eq!(
        decide(&owner, &[], &[owned_by(&["item"])], true),
        Decision::Act(vec![])
    );
    assert_eq!(decide(&owner, &[], &[], false), Decision::NeedsFreshDependents);
    let mut free = owned_by(&["item"]);
    free.owner_references[0].block_owner_deletion = None;
    let actions = acts(decide(&owner, &[], &[free], true));
    let [Action::Patch { patch, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(patch["metadata"]["finalizers"], json!(["other"]));
}

#[test]
fn orphaning_cuts_every_reference_before_the_finalizer_goes() {
    let owner = ending(&[ORPHAN]);
    let actions = acts(decide(&owner, &[], &[owned_by(&["item", "b"])], true));
    let [
        Action::Patch {
            target: cut, patch, ..
        },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(cut.key.name, "child");
    assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "b");
    assert_eq!(decide(&owner, &[], &[], false), Decision::NeedsFreshDependents);
    let actions = acts(decide(&owner, &[], &[], true));
    let [
        Action::Patch {
            target: own, patch, ..
        },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (own.key.name.as_str(), &patch["metadata"]["finalizers"]),
        ("item", &json!([]))
    );
}

#[test]
fn an_owner_that_is_being_deleted_in_the_background_is_left_to_itself() {
    assert_eq!(
        decide(&ending(&["other"]), &[], &[owned_by(&["item"])], false),
        Decision::Act(vec![])
    );
}
