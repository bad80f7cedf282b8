//! What breaks is made whole: containers, pods, nodes, and every component.

use crate::sample::{SLOW, cluster_with_sample, names, ready_pods, served_by_all};
use gantry_tests::cluster::{Cluster, Options, condition};
use gantry_tests::eventually;
use gantry_tests::process::Process;
use serde_json::Value;
use std::time::Duration;

#[test]
fn what_breaks_is_made_whole() {
    let options = Options {
        nodes: 3,
        // The default of 40 s would only make the test wait.
        arguments: vec![("gantry-controller-manager", "--node-monitor-grace-period=12s")],
        ..Options::default()
    };
    let mut cluster = cluster_with_sample("heal", &options);
    served_by_all(&cluster, 1, 3);
    a_deleted_pod_is_replaced(&cluster);
    a_killed_container_is_restarted_in_place(&cluster);
    components_recover_without_restarting_containers(&mut cluster);
    a_lost_nodes_pods_run_elsewhere(&mut cluster);
}

fn a_deleted_pod_is_replaced(cluster: &Cluster) {
    let before = names(&ready_pods(cluster).unwrap_or_default());
    let victim = before.first().cloned().unwrap_or_default();
    cluster.must(&["delete", "pod", &victim]);
    served_by_all(cluster, 1, 3);
    assert!(!names(&ready_pods(cluster).unwrap_or_default()).contains(&victim));
}

fn a_killed_container_is_restarted_in_place(cluster: &Cluster) {
    let pod = ready_pods(cluster).unwrap_or_default().remove(0);
    let (name, id) = (pod["metadata"]["name"].clone(), container_id(&pod));
    kill_process_of(&id);
    eventually("the container runs again in the same pod", SLOW, || {
        let pods = ready_pods(cluster)?;
        let pod = pods
            .iter()
            .find(|pod| pod["metadata"]["name"] == name)
            .ok_or("the pod is not ready")?;
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
        (restarts == Some(1) && container_id(pod) != id)
            .then_some(())
            .ok_or(format!("{restarts:?} restarts"))
    });
    served_by_all(cluster, 1, 3);
}

fn components_recover_without_restarting_containers(cluster: &mut Cluster) {
    let before = restarts_by_pod(&ready_pods(cluster).unwrap_or_default());
    let replicas_after_each = [
        ("scheduler", 4),
        ("controller-manager", 5),
        ("apiserver", 4),
        ("etcd", 3),
        ("node-agent", 4),
        ("containerd", 5),
        ("proxy", 3),
    ];
    for (component, replicas) in replicas_after_each {
        let process: &mut Process = match component {
            "scheduler" => &mut cluster.scheduler,
            "controller-manager" => &mut cluster.controller_manager,
            "apiserver" => &mut cluster.apiserver,
            "etcd" => &mut cluster.etcd,
            "node-agent" => &mut cluster.nodes[0].agent,
            "containerd" => &mut cluster.nodes[0].containerd,
            _ => &mut cluster.nodes[0].proxy,
        };
        process.kill();
        if let Err(error) = process.start() {
            panic!("{component} did not start again: {error:#}");
        }
        let wanted = format!("--replicas={replicas}");
        eventually(
            &format!("the cluster can be written to after {component} was killed"),
            SLOW,
            || {
                let output = cluster.gantry(&["scale", "deployment/web", &wanted]);
                output.ok.then_some(()).ok_or(output.stderr)
            },
        );
        served_by_all(cluster, 1, replicas);
    }
    let after = restarts_by_pod(&ready_pods(cluster).unwrap_or_default());
    for (pod, restarts) in after.iter().filter(|(pod, _)| before.contains_key(*pod)) {
        assert_eq!(
            before.get(pod),
            Some(restarts),
            "containers of {pod} were restarted"
        );
    }
}

fn a_lost_nodes_pods_run_elsewhere(cluster: &mut Cluster) {
    cluster.apply(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      containers:
        - name: web
          image: hello:1
          env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1}
"#,
    );
    cluster.must(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    served_by_all(cluster, 1, 3);
    let lost = "n3";
    if let Err(error) = cluster.network.set_connected(3, false) {
        panic!("cutting node 3 off: {error:#}");
    }
    eventually("the node is seen to be lost", SLOW, || {
        let node = cluster.json(&["get", "node", lost])?;
        let ready = condition(&node, "Ready");
        (ready == "Unknown")
            .then_some(())
            .ok_or(format!("Ready is {ready}"))
    });
    eventually("three pods are ready on the other nodes", SLOW, || {
        let pods = ready_pods(cluster)?;
        let elsewhere = pods.iter().filter(|pod| pod["spec"]["nodeName"] != lost).count();
        (elsewhere == 3 && pods.len() == 3)
            .then_some(())
            .ok_or(format!("{elsewhere} of {}", pods.len()))
    });
    served_by_all(cluster, 1, 3);
    // Then it is gone for good.
    cluster.must(&["delete", "node", lost]);
    eventually(
        "nothing is left of the lost node's pods",
        Duration::from_secs(120),
        || {
            let all = cluster.json(&["get", "pods", "-A"])?;
            let left = gantry_tests::cluster::items(&all)
                .into_iter()
                .filter(|pod| pod["spec"]["nodeName"] == lost)
                .count();
            (left == 0).then_some(()).ok_or(format!("{left} are left"))
        },
    );
    if let Err(error) = cluster.network.set_connected(3, true) {
        panic!("joining node 3 again: {error:#}");
    }
}

fn restarts_by_pod(pods: &[Value]) -> std::collections::BTreeMap<String, i64> {
    let restarts = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["restartCount"]
            .as_i64()
            .unwrap_or(0)
    };
    pods.iter()
        .map(|pod| (pod["metadata"]["name"].to_string(), restarts(pod)))
        .collect()
}

/// Without its `containerd://`.
pub fn container_id(pod: &Value) -> String {
    let id = pod["status"]["containerStatuses"][0]["containerID"]
        .as_str()
        .unwrap_or_default();
    id.trim_start_matches("containerd://").to_string()
}

/// Kills the process that a container runs, as an out-of-memory kill would.
pub fn kill_process_of(container: &str) {
    let found = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .find(|entry| {
            let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            read("cgroup").contains(container) && read("cmdline").contains("hello")
        });
    let id = found.and_then(|entry| entry.file_name().to_str()?.parse().ok());
    let Some(id) = id else {
        panic!("no process belongs to container {container:?}")
    };
    if let Err(error) =
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL)
    {
        panic!("killing process {id}: {error}");
    }
}
