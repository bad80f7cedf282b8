//! Two of each component of the control plane: one leads, the other takes over, and what is late is refused.

use crate::sample::{SLOW, cluster_with_sample, names, ready_pods, served_by_all};
use gantry_tests::cluster::{Cluster, Options};
use gantry_tests::eventually;
use gantry_tests::process::Process;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// A Lease lasts ten seconds, candidates look every second, and caches fill in one more; the rest is for two busy
/// cores.
const TAKEOVER: Duration = Duration::from_secs(30);

#[test]
fn another_takes_over_and_a_late_leader_does_nothing_twice() {
    let options = Options {
        standby: true,
        ..Options::default()
    };
    let mut cluster = cluster_with_sample("lead", &options);
    served_by_all(&cluster, 1, 3);
    a_paused_controller_manager_is_replaced_and_fenced_off(&cluster);
    a_killed_scheduler_is_replaced(&mut cluster);
    a_killed_apiserver_is_passed_over(&mut cluster);
}

fn a_paused_controller_manager_is_replaced_and_fenced_off(cluster: &Cluster) {
    let lease = "gantry-controller-manager";
    let first = holder(cluster, lease).unwrap_or_default();
    let paused = leading(
        &cluster.controller_manager,
        standby(cluster, lease),
        &first,
        "10257",
    );
    paused.signal(Signal::SIGSTOP);
    // What the paused leader will find when it goes on, and would act on.
    cluster.must(&["scale", "deployment/web", "--replicas=5"]);
    eventually("another leads", TAKEOVER, || {
        let now = holder(cluster, lease)?;
        (now != first && !now.is_empty()).then_some(()).ok_or(now)
    });
    served_by_all(cluster, 1, 5);
    let made = all_made(cluster);
    paused.signal(Signal::SIGCONT);
    eventually("the late leader has learned that it is not", SLOW, || {
        let log = paused.log_tail(200);
        log.contains("another leads now").then_some(()).ok_or(log)
    });
    served_by_all(cluster, 1, 5);
    assert_eq!(all_made(cluster), made, "nothing was made twice");
    let revisions = cluster.json(&["get", "replicasets"]).unwrap_or_default();
    assert_eq!(gantry_tests::cluster::items(&revisions).len(), 1, "{revisions}");
}

fn a_killed_scheduler_is_replaced(cluster: &mut Cluster) {
    let lease = "gantry-scheduler";
    let first = holder(cluster, lease).unwrap_or_default();
    let is_first = first.contains("10.99.0.1:");
    match (is_first, &mut cluster.standby) {
        (false, Some(standby)) => standby.scheduler.kill(),
        _ => cluster.scheduler.kill(),
    }
    cluster.must(&["scale", "deployment/web", "--replicas=6"]);
    served_by_all(cluster, 1, 6);
    assert_ne!(holder(cluster, lease).unwrap_or_default(), first);
    // The one that leads now is asked.
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: vast}\nspec:\n  containers: [{name: c, image: 'busybox:1', resources: {requests: {cpu: '1000'}}}]\n",
    );
    eventually("the new leader explains", SLOW, || {
        let answer = cluster.gantry(&["why", "pod/vast"]);
        let told = answer.stdout.contains("Insufficient cpu");
        told.then_some(()).ok_or(format!("{answer:?}"))
    });
    cluster.must(&["delete", "pod", "vast"]);
}

fn a_killed_apiserver_is_passed_over(cluster: &mut Cluster) {
    cluster.apiserver.kill();
    eventually("clients go to the other apiserver", TAKEOVER, || {
        let scaled = cluster.gantry(&["scale", "deployment/web", "--replicas=4"]);
        scaled.ok.then_some(()).ok_or(scaled.stderr)
    });
    served_by_all(cluster, 1, 4);
}

/// Who holds a Lease of the control plane.
fn holder(cluster: &Cluster, lease: &str) -> Result<String, String> {
    let lease = cluster.json(&["get", "lease", lease, "-n", "kube-system"])?;
    Ok(lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_string())
}

fn standby<'a>(cluster: &'a Cluster, lease: &str) -> &'a Process {
    match (&cluster.standby, lease) {
        (Some(standby), "gantry-scheduler") => &standby.scheduler,
        (Some(standby), _) => &standby.controller_manager,
        (None, _) => panic!("the cluster has no second control plane"),
    }
}

/// Which of the two is named by the Lease's holder, `NAME@ADDRESS:PORT`.
fn leading<'a>(first: &'a Process, second: &'a Process, holder: &str, port: &str) -> &'a Process {
    match holder {
        holder if holder.ends_with(&format!("@10.99.0.1:{port}")) => first,
        holder if holder.ends_with(&format!("@10.99.0.2:{port}")) => second,
        holder => panic!("{holder:?} is neither of the two"),
    }
}

/// The pods that there are, and those that Events tell were made.
fn all_made(cluster: &Cluster) -> (BTreeSet<String>, BTreeSet<String>) {
    let events = cluster.json(&["get", "events"]).unwrap_or_default();
    let told = gantry_tests::cluster::items(&events)
        .into_iter()
        .filter(|event| event["reason"] == "SuccessfulCreate")
        .filter_map(|event: Value| event["message"].as_str().map(str::to_string));
    (names(&ready_pods(cluster).unwrap_or_default()), told.collect())
}
