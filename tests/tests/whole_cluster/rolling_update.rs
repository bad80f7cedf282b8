//! A rolling update that no client notices.

use crate::sample::{cluster_with_sample, ready_pods, served_by_all};
use gantry_tests::cluster::Options;
use gantry_tests::eventually;
use gantry_tests::load::{Connections, Load};
use std::time::Duration;

/// Requests that must have been made while pods were replaced.
const REQUESTS: usize = 5_000;

#[test]
fn no_request_fails_while_every_pod_is_replaced() {
    let cluster = cluster_with_sample(
        "roll",
        &Options {
            nodes: 3,
            ..Options::default()
        },
    );
    served_by_all(&cluster, 1, 3);
    let address = cluster.cluster_ip("web", 80);
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: idle}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers: [{name: c, image: 'busybox:1', command: [/bin/sleep, '3600']}]\n",
    );
    let pod_network = eventually("the idle pod runs", Duration::from_secs(60), || {
        pod_network(&cluster, "idle")
    });

    let pause = Duration::from_millis(2);
    let loads: Vec<(&str, Load)> = vec![
        (
            "a node, keep-alive",
            Load::start(cluster.node_network(1), address, Connections::KeepAlive, pause),
        ),
        (
            "a node, new connections",
            Load::start(cluster.node_network(2), address, Connections::New, pause),
        ),
        (
            "a pod, keep-alive",
            Load::start(pod_network.clone(), address, Connections::KeepAlive, pause),
        ),
        (
            "a pod, new connections",
            Load::start(pod_network, address, Connections::New, pause),
        ),
    ];
    for image in ["hello:2", "hello:1"] {
        cluster.must(&["set", "image", "deployment/web", &format!("web={image}")]);
        cluster.must(&["rollout", "status", "deployment/web", "--timeout=180s"]);
    }
    // The old pods end after the rollout is complete: the load goes on until they are gone.
    eventually("the old pods are gone", Duration::from_secs(60), || {
        let (all, ready) = (cluster.pods("app=web")?.len(), ready_pods(&cluster)?.len());
        (all == 3 && ready == 3)
            .then_some(())
            .ok_or(format!("{all} pods, {ready} ready"))
    });
    let mut requests = 0;
    for (source, load) in loads {
        let report = load.stop();
        assert_eq!(
            report.failures,
            Vec::<String>::new(),
            "from {source}, of {} requests",
            report.requests
        );
        requests += report.requests;
    }
    assert!(requests >= REQUESTS, "only {requests} requests were made");
}

/// The network namespace of a pod's first container, through its process.
fn pod_network(cluster: &gantry_tests::cluster::Cluster, name: &str) -> Result<String, String> {
    let pod = cluster.json(&["get", "pod", name])?;
    let ip = pod["status"]["podIP"]
        .as_str()
        .filter(|_| pod["status"]["phase"] == "Running");
    let ip = ip.ok_or_else(|| format!("it is {}", pod["status"]["phase"]))?;
    let folders =
        (1..=cluster.nodes.len()).filter_map(|node| std::fs::read_dir(cluster.pod_networks(node)).ok());
    for entry in folders.flatten().flatten() {
        let path = entry.path().to_string_lossy().into_owned();
        let output = std::process::Command::new("nsenter")
            .args([&format!("--net={path}"), "ip", "-4", "-o", "addr"])
            .output()
            .map_err(|error| error.to_string())?;
        if String::from_utf8_lossy(&output.stdout).contains(&format!(" {ip}/")) {
            return Ok(path);
        }
    }
    Err(format!("no network namespace has {ip}"))
}
