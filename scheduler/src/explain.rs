//! Answers to "why": the decision itself, run again on the present picture, in words.

use crate::decision::{Decision, Profile, schedule};
use crate::filter::{self, Reason, Remedy, Wanted};
use crate::resources::display;
use crate::snapshot::Snapshot;
use gantry_client::Cache;
use gantry_proto::api::v1::{WhyGroup, WhyReply};
use gantry_proto::core::v1::{Node, Pod};
use gantry_proto::{Key, Kind as _};
use std::collections::BTreeMap;
use tokio::sync::watch;

/// What an answer is made from; cheap to clone.
#[derive(Clone)]
pub struct Questions {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    snapshot: watch::Receiver<Snapshot>,
    profile: Profile,
}

impl Questions {
    pub fn new(
        pods: Cache<Pod>,
        nodes: Cache<Node>,
        snapshot: watch::Receiver<Snapshot>,
        profile: Profile,
    ) -> Questions {
        Questions {
            pods,
            nodes,
            snapshot,
            profile,
        }
    }

    pub(crate) fn pods(&self) -> &Cache<Pod> {
        &self.pods
    }

    pub(crate) fn nodes(&self) -> &Cache<Node> {
        &self.nodes
    }

    /// `None` where there is no such pod.
    pub fn why(&self, key: &Key) -> Option<WhyReply> {
        let pod = self.pods.get(key)?;
        let nodes = self.snapshot.borrow().clone();
        Some(why(&pod.object, &nodes, &self.profile))
    }
}

/// Why a pod is where it is, or nowhere.
pub fn why(pod: &Pod, nodes: &Snapshot, profile: &Profile) -> WhyReply {
    let (spec, status) = (pod.spec(), pod.status());
    if !spec.node_name.is_empty() {
        return placed(pod);
    }
    if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return summary(format!("{} has ended: {}", pod.key(), status.phase));
    }
    if pod.metadata().deletion_timestamp.is_some() {
        return summary(format!(
            "{} is being deleted and will not be scheduled",
            pod.key()
        ));
    }
    if spec.scheduler_name != profile.scheduler_name {
        let (wanted, here) = (&spec.scheduler_name, &profile.scheduler_name);
        return summary(format!(
            "{} asks for scheduler \"{wanted}\"; this cluster runs \"{here}\"",
            pod.key()
        ));
    }
    if !spec.scheduling_gates.is_empty() {
        let gates = spec.scheduling_gates.iter().map(|gate| gate.name.as_str());
        let gates = gates.collect::<Vec<_>>().join(", ");
        return summary(format!(
            "{} is held back by its scheduling gates ({gates}), which somebody has to remove",
            pod.key()
        ));
    }
    match schedule(pod, nodes, profile, 0) {
        Decision::Bind { node } => summary(format!("{} fits {node} and is about to be assigned", pod.key())),
        Decision::Unschedulable(refused) => {
            let wanted = Wanted::of(pod, nodes, profile);
            WhyReply {
                summary: format!("{} is pending: {}", pod.key(), refused.message()),
                groups: groups(&wanted, nodes),
                remedy: remedy(&wanted, nodes),
            }
        }
    }
}

fn summary(summary: String) -> WhyReply {
    WhyReply {
        summary,
        ..WhyReply::default()
    }
}

/// A pod that has its node: what it is doing there.
fn placed(pod: &Pod) -> WhyReply {
    let (spec, status) = (pod.spec(), pod.status());
    let waiting = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .find_map(|container| {
            let waiting = container.state().waiting.as_ref()?;
            Some(match waiting.message.as_str() {
                "" => format!("container \"{}\" is waiting: {}", container.name, waiting.reason),
                message => format!(
                    "container \"{}\" is waiting: {}: {message}",
                    container.name, waiting.reason
                ),
            })
        });
    let ready = status
        .conditions
        .iter()
        .any(|c| c.r#type == "Ready" && c.status == "True");
    let state = match (waiting, ready) {
        (Some(waiting), _) => waiting,
        (None, true) => format!("it is {} and ready", status.phase),
        (None, false) if status.phase == "Pending" => "its containers have not been started yet".into(),
        (None, false) => format!("it is {} and not ready", status.phase),
    };
    summary(format!(
        "{} is assigned to {}; {state}",
        pod.key(),
        spec.node_name
    ))
}

/// Nodes that give the same reason in the same detail, the largest group first.
fn groups(wanted: &Wanted, nodes: &Snapshot) -> Vec<WhyGroup> {
    let mut nodes_by_reason: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (name, node) in nodes.iter().filter(|(_, node)| node.exists) {
        for reason in filter::all_objections(wanted, node) {
            nodes_by_reason
                .entry((reason.text.into_owned(), reason.detail))
                .or_default()
                .push(name.to_string());
        }
    }
    let mut groups: Vec<WhyGroup> = nodes_by_reason
        .into_iter()
        .map(|((reason, detail), nodes)| WhyGroup {
            reason,
            nodes,
            detail,
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.nodes.len()));
    groups
}

/// The smallest change that would make the pod fit some node: the node with the fewest reasons, and among
/// those the one whose reasons are the least to give up.
fn remedy(wanted: &Wanted, nodes: &Snapshot) -> String {
    let present = nodes.iter().filter(|(_, node)| node.exists);
    let best = present
        .map(|(name, node)| (filter::all_objections(wanted, node), name))
        .filter(|(reasons, _)| reasons.iter().all(|reason| reason.remedy != Remedy::None))
        .min_by_key(|(reasons, _)| (reasons.len(), reasons.iter().map(size).sum::<i64>()));
    let Some((reasons, node)) = best else {
        return if nodes.is_empty() {
            "add a node to the cluster".into()
        } else {
            String::new()
        };
    };
    let changes: Vec<String> = reasons.iter().map(|reason| change(&reason.remedy)).collect();
    format!("it would fit {node} if you {}", changes.join(" and "))
}

/// How much there is to give up, in thousandths.
fn size(reason: &Reason) -> i64 {
    match &reason.remedy {
        Remedy::Uncordon => 100,
        Remedy::Request { at_most, wanted, .. } if *wanted > 0 => {
            1000 - (1000.0 * *at_most as f64 / *wanted as f64) as i64
        }
        Remedy::Request { .. } => 1000,
        Remedy::FreePort { .. } => 500,
        Remedy::Tolerate { .. } | Remedy::Label { .. } => 700,
        Remedy::None => i64::MAX / 1024,
    }
}

fn change(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Request {
            resource, at_most, ..
        } if resource == "pods" => {
            format!("removed a pod from it (it has room for {at_most} more)")
        }
        Remedy::Request {
            resource,
            at_most: 0,
            wanted,
        } => format!(
            "freed {} of its {resource}, of which nothing is left",
            display(resource, *wanted)
        ),
        Remedy::Request {
            resource,
            at_most,
            wanted,
        } => format!(
            "lowered requests.{resource} from {} to {}",
            display(resource, *wanted),
            display(resource, *at_most)
        ),
        Remedy::Tolerate { taint } => format!("let the pod tolerate {taint} (or removed the taint)"),
        Remedy::Label { labels } => {
            format!("gave the node the label {labels} (or dropped it from nodeSelector)")
        }
        Remedy::FreePort { port } => format!("chose another host port than {port}"),
        Remedy::Uncordon => "uncordoned it".into(),
        Remedy::None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::NodeInfo;
    use gantry_proto::json;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn nodes(list: &[(&str, &str, Value)]) -> Snapshot {
        let info = |(name, cpu, spec): &(&str, &str, Value)| {
            let node = json!({"metadata": {"name": name}, "spec": spec,
                "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"}}});
            let mut info = NodeInfo::default();
            info.set_node(&json::decode_value(&node).map(|d| d.object).unwrap_or_default());
            (Arc::from(*name), Arc::new(info))
        };
        list.iter().map(info).collect()
    }

    fn pod(cpu: &str) -> Pod {
        let value = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        json::decode_value(&value).map(|d| d.object).unwrap_or_default()
    }

    fn answer(cpu: &str, list: &[(&str, &str, Value)]) -> WhyReply {
        let profile = Profile::default();
        why(&pod(cpu), &nodes(list), &profile)
    }

    #[test]
    fn nodes_with_the_same_reason_are_one_group_and_the_smallest_change_is_named() {
        let reply = answer(
            "4",
            &[
                ("a", "1", json!({})),
                ("b", "1", json!({})),
                ("c", "3", json!({})),
            ],
        );
        assert_eq!(
            reply.summary,
            "default/p is pending: 0/3 nodes are available: 3 Insufficient cpu."
        );
        assert_eq!(reply.groups[0].nodes, ["a", "b"]);
        assert_eq!(reply.groups[0].detail, "requests 4 cpu; 1 of 1 free");
        assert_eq!(
            reply.remedy,
            "it would fit c if you lowered requests.cpu from 4 to 3"
        );
    }

    #[test]
    fn a_cordoned_node_with_room_is_the_smallest_change() {
        let reply = answer(
            "2",
            &[("a", "1", json!({})), ("b", "4", json!({"unschedulable": true}))],
        );
        assert_eq!(reply.remedy, "it would fit b if you uncordoned it");
    }

    #[test]
    fn what_is_used_up_has_to_be_freed() {
        let reply = answer("2", &[("a", "0", json!({}))]);
        assert_eq!(
            reply.remedy,
            "it would fit a if you freed 2 of its cpu, of which nothing is left"
        );
    }

    #[test]
    fn a_gated_pod_is_said_to_be() {
        let mut gated = pod("1");
        let gate = json!({"name": "example.com/quota"});
        gated.spec_mut().scheduling_gates = vec![serde_json::from_value(gate).unwrap()];
        let profile = Profile::default();
        let reply = why(&gated, &nodes(&[("a", "4", json!({}))]), &profile);
        let expected = "default/p is held back by its scheduling gates (example.com/quota), which somebody has to remove";
        assert_eq!(reply.summary, expected);
    }

    #[test]
    fn without_nodes_a_node_is_what_helps() {
        assert_eq!(answer("1", &[]).remedy, "add a node to the cluster");
    }
}
