//! How far a rolling update may go in one step.
//!
//! Architecture invariant: never more than desired + maxSurge pods that are not being deleted, and never a step
//! that takes the available ones below desired - maxUnavailable (tests: `simulation`).

use super::fleet::{Fleet, available, desired, size};
use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use gantry_proto::int_or_string::Rounding;

/// The room that a rolling update has, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fences {
    pub surge: i32,
    pub unavailable: i32,
}

/// Resolves maxSurge (rounded up) and maxUnavailable (rounded down). When both come to nothing, one pod may be
/// unavailable, or no step would ever be possible. Without a rolling update there is no room.
pub fn fences(deployment: &Deployment) -> Fences {
    let strategy = deployment.spec().strategy();
    if strategy.r#type == "Recreate" {
        return Fences {
            surge: 0,
            unavailable: 0,
        };
    }
    let desired = desired(deployment);
    let rolling = strategy.rolling_update();
    let scaled = |value: &Option<gantry_proto::meta::v1::IntOrString>, rounding: Rounding| {
        // The server's default is 25 %; validation refuses what is neither a number nor a percentage.
        value
            .as_ref()
            .map_or_else(
                || gantry_proto::meta::v1::IntOrString::from("25%").scaled(desired, rounding),
                |value| value.scaled(desired, rounding),
            )
            .unwrap_or(0)
    };
    let surge = scaled(&rolling.max_surge, Rounding::Up);
    let unavailable = scaled(&rolling.max_unavailable, Rounding::Down);
    match (surge, unavailable) {
        (0, 0) => Fences {
            surge,
            unavailable: 1,
        },
        _ => Fences { surge, unavailable },
    }
}

/// maxUnavailable as far as there are pods that could be unavailable.
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    let desired = desired(deployment);
    if desired == 0 {
        0
    } else {
        fences(deployment).unavailable.min(desired)
    }
}

/// How large the new ReplicaSet, which has `current`, should be now.
pub fn new_size(deployment: &Deployment, fleet: &Fleet, current: i32) -> i32 {
    let desired = desired(deployment);
    if deployment.spec().strategy().r#type == "Recreate" || current > desired {
        return desired;
    }
    // Room that an old ReplicaSet gives up is there only once its pods have gone: until then its status, or the
    // lack of a status for its present size, stands for them. Kubernetes counts sizes only and so goes beyond
    // maxSurge for a moment.
    if fleet
        .old
        .iter()
        .any(|old| old.metadata().generation > old.status().observed_generation)
    {
        return current;
    }
    let taken: i32 = fleet
        .old
        .iter()
        .map(|old| size(old).max(old.status().replicas))
        .sum();
    let room = desired + fences(deployment).surge - taken - current;
    current + room.min(desired - current).max(0)
}

/// Which of the old ReplicaSets shrink now, and to what: first by pods that are not available anyway, then by
/// as many as the available ones allow.
pub fn shrink_old<'a>(
    deployment: &Deployment,
    fleet: &Fleet<'a>,
    new: &ReplicaSet,
) -> Vec<(&'a ReplicaSet, i32)> {
    let min_available = desired(deployment) - max_unavailable(deployment);
    // What is surely superfluous even if no more of the new pods become available.
    let new_unavailable = size(new) - available(new);
    let superfluous = fleet.total_size() - min_available - new_unavailable;
    let mut sizes: Vec<(&ReplicaSet, i32)> = fleet.old.iter().map(|old| (*old, size(old))).collect();
    if superfluous <= 0 || sizes.iter().all(|(_, size)| *size == 0) {
        return Vec::new();
    }
    let mut room = superfluous;
    for (old, size) in &mut sizes {
        let unhealthy = (*size - available(old)).min(room);
        *size -= unhealthy;
        room -= unhealthy;
    }
    let mut spare = (fleet.total_available() - min_available).min(room).max(0);
    for (_, size) in &mut sizes {
        let healthy = (*size).min(spare);
        *size -= healthy;
        spare -= healthy;
    }
    sizes.retain(|(old, target)| size(old) != *target);
    sizes
}

#[cfg(test)]
mod tests {
    use super::super::simulation::{deployment, replica_set};
    use super::*;

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        let check = |replicas: i32, surge: &str, unavailable: &str, expected: (i32, i32)| {
            let deployment = deployment(replicas, surge, unavailable);
            let fences = fences(&deployment);
            assert_eq!(
                (fences.surge, fences.unavailable),
                expected,
                "{replicas} {surge} {unavailable}"
            );
        };
        check(3, "25%", "25%", (1, 0));
        check(10, "25%", "25%", (3, 2));
        check(4, "25%", "25%", (1, 1));
        check(1, "25%", "25%", (1, 0));
        check(0, "25%", "25%", (0, 1));
        check(3, "0", "10%", (0, 1));
        check(3, "2", "0", (2, 0));
        check(3, "100%", "100%", (3, 3));
    }

    #[test]
    fn the_new_one_grows_into_the_room_that_is_left() {
        let check = |replicas: i32, surge: &str, old: i32, new: i32, expected: i32| {
            let deployment = deployment(replicas, surge, "0");
            let old_set = replica_set("old", old, old);
            let new_set = replica_set("new", new, 0);
            let fleet = Fleet {
                new: Some(&new_set),
                old: vec![&old_set],
            };
            assert_eq!(
                new_size(&deployment, &fleet, new),
                expected,
                "{replicas} {surge} {old} {new}"
            );
        };
        check(10, "2", 10, 0, 2);
        check(10, "2", 10, 2, 2);
        check(10, "2", 5, 5, 7);
        check(10, "2", 0, 9, 10);
        check(10, "2", 0, 12, 10);
        check(10, "0", 12, 0, 0);
    }

    #[test]
    fn the_old_one_shrinks_by_what_is_not_needed() {
        // (desired, maxUnavailable, old size and available, new size and available) -> old size.
        let check = |replicas: i32, unavailable: &str, old: (i32, i32), new: (i32, i32), expected: i32| {
            let deployment = deployment(replicas, "1", unavailable);
            let old_set = replica_set("old", old.0, old.1);
            let new_set = replica_set("new", new.0, new.1);
            let fleet = Fleet {
                new: Some(&new_set),
                old: vec![&old_set],
            };
            let shrunk = shrink_old(&deployment, &fleet, &new_set);
            let size = shrunk.first().map_or(old.0, |(_, size)| *size);
            assert_eq!(size, expected, "{replicas} {unavailable} {old:?} {new:?}");
        };
        check(10, "0", (10, 10), (1, 0), 10);
        check(10, "0", (10, 10), (1, 1), 9);
        check(10, "2", (10, 10), (1, 0), 8);
        // Pods of the old template that never became available go first, whatever the new ones do.
        check(10, "2", (8, 0), (3, 0), 8);
        check(10, "2", (10, 8), (1, 0), 8);
        // A status that lags behind the spec does not count twice.
        check(10, "0", (9, 10), (1, 1), 9);
    }
}
