//! examples/web.yaml, applied and reached.

use crate::SLOW;
use crate::administrator::Administrator;
use crate::requests::Requests;
use gantry_tests::cluster::{condition, items};
use gantry_tests::docker::Engine;
use gantry_tests::eventually;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

pub const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// How `gantry trace` names the processes that take part, and what is done outside of them.
const TRACED: [&str; 6] = [
    "[apiserver]",
    "[controller-manager]",
    "[scheduler]",
    "[node-agent]",
    "[proxy]",
    "cni.add bridge",
];

pub fn is_applied_from_its_container(engine: &Engine) {
    let printed = engine.must_compose(&["exec", "-T", "cli", "gantry", "apply", "-f", "examples/web.yaml"]);
    assert!(printed.contains("deployment.apps/web created"), "{printed}");
    let status = [
        "exec",
        "-T",
        "cli",
        "gantry",
        "rollout",
        "status",
        "deployment/web",
        "--timeout=90s",
    ];
    engine.must_compose(&status);
}

/// Every ready pod answers through the Service, from each node.
pub fn is_served_from_every_node(engine: &Engine, administrator: &Administrator) {
    let address = address(administrator);
    let wanted: BTreeSet<String> = ready_pods(administrator)
        .unwrap_or_default()
        .iter()
        .map(name)
        .collect();
    assert_eq!(wanted.len(), 3);
    for node in NODES {
        let network = engine.network_of(node);
        eventually(&format!("all three pods answer {node}"), SLOW, || {
            let requests = Requests::start(network.clone(), address);
            eventually("twelve requests were made", SLOW, || {
                let count = requests.count();
                (count >= 12).then_some(()).ok_or(format!("{count} were"))
            });
            let outcomes = requests.stop().into_iter().map(|attempt| attempt.outcome);
            let answered = outcomes.collect::<Result<BTreeSet<String>, String>>()?;
            (answered == wanted)
                .then_some(())
                .ok_or(format!("{answered:?} of {wanted:?}"))
        });
    }
}

/// Without Jaeger: every process on every node is asked for what it remembers.
pub fn has_its_trace_in_the_cluster(administrator: &Administrator) {
    eventually("the sample's trace leads to the proxies", SLOW, || {
        let trace = administrator.gantry(&["trace", "deployment/web"])?;
        let missing = TRACED.iter().find(|process| !trace.contains(**process));
        missing.map_or(Ok(()), |process| Err(format!("nothing of {process} in {trace}")))
    });
}

#[track_caller]
pub fn address(administrator: &Administrator) -> SocketAddr {
    let service = administrator.json(&["get", "service", "web"]).unwrap_or_default();
    let found = service["spec"]["clusterIP"]
        .as_str()
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    match found {
        Some(ip) => SocketAddr::new(ip, 80),
        None => panic!("service web has no cluster IP: {service}"),
    }
}

/// The pods behind the sample that are Ready and not on their way out.
pub fn ready_pods(administrator: &Administrator) -> Result<Vec<Value>, String> {
    let pods = administrator.json(&["get", "pods", "-l", "app=web"])?;
    let ready =
        |pod: &Value| condition(pod, "Ready") == "True" && pod["metadata"]["deletionTimestamp"].is_null();
    Ok(items(&pods).into_iter().filter(ready).collect())
}

pub fn name(object: &Value) -> String {
    object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_string()
}

pub fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}
