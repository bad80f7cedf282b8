use super::*;
use crate::model::Model;
use crate::profile::{Profile, ResourceWeight, ScoringStrategy};
use gantry_proto::Key;
use gantry_proto::core::v1::{Node, Pod, Service};
use gantry_proto::json;
use serde_json::{Value, json};

/// Nodes and the pods on them.
#[derive(Default)]
struct Cluster {
    model: Model,
    profile: Profile,
}

impl Cluster {
    fn node(mut self, name: &str, more: Value) -> Cluster {
        let mut node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "4", "memory": "10000", "pods": "110"}}});
        merge(&mut node, more);
        let node: Node = json::decode_value(&node).unwrap().object;
        self.model.set_node(&node);
        self
    }

    fn pods(mut self, node: &str, more: Value, count: usize) -> Cluster {
        for _ in 0..count {
            let name = format!("there-{}", self.model.pods().0);
            let mut more = more.clone();
            merge(&mut more, json!({"spec": {"nodeName": node}}));
            let pod = pod(&name, more);
            self.model.observe(&Key::new("default", name), Some(&pod));
        }
        self
    }

    /// What one rule gives each node, in the order of their names; empty where it has nothing to say.
    #[track_caller]
    fn check(&mut self, plugin: Plugin, incoming: Value, expected: &[i64]) {
        let incoming = pod("p", incoming);
        self.model.settle();
        let wanted = self.model.want(&incoming, &self.profile);
        let snapshot = self.model.snapshot();
        let mut nodes: Vec<&Arc<NodeInfo>> = snapshot.iter().map(|(_, node)| node).collect();
        nodes.sort_by_key(|node| node.name.clone());
        let choice = Choice {
            nodes: &nodes,
            all: snapshot.len(),
        };
        let mut scores = Vec::new();
        let score = SCORES.iter().find(|score| score.plugin == plugin).unwrap();
        let rated = (score.rate)(&wanted, &choice, &mut scores);
        if !rated {
            scores.clear();
        }
        assert_eq!(scores, expected);
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn pod(name: &str, more: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {}});
    merge(&mut pod, more);
    json::decode_value(&pod).unwrap().object
}

fn allocatable(cpu: &str, memory: &str) -> Value {
    json!({"status": {"allocatable": {"cpu": cpu, "memory": memory}}})
}

fn asks(containers: &[(&str, &str)]) -> Value {
    let container = |(cpu, memory): &(&str, &str)| {
        let mut requests = json!({});
        for (name, amount) in [("cpu", cpu), ("memory", memory)] {
            if !amount.is_empty() {
                requests[name] = json!(amount);
            }
        }
        json!({"name": "c", "resources": {"requests": requests}})
    };
    json!({"spec": {"containers": containers.iter().map(container).collect::<Vec<_>>()}})
}

/// The tables' cpuAndMemory.
fn large() -> Value {
    asks(&[("1", "2000"), ("2", "3000")])
}

/// The rows are from least_allocated_test.go, most_allocated_test.go and requested_to_capacity_ratio_test.go.
#[test]
fn how_full_a_node_would_be_counts_by_the_profiles_strategy() {
    let sized = || {
        Cluster::default()
            .node("a", allocatable("4", "10000"))
            .node("b", allocatable("6", "10000"))
    };
    let check = |mut cluster: Cluster, strategy: ScoringStrategy, incoming: Value, expected: &[i64]| {
        cluster.profile.node_resources_fit.strategy = strategy;
        cluster.check(Plugin::NodeResourcesFit, incoming, expected);
    };
    check(sized(), ScoringStrategy::LeastAllocated, json!({}), &[100, 100]);
    check(sized(), ScoringStrategy::LeastAllocated, large(), &[37, 50]);
    check(sized(), ScoringStrategy::MostAllocated, json!({}), &[0, 0]);
    check(sized(), ScoringStrategy::MostAllocated, large(), &[62, 50]);
    let shape = ScoringStrategy::RequestedToCapacityRatio {
        shape: vec![(0, 10), (100, 0)],
    };
    check(sized(), shape.clone(), json!({}), &[100, 100]);
    check(sized(), shape.clone(), large(), &[38, 50]);
    let busy = Cluster::default()
        .node("a", allocatable("4", "10000"))
        .node("b", allocatable("4", "10000"))
        .pods("a", asks(&[("3", "5000")]), 1)
        .pods("b", asks(&[("3", "5000")]), 1);
    check(busy, shape, json!({}), &[38, 38]);
}

#[test]
fn an_extended_resource_counts_for_pods_that_ask_for_it() {
    let gpus = |count: &str| json!({"status": {"allocatable": {"example.com/gpu": count}}});
    let mut cluster = Cluster::default().node("a", gpus("8")).node("b", gpus("4"));
    cluster.profile.node_resources_fit.resources = vec![ResourceWeight {
        resource: "example.com/gpu".into(),
        weight: 3,
    }];
    cluster.profile.node_resources_fit.strategy = ScoringStrategy::MostAllocated;
    let gpu =
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "2"}}}]}});
    cluster.check(Plugin::NodeResourcesFit, gpu, &[25, 50]);
    cluster.check(Plugin::NodeResourcesFit, json!({}), &[0, 0]);
}

/// The rows are from balanced_allocation_test.go.
#[test]
fn a_pod_goes_where_it_makes_use_more_even() {
    let sized = || {
        Cluster::default()
            .node("a", allocatable("4", "10000"))
            .node("b", allocatable("6", "10000"))
    };
    sized().check(Plugin::NodeResourcesBalancedAllocation, large(), &[68, 75]);
    sized().check(Plugin::NodeResourcesBalancedAllocation, json!({}), &[]);
    let mut busy = Cluster::default()
        .node("a", allocatable("10", "20000"))
        .node("b", allocatable("10", "20000"))
        .pods("a", asks(&[("1", ""), ("2", "")]), 1)
        .pods("b", large(), 1);
    busy.check(Plugin::NodeResourcesBalancedAllocation, large(), &[73, 74]);
}

/// The rows are from taint_toleration_test.go.
#[test]
fn a_pod_goes_where_fewer_taints_would_rather_not_have_it() {
    let tainted = |keys: &[&str]| {
        let taint = |key: &&str| json!({"key": key, "value": "x", "effect": "PreferNoSchedule"});
        json!({"spec": {"taints": keys.iter().map(taint).collect::<Vec<_>>()}})
    };
    let tolerating = |key: &str| json!({"spec": {"tolerations": [{"key": key, "operator": "Equal", "value": "x", "effect": "PreferNoSchedule"}]}});
    let mut cluster = Cluster::default()
        .node("a", tainted(&[]))
        .node("b", tainted(&["cpu"]))
        .node("c", tainted(&["cpu", "disk"]));
    cluster.check(Plugin::TaintToleration, tolerating("cpu"), &[100, 100, 0]);
    cluster.check(Plugin::TaintToleration, json!({}), &[100, 50, 0]);
    let mut plain = Cluster::default().node("a", json!({})).node("b", json!({}));
    plain.check(Plugin::TaintToleration, json!({}), &[]);
}

/// The rows are from node_affinity_test.go.
#[test]
fn a_pod_goes_where_it_would_rather_be() {
    let labelled = |labels: Value| json!({"metadata": {"labels": labels}});
    let mut cluster = Cluster::default()
        .node("a", labelled(json!({"foo": "bar"})))
        .node("b", labelled(json!({"key": "value"})))
        .node("c", labelled(json!({"az": "az1", "foo": "bar", "key": "value"})));
    let term = |weight: i32, key: &str, value: &str| json!({"weight": weight, "preference": {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}});
    let preferring = |terms: Value| json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}});
    cluster.check(Plugin::NodeAffinity, json!({}), &[]);
    cluster.check(
        Plugin::NodeAffinity,
        preferring(json!([term(2, "foo", "bar")])),
        &[100, 0, 100],
    );
    let all = json!([
        term(2, "foo", "bar"),
        term(4, "key", "value"),
        term(5, "az", "az1")
    ]);
    cluster.check(Plugin::NodeAffinity, preferring(all), &[18, 36, 100]);
}

fn soft(max_skew: i32, keys: &[&str]) -> Value {
    let constraint = |key: &&str| {
        json!({"maxSkew": max_skew, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"foo": ""}}})
    };
    json!({"metadata": {"labels": {"foo": ""}},
        "spec": {"topologySpreadConstraints": keys.iter().map(constraint).collect::<Vec<_>>()}})
}

const HOST: &str = "kubernetes.io/hostname";

fn spread_as(counts: &[usize]) -> Cluster {
    let mut cluster = Cluster::default();
    for (name, count) in ["a", "b", "c", "d"].into_iter().zip(counts) {
        let foo = json!({"metadata": {"labels": {"foo": ""}}});
        cluster = cluster.node(name, json!({})).pods(name, foo, *count);
    }
    cluster
}

/// The rows are from podtopologyspread/scoring_test.go.
#[test]
fn a_pod_goes_where_fewer_of_its_kind_are() {
    spread_as(&[1, 1]).check(Plugin::PodTopologySpread, soft(1, &[HOST]), &[100, 100]);
    spread_as(&[2, 1, 0, 3]).check(Plugin::PodTopologySpread, soft(1, &[HOST]), &[20, 60, 100, 0]);
    spread_as(&[2, 1, 0, 3]).check(Plugin::PodTopologySpread, soft(2, &[HOST]), &[33, 66, 100, 16]);
    spread_as(&[4, 3, 2, 1]).check(Plugin::PodTopologySpread, soft(3, &[HOST]), &[44, 66, 77, 100]);
    // A node without a zone gets nothing where zones are asked for.
    spread_as(&[1, 0]).check(Plugin::PodTopologySpread, soft(1, &["zone"]), &[0, 0]);
}

#[test]
fn pods_of_a_service_spread_by_themselves() {
    let mut cluster = spread_as(&[4, 3, 2, 1]);
    let foo = json!({"metadata": {"labels": {"foo": ""}}});
    cluster.check(Plugin::PodTopologySpread, foo.clone(), &[]);
    let service =
        json!({"metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": {"foo": ""}}});
    let service: Service = json::decode_value(&service).unwrap().object;
    cluster
        .model
        .set_service(&Key::new("default", "s"), Some(&service));
    // The nodes have no zone: they are spread over by their names all the same.
    cluster.check(Plugin::PodTopologySpread, foo.clone(), &[44, 66, 77, 100]);
    cluster.profile.pod_topology_spread = crate::profile::DefaultConstraints::List(Vec::new());
    cluster.check(Plugin::PodTopologySpread, foo, &[]);
}

/// The rows are from interpodaffinity/scoring_test.go.
#[test]
fn a_pod_goes_near_to_those_it_likes_and_that_like_it() {
    let zoned = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    let web = || json!({"metadata": {"labels": {"app": "web"}}});
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}});
    let preferring = |kind: &str| {
        json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 5, "podAffinityTerm": term}]}}}})
    };
    let requiring = json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
    let cluster = || {
        Cluster::default()
            .node("a", zoned("1"))
            .node("b", zoned("2"))
            .node("c", zoned("1"))
    };
    let plugin = Plugin::InterPodAffinity;
    cluster().check(plugin, preferring("podAffinity"), &[]);
    cluster()
        .pods("a", web(), 1)
        .check(plugin, preferring("podAffinity"), &[100, 0, 100]);
    cluster()
        .pods("a", web(), 1)
        .check(plugin, preferring("podAntiAffinity"), &[0, 100, 0]);
    cluster()
        .pods("b", preferring("podAffinity"), 1)
        .check(plugin, web(), &[0, 100, 0]);
    cluster()
        .pods("b", requiring.clone(), 1)
        .check(plugin, web(), &[0, 100, 0]);
    let mut heedless = cluster().pods("b", requiring, 1);
    heedless.profile.inter_pod_affinity.hard_pod_affinity_weight = 0;
    heedless.check(plugin, web(), &[]);
    let mut heedless = cluster().pods("b", preferring("podAffinity"), 1);
    heedless
        .profile
        .inter_pod_affinity
        .ignore_preferred_terms_of_existing_pods = true;
    heedless.check(plugin, web(), &[]);
}

/// The rows are from image_locality_test.go.
#[test]
fn a_pod_goes_where_its_images_are() {
    const MB: i64 = 1 << 20;
    let having = |images: &[(&str, i64)]| {
        let image = |(name, size): &(&str, i64)| json!({"names": [format!("gcr.io/{name}:latest")], "sizeBytes": size * MB});
        json!({"status": {"images": images.iter().map(image).collect::<Vec<_>>()}})
    };
    let mut cluster = Cluster::default()
        .node("a", having(&[("40", 40), ("300", 300), ("2000", 2000)]))
        .node("b", having(&[("250", 250), ("10", 10)]));
    let using = |images: &[&str]| {
        let container = |name: &&str| json!({"name": "c", "image": format!("gcr.io/{name}")});
        json!({"spec": {"containers": images.iter().map(container).collect::<Vec<_>>()}})
    };
    cluster.check(Plugin::ImageLocality, using(&["40", "250"]), &[0, 5]);
    cluster.check(Plugin::ImageLocality, using(&["40", "300"]), &[7, 0]);
    cluster.check(Plugin::ImageLocality, using(&["10", "2000"]), &[49, 0]);
    cluster.check(Plugin::ImageLocality, using(&["unknown"]), &[]);
}

#[test]
fn scores_are_weighted_as_the_profile_says() {
    let mut cluster = spread_as(&[2, 0]);
    cluster.profile.scores = vec![(Plugin::PodTopologySpread, 2), (Plugin::NodeResourcesFit, 1)];
    cluster.model.settle();
    let incoming = pod("p", soft(1, &[HOST]));
    let wanted = cluster.model.want(&incoming, &cluster.profile);
    let snapshot = cluster.model.snapshot();
    let nodes: Vec<&Arc<NodeInfo>> = snapshot.iter().map(|(_, node)| node).collect();
    let choice = Choice {
        nodes: &nodes,
        all: 2,
    };
    assert_eq!(rate(&wanted, &choice), [100, 300]);
}
