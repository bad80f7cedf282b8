//! What is done to running pods on purpose: nodes are drained, pods give way to more important ones, owners go.

use crate::sample::{SLOW, cluster_with_sample, names, ready_pods, served_by_all};
use gantry_tests::cluster::{Cluster, Options, items};
use gantry_tests::eventually;
use gantry_tests::load::{Connections, Load};
use serde_json::Value;
use std::time::Duration;

/// Between two requests of the background load.
const PAUSE: Duration = Duration::from_millis(5);

#[test]
fn pods_give_way_in_order_and_go_with_their_owners() {
    let options = Options {
        nodes: 2,
        ..Options::default()
    };
    let cluster = cluster_with_sample("give", &options);
    served_by_all(&cluster, 1, 3);
    a_drain_that_would_break_the_budget_waits(&cluster);
    a_node_is_drained_without_a_failed_request(&cluster);
    replicas_that_may_not_share_a_node_wait_for_one(&cluster);
    a_more_important_pod_takes_the_place_of_others(&cluster);
    hand_made_endpoints_are_served(&cluster);
    what_is_owned_stays_or_goes_as_asked(&cluster);
}

const BUDGET: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: web}}}
";

fn a_drain_that_would_break_the_budget_waits(cluster: &Cluster) {
    cluster.apply(BUDGET);
    budget_allows(cluster, 0);
    let before = names(&ready_pods(cluster).unwrap_or_default());
    let drained = cluster.gantry(&["drain", "n1", "--timeout=3s"]);
    assert!(!drained.ok, "{drained:?}");
    let why = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert!(drained.stderr.contains(why), "{drained:?}");
    assert_eq!(names(&ready_pods(cluster).unwrap_or_default()), before);
    cluster.must(&["uncordon", "n1"]);
}

fn a_node_is_drained_without_a_failed_request(cluster: &Cluster) {
    cluster.apply(&BUDGET.replace("maxUnavailable: 0", "minAvailable: 2"));
    budget_allows(cluster, 1);
    let address = cluster.cluster_ip("web", 80);
    let load = Load::start(cluster.node_network(2), address, Connections::New, PAUSE);
    let printed = cluster.must(&["drain", "n1", "--timeout=90s"]);
    assert!(printed.contains("node/n1 drained"), "{printed}");
    served_by_all(cluster, 2, 3);
    let on_n1 = ready_pods(cluster).unwrap_or_default();
    let on_n1 = on_n1.iter().filter(|pod| pod["spec"]["nodeName"] == "n1").count();
    assert_eq!(on_n1, 0, "nothing of the sample is left on the drained node");
    cluster.must(&["uncordon", "n1"]);
    let report = load.stop();
    assert!(report.requests > 100, "{report:?}");
    assert!(report.failures.is_empty(), "{report:?}");
    cluster.must(&["delete", "pdb", "web"]);
}

fn budget_allows(cluster: &Cluster, disruptions: i64) {
    eventually("the budget's status says what is allowed", SLOW, || {
        let budget = cluster.json(&["get", "pdb", "web"])?;
        let status = &budget["status"];
        let is_current = status["observedGeneration"] == budget["metadata"]["generation"];
        (is_current && status["disruptionsAllowed"] == disruptions && status["expectedPods"] == 3)
            .then_some(())
            .ok_or(status.to_string())
    });
}

fn replicas_that_may_not_share_a_node_wait_for_one(cluster: &Cluster) {
    cluster.apply(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: apart}
spec:
  replicas: 3
  selector: {matchLabels: {app: apart}}
  template:
    metadata: {labels: {app: apart}}
    spec:
      terminationGracePeriodSeconds: 0
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: apart}}}
      containers: [{name: c, image: 'hello:1'}]
",
    );
    let waits = eventually("two run, each on a node of its own, and one waits", SLOW, || {
        let pods = cluster.pods("app=apart")?;
        let mut nodes: Vec<&str> = pods
            .iter()
            .filter_map(|pod| pod["spec"]["nodeName"].as_str())
            .collect();
        nodes.sort_unstable();
        let waits = pods.iter().find(|pod| pod["spec"]["nodeName"].is_null());
        match (nodes.as_slice(), waits) {
            (["n1", "n2"], Some(waits)) => {
                Ok(waits["metadata"]["name"].as_str().unwrap_or_default().to_string())
            }
            _ => Err(format!("{} pods, on {nodes:?}", pods.len())),
        }
    });
    let why = cluster.must(&["why", &format!("pod/{waits}")]);
    assert!(
        why.contains("2 node(s) didn't match pod anti-affinity rules"),
        "{why}"
    );
    cluster.must(&["delete", "deployment", "apart"]);
}

fn a_more_important_pod_takes_the_place_of_others(cluster: &Cluster) {
    let nodes = cluster.json(&["get", "nodes"]).unwrap_or_default();
    let cpus = items(&nodes)[0]["status"]["allocatable"]["cpu"].clone();
    let cpus: i64 = cpus.as_str().and_then(|text| text.parse().ok()).unwrap_or(2);
    // More than half of a node, so that no two fit one.
    let share = cpus * 600;
    let pod = |name: &str, class: &str| {
        format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: crowd}}}}
spec:
  terminationGracePeriodSeconds: 0
  priorityClassName: {class}
  containers: [{{name: c, image: 'hello:1', resources: {{requests: {{cpu: {share}m}}}}}}]
---"
        )
    };
    cluster.apply(
        "
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: low}
value: -10
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
",
    );
    cluster.apply(&[pod("low-1", "low"), pod("low-2", "low")].concat());
    let runs = |name: &str| {
        let name = name.to_string();
        eventually(&format!("{name} runs"), SLOW, || {
            let pod = cluster.json(&["get", "pod", &name])?;
            (pod["status"]["phase"] == "Running")
                .then_some(pod.clone())
                .ok_or(pod["status"].to_string())
        })
    };
    runs("low-1");
    runs("low-2");
    cluster.apply(&pod("high", "high"));
    let high = runs("high");
    assert_eq!(high["spec"]["priority"], 1000);
    let left = cluster.pods("app=crowd").unwrap_or_default();
    let left = names(&left);
    assert_eq!(left.len(), 2, "one made room, and no more than one: {left:?}");
    let events = cluster.must(&["get", "events", "--field-selector", "reason=Preempted"]);
    assert!(events.contains("Preempted by pod"), "{events}");
    cluster.must(&["delete", "pods", "-l", "app=crowd"]);
    cluster.must(&["delete", "priorityclass", "low", "high"]);
}

fn hand_made_endpoints_are_served(cluster: &Cluster) {
    let pods = ready_pods(cluster).unwrap_or_default();
    let (name, ip) = (&pods[0]["metadata"]["name"], &pods[0]["status"]["podIP"]);
    cluster.apply(&format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: by-hand}}
spec: {{ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Endpoints
metadata: {{name: by-hand}}
subsets: [{{addresses: [{{ip: {ip}}}], ports: [{{port: 8080}}]}}]
"
    ));
    let address = cluster.cluster_ip("by-hand", 80);
    let wanted = name.as_str().unwrap_or_default();
    eventually("the address in the Endpoints answers", SLOW, || {
        let answered = crate::sample::answers(&cluster.node_network(1), address, 4)?;
        (answered.len() == 1 && answered.contains(wanted))
            .then_some(())
            .ok_or(format!("{answered:?}"))
    });
    cluster.must(&["delete", "service", "by-hand"]);
}

fn what_is_owned_stays_or_goes_as_asked(cluster: &Cluster) {
    let replica_set = |cluster: &Cluster| -> Result<Value, String> {
        let all = cluster.json(&["get", "replicasets", "-l", "app=web"])?;
        items(&all)
            .into_iter()
            .next()
            .ok_or("there is no ReplicaSet".to_string())
    };
    let before = names(&ready_pods(cluster).unwrap_or_default());
    cluster.must(&["delete", "deployment", "web", "--cascade=orphan"]);
    let orphan = eventually("the ReplicaSet has lost its owner", SLOW, || {
        let set = replica_set(cluster)?;
        set["metadata"]["ownerReferences"]
            .is_null()
            .then_some(set.clone())
            .ok_or(set["metadata"].to_string())
    });
    assert_eq!(names(&ready_pods(cluster).unwrap_or_default()), before);
    let name = orphan["metadata"]["name"].as_str().unwrap_or_default();
    cluster.must(&["delete", "replicaset", name, "--cascade=foreground"]);
    assert_eq!(
        cluster.pods("app=web").unwrap_or_default().len(),
        0,
        "an owner that is deleted in the foreground goes last"
    );
}
