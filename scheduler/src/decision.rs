//! The decision: where a pod goes, or why it goes nowhere.

use crate::filter::{self, Reason, Wanted};
use crate::score;
use crate::snapshot::Snapshot;
use gantry_proto::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A scheduler's configuration, as far as decisions depend on it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The pods whose spec.schedulerName is this one are ours.
    pub scheduler_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Bind { node: Arc<str> },
    Unschedulable(Why),
}

/// Every node's reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    pub reasons_by_node: BTreeMap<Arc<str>, Vec<Reason>>,
}

/// Chooses the best of the nodes that the pod fits. `tie` chooses among equals, so that pods spread.
pub fn schedule(pod: &Pod, nodes: &Snapshot, _profile: &Profile, tie: u64) -> Decision {
    let wanted = Wanted::of(pod);
    let mut why = Why::default();
    let mut best: Vec<&Arc<str>> = Vec::new();
    let mut best_score = i64::MIN;
    for (name, node) in nodes.iter().filter(|(_, node)| node.exists) {
        let objections = filter::objections(&wanted, node);
        if !objections.is_empty() {
            why.reasons_by_node.insert(name.clone(), objections);
            continue;
        }
        let score = score::score(&wanted, node);
        if score > best_score {
            best_score = score;
            best.clear();
        }
        if score == best_score {
            best.push(name);
        }
    }
    match u64::try_from(best.len()) {
        Ok(count) if count > 0 => Decision::Bind {
            node: best[(tie % count) as usize].clone(),
        },
        _ => Decision::Unschedulable(why),
    }
}

impl Why {
    /// kube-scheduler's sentence, such as `0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient memory.`
    pub fn message(&self) -> String {
        if self.reasons_by_node.is_empty() {
            return "no nodes available to schedule pods".into();
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in self.reasons_by_node.values().flatten() {
            *counts.entry(&reason.text).or_default() += 1;
        }
        let mut texts: Vec<String> = counts
            .iter()
            .map(|(text, count)| format!("{count} {text}"))
            .collect();
        texts.sort();
        format!(
            "0/{} nodes are available: {}.",
            self.reasons_by_node.len(),
            texts.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::NodeInfo;
    use gantry_proto::json;
    use gantry_proto::meta::v1::OwnerReference;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn pod(spec: Value) -> Pod {
        json::decode_value(&json!({"apiVersion": "v1", "kind": "Pod", "spec": spec}))
            .map(|d| d.object)
            .unwrap_or_default()
    }

    fn nodes(nodes: &[Value]) -> Snapshot {
        let info = |value: &Value| {
            let node = json::decode_value(value).map(|d| d.object).unwrap_or_default();
            let mut info = NodeInfo::default();
            info.set_node(&node);
            (Arc::from(info.name.as_str()), Arc::new(info))
        };
        nodes.iter().map(info).collect()
    }

    fn node(name: &str, cpu: &str, more: Value) -> Value {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "110"}},
        });
        node["spec"] = more;
        node
    }

    fn asks(cpu: &str) -> Value {
        json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]})
    }

    fn profile() -> Profile {
        Profile {
            scheduler_name: "default-scheduler".into(),
        }
    }

    #[track_caller]
    fn check(spec: Value, all: &[Value], expected: &str) {
        let told = match schedule(&pod(spec), &nodes(all), &profile(), 0) {
            Decision::Bind { node } => node.to_string(),
            Decision::Unschedulable(why) => why.message(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn a_pod_goes_where_most_stays_free() {
        check(
            asks("100m"),
            &[node("a", "1", json!({})), node("b", "4", json!({}))],
            "b",
        );
    }

    #[test]
    fn pods_that_ask_for_nothing_spread_too() {
        let mut all = nodes(&[node("a", "1", json!({})), node("b", "1", json!({}))]);
        let modest = pod(json!({"containers": [{"name": "a"}]}));
        let mut taken = NodeInfo::clone(&all["a"]);
        taken.add_pod(&Wanted::of(&modest).takes);
        all.insert("a".into(), Arc::new(taken));
        for tie in 0..4 {
            let Decision::Bind { node } = schedule(&modest, &all, &profile(), tie) else {
                panic!("it fits")
            };
            assert_eq!(&*node, "b", "tie {tie}");
        }
    }

    #[test]
    fn pods_of_one_controller_spread_over_nodes_however_large() {
        let mut replica = pod(asks("10m"));
        replica.metadata_mut().owner_references = vec![OwnerReference {
            uid: "web".into(),
            controller: Some(true),
            ..OwnerReference::default()
        }];
        let large = |name| node(name, "64", json!({}));
        let mut all = nodes(&[large("a"), large("b"), large("c")]);
        let mut used = BTreeSet::new();
        for _ in 0..3 {
            let Decision::Bind { node } = schedule(&replica, &all, &profile(), 0) else {
                panic!("it fits")
            };
            let mut taken = NodeInfo::clone(&all[&*node]);
            taken.add_pod(&Wanted::of(&replica).takes);
            all.insert(node.clone(), Arc::new(taken));
            used.insert(node);
        }
        assert_eq!(used.len(), 3, "{used:?}");
        let before = all["a"].clone();
        let mut after = NodeInfo::clone(&before);
        after.remove_pod(&Wanted::of(&replica).takes);
        assert!(after.pods_by_controller.is_empty(), "{after:?}");
    }

    #[test]
    fn a_pod_that_fits_nowhere_is_told_every_reason() {
        let all = [
            node("a", "1", json!({})),
            node("b", "1", json!({})),
            node(
                "c",
                "8",
                json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}),
            ),
            node("d", "8", json!({"unschedulable": true})),
        ];
        check(
            asks("2"),
            &all,
            "0/4 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 1 node(s) were unschedulable, \
             2 Insufficient cpu.",
        );
    }

    #[test]
    fn without_nodes_the_message_says_so() {
        check(asks("1"), &[], "no nodes available to schedule pods");
    }

    #[test]
    fn a_node_selector_must_match() {
        let mut spec = asks("100m");
        spec["nodeSelector"] = json!({"disk": "ssd"});
        check(
            spec.clone(),
            &[node("a", "1", json!({}))],
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        );
        spec["nodeSelector"] = json!({"kubernetes.io/hostname": "b"});
        check(spec, &[node("a", "8", json!({})), node("b", "1", json!({}))], "b");
    }

    #[test]
    fn a_toleration_opens_a_tainted_node_and_equals_are_chosen_by_the_tie() {
        let taint = json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]});
        let mut spec = asks("100m");
        spec["tolerations"] = json!([{"operator": "Exists"}]);
        check(spec, &[node("a", "1", taint)], "a");
        let all = nodes(&[node("a", "1", json!({})), node("b", "1", json!({}))]);
        let chosen = |tie| schedule(&pod(asks("1m")), &all, &profile(), tie);
        assert_ne!(chosen(0), chosen(1));
    }

    #[test]
    fn pods_on_a_node_count_against_it_until_they_are_removed() {
        let mut all = nodes(&[node("a", "1", json!({}))]);
        let first = pod(asks("800m"));
        let wanted = Wanted::of(&first);
        let mut info = NodeInfo::clone(&all["a"]);
        info.add_pod(&wanted.takes);
        all.insert("a".into(), Arc::new(info.clone()));
        assert!(matches!(
            schedule(&first, &all, &profile(), 0),
            Decision::Unschedulable(_)
        ));
        info.remove_pod(&wanted.takes);
        all.insert("a".into(), Arc::new(info));
        assert!(matches!(
            schedule(&first, &all, &profile(), 0),
            Decision::Bind { .. }
        ));
    }

    #[test]
    fn a_host_port_is_taken_by_one_pod() {
        let wants =
            pod(json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}]}));
        let wanted = Wanted::of(&wants);
        let mut all = nodes(&[node("a", "1", json!({}))]);
        let mut info = NodeInfo::clone(&all["a"]);
        info.add_pod(&wanted.takes);
        all.insert("a".into(), Arc::new(info));
        let Decision::Unschedulable(why) = schedule(&wants, &all, &profile(), 0) else {
            panic!("it fits twice")
        };
        assert_eq!(
            why.message(),
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
        );
    }
}
