//! Rules of metadata that hold for every kind: who may set what, when an object goes.

use std::time::SystemTime;

use gantry_proto::KindInfo;
use gantry_proto::meta::v1::{DeleteOptions, ObjectMeta, Preconditions, Status, Time};

pub(super) const ORPHAN: &str = "orphan";
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// Fills in what the server gives a new object.
pub(super) fn begin(metadata: &mut ObjectMeta, uid: String, now: SystemTime) {
    metadata.uid = uid;
    metadata.creation_timestamp = Some(Time::from_system(now));
    metadata.resource_version.clear();
    metadata.managed_fields.clear();
}

/// Refuses a request whose preconditions the object does not meet. The words are Kubernetes'
/// (apiserver/pkg/storage/interfaces.go).
pub(super) fn check_preconditions(
    kind: &KindInfo,
    metadata: &ObjectMeta,
    preconditions: &Preconditions,
) -> Result<(), Status> {
    let checks = [
        ("UID", &preconditions.uid, &metadata.uid),
        (
            "ResourceVersion",
            &preconditions.resource_version,
            &metadata.resource_version,
        ),
    ];
    for (name, wanted, found) in checks {
        if let Some(wanted) = wanted
            && wanted != found
        {
            let why = format!(
                "Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {found}"
            );
            return Err(Status::conflict(kind, &metadata.name, &why));
        }
    }
    Ok(())
}

/// Whether an update that leaves the object like this ends it: it was marked for deletion without a grace period,
/// and nobody holds it any more.
pub(super) fn ends_by_update(new: &ObjectMeta, old: &ObjectMeta) -> bool {
    new.finalizers.is_empty()
        && old.deletion_timestamp.is_some()
        && old.deletion_grace_period_seconds == Some(0)
}

/// The finalizers that the garbage collector must act on, as a deletion asks for them
/// (apiserver/pkg/registry/generic/registry/store.go, deletionFinalizersForGarbageCollection).
pub(super) fn deletion_finalizers(metadata: &ObjectMeta, options: &DeleteOptions) -> Vec<String> {
    let has = |name: &str| metadata.finalizers.iter().any(|own| own == name);
    let (orphan, foreground) = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(orphan), _) => (orphan, false),
        (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
        (None, None) => (has(ORPHAN), has(FOREGROUND)),
    };
    let kept = metadata
        .finalizers
        .iter()
        .filter(|name| *name != ORPHAN && *name != FOREGROUND);
    let mut finalizers: Vec<String> = kept.cloned().collect();
    let added = [(orphan, ORPHAN), (foreground, FOREGROUND)];
    finalizers.extend(
        added
            .iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, name)| (*name).to_owned()),
    );
    // An order that nobody asked to change stays, so that nothing is written for it.
    let same = finalizers.len() == metadata.finalizers.len() && finalizers.iter().all(|name| has(name));
    if same {
        metadata.finalizers.clone()
    } else {
        finalizers
    }
}

/// What a deletion does to an object.
#[derive(Debug, PartialEq)]
pub(super) enum Fate {
    /// It goes at once.
    Remove,
    /// It stays as this until somebody lets it go.
    Stay(Box<ObjectMeta>),
    /// It is on its way already.
    Unchanged,
}

/// Decides what a deletion does (apiserver/pkg/registry/rest/delete.go and generic/registry/store.go).
///
/// `grace_seconds` is `Some` where the kind is deleted in two phases and the object is not just to go; `held` says
/// that something other than finalizers keeps the object.
pub(super) fn fate(
    metadata: &ObjectMeta,
    options: &DeleteOptions,
    grace_seconds: Option<i64>,
    held: bool,
    now: SystemTime,
) -> Fate {
    let mut next = metadata.clone();
    next.finalizers = deletion_finalizers(metadata, options);
    let waits = held || !next.finalizers.is_empty();
    let mut graceful = false;
    match (
        &metadata.deletion_timestamp,
        metadata.deletion_grace_period_seconds,
    ) {
        // Being deleted gracefully: the grace period may only become shorter.
        (Some(deletion), Some(present)) if present > 0 => match options.grace_period_seconds {
            Some(wanted) if wanted < present => {
                let wanted = wanted.max(0);
                next.deletion_timestamp = Some(Time {
                    seconds: deletion.seconds - present + wanted,
                    nanos: deletion.nanos,
                });
                next.deletion_grace_period_seconds = Some(wanted);
                graceful = wanted > 0;
            }
            _ => graceful = true,
        },
        (Some(_), _) => {}
        (None, _) => {
            let seconds = grace_seconds.unwrap_or(0);
            let mut deletion = Time::from_system(now);
            deletion.seconds = deletion.seconds.saturating_add(seconds);
            next.deletion_timestamp = Some(deletion);
            next.deletion_grace_period_seconds = Some(seconds);
            if next.generation > 0 {
                next.generation += 1;
            }
            graceful = seconds > 0;
        }
    }
    if !graceful && !waits {
        Fate::Remove
    } else if next == *metadata {
        Fate::Unchanged
    } else {
        Fate::Stay(Box::new(next))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn meta(deletion: Option<(i64, i64)>, finalizers: &[&str]) -> ObjectMeta {
        ObjectMeta {
            name: "x".into(),
            generation: 3,
            deletion_timestamp: deletion.map(|(seconds, _)| Time { seconds, nanos: 0 }),
            deletion_grace_period_seconds: deletion.map(|(_, grace)| grace),
            finalizers: finalizers.iter().map(|name| (*name).to_owned()).collect(),
            ..ObjectMeta::default()
        }
    }

    fn stays(deletion: (i64, i64), finalizers: &[&str], generation: i64) -> Fate {
        Fate::Stay(Box::new(ObjectMeta {
            generation,
            ..meta(Some(deletion), finalizers)
        }))
    }

    #[test]
    fn a_deletion_has_the_outcome_that_kubernetes_gives_it() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let check =
            |old: ObjectMeta, requested: Option<i64>, policy: &str, grace: Option<i64>, held, expected| {
                let options = DeleteOptions {
                    grace_period_seconds: requested,
                    propagation_policy: (!policy.is_empty()).then(|| policy.to_owned()),
                    ..DeleteOptions::default()
                };
                let found = fate(&old, &options, grace, held, now);
                assert_eq!(found, expected, "{old:?} {options:?}");
            };
        // Kinds without grace.
        check(meta(None, &[]), None, "", None, false, Fate::Remove);
        check(
            meta(None, &["a"]),
            None,
            "",
            None,
            false,
            stays((1000, 0), &["a"], 4),
        );
        check(
            meta(Some((900, 0)), &["a"]),
            None,
            "",
            None,
            false,
            Fate::Unchanged,
        );
        check(meta(Some((900, 0)), &[]), None, "", None, false, Fate::Remove);
        check(meta(None, &[]), None, "", None, true, stays((1000, 0), &[], 4));
        // Propagation.
        check(
            meta(None, &[]),
            None,
            "Foreground",
            None,
            false,
            stays((1000, 0), &[FOREGROUND], 4),
        );
        check(
            meta(None, &["a"]),
            None,
            "Orphan",
            None,
            false,
            stays((1000, 0), &["a", ORPHAN], 4),
        );
        check(
            meta(None, &[ORPHAN]),
            None,
            "Background",
            None,
            false,
            Fate::Remove,
        );
        check(
            meta(Some((900, 0)), &[FOREGROUND]),
            None,
            "Background",
            None,
            false,
            Fate::Remove,
        );
        // Pods.
        check(
            meta(None, &[]),
            None,
            "",
            Some(30),
            false,
            stays((1030, 30), &[], 4),
        );
        check(meta(None, &[]), Some(0), "", Some(0), false, Fate::Remove);
        check(
            meta(None, &["a"]),
            Some(0),
            "",
            Some(0),
            false,
            stays((1000, 0), &["a"], 4),
        );
        check(
            meta(Some((1020, 30)), &[]),
            None,
            "",
            Some(30),
            false,
            Fate::Unchanged,
        );
        check(
            meta(Some((1020, 30)), &[]),
            Some(60),
            "",
            Some(60),
            false,
            Fate::Unchanged,
        );
        check(
            meta(Some((1020, 30)), &[]),
            Some(5),
            "",
            Some(5),
            false,
            stays((995, 5), &[], 3),
        );
        check(
            meta(Some((1020, 30)), &[]),
            Some(0),
            "",
            Some(0),
            false,
            Fate::Remove,
        );
        check(
            meta(Some((1020, 30)), &["a"]),
            Some(0),
            "",
            Some(0),
            false,
            stays((990, 0), &["a"], 3),
        );
    }

    #[test]
    fn an_update_ends_an_object_that_was_only_held_by_its_last_finalizer() {
        let check = |old: ObjectMeta, finalizers: &[&str], expected| {
            let new = ObjectMeta {
                finalizers: finalizers.iter().map(|name| (*name).to_owned()).collect(),
                ..old.clone()
            };
            assert_eq!(ends_by_update(&new, &old), expected, "{old:?}");
        };
        check(meta(Some((9, 0)), &["a"]), &[], true);
        check(meta(Some((9, 0)), &["a", "b"]), &["b"], false);
        check(meta(Some((9, 30)), &["a"]), &[], false);
        check(meta(None, &["a"]), &[], false);
    }
}
