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

fn ending(finalizers: &[&str]) -> ObjectMeta {
    ObjectMeta {
        deletion_timestamp: Some(Time::default()),
        finalizers: finalizers.iter().map(|name| name.to_string()).collect(),
        ..owned_by(&[])
    }
}

fn decide(metadata: &ObjectMeta, owners: &[OwnerState], dependents: &[ObjectMeta], fresh: bool) -> Decision {
    let dependents = dependents.iter().map(|metadata| Dependent {
        target: target("child"),
        metadata: ObjectMeta {
            uid: "child".into(),
            ..metadata.clone()
        },
    });
    reconcile(&View {
        target: target("item"),
        metadata,
        owners: owners.to_vec(),
        dependents: &dependents.collect::<Vec<_>>(),
        is_in_circle: false,
        dependents_are_fresh: fresh,
    })
}

/// What was decided, in a few words for each action.
fn words(decision: &Decision) -> String {
    let Decision::Act(actions) = decision else {
        return "look afresh".into();
    };
    let word = |action: &Action| match action {
        Action::Delete { propagation, .. } => format!("delete {propagation:?}").replace("Some", ""),
        Action::Patch { target, patch, .. } => {
            let metadata = &patch["metadata"];
            let name = &target.key.name;
            if let Some(finalizers) = metadata["finalizers"].as_array() {
                return format!("{name} finalizers {finalizers:?}").replace("String", "");
            }
            let stay = metadata["ownerReferences"].as_array().cloned();
            let stay = stay.unwrap_or_default().into_iter().map(|one| {
                let blocks = if one["blockOwnerDeletion"] == true {
                    ""
                } else {
                    " free"
                };
                format!("{}{blocks}", one["uid"].as_str().unwrap_or_default())
            });
            format!("{name} keeps {:?}", stay.collect::<Vec<_>>())
        }
        Action::CheckAfter(_) => "look again".into(),
        other => format!("{other:?}"),
    };
    actions.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_dependent_stays_while_one_owner_does() {
    use OwnerState::{Gone, Solid, Unknowable, Virtual, WaitsForDependents};
    let check = |states: &[OwnerState], expected: &str| {
        let owners: Vec<&str> = ["a", "b", "c"][..states.len()].to_vec();
        let decision = decide(&owned_by(&owners), states, &[], false);
        assert_eq!(words(&decision), expected, "{states:?}");
    };
    check(&[], "");
    check(&[Solid], "");
    check(&[Solid, Solid], "");
    check(&[Gone], "delete (Background)");
    check(&[Gone, Gone], "delete (Background)");
    check(&[Gone, Solid], "item keeps [\"b\"]");
    check(&[WaitsForDependents, Solid], "item keeps [\"b\"]");
    check(&[WaitsForDependents], "delete (Background)");
    check(&[WaitsForDependents, Gone], "delete (Background)");
    check(&[Virtual], "look again");
    check(&[Gone, Virtual], "item keeps [\"b\"], look again");
    // Whoever cannot be known may be there.
    check(&[Unknowable], "");
    check(&[Unknowable, Gone], "");
}

#[test]
fn finalizers_that_somebody_has_set_keep_their_meaning() {
    let check = |finalizers: &[&str], expected: &str| {
        let metadata = ObjectMeta {
            finalizers: finalizers.iter().map(|name| name.to_string()).collect(),
            ..owned_by(&["a"])
        };
        let decision = decide(&metadata, &[OwnerState::Gone], &[owned_by(&["item"])], false);
        assert_eq!(words(&decision), expected);
    };
    check(&["example.com/hold"], "delete (Background)");
    check(&[FOREGROUND], "delete (Foreground)");
    check(&[FOREGROUND, ORPHAN], "delete (Orphan)");
}

#[test]
fn a_dependent_that_is_waited_for_waits_for_its_own_and_breaks_a_circle() {
    let waits = [OwnerState::WaitsForDependents];
    let decision = decide(&owned_by(&["a"]), &waits, &[owned_by(&["item"])], false);
    assert_eq!(words(&decision), "delete (Foreground)");
    let circle = [ending(&[FOREGROUND])];
    let decision = decide(&owned_by(&["a"]), &waits, &circle, false);
    assert_eq!(words(&decision), "item keeps [\"a free\"]");
    let mut free = owned_by(&["a"]);
    free.owner_references[0].block_owner_deletion = Some(false);
    assert_eq!(
        words(&decide(&free, &waits, &circle, false)),
        "delete (Foreground)"
    );
}

#[test]
fn an_object_that_has_changed_owners_since_it_was_read_is_not_deleted() {
    let mut read = owned_by(&["a"]);
    read.resource_version = "7".into();
    let Decision::Act(actions) = decide(&read, &[OwnerState::Gone], &[], false) else {
        panic!("undecided")
    };
    let [
        Action::Delete {
            resource_version,
            target,
            ..
        },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (resource_version.as_deref(), target.uid.as_str()),
        (Some("7"), "item")
    );
}

#[test]
fn a_foreground_deletion_waits_for_dependents_that_block_it() {
    let owner = ending(&[FOREGROUND, "other"]);
    let check = |dependents: &[ObjectMeta], fresh: bool, expected: &str| {
        assert_eq!(words(&decide(&owner, &[], dependents, fresh)), expected);
    };
    check(&[owned_by(&["item"])], false, "");
    check(&[], false, "look afresh");
    // It is there, and no cache has shown it: nobody may ever tell of its end.
    check(&[owned_by(&["item"])], true, "look again");
    let mut free = owned_by(&["item"]);
    free.owner_references[0].block_owner_deletion = None;
    check(&[free.clone()], false, "look afresh");
    check(&[free], true, "item finalizers [(\"other\")]");
}

#[test]
fn an_owner_that_waits_for_itself_in_the_end_lets_its_owners_go() {
    let mut owner = ending(&[FOREGROUND]);
    owner.owner_references = owned_by(&["a"]).owner_references;
    let dependents = [Dependent {
        target: target("child"),
        metadata: owned_by(&["item"]),
    }];
    let dependents = dependents.map(|mut dependent| {
        dependent.metadata.uid = "child".into();
        dependent
    });
    let decide = |is_in_circle: bool| {
        reconcile(&View {
            target: target("item"),
            metadata: &owner,
            owners: vec![],
            dependents: &dependents,
            is_in_circle,
            dependents_are_fresh: false,
        })
    };
    assert_eq!(words(&decide(false)), "");
    assert_eq!(words(&decide(true)), "item keeps [\"a free\"]");
}

#[test]
fn orphaning_cuts_every_reference_before_the_finalizer_goes() {
    let owner = ending(&[ORPHAN, FOREGROUND]);
    let dependents = [owned_by(&["item", "b"])];
    assert_eq!(words(&decide(&owner, &[], &dependents, false)), "look afresh");
    assert_eq!(
        words(&decide(&owner, &[], &dependents, true)),
        "child keeps [\"b\"], item finalizers [(\"foregroundDeletion\")]"
    );
    assert_eq!(
        words(&decide(&owner, &[], &[], true)),
        "item finalizers [(\"foregroundDeletion\")]"
    );
}

#[test]
fn an_owner_that_is_being_deleted_in_the_background_is_left_to_itself() {
    assert_eq!(
        words(&decide(&ending(&["other"]), &[], &[owned_by(&["item"])], false)),
        ""
    );
}
