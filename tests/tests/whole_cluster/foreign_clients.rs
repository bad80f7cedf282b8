//! gRPC clients that we did not write, and that have no .proto of ours.

use crate::sample::SLOW;
use gantry_tests::cluster::{Cluster, Options, root};
use gantry_tests::eventually;
use serde_json::{Value, json};
use std::process::{Command, Output};

const ADDRESS: &str = "10.99.0.1:6443";

#[test]
fn clients_without_our_schema_create_read_and_watch() {
    let cluster = match Cluster::start("foreign", &Options::default()) {
        Ok(cluster) => cluster,
        Err(error) => panic!("the cluster did not start: {error:#}"),
    };
    grpcurl_works(&cluster);
    python_works(&cluster);
}

fn grpcurl_works(cluster: &Cluster) {
    let services = grpcurl(cluster, &["list"]);
    for service in [
        "gantry.api.v1.Resources",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(
            services.lines().any(|line| line == service),
            "{service} is not in {services}"
        );
    }
    let described = grpcurl(cluster, &["describe", "gantry.api.v1.CreateRequest"]);
    assert!(described.contains("message CreateRequest"), "{described}");
    let health: Value = parse(&grpcurl(cluster, &["call", "{}", "grpc.health.v1.Health/Check"]));
    assert_eq!(health["status"], "SERVING");

    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "curled", "namespace": "default"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "curled"}},
            "template": {
                "metadata": {"labels": {"app": "curled"}},
                "spec": {"containers": [{"name": "c", "image": "hello:1"}]},
            },
        },
    });
    let create = json!({"object": {"json": deployment}}).to_string();
    let created = parse(&grpcurl(
        cluster,
        &["call", &create, "gantry.api.v1.Resources/Create"],
    ));
    assert_eq!(created["object"]["json"]["kind"], "Deployment", "{created}");
    let get =
        r#"{"resource": "deployments.apps", "namespace": "default", "name": "curled", "view": "VIEW_JSON"}"#;
    let found = parse(&grpcurl(cluster, &["call", get, "gantry.api.v1.Resources/Get"]));
    let object = &found["object"]["json"];
    assert_eq!(
        object["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%",
        "{object}"
    );
    assert_eq!(object["metadata"]["generation"], 1, "{object}");

    eventually("the controller's work is seen through grpcurl", SLOW, || {
        let found = parse(&grpcurl(cluster, &["call", get, "gantry.api.v1.Resources/Get"]));
        let observed = &found["object"]["json"]["status"]["observedGeneration"];
        (*observed == 1)
            .then_some(())
            .ok_or(format!("observedGeneration is {observed}"))
    });
    let watch = r#"{"resource": "deployments.apps", "view": "VIEW_JSON", "timeoutSeconds": "1"}"#;
    let events = grpcurl(cluster, &["call", watch, "gantry.api.v1.Resources/Watch"]);
    assert!(
        events.contains("\"ADDED\"") && events.contains("\"curled\""),
        "{events}"
    );
}

fn python_works(cluster: &Cluster) {
    let python = root().join("target/foreign/venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run scripts/foreign-clients.sh",
        python.display()
    );
    let output = Command::new(python)
        .arg(root().join("tests/foreign/python/session.py"))
        .args([ADDRESS.as_ref(), cluster.folder().join("pki").as_os_str()])
        .output();
    let printed = printed(output);
    assert_eq!(printed.trim(), "ok");
}

/// `list`, `describe SYMBOL`, or `call JSON METHOD`.
#[track_caller]
fn grpcurl(cluster: &Cluster, arguments: &[&str]) -> String {
    let program = root().join("target/foreign/grpcurl");
    assert!(
        program.exists(),
        "{} is missing: run scripts/foreign-clients.sh",
        program.display()
    );
    let pki = cluster.folder().join("pki");
    let mut command = Command::new(program);
    command.arg("-cacert").arg(pki.join("ca.crt"));
    command
        .arg("-cert")
        .arg(pki.join("admin/tls.crt"))
        .arg("-key")
        .arg(pki.join("admin/tls.key"));
    match arguments {
        ["call", content, method] => command.args(["-d", content, ADDRESS, method]),
        other => command.arg(ADDRESS).args(other),
    };
    printed(command.output())
}

#[track_caller]
fn printed(output: std::io::Result<Output>) -> String {
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => panic!(
            "it failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("it did not start: {error}"),
    }
}

#[track_caller]
fn parse(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => panic!("{error}: {text}"),
    }
}
