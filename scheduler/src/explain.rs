//! Answers to "why": the decision itself, run again on the present picture, in words.

use crate::decision::{Decision, Why, decide, search};
use crate::filter::{self, Reason, Remedy, Wanted};
use crate::plugin::{self, NodeReader, Question, Verdict, consult};
use crate::pods::has_ended;
use crate::preemption::{Budget, Outcome as Room, make_room};
use crate::profile::Profile;
use crate::profiles::Profiles;
use crate::resources::display;
use crate::snapshot::Snapshot;
use gantry_client::Cache;
use gantry_proto::api::v1::{WhyGroup, WhyReply};
use gantry_proto::core::v1::{Node, Pod};
use gantry_proto::policy::v1::PodDisruptionBudget;
use gantry_proto::{Key, Kind as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// What an answer is made from; cheap to clone.
#[derive(Clone)]
pub struct Questions {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    budgets: Cache<PodDisruptionBudget>,
    snapshot: watch::Receiver<Snapshot>,
    profiles: Profiles,
}

impl Questions {
    pub fn new(
        pods: Cache<Pod>,
        nodes: Cache<Node>,
        budgets: Cache<PodDisruptionBudget>,
        snapshot: watch::Receiver<Snapshot>,
        profiles: Profiles,
    ) -> Questions {
        Questions {
            pods,
            nodes,
            budgets,
            snapshot,
            profiles,
        }
    }

    pub(crate) fn pods(&self) -> &Cache<Pod> {
        &self.pods
    }

    pub(crate) fn nodes(&self) -> &Cache<Node> {
        &self.nodes
    }

    /// `None` where there is no such pod. The programs of the pod's profile are asked, too, within their deadlines.
    pub async fn why(&self, key: &Key) -> Option<WhyReply> {
        let pod = self.pods.get(key)?;
        let nodes = self.snapshot.borrow().clone();
        let budgets = self.budgets.snapshot();
        let budgets: Vec<Budget> = budgets.values().filter_map(|budget| Budget::of(budget)).collect();
        let Some(served) = self.profiles.of(&pod.spec().scheduler_name) else {
            return Some(unknown_scheduler(&pod, &self.profiles.names()));
        };
        let mut verdict = Ok(None);
        if !served.added.is_empty() && waits_for_a_node(&pod) {
            let wanted = Wanted::of(&pod.object, &nodes, &served.profile);
            let fit = search(&wanted, &nodes, 0).nodes;
            if !fit.is_empty() {
                let question = Question {
                    pod: pod.object.clone(),
                    names: fit.iter().map(|node| node.name.clone()).collect(),
                    nodes: node_reader(&self.nodes),
                };
                verdict = consult(&served.added, question).await.map(Some);
            }
        }
        Some(match verdict {
            Ok(verdict) => why(&pod, &nodes, &served.profile, &budgets, verdict.as_ref()),
            Err(failure) => summary(format!("{} is pending: {failure}", pod.key())),
        })
    }
}

/// Reads nodes for programs that want them.
pub(crate) fn node_reader(nodes: &Cache<Node>) -> NodeReader {
    let nodes = nodes.clone();
    Arc::new(move |name| nodes.get(&Key::new("", name)).map(|node| node.object.clone()))
}

fn waits_for_a_node(pod: &Pod) -> bool {
    pod.spec().node_name.is_empty()
        && pod.spec().scheduling_gates.is_empty()
        && pod.metadata().deletion_timestamp.is_none()
        && !has_ended(pod)
}

fn unknown_scheduler(pod: &Pod, names: &[&str]) -> WhyReply {
    if !waits_for_a_node(pod) {
        return why(pod, &Snapshot::new(), &Profile::default(), &[], None);
    }
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    summary(format!(
        "{} asks for scheduler \"{}\"; this cluster's scheduler has the profiles {}, so it waits for another scheduler",
        pod.key(),
        pod.spec().scheduler_name,
        names.join(", ")
    ))
}

/// Why a pod is where it is, or nowhere. `verdict` is what the programs of its profile say of the nodes that it fits.
pub fn why(
    pod: &Pod,
    nodes: &Snapshot,
    profile: &Profile,
    budgets: &[Budget],
    verdict: Option<&Verdict>,
) -> WhyReply {
    let (spec, status) = (pod.spec(), pod.status());
    if !spec.node_name.is_empty() {
        return placed(pod);
    }
    if has_ended(pod) {
        return summary(format!("{} has ended: {}", pod.key(), status.phase));
    }
    if pod.metadata().deletion_timestamp.is_some() {
        return summary(format!(
            "{} is being deleted and will not be scheduled",
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
    let wanted = Wanted::of(pod, nodes, profile);
    let decision = match verdict {
        Some(verdict) => plugin::verdict::decide(&wanted, nodes, 0, verdict, 0),
        None => decide(&wanted, nodes, 0, 0).0,
    };
    match decision {
        Decision::Bind { node } => summary(format!("{} fits {node} and is about to be assigned", pod.key())),
        Decision::Unschedulable(refused) => refusal(&wanted, nodes, budgets, verdict, refused),
    }
}

fn refusal(
    wanted: &Wanted,
    nodes: &Snapshot,
    budgets: &[Budget],
    verdict: Option<&Verdict>,
    mut refused: Why,
) -> WhyReply {
    let nominated = Some(wanted.pod.status().nominated_node_name.as_str()).filter(|name| !name.is_empty());
    let room = make_room(wanted, nodes, &refused, budgets, nominated, 0);
    let more = match &room {
        Some(Room::Evict { node, victims }) => format!(
            " On {node} it can have the room of {} less important {}{}.",
            victims.pods.len(),
            if victims.pods.len() == 1 { "pod" } else { "pods" },
            match victims.violations {
                0 => String::new(),
                broken => format!(", {broken} of which a disruption budget would keep"),
            }
        ),
        Some(Room::NotEligible { .. } | Room::NoHelp { .. }) | None => String::new(),
    };
    refused.preemption = room.as_ref().map(Room::message).unwrap_or_default();
    let leaving = nominated
        .and_then(|name| nodes.get(name))
        .map_or_else(Vec::new, |node| {
            let leaving = node
                .pods
                .iter()
                .filter(|pod| pod.is_preempted && pod.priority < wanted.info.priority);
            leaving.map(|pod| pod.key.to_string()).collect()
        });
    let more = match nominated {
        Some(node) if !leaving.is_empty() => {
            format!(
                " Room is made for it on {node}: it waits for {} to end.",
                listed(&leaving)
            )
        }
        _ => more,
    };
    let objections = objections(wanted, nodes, verdict);
    WhyReply {
        summary: format!("{} is pending: {}{more}", wanted.pod.key(), refused.message()),
        groups: groups(&objections),
        remedy: remedy(&objections),
    }
}

/// So many names are told; of more the number.
const NAMES: usize = 5;

fn listed(names: &[String]) -> String {
    match names.len() {
        few if few <= NAMES => names.join(", "),
        many => format!("{} and {} more", names[..NAMES].join(", "), many - NAMES),
    }
}

/// Everything that every node has against the pod.
fn objections(wanted: &Wanted, nodes: &Snapshot, verdict: Option<&Verdict>) -> Vec<(Arc<str>, Vec<Reason>)> {
    let of_pod = wanted.impossible().map(|(_, text)| Reason {
        text: text.into(),
        detail: String::new(),
        remedy: Remedy::None,
    });
    let all = nodes.iter().map(|(name, node)| {
        let mut reasons = filter::all_objections(wanted, node);
        reasons.extend(of_pod.clone());
        if let Some(rejection) = verdict.and_then(|verdict| verdict.rejection(name)) {
            reasons.push(Reason {
                text: rejection.reason.to_string().into(),
                detail: format!("plugin {:?}", rejection.plugin),
                remedy: Remedy::None,
            });
        }
        (name.clone(), reasons)
    });
    all.collect()
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

/// A reason whose details differ more than this is told once, with what its nearest node says.
const DETAILS: usize = 4;

/// Nodes that give the same reason in the same detail, the largest group first.
fn groups(objections: &[(Arc<str>, Vec<Reason>)]) -> Vec<WhyGroup> {
    type Details<'r> = BTreeMap<&'r str, Vec<(&'r Arc<str>, &'r Reason)>>;
    let mut details_by_text: BTreeMap<&str, Details> = BTreeMap::new();
    for (name, reasons) in objections {
        for reason in reasons {
            let details = details_by_text.entry(&reason.text).or_default();
            details.entry(&reason.detail).or_default().push((name, reason));
        }
    }
    let mut groups = Vec::new();
    for (text, details) in details_by_text {
        let names = |nodes: &[(&Arc<str>, &Reason)]| nodes.iter().map(|(name, _)| name.to_string()).collect();
        if details.len() <= DETAILS {
            groups.extend(details.iter().map(|(detail, nodes)| WhyGroup {
                reason: text.into(),
                nodes: names(nodes),
                detail: (*detail).into(),
            }));
            continue;
        }
        let nodes: Vec<_> = details.into_values().flatten().collect();
        let nearest = nodes.iter().min_by_key(|(name, reason)| (size(reason), *name));
        groups.push(WhyGroup {
            reason: text.into(),
            nodes: names(&nodes),
            detail: nearest.map_or_else(String::new, |(name, reason)| {
                format!("nearest is {name}: {}", reason.detail)
            }),
        });
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.nodes.len()));
    groups
}

/// The smallest change that would make the pod fit some node: the node with the fewest reasons, and among
/// those the one whose reasons are the least to give up.
fn remedy(objections: &[(Arc<str>, Vec<Reason>)]) -> String {
    if objections.is_empty() {
        return "add a node to the cluster".into();
    }
    let helpful = objections.iter().filter(|(_, reasons)| {
        !reasons.is_empty() && reasons.iter().all(|reason| reason.remedy != Remedy::None)
    });
    let cost = |reasons: &[Reason]| (reasons.len(), reasons.iter().map(size).sum::<i64>());
    let Some((node, reasons)) = helpful.min_by_key(|(name, reasons)| (cost(reasons), name.clone())) else {
        return String::new();
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
        Remedy::Relax { .. } => 800,
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
            format!("gave the node the label {labels} (or dropped it from what the pod asks for)")
        }
        Remedy::FreePort { port } => format!("chose another host port than {port}"),
        Remedy::Uncordon => "uncordoned it".into(),
        Remedy::Relax { change } => change.clone(),
        Remedy::None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::NodeInfo;
    use gantry_proto::json;
    use serde_json::{Value, json};

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
        asking(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}))
    }

    fn asking(spec: Value) -> Pod {
        let mut value =
            json!({"metadata": {"name": "p", "namespace": "default", "uid": "p", "labels": {"app": "p"}}});
        value["spec"] = spec;
        json::decode_value(&value).map(|d| d.object).unwrap_or_default()
    }

    fn answer(cpu: &str, list: &[(&str, &str, Value)]) -> WhyReply {
        ask(&pod(cpu), &nodes(list))
    }

    fn ask(pod: &Pod, nodes: &Snapshot) -> WhyReply {
        why(pod, nodes, &Profile::default(), &[], None)
    }

    /// A node with a pod on it that takes 1 cpu.
    fn taken_by(name: &str, priority: i32, status: Value) -> Snapshot {
        let other = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "deletionTimestamp": status["deleted"]},
            "spec": {"nodeName": "a", "priority": priority,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": status["status"],
        });
        let other: Pod = json::decode_value(&other).unwrap().object;
        let mut nodes = nodes(&[("a", "1", json!({}))]);
        let slot = nodes.slot_of("a").unwrap();
        nodes.change(slot, |node| {
            node.add_pod(Arc::new(crate::pods::PodInfo::of(&other)))
        });
        nodes
    }

    #[test]
    fn it_is_said_whose_room_the_pod_can_have_and_for_whom_it_waits() {
        let check = |spec: Value, nominated: &str, nodes: &Snapshot, expected: &str| {
            let mut important = asking(spec);
            important.spec_mut().priority = Some(10);
            important.status_mut().nominated_node_name = nominated.into();
            let told = ask(&important, nodes).summary;
            assert_eq!(
                told,
                format!("default/p is pending: 0/1 nodes are available: 1 Insufficient cpu.{expected}")
            );
        };
        let wants = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
        let lesser = taken_by("q", 1, json!({"status": {}}));
        check(
            wants.clone(),
            "",
            &lesser,
            " On a it can have the room of 1 less important pod.",
        );
        let mut modest = wants.clone();
        modest["preemptionPolicy"] = "Never".into();
        check(
            modest,
            "",
            &lesser,
            " preemption: not eligible due to preemptionPolicy=Never.",
        );
        let equal = taken_by("q", 10, json!({"status": {}}));
        check(
            wants.clone(),
            "",
            &equal,
            " preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        );
        let going = json!({
            "deleted": "2026-11-20T00:00:00Z",
            "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
        });
        check(
            wants,
            "a",
            &taken_by("q", 1, going),
            " preemption: not eligible due to a terminating pod on the nominated node. Room is made for it on a: it \
             waits for default/q to end.",
        );
    }

    #[test]
    fn reasons_whose_details_differ_everywhere_are_one_group_with_the_nearest() {
        let sizes = ["100m", "200m", "300m", "400m", "500m", "600m"];
        let list: Vec<_> = sizes.iter().map(|cpu| (*cpu, *cpu, json!({}))).collect();
        let reply = answer("4", &list);
        assert_eq!(reply.groups.len(), 1, "{:?}", reply.groups);
        assert_eq!(reply.groups[0].nodes.len(), 6);
        assert_eq!(
            reply.groups[0].detail,
            "nearest is 600m: requests 4 cpu; 600m of 600m free"
        );
        assert_eq!(
            reply.remedy,
            "it would fit 600m if you lowered requests.cpu from 4 to 600m"
        );
    }

    #[test]
    fn what_affinity_and_spread_ask_for_is_told_with_what_would_help() {
        let check = |spec: Value, reason: &str, remedy: &str| {
            let reply = ask(&asking(spec), &nodes(&[("a", "1", json!({}))]));
            assert_eq!(
                (reply.groups[0].reason.as_str(), reply.remedy.as_str()),
                (reason, remedy)
            );
        };
        let containers = json!([{"name": "c"}]);
        let selector = json!({"matchLabels": {"app": "absent"}});
        check(
            json!({"containers": containers, "affinity": {"podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": selector, "topologyKey": "zone"}]}}}),
            "node(s) didn't match pod affinity rules",
            "it would fit a if you ran a pod that its pod affinity selects in no zone (or preferred the affinity only)",
        );
        check(
            json!({"containers": containers, "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]}),
            "node(s) didn't match pod topology spread constraints (missing required label)",
            "it would fit a if you gave the node the label zone (or dropped it from what the pod asks for)",
        );
        check(
            json!({"containers": containers, "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}}}}),
            "node(s) didn't match Pod's node affinity/selector",
            "it would fit a if you let its node affinity include the node",
        );
    }

    #[test]
    fn a_pod_for_an_unknown_scheduler_is_told_whom_there_are() {
        let mut foreign = pod("1");
        foreign.spec_mut().scheduler_name = "mine".into();
        assert_eq!(
            unknown_scheduler(&foreign, &["default-scheduler", "second"]).summary,
            "default/p asks for scheduler \"mine\"; this cluster's scheduler has the profiles \"default-scheduler\", \
             \"second\", so it waits for another scheduler"
        );
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
            "default/p is pending: 0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 \
             Preemption is not helpful for scheduling."
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
        let reply = ask(&gated, &nodes(&[("a", "4", json!({}))]));
        let expected = "default/p is held back by its scheduling gates (example.com/quota), which somebody has to remove";
        assert_eq!(reply.summary, expected);
    }

    #[test]
    fn without_nodes_a_node_is_what_helps() {
        assert_eq!(answer("1", &[]).remedy, "add a node to the cluster");
    }
}
