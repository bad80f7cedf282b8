//! One apply is one trace, from the CLI to the pods' Ready and the proxy's programming.

use crate::sample::{SLOW, cluster_with_sample};
use gantry_tests::cluster::Options;
use gantry_tests::traces::{Span, ancestors, faults};
use gantry_tests::{cluster::Cluster, eventually};
use std::collections::HashSet;

#[test]
fn one_trace_leads_from_apply_to_ready_and_to_the_proxy() {
    let cluster = cluster_with_sample(
        "trace",
        &Options {
            traces: true,
            ..Options::default()
        },
    );
    let collector = cluster.collector.clone().unwrap_or_default();
    let root = eventually("the CLI's span arrives", SLOW, || {
        let spans = collector.spans();
        let root = spans
            .iter()
            .find(|span| span.parent_id.is_empty() && span.name == "gantry apply");
        root.cloned().ok_or(format!("{} spans, no root", spans.len()))
    });
    // Spans arrive in batches: look until nothing is missing any more.
    let trace = eventually("the trace is whole", SLOW, || {
        let trace = collector.trace(&root.trace_id);
        check(&trace).map(|()| trace)
    });
    assert!(
        trace.iter().any(|span| span.span_id == root.span_id),
        "the root is the command"
    );
    heartbeats_have_no_trace(&cluster, &root.trace_id);
    the_cluster_itself_shows_the_trace(&cluster, &root.trace_id);
}

fn the_cluster_itself_shows_the_trace(cluster: &Cluster, apply: &str) {
    let shown = cluster.gantry(&["trace", "deployment/web"]);
    assert!(shown.ok && shown.stderr.is_empty(), "{shown:?}");
    assert!(
        shown.stdout.contains(apply),
        "the trace of the last change is the apply's: {shown:?}"
    );
    for step in [
        "gantry apply  [cli]",
        "Resources/Create  [apiserver]",
        "store.txn",
        "deployment.reconcile default/web  [controller-manager]",
        "scheduler.schedule",
        "sandbox.create",
        "container.start",
        "proxy.program",
        "critical path",
    ] {
        assert!(
            shown.stdout.contains(step),
            "{step:?} is not in: {}",
            shown.stdout
        );
    }
    let by_id = cluster.must(&["trace", "--id", apply]);
    assert!(by_id.contains("container.start"), "{by_id}");
    let unknown = cluster.gantry(&["trace", "deployment/none"]);
    assert!(
        !unknown.ok && unknown.stderr.contains("(NotFound)"),
        "{unknown:?}"
    );
}

/// What the trace of the sample must have: services, and the way from each late span back to the root.
fn check(trace: &[Span]) -> Result<(), String> {
    let services = [
        "gantry-cli",
        "gantry-apiserver",
        "gantry-controller-manager",
        "gantry-scheduler",
        "gantry-node-agent",
        "gantry-proxy",
    ];
    for service in services {
        if !trace.iter().any(|span| span.service == service) {
            return Err(format!("nothing of {service}"));
        }
    }
    let faults = faults(trace);
    if !faults.is_empty() {
        return Err(faults.join(", "));
    }
    let count = |service: &str, name: &str| {
        trace
            .iter()
            .filter(|span| span.service == service && span.name.starts_with(name))
            .count()
    };
    for (service, name, at_least) in [
        ("gantry-scheduler", "scheduler.schedule", 3),
        ("gantry-node-agent", "sandbox.create", 3),
        ("gantry-node-agent", "container.start", 3),
        ("gantry-node-agent", "image.ensure", 3),
        // Of the plugins bridge and portmap.
        ("gantry-node-agent", "cni.add", 6),
        ("gantry-node-agent", "container.probes", 3),
        ("gantry-proxy", "proxy.program", 1),
    ] {
        let found = count(service, name);
        if found < at_least {
            return Err(format!("{found} spans {name} of {service}, {at_least} expected"));
        }
    }
    for (name, attribute, wanted) in [
        ("etcd transaction", "db.system.name", "etcd"),
        ("etcd transaction", "server.port", "2379"),
        ("gantry.api.v1.Resources/Create", "rpc.system.name", "grpc"),
        ("gantry.api.v1.Resources/Create", "rpc.response.status_code", "OK"),
        ("scheduler.schedule", "k8s.namespace.name", "default"),
        ("node-agent.sync", "k8s.node.name", "n1"),
        ("container.start", "k8s.container.name", "web"),
        ("image.ensure", "container.image.name", "hello:1"),
    ] {
        for span in trace.iter().filter(|span| span.name == name) {
            if span.attribute(attribute) != wanted {
                return Err(format!("{attribute} of {name} is not {wanted:?}: {span:?}"));
            }
        }
    }
    for plugin in trace.iter().filter(|span| span.name == "cni.add") {
        let way = ancestors(trace, plugin);
        if way.first().is_none_or(|parent| parent != "sandbox.create") {
            return Err(format!("a CNI plugin ran outside of a sandbox's start: {way:?}"));
        }
    }
    for start in trace.iter().filter(|span| span.name == "container.start") {
        let way = ancestors(trace, start);
        for step in [
            "node-agent.sync",
            "scheduler.schedule",
            "replicaset.reconcile",
            "deployment.reconcile",
            "gantry apply",
        ] {
            if !way.iter().any(|name| name == step) {
                return Err(format!("{step} is not on the way to container.start: {way:?}"));
            }
        }
    }
    // The pods' Ready is what the endpoints' controller acts on, and the proxy on what that one writes.
    let programmed = trace.iter().filter(|span| span.name == "proxy.program");
    let ways: Vec<Vec<String>> = programmed.map(|span| ancestors(trace, span)).collect();
    let whole = |way: &Vec<String>| {
        [
            "endpoint_slice.reconcile",
            "status.write",
            "container.probes",
            "container.start",
            "gantry apply",
        ]
        .iter()
        .all(|step| way.iter().any(|name| name == step))
    };
    if !ways.iter().any(whole) {
        return Err(format!("no way from the proxy to a pod's status: {ways:?}"));
    }
    Ok(())
}

fn heartbeats_have_no_trace(cluster: &Cluster, apply: &str) {
    let spans = cluster.collector.clone().unwrap_or_default().spans();
    // That its node turned ready is nobody's wish and no heartbeat.
    let turns = ["node.not_ready", "node.ready"];
    let begins = |span: &Span| span.service == "gantry-cli" || turns.contains(&span.name.as_str());
    let begun: HashSet<&str> = spans
        .iter()
        .filter(|span| begins(span))
        .map(|span| span.trace_id.as_str())
        .collect();
    let strangers: Vec<&Span> = spans
        .iter()
        .filter(|span| span.trace_id != apply && !begun.contains(span.trace_id.as_str()))
        .collect();
    assert!(
        strangers.is_empty(),
        "traces that no command began: {strangers:?}"
    );
}
