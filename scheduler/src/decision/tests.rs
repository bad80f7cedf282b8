use super::*;
use crate::model::Model;
use crate::profile::{AddedAffinity, FitArguments};
use gantry_proto::Key;
use gantry_proto::apps::v1::ReplicaSet;
use gantry_proto::core::v1::{Namespace, Node};
use gantry_proto::json;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A cluster that is told in a few words.
#[derive(Default)]
struct Cluster {
    model: Model,
    profile: Profile,
}

fn pod_named(name: &str, node: &str, labels: Value, spec: Value) -> Pod {
    let mut value = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels},
        "spec": spec,
    });
    value["spec"]["nodeName"] = json!(node);
    json::decode_value(&value).unwrap().object
}

fn pod(spec: Value) -> Pod {
    pod_named("p", "", json!({}), spec)
}

fn asks(cpu: &str) -> Value {
    json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]})
}

impl Cluster {
    fn node(mut self, name: &str, cpu: &str, labels: Value, spec: Value) -> Cluster {
        let mut all = json!({"kubernetes.io/hostname": name});
        for (key, value) in labels.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let node = json!({
            "metadata": {"name": name, "labels": all},
            "spec": spec,
            "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "110"}},
        });
        let node: Node = json::decode_value(&node).unwrap().object;
        self.model.set_node(&node);
        self
    }

    fn plain(self, name: &str, cpu: &str) -> Cluster {
        self.node(name, cpu, json!({}), json!({}))
    }

    fn zoned(self, name: &str, zone: &str) -> Cluster {
        self.node(name, "4", json!({"zone": zone}), json!({}))
    }

    fn with(mut self, pod: &Pod) -> Cluster {
        let key = gantry_proto::Kind::key(pod);
        self.model.observe(&key, Some(pod));
        self
    }

    /// So many pods with labels on a node.
    fn pods(mut self, node: &str, labels: Value, count: usize) -> Cluster {
        for _ in 0..count {
            let name = format!("there-{}", self.model.pods().0);
            self = self.with(&pod_named(&name, node, labels.clone(), json!({})));
        }
        self
    }

    /// Decides with what is kept up to date, and again with everything counted anew, which must not differ.
    fn decide(&mut self, pod: &Pod, tie: u64) -> Decision {
        self.model.settle();
        let wanted = self.model.want(pod, &self.profile);
        let snapshot = self.model.snapshot();
        let (decision, _) = decide(&wanted, snapshot, 0, tie);
        assert_eq!(
            decision,
            schedule(pod, snapshot, &self.profile, tie),
            "counted anew"
        );
        decision
    }

    fn told(&mut self, pod: &Pod) -> String {
        match self.decide(pod, 0) {
            Decision::Bind { node } => node.to_string(),
            Decision::Unschedulable(why) => why.message(),
        }
    }

    #[track_caller]
    fn check(mut self, spec: Value, expected: &str) -> Cluster {
        assert_eq!(self.told(&pod(spec)), expected);
        self
    }

    /// The nodes that a pod may go to, of those in the cluster.
    fn fitting(&mut self, pod: &Pod) -> Vec<String> {
        self.model.settle();
        let wanted = self.model.want(pod, &self.profile);
        let found = search(&wanted, self.model.snapshot(), 0);
        let mut names: Vec<String> = found.nodes.iter().map(|node| node.name.to_string()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_pod_goes_where_most_stays_free() {
    Cluster::default()
        .plain("a", "1")
        .plain("b", "4")
        .check(asks("100m"), "b");
}

#[test]
fn the_message_counts_what_each_node_refuses() {
    Cluster::default()
        .plain("a", "1")
        .plain("b", "1")
        .node("c", "8", json!({}), json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}))
        .node("d", "8", json!({}), json!({"unschedulable": true}))
        .check(
            asks("2"),
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 Insufficient cpu.",
        );
}

#[test]
fn without_nodes_the_message_says_so() {
    Cluster::default().check(asks("1"), "no nodes available to schedule pods");
}

#[test]
fn a_node_selector_must_match() {
    let mut spec = asks("100m");
    spec["nodeSelector"] = json!({"disk": "ssd"});
    let cluster = Cluster::default().plain("a", "8").plain("b", "1").check(
        spec.clone(),
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
    );
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": "b"});
    cluster.check(spec, "b");
}

#[test]
fn nodes_that_are_said_by_name_are_all_that_is_looked_at() {
    let named = |names: &[&str]| {
        let fields: Vec<Value> = names
            .iter()
            .map(|name| json!({"key": "metadata.name", "operator": "In", "values": [name]}))
            .collect();
        let mut spec = asks("2");
        spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchFields": fields}]}}});
        spec
    };
    Cluster::default()
        .plain("a", "8")
        .plain("b", "1")
        .check(named(&["a"]), "a")
        .check(
            named(&["b"]),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity].",
        )
        .check(
            named(&["a", "b"]),
            "0/2 nodes are available: pod affinity terms conflict.",
        );
}

#[test]
fn the_profile_may_add_an_affinity_and_leave_rules_out() {
    let mut cluster = Cluster::default().zoned("a", "a").zoned("b", "b").node(
        "c",
        "64",
        json!({"zone": "a"}),
        json!({"unschedulable": true}),
    );
    let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]});
    cluster.profile.node_affinity = AddedAffinity {
        required: serde_json::from_value(terms).ok(),
        preferred: Vec::new(),
    };
    assert_eq!(cluster.fitting(&pod(asks("1"))), ["a"]);
    assert_eq!(
        cluster.told(&pod(asks("16"))),
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match scheduler-enforced node affinity, 1 node(s) \
         were unschedulable."
    );
    cluster.profile.filters.remove(Plugin::NodeUnschedulable);
    assert_eq!(cluster.fitting(&pod(asks("1"))), ["a", "c"]);
    cluster.profile.filters.remove(Plugin::NodeAffinity);
    assert_eq!(cluster.fitting(&pod(asks("1"))).len(), 3);
}

#[test]
fn extended_resources_must_be_there_unless_the_profile_ignores_them() {
    let mut gpu = asks("1");
    gpu["containers"][0]["resources"]["requests"]["example.com/gpu"] = json!("1");
    let mut cluster = Cluster::default().plain("a", "8");
    assert_eq!(
        cluster.told(&pod(gpu.clone())),
        "0/1 nodes are available: 1 Insufficient example.com/gpu."
    );
    cluster.profile.node_resources_fit = FitArguments {
        ignored_resource_groups: vec!["example.com".into()],
        ..FitArguments::default()
    };
    cluster.check(gpu, "a");
}

#[test]
fn what_a_node_never_had_no_preemption_gets() {
    let mut cluster = Cluster::default().plain("full", "2").plain("small", "1");
    cluster = cluster.with(&pod_named("there", "full", json!({}), asks("2")));
    let Decision::Unschedulable(why) = cluster.decide(&pod(asks("2")), 0) else {
        panic!("it fits")
    };
    let snapshot = cluster.model.snapshot();
    let resolvable: Vec<&str> = why
        .resolvable()
        .map(|slot| &*snapshot.at(slot).unwrap().name)
        .collect();
    assert_eq!(resolvable, ["full"]);
    assert_eq!(why.plugins, PluginSet::of(&[Plugin::NodeResourcesFit]));
}

#[test]
fn a_toleration_opens_a_tainted_node_and_equals_are_chosen_by_the_tie() {
    let mut spec = asks("100m");
    spec["tolerations"] = json!([{"operator": "Exists"}]);
    let taints = json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]});
    Cluster::default()
        .node("a", "1", json!({}), taints)
        .check(spec, "a");
    let mut cluster = Cluster::default().plain("a", "1").plain("b", "1");
    assert_ne!(
        cluster.decide(&pod(asks("1m")), 0),
        cluster.decide(&pod(asks("1m")), 1)
    );
}

#[test]
fn pods_that_ask_for_nothing_spread_too() {
    let nothing = json!({"containers": [{"name": "a"}]});
    let mut cluster = Cluster::default().plain("a", "1").plain("b", "1");
    cluster = cluster.with(&pod_named("there", "a", json!({}), nothing.clone()));
    for tie in 0..4 {
        let Decision::Bind { node } = cluster.decide(&pod(nothing.clone()), tie) else {
            panic!("it fits")
        };
        assert_eq!(&*node, "b", "tie {tie}");
    }
}

#[test]
fn pods_of_one_controller_spread_over_nodes_however_large() {
    let mut cluster = Cluster::default();
    for name in ["a", "b", "c"] {
        cluster = cluster.plain(name, "64");
    }
    let set = json!({"metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}}});
    let set: ReplicaSet = json::decode_value(&set).unwrap().object;
    cluster
        .model
        .set_replica_set(&Key::new("default", "web"), Some(&set));
    let replica = |name: &str, node: &str| {
        let mut pod = pod_named(name, node, json!({"app": "web"}), asks("10m"));
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "w", "controller": true}]);
        pod.metadata_mut().owner_references = serde_json::from_value(owner).unwrap();
        pod
    };
    let mut used = BTreeSet::new();
    for name in ["1", "2", "3"] {
        let Decision::Bind { node } = cluster.decide(&replica(name, ""), 0) else {
            panic!("it fits")
        };
        cluster = cluster.with(&replica(name, &node));
        used.insert(node);
    }
    assert_eq!(used.len(), 3, "{used:?}");
}

#[test]
fn a_host_port_is_taken_by_one_pod() {
    let port = json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let cluster = Cluster::default().plain("a", "1");
    let cluster = cluster.with(&pod_named("there", "a", json!({}), port.clone()));
    cluster.check(
        port,
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
    );
}

fn spread(max_skew: i32, key: &str, more: Value) -> Value {
    let mut constraint = json!({"maxSkew": max_skew, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"foo": ""}}});
    for (name, value) in more.as_object().into_iter().flatten() {
        constraint[name] = value.clone();
    }
    constraint
}

/// Nodes a and b in zone1, x and y in zone2, with so many pods that are counted.
fn zones(pods: [usize; 4]) -> Cluster {
    let mut cluster = Cluster::default();
    for (name, zone) in [("a", "zone1"), ("b", "zone1"), ("x", "zone2"), ("y", "zone2")] {
        cluster = cluster.node(name, "4", json!({"zone": zone, "node": name}), json!({}));
    }
    for (node, count) in ["a", "b", "x", "y"].into_iter().zip(pods) {
        cluster = cluster.pods(node, json!({"foo": ""}), count);
    }
    cluster
}

/// The rows are from kube-scheduler's TestSingleConstraint and TestMultipleConstraints.
#[test]
fn constraints_of_spread_hold() {
    let check = |told: &str, mut cluster: Cluster, constraints: Value, expected: &[&str]| {
        let spec = json!({"topologySpreadConstraints": constraints});
        let incoming = pod_named("p", "", json!({"foo": ""}), spec);
        assert_eq!(cluster.fitting(&incoming), expected, "{told}");
        cluster.told(&incoming);
    };
    let zone = spread(1, "zone", json!({}));
    check(
        "no pods",
        zones([0, 0, 0, 0]),
        json!([zone]),
        &["a", "b", "x", "y"],
    );
    check(
        "pods in one zone",
        zones([2, 1, 0, 0]),
        json!([zone]),
        &["x", "y"],
    );
    check(
        "equal zones",
        zones([2, 1, 0, 3]),
        json!([zone]),
        &["a", "b", "x", "y"],
    );
    check(
        "by node",
        zones([2, 1, 0, 3]),
        json!([spread(1, "node", json!({}))]),
        &["x"],
    );
    check(
        "a larger skew",
        zones([2, 1, 0, 3]),
        json!([spread(2, "node", json!({}))]),
        &["b", "x"],
    );
    check(
        "the pod itself is not counted",
        zones([2, 1, 0, 3]),
        json!([spread(
            1,
            "node",
            json!({"labelSelector": {"matchLabels": {"bar": ""}}})
        )]),
        &["a", "b", "x", "y"],
    );
    check(
        "zones and nodes",
        zones([2, 1, 0, 3]),
        json!([zone, spread(1, "node", json!({}))]),
        &["x"],
    );
    check(
        "too few domains",
        zones([1, 0, 1, 0]),
        json!([spread(1, "zone", json!({"minDomains": 3}))]),
        &[],
    );
    check(
        "enough domains",
        zones([1, 0, 1, 0]),
        json!([spread(1, "zone", json!({"minDomains": 2}))]),
        &["a", "b", "x", "y"],
    );
    let unlabelled = zones([0, 1, 0, 1]).node("z", "4", json!({"node": "z"}), json!({}));
    check(
        "a node without the label",
        unlabelled,
        json!([zone]),
        &["a", "b", "x", "y"],
    );
    let own = json!([spread(1, "zone", json!({"matchLabelKeys": ["foo"]}))]);
    check("keys of its own labels", zones([2, 1, 0, 0]), own, &["x", "y"]);
}

#[test]
fn nodes_that_the_pod_cannot_use_count_or_not_by_policy() {
    let check = |policies: Value, expected: &[&str]| {
        let mut cluster = zones([0, 0, 1, 0]).node(
            "t",
            "4",
            json!({"zone": "zone3", "node": "t"}),
            json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}),
        );
        let spec = json!({
            "nodeSelector": {"zone": "zone2"},
            "topologySpreadConstraints": [spread(1, "node", policies.clone())],
        });
        let incoming = pod_named("p", "", json!({"foo": ""}), spec);
        assert_eq!(cluster.fitting(&incoming), expected, "{policies}");
    };
    check(json!({}), &["y"]);
    check(json!({"nodeAffinityPolicy": "Ignore"}), &["y"]);
    // Without y the emptiest is elsewhere only when nodes elsewhere count.
    let check = |policies: Value, expected: &[&str]| {
        let mut cluster = zones([0, 0, 1, 1]);
        let spec = json!({
            "nodeSelector": {"zone": "zone2"},
            "topologySpreadConstraints": [spread(1, "node", policies.clone())],
        });
        let incoming = pod_named("p", "", json!({"foo": ""}), spec);
        assert_eq!(cluster.fitting(&incoming), expected, "{policies}");
    };
    check(json!({}), &["x", "y"]);
    check(json!({"nodeAffinityPolicy": "Ignore"}), &[]);
    let check = |policies: Value, expected: &[&str]| {
        let mut cluster = zones([1, 0, 1, 0]).node(
            "t",
            "4",
            json!({"zone": "zone3", "node": "t"}),
            json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}),
        );
        let spec = json!({"topologySpreadConstraints": [spread(1, "zone", policies.clone())]});
        let incoming = pod_named("p", "", json!({"foo": ""}), spec);
        assert_eq!(cluster.fitting(&incoming), expected, "{policies}");
    };
    check(json!({}), &[]);
    check(json!({"nodeTaintsPolicy": "Honor"}), &["a", "b", "x", "y"]);
}

#[test]
fn refusals_by_spread_are_told_in_kubernetes_words() {
    let spec = json!({"topologySpreadConstraints": [spread(1, "zone", json!({}))]});
    let mut cluster = zones([1, 1, 0, 0]);
    cluster.model.remove_node("x");
    cluster.model.remove_node("y");
    cluster =
        cluster
            .node("u", "4", json!({}), json!({}))
            .node("e", "1m", json!({"zone": "zone9"}), json!({}));
    let mut incoming = pod_named("p", "", json!({"foo": ""}), spec);
    incoming.spec_mut().containers =
        serde_json::from_value(json!([{"name": "c", "resources": {"requests": {"cpu": "1"}}}])).unwrap();
    assert_eq!(
        cluster.told(&incoming),
        "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints (missing \
         required label), 2 node(s) didn't match pod topology spread constraints."
    );
}

fn affinity(kind: &str, terms: Value) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
}

fn term(app: &str) -> Value {
    json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}})
}

/// The rows are from kube-scheduler's TestRequiredAffinitySingleNode and ...MultipleNodes.
#[test]
fn pods_are_near_to_or_apart_from_others() {
    let cluster = || {
        Cluster::default()
            .zoned("a1", "a")
            .zoned("a2", "a")
            .zoned("b1", "b")
            .plain("u", "4")
    };
    let check = |told: &str, mut cluster: Cluster, labels: Value, spec: Value, expected: &[&str]| {
        let incoming = pod_named("p", "", labels, spec);
        assert_eq!(cluster.fitting(&incoming), expected, "{told}");
        cluster.told(&incoming);
    };
    let web = || json!({"app": "web"});
    let near = affinity("podAffinity", json!([term("web")]));
    let apart = affinity("podAntiAffinity", json!([term("web")]));
    check("near to nobody", cluster(), json!({}), near.clone(), &[]);
    check(
        "near to one",
        cluster().pods("a1", web(), 1),
        json!({}),
        near.clone(),
        &["a1", "a2"],
    );
    check(
        "the first of its kind",
        cluster(),
        web(),
        near.clone(),
        &["a1", "a2", "b1"],
    );
    check(
        "the second of its kind",
        cluster().pods("b1", web(), 1),
        web(),
        near,
        &["b1"],
    );
    check(
        "apart from one",
        cluster().pods("a1", web(), 1),
        json!({}),
        apart.clone(),
        &["b1", "u"],
    );
    let two = affinity(
        "podAffinity",
        json!([term("web"), {"topologyKey": "zone",
        "labelSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}]),
    );
    let both = cluster().pods("a1", web(), 1).pods("a1", json!({"tier": "x"}), 1);
    check("one pod must be all of it", both, json!({}), two.clone(), &[]);
    let one = cluster().pods("b1", json!({"app": "web", "tier": "x"}), 1);
    check("one pod is all of it", one, json!({}), two, &["b1"]);
    let theirs = |cluster: Cluster| cluster.with(&pod_named("t", "a1", json!({}), apart.clone()));
    check(
        "not wanted by one",
        theirs(cluster()),
        web(),
        json!({}),
        &["b1", "u"],
    );
    check(
        "not meant by it",
        theirs(cluster()),
        json!({}),
        json!({}),
        &["a1", "a2", "b1", "u"],
    );
}

#[test]
fn namespaces_are_selected_by_their_labels() {
    let mut cluster = Cluster::default().zoned("a1", "a").zoned("b1", "b");
    let namespace: Namespace =
        json::decode_value(&json!({"metadata": {"name": "other", "labels": {"team": "x"}}}))
            .unwrap()
            .object;
    cluster.model.set_namespace("other", Some(&namespace));
    let mut there = pod_named("there", "a1", json!({"app": "web"}), json!({}));
    there.metadata_mut().namespace = "other".into();
    let mut cluster = cluster.with(&there);
    let mut by_team = term("web");
    by_team["namespaceSelector"] = json!({"matchLabels": {"team": "x"}});
    let incoming = pod(affinity("podAntiAffinity", json!([by_team])));
    assert_eq!(cluster.fitting(&incoming), ["b1"]);
    cluster.model.set_namespace("other", None);
    assert_eq!(
        cluster.fitting(&incoming),
        ["a1", "b1"],
        "the namespace has no labels any more"
    );
}

#[test]
fn refusals_by_affinity_are_told_in_kubernetes_words() {
    let near = affinity("podAffinity", json!([term("web")]));
    let mut cluster = Cluster::default().zoned("a1", "a");
    assert_eq!(
        cluster.told(&pod(near)),
        "0/1 nodes are available: 1 node(s) didn't match pod affinity rules."
    );
    let apart = affinity("podAntiAffinity", json!([term("web")]));
    let mut cluster = cluster.pods("a1", json!({"app": "web"}), 1);
    assert_eq!(
        cluster.told(&pod(apart.clone())),
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."
    );
    let mut cluster = cluster.with(&pod_named("t", "a1", json!({}), apart));
    let web = pod_named("p", "", json!({"app": "web"}), json!({}));
    assert_eq!(
        cluster.told(&web),
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
    );
}

#[test]
fn room_that_is_made_for_an_important_pod_is_left_to_it() {
    let mut cluster = Cluster::default().plain("a", "2").plain("b", "1");
    let mut important = pod_named("important", "", json!({}), asks("2"));
    important.spec_mut().priority = Some(10);
    cluster
        .model
        .nominate(Arc::new(crate::pods::PodInfo::of(&important)), "a".into());
    let mut cluster = cluster.check(asks("1"), "b");
    assert_eq!(cluster.told(&important), "a", "its own nomination is no obstacle");
    let mut more_important = pod(asks("2"));
    more_important.spec_mut().priority = Some(11);
    assert_eq!(cluster.told(&more_important), "a");
    cluster.model.forget_nomination(&Key::new("default", "important"));
    cluster.check(asks("2"), "a");
}

#[test]
fn the_node_that_a_pod_is_nominated_to_comes_first() {
    let mut cluster = Cluster::default().plain("small", "1").plain("large", "64");
    let mut nominated = pod(asks("100m"));
    nominated.status_mut().nominated_node_name = "small".into();
    assert_eq!(cluster.told(&nominated), "small");
    nominated.status_mut().nominated_node_name = "gone".into();
    assert_eq!(cluster.told(&nominated), "large");
}

#[test]
fn a_large_cluster_is_searched_in_parts_that_go_round() {
    let mut cluster = Cluster::default();
    for index in 0..1000 {
        cluster = cluster.plain(&format!("n{index:04}"), "4");
    }
    cluster.model.settle();
    let pod = pod(asks("1"));
    let wanted = cluster.model.want(&pod, &cluster.profile);
    let snapshot = cluster.model.snapshot();
    let first = search(&wanted, snapshot, 0);
    let second = search(&wanted, snapshot, first.looked_at());
    assert_eq!((first.nodes.len(), second.nodes.len()), (420, 420));
    assert_eq!(&*second.nodes[0].name, "n0420");
}

#[test]
fn what_is_supposed_is_seen_by_every_rule() {
    let web = json!({"app": "web"});
    let there = |spec: Value| pod_named("there", "a1", web.clone(), spec);
    let check = |existing: &Pod, incoming: &Pod| {
        let mut cluster = Cluster::default().zoned("a1", "a").with(existing);
        assert!(cluster.fitting(incoming).is_empty());
        let wanted = cluster.model.want(incoming, &cluster.profile);
        let mut node = NodeInfo::clone(cluster.model.snapshot().get("a1").unwrap());
        let gone = node.remove_pod("there").unwrap();
        let supposed = wanted.supposing(&node, std::slice::from_ref(&gone), &[]);
        let filters = filter::concerned(&wanted);
        assert_eq!(filter::refusal(&filters, &supposed, &node), None);
        let back = supposed.supposing(&node, &[], std::slice::from_ref(&gone));
        node.add_pod(gone);
        assert!(filter::refusal(&filters, &back, &node).is_some());
    };
    check(&there(asks("4")), &pod(asks("4")));
    check(
        &there(json!({})),
        &pod(affinity("podAntiAffinity", json!([term("web")]))),
    );
    check(
        &there(affinity("podAntiAffinity", json!([term("web")]))),
        &pod_named("p", "", web.clone(), json!({})),
    );
    let constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2,
        "labelSelector": {"matchLabels": {"app": "web"}}});
    let spread = pod_named(
        "p",
        "",
        web.clone(),
        json!({"topologySpreadConstraints": [constraint]}),
    );
    check(&there(json!({})), &spread);
}
