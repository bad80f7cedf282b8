//! Preemption by the scheduler's own rules, on the nodes that have refused a pod.

use super::budgets::Budget;
use super::victims::Experiment;
use super::{Candidate, Nominated, Outcome, Preemptor, preempt};
use crate::decision::Why;
use crate::filter::{self, Filter, Wanted};
use crate::pods::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use std::sync::Arc;

/// What preemption does for a pod that fits nowhere; `None` where its profile has none. `nominated` is the node that
/// the pod is nominated to already; `chance` says with which node the search begins.
pub fn make_room(
    wanted: &Wanted,
    snapshot: &Snapshot,
    why: &Why,
    budgets: &[Budget],
    nominated: Option<&str>,
    chance: u64,
) -> Option<Outcome> {
    let arguments = wanted.profile.preemption?;
    let potential: Vec<&Arc<NodeInfo>> = why.resolvable().filter_map(|slot| snapshot.at(slot)).collect();
    let nominated = nominated
        .and_then(|name| snapshot.get(name))
        .map(|node| Nominated {
            is_lost: !potential.iter().any(|other| other.name == node.name),
            pods: &node.pods,
        });
    let preemptor = Preemptor {
        priority: wanted.info.priority,
        is_modest: wanted.spec.preemption_policy.as_deref() == Some("Never"),
        nominated,
    };
    let filters = filter::concerned(wanted);
    let start = usize::try_from(chance).unwrap_or(0) % potential.len().max(1);
    Some(preempt(
        &preemptor,
        budgets,
        arguments,
        snapshot.len(),
        potential.len(),
        start,
        |number| {
            let node = potential[number];
            Candidate {
                name: &node.name,
                pods: &node.pods,
                suppose: || Supposed {
                    wanted,
                    filters: &filters,
                    before: node,
                    node: NodeInfo::clone(node),
                    gone: Vec::new(),
                },
            }
        },
    ))
}

/// A node without some of its pods.
struct Supposed<'w, 'p> {
    wanted: &'w Wanted<'p>,
    filters: &'w [&'static Filter],
    before: &'w NodeInfo,
    node: NodeInfo,
    gone: Vec<Arc<PodInfo>>,
}

impl Experiment for Supposed<'_, '_> {
    fn remove(&mut self, pod: &PodInfo) {
        self.gone.extend(self.node.remove_pod(&pod.uid));
    }

    fn add(&mut self, pod: &PodInfo) {
        if let Some(index) = self.gone.iter().position(|gone| gone.uid == pod.uid) {
            self.node.add_pod(self.gone.swap_remove(index));
        }
    }

    fn fits(&self) -> bool {
        let wanted = self.wanted.supposing(self.before, &self.gone, &[]);
        filter::refusal(self.filters, &wanted, &self.node).is_none()
    }

    fn objections(&self) -> Vec<String> {
        let wanted = self.wanted.supposing(self.before, &self.gone, &[]);
        let mut words = Vec::new();
        filter::words(self.filters, &wanted, &self.node, &mut |text| {
            words.push(text.to_owned())
        });
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Decision, decide};
    use crate::preemption::budgets::budget;
    use crate::profile::Profile;
    use gantry_proto::core::v1::Pod;
    use gantry_proto::json;
    use serde_json::{Value, json};

    /// Nodes of 2 cpu in zones of their own names, each with the pods whose name begins with its own.
    fn cluster(nodes: &[&str], pods: &[Value]) -> Snapshot {
        let mut snapshot = Snapshot::new();
        for name in nodes {
            let node = json!({
                "metadata": {"name": name, "labels": {"zone": name}},
                "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}},
            });
            let mut info = NodeInfo::default();
            info.set_node(&json::decode_value(&node).unwrap().object);
            for value in pods
                .iter()
                .filter(|pod| pod["metadata"]["name"].as_str().unwrap().starts_with(name))
            {
                let pod: Pod = json::decode_value(value).unwrap().object;
                info.add_pod(Arc::new(PodInfo::of(&pod)));
            }
            snapshot.put(info);
        }
        snapshot.settle();
        snapshot
    }

    fn pod(name: &str, priority: i32, cpu: &str, more: Value) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            "status": {"startTime": "2026-11-20T00:00:00Z"},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            pod["spec"][key] = value.clone();
        }
        pod
    }

    #[track_caller]
    fn check(incoming: Value, snapshot: &Snapshot, budgets: &[Budget], expected: &str) {
        let (pod, profile): (Pod, _) = (json::decode_value(&incoming).unwrap().object, Profile::default());
        let wanted = Wanted::of(&pod, snapshot, &profile);
        let (decision, _) = decide(&wanted, snapshot, 0, 0);
        let Decision::Unschedulable(why) = decision else {
            panic!("it fits: {decision:?}")
        };
        let told = match make_room(&wanted, snapshot, &why, budgets, None, 0).unwrap() {
            Outcome::Evict { node, victims } => {
                let names: Vec<&str> = victims.pods.iter().map(|pod| pod.key.name.as_ref()).collect();
                format!("{node}: {}", names.join(" "))
            }
            other => other.message(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn room_of_cpu_is_made_where_the_least_is_lost() {
        let snapshot = cluster(
            &["a", "b"],
            &[
                pod("a-1", 5, "1", Value::Null),
                pod("a-2", 6, "1", Value::Null),
                pod("b-1", 4, "1", Value::Null),
                pod("b-2", 7, "1", Value::Null),
            ],
        );
        check(pod("p", 10, "1", Value::Null), &snapshot, &[], "b: b-1");
        check(pod("p", 10, "2", Value::Null), &snapshot, &[], "a: a-2 a-1");
        check(
            pod("p", 10, "2", Value::Null),
            &snapshot,
            &[budget("default", "web", 1, &[])],
            "a: a-2 a-1",
        );
        check(
            pod("p", 4, "1", Value::Null),
            &snapshot,
            &[],
            "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.",
        );
        check(
            pod("p", 10, "3", Value::Null),
            &snapshot,
            &[],
            "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
        );
    }

    #[test]
    fn ports_affinity_and_spread_see_who_would_be_gone() {
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        let snapshot = cluster(
            &["a"],
            &[pod("a-1", 1, "1", port.clone()), pod("a-2", 2, "1", Value::Null)],
        );
        check(pod("p", 10, "1", port), &snapshot, &[], "a: a-1");

        let term = json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}]);
        let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
        let snapshot = cluster(
            &["a"],
            &[
                pod("a-1", 1, "100m", Value::Null),
                pod("a-2", 2, "100m", Value::Null),
            ],
        );
        check(pod("p", 10, "100m", apart.clone()), &snapshot, &[], "a: a-2 a-1");
        let snapshot = cluster(
            &["a"],
            &[pod("a-1", 1, "100m", apart), pod("a-2", 2, "100m", Value::Null)],
        );
        check(pod("p", 10, "100m", Value::Null), &snapshot, &[], "a: a-1");

        let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
        let snapshot = cluster(
            &["a", "b"],
            &[
                pod("a-1", 1, "100m", Value::Null),
                pod("a-2", 2, "100m", Value::Null),
                pod("b-1", 20, "2", Value::Null),
            ],
        );
        check(pod("p", 10, "100m", spread), &snapshot, &[], "a: a-1");
    }

    #[test]
    fn room_that_is_made_for_another_is_left_to_it() {
        let mut snapshot = cluster(&["a"], &[pod("a-1", 1, "2", Value::Null)]);
        let other: Pod = json::decode_value(&pod("other", 10, "1", Value::Null))
            .unwrap()
            .object;
        let slot = snapshot.slot_of("a").unwrap();
        snapshot.change(slot, |node| node.nominated.push(Arc::new(PodInfo::of(&other))));
        check(pod("p", 10, "1", Value::Null), &snapshot, &[], "a: a-1");
        let told = "preemption: 0/1 nodes are available: 1 Insufficient cpu.";
        check(pod("p", 10, "2", Value::Null), &snapshot, &[], told);
        check(pod("p", 11, "2", Value::Null), &snapshot, &[], "a: a-1");
    }
}
