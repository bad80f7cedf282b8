//! A pod as decisions about other pods see it: what it takes, and whom it wants near.

use crate::labels::{Labels, Requirement, Selection, Test};
use crate::resources::{self, Counted, Resources};
use gantry_proto::core::v1::{Pod, PodAffinityTerm, PodSpec, WeightedPodAffinityTerm};
use gantry_proto::meta::v1::Time;
use gantry_proto::{Key, Kind as _};
use std::sync::Arc;

/// What the scheduler keeps of a pod that has a node, or is about to get one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodInfo {
    pub key: Key,
    pub uid: Arc<str>,
    pub labels: Arc<Labels>,
    pub priority: i32,
    /// It is being deleted.
    pub terminating: bool,
    /// It is being deleted because a more important pod needs its room.
    pub is_preempted: bool,
    /// When its node took it up; `None` before.
    pub started: Option<Time>,
    pub takes: Taken,
    /// `None` for most pods.
    pub affinity: Option<Arc<PodAffinityTerms>>,
}

impl PodInfo {
    pub fn of(pod: &Pod) -> PodInfo {
        let metadata = pod.metadata();
        PodInfo {
            key: pod.key(),
            uid: metadata.uid.as_str().into(),
            labels: Arc::new(metadata.labels.clone()),
            priority: pod.spec().priority.unwrap_or(0),
            terminating: metadata.deletion_timestamp.is_some(),
            is_preempted: metadata.deletion_timestamp.is_some() && is_target_of_preemption(pod),
            started: pod.status().start_time,
            takes: Taken::of(pod),
            affinity: PodAffinityTerms::of(pod).map(Arc::new),
        }
    }

    /// Whether the pod must not be beside some others.
    pub fn has_required_anti_affinity(&self) -> bool {
        self.affinity
            .as_ref()
            .is_some_and(|terms| !terms.required_anti.is_empty())
    }
}

/// What a pod takes on its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub requests: Resources,
    /// As scores count it.
    pub counted: Counted,
    pub host_ports: Vec<HostPort>,
}

impl Taken {
    pub fn of(pod: &Pod) -> Taken {
        let requests = resources::pod_requests(pod);
        Taken {
            counted: resources::counted_requests(pod, &requests),
            requests,
            host_ports: host_ports(pod.spec()),
        }
    }
}

/// A port that a pod takes on its node. Two collide when protocol and port are the same and either takes
/// all addresses or both take the same (HostPortInfo.CheckConflict).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: String,
    pub port: i32,
    /// Empty for all addresses.
    pub address: String,
}

impl HostPort {
    pub fn collides(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address.is_empty() || other.address.is_empty() || self.address == other.address)
    }
}

/// The ports that a pod takes on its node.
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    // Init containers that keep running (sidecars) hold their ports beside the others.
    let sidecars = spec.init_containers.iter();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| &container.ports);
    ports
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            protocol: if port.protocol.is_empty() {
                "TCP".into()
            } else {
                port.protocol.clone()
            },
            port: port.host_port,
            address: if port.host_ip == "0.0.0.0" {
                String::new()
            } else {
                port.host_ip.clone()
            },
        })
        .collect()
}

/// Whether the scheduler has said that the pod has to go (podTerminatingByPreemption).
fn is_target_of_preemption(pod: &Pod) -> bool {
    let mut conditions = pod.status().conditions.iter();
    let target = conditions.find(|condition| condition.r#type == "DisruptionTarget");
    target.is_some_and(|target| target.status == "True" && target.reason == "PreemptionByScheduler")
}

/// Whether a pod has given back what it took.
pub fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status().phase.as_str(), "Succeeded" | "Failed")
}

/// A pod's affinity to pods, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodAffinityTerms {
    pub required: Vec<AffinityTerm>,
    pub required_anti: Vec<AffinityTerm>,
    /// With their weights, which are negative where the pod would rather be elsewhere.
    pub preferred: Vec<(i32, AffinityTerm)>,
}

/// Pods, and the label of nodes by which it is told what is near them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AffinityTerm {
    pub topology_key: Arc<str>,
    pub pods: PodTerm,
}

/// Pods by their namespaces and labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodTerm {
    pub namespaces: Vec<String>,
    pub namespace_selection: Selection,
    pub selection: Selection,
}

impl PodTerm {
    /// All of one namespace that have such labels.
    pub fn within(namespace: &str, selection: Selection) -> PodTerm {
        PodTerm {
            namespaces: vec![namespace.into()],
            namespace_selection: Selection::Nothing,
            selection,
        }
    }

    /// `namespace_labels` are those of the pod's namespace (AffinityTerm.Matches).
    pub fn matches(&self, pod: &PodInfo, namespace_labels: &Labels) -> bool {
        self.concerns_namespace(&pod.key.namespace, namespace_labels) && self.selection.matches(&pod.labels)
    }

    pub fn concerns_namespace(&self, namespace: &str, namespace_labels: &Labels) -> bool {
        self.namespaces.iter().any(|name| name == namespace)
            || self.namespace_selection.matches(namespace_labels)
    }
}

impl PodAffinityTerms {
    /// `None` for a pod that does not care.
    pub fn of(pod: &Pod) -> Option<PodAffinityTerms> {
        let affinity = pod.spec().affinity.as_ref()?;
        if affinity.pod_affinity.is_none() && affinity.pod_anti_affinity.is_none() {
            return None;
        }
        let (near, apart) = (affinity.pod_affinity(), affinity.pod_anti_affinity());
        let read = |terms: &[PodAffinityTerm]| terms.iter().map(|term| AffinityTerm::of(pod, term)).collect();
        let weighted = |terms: &[WeightedPodAffinityTerm], sign: i32| -> Vec<(i32, AffinityTerm)> {
            let read = |term: &WeightedPodAffinityTerm| {
                (
                    sign * term.weight,
                    AffinityTerm::of(pod, term.pod_affinity_term()),
                )
            };
            terms.iter().map(read).collect()
        };
        let mut preferred = weighted(&near.preferred_during_scheduling_ignored_during_execution, 1);
        preferred.extend(weighted(
            &apart.preferred_during_scheduling_ignored_during_execution,
            -1,
        ));
        Some(PodAffinityTerms {
            required: read(&near.required_during_scheduling_ignored_during_execution),
            required_anti: read(&apart.required_during_scheduling_ignored_during_execution),
            preferred,
        })
    }
}

impl AffinityTerm {
    fn of(pod: &Pod, term: &PodAffinityTerm) -> AffinityTerm {
        let metadata = pod.metadata();
        // The apiserver writes these keys into the selector when the pod is created (KEP-3633); a pod on which it has
        // not done so means the same.
        let value = |key: &String| metadata.labels.get(key).cloned();
        let equal = term.match_label_keys.iter();
        let equal = equal.filter_map(|key| Some(Requirement::equals(key, &value(key)?)));
        let other = term.mismatch_label_keys.iter();
        let other = other.filter_map(|key| Some(Requirement::new(key, Test::NotIn(vec![value(key)?]))));
        let mut namespaces = term.namespaces.clone();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(metadata.namespace.clone());
        }
        namespaces.sort();
        namespaces.dedup();
        AffinityTerm {
            topology_key: term.topology_key.as_str().into(),
            pods: PodTerm {
                namespaces,
                namespace_selection: Selection::of(term.namespace_selector.as_ref()),
                selection: Selection::of(term.label_selector.as_ref()).and(equal.chain(other)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::json;
    use serde_json::{Value, json};

    #[test]
    fn a_term_means_pods_of_its_namespaces_with_its_labels() {
        let term = |term: Value| {
            let pod = json!({
                "metadata": {"name": "p", "namespace": "mine", "labels": {"app": "web", "version": "2"}},
                "spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}},
            });
            let pod: Pod = json::decode_value(&pod).unwrap().object;
            PodAffinityTerms::of(&pod).unwrap().required.remove(0).pods
        };
        let check = |of: Value, namespace: &str, labels: Value, expected: bool| {
            let other = PodInfo {
                key: Key::new(namespace, "other"),
                labels: Arc::new(serde_json::from_value(labels.clone()).unwrap()),
                ..PodInfo::default()
            };
            let of_namespace: Labels = [("team".to_string(), namespace.to_string())].into();
            let matches = term(of.clone()).matches(&other, &of_namespace);
            assert_eq!(matches, expected, "{of} means {labels} in {namespace}");
        };
        let web = json!({"matchLabels": {"app": "web"}});
        check(json!({"labelSelector": web}), "mine", json!({"app": "web"}), true);
        check(
            json!({"labelSelector": web}),
            "yours",
            json!({"app": "web"}),
            false,
        );
        check(
            json!({"labelSelector": web, "namespaces": ["yours"]}),
            "mine",
            json!({"app": "web"}),
            false,
        );
        check(
            json!({"labelSelector": web, "namespaceSelector": {}}),
            "yours",
            json!({"app": "web"}),
            true,
        );
        let team = json!({"labelSelector": web, "namespaceSelector": {"matchLabels": {"team": "yours"}}});
        check(team.clone(), "yours", json!({"app": "web"}), true);
        check(team, "mine", json!({"app": "web"}), false);
        check(json!({}), "mine", json!({"app": "web"}), false);
        let same = json!({"labelSelector": web, "matchLabelKeys": ["version", "absent"]});
        check(same.clone(), "mine", json!({"app": "web", "version": "2"}), true);
        check(same, "mine", json!({"app": "web", "version": "1"}), false);
        let other = json!({"labelSelector": web, "mismatchLabelKeys": ["version"]});
        check(
            other.clone(),
            "mine",
            json!({"app": "web", "version": "2"}),
            false,
        );
        check(other, "mine", json!({"app": "web", "version": "1"}), true);
    }
}
