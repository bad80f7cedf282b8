//! Which pods leave a node that is drained, and which keep it from being drained (kubectl's pkg/drain).

use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::OwnerReference;
use std::time::{Duration, SystemTime};

const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// What the user allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// Pods that no controller makes anew.
    pub unmanaged: bool,
    /// Leaving a DaemonSet's pods where they are.
    pub daemon_sets: bool,
    /// Losing what is in emptyDir volumes.
    pub empty_dirs: bool,
    /// Not waiting for pods that have been ending for longer than this.
    pub skip_ending_for: Option<Duration>,
}

/// What a drain does with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Leaves,
    LeavesWithWarning(String),
    Stays,
    StaysWithWarning(String),
    /// The drain may not go on.
    Forbids(String),
}

impl Fate {
    fn leaves(&self) -> bool {
        matches!(self, Fate::Leaves | Fate::LeavesWithWarning(_))
    }
}

/// What became of looking for the DaemonSet that a pod says is its controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonSet {
    /// The pod has another controller, or none.
    NotOne,
    There,
    /// It is not there, in the server's words.
    Missing(String),
    /// It could not be looked for.
    Unknown(String),
}

/// The DaemonSet that a pod says is its controller.
pub fn daemon_set(pod: &Pod) -> Option<&OwnerReference> {
    controller(pod).filter(|owner| owner.kind == "DaemonSet" && owner.api_version == "apps/v1")
}

fn controller(pod: &Pod) -> Option<&OwnerReference> {
    let owners = &pod.metadata().owner_references;
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// Asks one filter after the other, each of which may stop the asking; of warnings the last counts.
pub fn fate(pod: &Pod, daemon_set: &DaemonSet, allowed: Allowed, now: SystemTime) -> Fate {
    let finished = matches!(pod.status().phase.as_str(), "Succeeded" | "Failed");
    let filters = [
        of_ending(pod, allowed, now),
        of_daemon_set(daemon_set, finished, allowed),
        match pod.metadata().annotations.contains_key(MIRROR_POD) {
            true => Fate::Stays,
            false => Fate::Leaves,
        },
        of_local_storage(pod, finished, allowed),
        of_unmanaged(pod, finished, allowed),
    ];
    let last = filters.len() - 1;
    let stopped = filters.iter().position(|fate| !fate.leaves()).unwrap_or(last);
    filters[stopped].clone()
}

/// Whether a pod has been ending for so long that it is not waited for.
pub fn is_skipped(pod: &Pod, allowed: Allowed, now: SystemTime) -> bool {
    let (Some(limit), Some(since)) = (allowed.skip_ending_for, &pod.metadata().deletion_timestamp) else {
        return false;
    };
    now.duration_since(since.to_system())
        .is_ok_and(|ending| ending.as_secs() > limit.as_secs())
}

fn of_ending(pod: &Pod, allowed: Allowed, now: SystemTime) -> Fate {
    match is_skipped(pod, allowed, now) {
        true => Fate::Stays,
        false => Fate::Leaves,
    }
}

fn of_daemon_set(daemon_set: &DaemonSet, finished: bool, allowed: Allowed) -> Fate {
    match daemon_set {
        DaemonSet::NotOne => Fate::Leaves,
        _ if finished => Fate::Leaves,
        DaemonSet::Missing(why) if allowed.unmanaged => Fate::LeavesWithWarning(why.clone()),
        DaemonSet::Missing(why) | DaemonSet::Unknown(why) => Fate::Forbids(why.clone()),
        DaemonSet::There if allowed.daemon_sets => {
            Fate::StaysWithWarning("ignoring DaemonSet-managed Pods".into())
        }
        DaemonSet::There => {
            Fate::Forbids("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)".into())
        }
    }
}

fn of_local_storage(pod: &Pod, finished: bool, allowed: Allowed) -> Fate {
    let is_local = pod
        .spec()
        .volumes
        .iter()
        .any(|volume| volume.volume_source().empty_dir.is_some());
    match (is_local && !finished, allowed.empty_dirs) {
        (false, _) => Fate::Leaves,
        (true, true) => Fate::LeavesWithWarning("deleting Pods with local storage".into()),
        (true, false) => {
            Fate::Forbids("Pods with local storage (use --delete-emptydir-data to override)".into())
        }
    }
}

fn of_unmanaged(pod: &Pod, finished: bool, allowed: Allowed) -> Fate {
    match (finished || controller(pod).is_some(), allowed.unmanaged) {
        (true, _) => Fate::Leaves,
        (false, true) => Fate::LeavesWithWarning("deleting Pods that declare no controller".into()),
        (false, false) => Fate::Forbids("Pods that declare no controller (use --force to override)".into()),
    }
}

/// What is to be said about the pods' fates: warnings in one line, and why the drain may not go on.
pub fn told(fates: &[(Pod, Fate)]) -> (String, Option<String>) {
    let (mut warnings, mut forbidden) = (Grouped::default(), Grouped::default());
    for (pod, fate) in fates {
        let name = format!("{}/{}", pod.metadata().namespace, pod.metadata().name);
        match fate {
            Fate::LeavesWithWarning(why) | Fate::StaysWithWarning(why) => warnings.add(why.clone(), name),
            Fate::Forbids(why) => forbidden.add(format!("cannot delete {why}"), name),
            Fate::Leaves | Fate::Stays => {}
        }
    }
    let forbidden = match &forbidden.lines()[..] {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    };
    (warnings.lines().join("; "), forbidden)
}

/// Names by what is said of them, in the order in which it was first said.
#[derive(Default)]
struct Grouped(Vec<(String, Vec<String>)>);

impl Grouped {
    fn add(&mut self, text: String, name: String) {
        match self.0.iter_mut().find(|(other, _)| *other == text) {
            Some((_, names)) => names.push(name),
            None => self.0.push((text, vec![name])),
        }
    }

    fn lines(&self) -> Vec<String> {
        let line = |(text, names): &(String, Vec<String>)| format!("{text}: {}", names.join(", "));
        self.0.iter().map(line).collect()
    }
}

/// The pods that leave.
pub fn leaving(fates: Vec<(Pod, Fate)>) -> Vec<Pod> {
    let leaves = |(pod, fate): (Pod, Fate)| fate.leaves().then_some(pod);
    fates.into_iter().filter_map(leaves).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Object;
    use gantry_proto::Kind as _;
    use serde_json::{Value, json};

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_176_000)
    }

    fn pod(metadata: Value, spec: Value, phase: &str) -> Pod {
        let mut value = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec,
            "status": {"phase": phase}});
        for (key, field) in metadata.as_object().into_iter().flatten() {
            value["metadata"][key] = field.clone();
        }
        let raw = (Pod::INFO.encode_json)(&value).unwrap().0;
        Object::new(Pod::INFO, raw).unwrap().decode().unwrap()
    }

    fn owned(kind: &str) -> Value {
        json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "1", "controller": true}]})
    }

    #[test]
    fn each_pod_has_the_fate_that_kubectl_gives_it() {
        let none = Allowed::default();
        let all = Allowed {
            unmanaged: true,
            daemon_sets: true,
            empty_dirs: true,
            skip_ending_for: Some(Duration::from_secs(60)),
        };
        let bare = || json!({});
        let empty_dir = || json!({"volumes": [{"name": "v", "emptyDir": {}}]});
        let check = |pod: &Pod, daemon_set: &DaemonSet, strict: Fate, lenient: Fate| {
            assert_eq!(fate(pod, daemon_set, none, now()), strict, "{pod:?}");
            assert_eq!(fate(pod, daemon_set, all, now()), lenient, "{pod:?}");
        };
        let not_one = DaemonSet::NotOne;
        check(
            &pod(owned("ReplicaSet"), bare(), "Running"),
            &not_one,
            Fate::Leaves,
            Fate::Leaves,
        );
        check(
            &pod(bare(), bare(), "Running"),
            &not_one,
            Fate::Forbids("Pods that declare no controller (use --force to override)".into()),
            Fate::LeavesWithWarning("deleting Pods that declare no controller".into()),
        );
        check(
            &pod(bare(), bare(), "Succeeded"),
            &not_one,
            Fate::Leaves,
            Fate::Leaves,
        );
        // As for kubectl, the next filter has nothing to say and the warning is lost.
        check(
            &pod(owned("ReplicaSet"), empty_dir(), "Running"),
            &not_one,
            Fate::Forbids("Pods with local storage (use --delete-emptydir-data to override)".into()),
            Fate::Leaves,
        );
        check(
            &pod(owned("DaemonSet"), bare(), "Running"),
            &DaemonSet::There,
            Fate::Forbids("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)".into()),
            Fate::StaysWithWarning("ignoring DaemonSet-managed Pods".into()),
        );
        check(
            &pod(owned("DaemonSet"), bare(), "Running"),
            &DaemonSet::Missing("daemonsets.apps \"o\" not found".into()),
            Fate::Forbids("daemonsets.apps \"o\" not found".into()),
            Fate::Leaves,
        );
        let mirror = json!({"annotations": {MIRROR_POD: "x"}});
        check(
            &pod(mirror, bare(), "Running"),
            &not_one,
            Fate::Stays,
            Fate::Stays,
        );
        let mut ending = owned("ReplicaSet");
        ending["deletionTimestamp"] = "2026-11-20T11:50:00Z".into();
        check(
            &pod(ending, bare(), "Running"),
            &not_one,
            Fate::Leaves,
            Fate::Stays,
        );
    }

    #[test]
    fn pods_of_the_same_fate_are_told_together() {
        let fates = [
            (
                pod(json!({"name": "a"}), json!({}), "Running"),
                Fate::Forbids("X (use --x)".into()),
            ),
            (
                pod(json!({"name": "b"}), json!({}), "Running"),
                Fate::Forbids("X (use --x)".into()),
            ),
            (
                pod(json!({"name": "c"}), json!({}), "Running"),
                Fate::LeavesWithWarning("W".into()),
            ),
            (
                pod(json!({"name": "d"}), json!({}), "Running"),
                Fate::Forbids("Y".into()),
            ),
        ];
        let (warnings, forbidden) = told(&fates);
        assert_eq!(warnings, "W: default/c");
        assert_eq!(
            forbidden.as_deref(),
            Some("[cannot delete X (use --x): default/a, default/b, cannot delete Y: default/d]")
        );
        let left: Vec<String> = leaving(fates.into())
            .iter()
            .map(|pod| pod.metadata().name.clone())
            .collect();
        assert_eq!(left, ["c"]);
    }
}
