//! Sizes when the number of replicas changes, mid-rollout or paused: every ReplicaSet keeps its proportion, so
//! that a resize does not speed a rollout up.

use super::fleet::{Fleet, age, available, desired, size};
use super::revision::{DESIRED_REPLICAS, MAX_REPLICAS};
use super::rolling::fences;
use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use std::cmp::Reverse;

/// Whether the number of replicas has changed since the ReplicaSets were sized.
pub fn is_scaling(deployment: &Deployment, fleet: &Fleet) -> bool {
    fleet
        .active()
        .filter_map(|replica_set| annotation(replica_set, DESIRED_REPLICAS))
        .any(|annotated| annotated != desired(deployment))
}

/// The size of each ReplicaSet that this touches, its present size included: annotations may lag behind.
pub fn sizes<'a>(deployment: &Deployment, fleet: &Fleet<'a>) -> Vec<(&'a ReplicaSet, i32)> {
    let desired = desired(deployment);
    let mut active: Vec<&ReplicaSet> = fleet.active().collect();
    match active[..] {
        [] => {
            return fleet
                .new
                .or(fleet.old.last().copied())
                .map(|one| (one, desired))
                .into_iter()
                .collect();
        }
        [one] => return vec![(one, desired)],
        _ => {}
    }
    if fleet.new.is_some_and(|new| is_saturated(deployment, new)) {
        return fleet
            .old
            .iter()
            .filter(|old| size(old) > 0)
            .map(|old| (*old, 0))
            .collect();
    }
    if deployment.spec().strategy().r#type == "Recreate" {
        return Vec::new();
    }
    let allowed = if desired > 0 {
        desired + fences(deployment).surge
    } else {
        0
    };
    let to_add = allowed - fleet.total_size();
    // The largest takes what rounding leaves over; among equals the newest grows and the oldest shrinks.
    if to_add > 0 {
        active.sort_by_key(|replica_set| (Reverse(size(replica_set)), Reverse(age(replica_set))));
    } else {
        active.sort_by_key(|replica_set| (Reverse(size(replica_set)), age(replica_set)));
    }
    let mut added = 0;
    let mut sizes: Vec<(&ReplicaSet, i32)> = Vec::with_capacity(active.len());
    for replica_set in active {
        let share = share(deployment, replica_set, allowed, to_add - added);
        added += share;
        sizes.push((replica_set, size(replica_set) + share));
    }
    if let Some((_, first)) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

/// The part of `rest` that a ReplicaSet gets.
fn share(deployment: &Deployment, replica_set: &ReplicaSet, allowed: i32, rest: i32) -> i32 {
    if rest == 0 {
        return 0;
    }
    let present = size(replica_set);
    let fraction = if desired(deployment) == 0 {
        -present
    } else {
        let before = annotation(replica_set, MAX_REPLICAS)
            .filter(|before| *before > 0)
            .unwrap_or(deployment.status().replicas);
        if before <= 0 {
            return 0;
        }
        let scaled = f64::from(present) * f64::from(allowed) / f64::from(before);
        scaled.round() as i32 - present
    };
    if rest > 0 {
        fraction.min(rest)
    } else {
        fraction.max(rest)
    }
}

fn is_saturated(deployment: &Deployment, new: &ReplicaSet) -> bool {
    let desired = desired(deployment);
    annotation(new, DESIRED_REPLICAS) == Some(desired) && size(new) == desired && available(new) == desired
}

fn annotation(replica_set: &ReplicaSet, name: &str) -> Option<i32> {
    replica_set.metadata().annotations.get(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{deployment, replica_set};
    use super::*;

    #[test]
    fn a_resize_in_mid_rollout_keeps_proportions() {
        // (desired before, desired now, old, new) -> (old, new); maxSurge is 3 throughout.
        let check = |before: i32, now: i32, old: i32, new: i32, expected: (i32, i32)| {
            let deployment = deployment(now, "3", "2");
            let annotate = |mut replica_set: ReplicaSet| {
                let annotations = &mut replica_set.metadata_mut().annotations;
                annotations.insert(DESIRED_REPLICAS.into(), before.to_string());
                annotations.insert(MAX_REPLICAS.into(), (before + 3).to_string());
                replica_set
            };
            let old_set = annotate(replica_set("a-old", old, old));
            let new_set = annotate(replica_set("b-new", new, 0));
            let fleet = Fleet {
                new: Some(&new_set),
                old: vec![&old_set],
            };
            assert!(is_scaling(&deployment, &fleet) || before == now);
            let sizes = sizes(&deployment, &fleet);
            let of = |name: &str| {
                sizes
                    .iter()
                    .find(|(one, _)| one.metadata().name == name)
                    .map(|(_, size)| *size)
            };
            assert_eq!(
                (of("a-old").unwrap_or(old), of("b-new").unwrap_or(new)),
                expected,
                "{before}->{now}"
            );
        };
        // Kubernetes' documentation has this one: 10 -> 15 with 8 old and 5 new.
        check(10, 15, 8, 5, (11, 7));
        check(10, 5, 8, 5, (5, 3));
        check(10, 0, 8, 5, (0, 0));
        check(10, 10, 8, 5, (8, 5));
    }

    #[test]
    fn one_active_set_takes_the_whole_size() {
        let deployment = deployment(7, "1", "1");
        let old_set = replica_set("old", 0, 0);
        let new_set = replica_set("new", 3, 3);
        let fleet = Fleet {
            new: Some(&new_set),
            old: vec![&old_set],
        };
        let sizes = sizes(&deployment, &fleet);
        assert_eq!(
            sizes
                .iter()
                .map(|(one, size)| (&*one.metadata().name, *size))
                .collect::<Vec<_>>(),
            [("new", 7)]
        );
    }
}
