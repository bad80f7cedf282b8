//! Whatever makes the cluster change is the root of one trace that holds all that followed: what a person asked for, and
//! what nobody asked for.

use crate::recovery::{container_id, kill_process_of};
use crate::sample::{SLOW, cluster_with_sample, ready_pods, served_by_all};
use gantry_tests::cluster::{Cluster, Options};
use gantry_tests::eventually;
use gantry_tests::traces::{Span, ancestors, faults};
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn every_change_is_one_trace_whoever_or_whatever_began_it() {
    let options = Options {
        nodes: 3,
        traces: true,
        // The default of 40 s would only make the test wait.
        arguments: vec![("gantry-controller-manager", "--node-monitor-grace-period=12s")],
        ..Options::default()
    };
    let mut cluster = cluster_with_sample("causes", &options);
    served_by_all(&cluster, 1, 3);
    scaling_up(&cluster);
    a_rollout(&cluster);
    sampling(&cluster);
    metrics_name_traces(&cluster);
    a_crash(&cluster);
    an_unhealthy_container(&cluster);
    a_lost_node(&mut cluster);
}

fn scaling_up(cluster: &Cluster) {
    let since = now();
    cluster.must(&["scale", "deployment/web", "--replicas=4"]);
    served_by_all(cluster, 1, 4);
    whole_trace(cluster, "gantry scale", since, |trace| {
        let started = [
            "node-agent.sync",
            "scheduler.schedule",
            "replicaset.reconcile",
            "deployment.reconcile",
            "gantry scale",
        ];
        way(trace, "container.start", &started)?;
        way(trace, "proxy.program", &programmed("gantry scale"))?;
        only(trace, "container.start", 1)
    });
}

fn a_rollout(cluster: &Cluster) {
    let since = now();
    cluster.must(&["set", "image", "deployment/web", "web=hello:2"]);
    cluster.must(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    served_by_all(cluster, 1, 4);
    whole_trace(cluster, "gantry set", since, |trace| {
        let started = [
            "node-agent.sync",
            "scheduler.schedule",
            "replicaset.reconcile",
            "deployment.reconcile",
            "gantry set",
        ];
        way(trace, "container.start", &started)?;
        way(
            trace,
            "container.stop",
            &[
                "node-agent.sync",
                "replicaset.reconcile",
                "deployment.reconcile",
                "gantry set",
            ],
        )?;
        way(trace, "proxy.program", &programmed("gantry set"))?;
        only(trace, "container.start", 4)?;
        only(trace, "container.stop", 4)
    });
}

fn sampling(cluster: &Cluster) {
    let never = [("GANTRY_TRACE_RATIO", "0")];
    let label = |value: &str| format!("tried={value}");
    let unsampled = cluster.gantry_with(&["label", "deployment/web", &label("no"), "-v"], &never);
    assert!(
        unsampled.ok && !unsampled.stderr.contains("trace "),
        "{unsampled:?}"
    );
    let since = now();
    let sampled = cluster.gantry_with(
        &["label", "deployment/web", &label("yes"), "--overwrite", "--trace"],
        &never,
    );
    let printed = sampled
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("trace "));
    let Some(printed) = printed else {
        panic!("no trace id: {sampled:?}")
    };
    let trace = whole_trace(cluster, "gantry label", since, |trace| {
        way(trace, "store.txn", &["gantry label"])
    });
    assert_eq!(trace[0].trace_id, printed);
    // A command that only reads begins a trace where it is asked to.
    let read = cluster.gantry_with(&["get", "deployment/web", "--trace"], &never);
    assert!(read.ok && read.stderr.starts_with("trace "), "{read:?}");
}

fn metrics_name_traces(cluster: &Cluster) {
    for (address, metric) in [
        ("10.99.0.1:6443", "apiserver_request_duration_seconds_bucket"),
        (
            "10.99.0.1:10260",
            "scheduler_scheduling_attempt_duration_seconds_bucket",
        ),
        (
            &*format!("{}:10250", cluster.nodes[0].address),
            "kubelet_pod_start_duration_seconds_bucket",
        ),
    ] {
        eventually("the metric names a trace", SLOW, || {
            let text = cluster.metrics(address)?;
            let mut buckets = text.lines().filter(|line| line.starts_with(metric));
            let id = buckets.find_map(|line| Some(line.split_once("# {trace_id=\"")?.1.split_once('"')?.0));
            let id = id.ok_or(format!("no bucket of {metric} names a trace"))?;
            let known = spans(cluster).iter().any(|span| span.trace_id == id);
            known
                .then_some(())
                .ok_or(format!("nobody knows the trace {id} of {metric}"))
        });
    }
}

fn a_crash(cluster: &Cluster) {
    let pod = ready_pods(cluster).unwrap_or_default().remove(0);
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_string();
    let since = now();
    kill_process_of(&container_id(&pod));
    let trace = whole_trace(cluster, "container.died", since, |trace| {
        way(trace, "container.start", &["node-agent.sync", "container.died"])?;
        way(trace, "proxy.program", &programmed("container.died"))?;
        only(trace, "container.start", 1)
    });
    let root = root_of(&trace);
    assert_eq!(root.attribute("k8s.pod.name"), name);
    assert_eq!(root.attribute("process.exit.code"), "137");
    assert_eq!(
        root.links.len(),
        1,
        "it is linked to what the pod came from: {root:?}"
    );
    served_by_all(cluster, 1, 4);
    let shown = cluster.must(&["trace", &format!("pod/{name}")]);
    assert!(
        shown.contains(&root.trace_id) && shown.contains("container.died web  [node-agent]"),
        "{shown}"
    );
    // What the node does about it belongs to no other trace.
    let others: Vec<Span> = spans(cluster)
        .into_iter()
        .filter(|span| span.service == "gantry-node-agent" && span.attribute("k8s.pod.name") == name)
        .filter(|span| span.start_nanos >= since && span.trace_id != root.trace_id)
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

/// A container that its liveness probe condemns is stopped and started again.
fn an_unhealthy_container(cluster: &Cluster) {
    let since = now();
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: sick
      image: busybox:1
      command: [/bin/sleep, "3600"]
      livenessProbe: {exec: {command: [/bin/false]}, periodSeconds: 1, failureThreshold: 1}
"#,
    );
    eventually("the container was started again", SLOW, || {
        let pod = cluster.json(&["get", "pod", "sick"])?;
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
        (restarts >= Some(1))
            .then_some(())
            .ok_or(format!("{restarts:?} restarts"))
    });
    cluster.must(&["delete", "pod", "sick", "--wait=false"]);
    let begun = |spans: &[Span]| -> Result<Vec<Span>, String> {
        let root = spans
            .iter()
            .find(|span| span.name == "container.unhealthy" && span.start_nanos >= since)
            .ok_or("no root")?;
        let of_it = spans.iter().filter(|span| span.trace_id == root.trace_id);
        Ok(of_it.cloned().collect())
    };
    eventually("the trace of the first condemnation is whole", SLOW, || {
        let trace = begun(&spans(cluster))?;
        let faults = faults(&trace);
        if !faults.is_empty() {
            return Err(faults.join(", "));
        }
        for step in ["container.stop", "container.start", "status.write"] {
            way(&trace, step, &["node-agent.sync", "container.unhealthy"])?;
        }
        only(&trace, "container.start", 1)
    });
    let died = |span: &Span| span.name == "container.died" && span.attribute("k8s.pod.name") == "sick";
    assert!(
        !spans(cluster).iter().any(died),
        "what the agent stops does not die by itself"
    );
}

fn a_lost_node(cluster: &mut Cluster) {
    let since = now();
    let pods = ready_pods(cluster).unwrap_or_default();
    let lost = pods.iter().filter(|pod| pod["spec"]["nodeName"] == "n3").count();
    assert!(lost > 0, "pods are spread over the nodes");
    if let Err(error) = cluster.network.set_connected(3, false) {
        panic!("cutting node 3 off: {error:#}");
    }
    let trace = whole_trace(cluster, "node.lost", since, |trace| {
        let replaced = [
            "node-agent.sync",
            "scheduler.schedule",
            "replicaset.reconcile",
            "pod_eviction.reconcile",
            "node_lifecycle.reconcile",
            "node.lost",
        ];
        way(trace, "container.start", &replaced)?;
        way(trace, "proxy.program", &programmed("node.lost"))?;
        only(trace, "container.start", lost)
    });
    assert_eq!(root_of(&trace).attribute("gantry.key"), "n3");
    let shown = cluster.must(&["trace", "--id", &root_of(&trace).trace_id]);
    assert!(shown.contains("node.lost n3  [controller-manager]"), "{shown}");
    let since = now();
    if let Err(error) = cluster.network.set_connected(3, true) {
        panic!("joining node 3 again: {error:#}");
    }
    let trace = whole_trace(cluster, "node.ready", since, |trace| {
        way(trace, "store.txn", &["node_lifecycle.reconcile", "node.ready"])
    });
    assert_eq!(root_of(&trace).attribute("gantry.key"), "n3");
}

/// From the proxies' programming back to a pod's Ready, and to what began it.
fn programmed(root: &str) -> [&str; 5] {
    [
        "endpoint_slice.reconcile",
        "status.write",
        "container.probes",
        "container.start",
        root,
    ]
}

/// Waits until a root of this name that began after `since` has a trace in which nothing is wrong and `check` finds
/// what it looks for. Spans arrive in batches.
fn whole_trace(
    cluster: &Cluster,
    root: &str,
    since: u64,
    check: impl Fn(&[Span]) -> Result<(), String>,
) -> Vec<Span> {
    eventually(&format!("the trace of {root} is whole"), SLOW, || {
        let spans = spans(cluster);
        let is_root =
            |span: &&Span| span.parent_id.is_empty() && span.name == root && span.start_nanos >= since;
        let begun: Vec<&Span> = spans.iter().filter(is_root).collect();
        let [root] = begun[..] else {
            return Err(format!(
                "{} roots {root} among {} spans",
                begun.len(),
                spans.len()
            ));
        };
        let trace: Vec<Span> = spans
            .iter()
            .filter(|span| span.trace_id == root.trace_id)
            .cloned()
            .collect();
        let faults = faults(&trace);
        if !faults.is_empty() {
            return Err(faults.join(", "));
        }
        check(&trace).map(|()| trace)
    })
}

/// Whether a span of this name has these ancestors, in this order, nearest first, whoever else is between them.
fn way(trace: &[Span], name: &str, steps: &[&str]) -> Result<(), String> {
    let found = trace.iter().filter(|span| span.name == name);
    let ways: Vec<Vec<String>> = found.map(|span| ancestors(trace, span)).collect();
    let leads = |way: &Vec<String>| {
        let mut rest = way.iter();
        steps.iter().all(|step| rest.any(|name| name == step))
    };
    match ways.iter().any(leads) {
        true => Ok(()),
        false => Err(format!("no {name} comes from {steps:?}, only from {ways:?}")),
    }
}

fn only(trace: &[Span], name: &str, wanted: usize) -> Result<(), String> {
    let found = trace.iter().filter(|span| span.name == name).count();
    (found == wanted)
        .then_some(())
        .ok_or(format!("{found} spans {name}, {wanted} expected"))
}

fn root_of(trace: &[Span]) -> &Span {
    match trace.iter().find(|span| span.parent_id.is_empty()) {
        Some(root) => root,
        None => panic!("no root"),
    }
}

fn spans(cluster: &Cluster) -> Vec<Span> {
    cluster.collector.clone().unwrap_or_default().spans()
}

fn now() -> u64 {
    #[allow(
        clippy::disallowed_methods,
        reason = "spans are compared with when the test did something"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
