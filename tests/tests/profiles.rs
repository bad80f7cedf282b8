//! Several profiles in one scheduler, with programs that are asked, as processes on a real etcd. Needs root.

use gantry_proto::scheduler::v1::plugin_server::{Plugin, PluginServer};
use gantry_proto::scheduler::v1::{FilterReply, FilterRequest, ScoreReply, ScoreRequest};
use gantry_tests::cluster::{Cluster, Options, items};
use gantry_tests::eventually;
use gantry_tests::network::CONTROL_PLANE;
use std::net::TcpListener;
use std::time::Duration;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// For programs that are not optimised, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);
const CHOOSY_PORT: u16 = 7070;
const HUNG_PORT: u16 = 7071;

#[test]
fn programs_choose_for_their_own_profile_and_one_that_hangs_holds_up_no_other() {
    let configuration = std::env::temp_dir().join(format!("gt{}-profiles.yaml", std::process::id()));
    std::fs::write(&configuration, written()).unwrap();
    let argument = format!("--config={}", configuration.display());
    let options = Options {
        nodes: 0,
        arguments: vec![("gantry-scheduler", argument.leak())],
        ..Options::default()
    };
    let mut cluster = Cluster::start("profiles", &options).unwrap();
    // Nobody runs the nodes below, and nobody is to say so.
    cluster.controller_manager.stop();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let choosy = Server::builder().add_service(PluginServer::new(Choosy));
    runtime.spawn(choosy.serve((CONTROL_PLANE, CHOOSY_PORT).into()));
    // Connections are accepted by the kernel, and never answered.
    let _hung = TcpListener::bind((CONTROL_PLANE, HUNG_PORT)).unwrap();
    for name in ["n1", "n2", "n3"] {
        add_node(&cluster, name);
    }

    let hung = ["h1", "h2", "h3", "h4", "h5", "h6"];
    hung.iter().for_each(|name| add_pod(&cluster, name, "hung"));
    add_pod(&cluster, "chosen", "choosy");
    add_pod(&cluster, "plain", "default-scheduler");
    add_pod(&cluster, "foreign", "nobody");
    eventually("the program's choice is kept", LIMIT, || {
        is_on(&cluster, "chosen", "n2")
    });
    eventually("other profiles go on", LIMIT, || has_node(&cluster, "plain"));
    for name in hung {
        eventually("it is said who hangs", LIMIT, || {
            is_told(&cluster, name, "plugin \"Hung\"")
        });
        assert!(has_node(&cluster, name).is_err(), "{name} waits for the program");
    }
    let why = cluster.must(&["why", "pod/foreign"]);
    assert!(why.contains("asks for scheduler \"nobody\""), "{why}");

    add_pod(&cluster, "unwanted", "choosy");
    let expected = "0/3 nodes are available: 3 node(s) are not for the unwanted.";
    eventually("it is told in its own words", LIMIT, || {
        is_told(&cluster, "unwanted", expected)
    });
    let why = cluster.must(&["why", "pod/unwanted"]);
    assert!(why.contains("plugin \"Choosy\""), "{why}");
    let _ = std::fs::remove_file(configuration);
}

fn written() -> String {
    let profile = |scheduler: &str, plugin: &str, port: u16| {
        format!(
            "
- schedulerName: {scheduler}
  plugins: {{multiPoint: {{enabled: [{{name: {plugin}, weight: 100}}]}}}}
  pluginConfig:
  - name: {plugin}
    args: {{address: \"http://{CONTROL_PLANE}:{port}\", timeout: 2s}}"
        )
    };
    format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n\
         - schedulerName: default-scheduler{}{}\n",
        profile("choosy", "Choosy", CHOOSY_PORT),
        profile("hung", "Hung", HUNG_PORT)
    )
}

/// Wants n2, not n1, and one pod nowhere.
struct Choosy;

#[tonic::async_trait]
impl Plugin for Choosy {
    async fn filter(&self, request: Request<FilterRequest>) -> Result<Response<FilterReply>, Status> {
        let request = request.into_inner();
        let pod = request.pod.unwrap_or_default();
        let is_unwanted = pod.metadata().name == "unwanted";
        let rejected = request
            .node_names
            .into_iter()
            .filter(|name| is_unwanted || name == "n1");
        let reason = if is_unwanted {
            "node(s) are not for the unwanted"
        } else {
            "node(s) are not liked"
        };
        Ok(Response::new(FilterReply {
            rejected: rejected.map(|name| (name, reason.to_string())).collect(),
            ..FilterReply::default()
        }))
    }

    async fn score(&self, _: Request<ScoreRequest>) -> Result<Response<ScoreReply>, Status> {
        let scores = [("n2".to_string(), 100)].into();
        Ok(Response::new(ScoreReply { scores }))
    }
}

fn add_node(cluster: &Cluster, name: &str) {
    cluster.apply(&format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}}}"
    ));
    let room = r#"{"cpu": "4", "memory": "4Gi", "pods": "20"}"#;
    let status = format!(r#"{{"status": {{"capacity": {room}, "allocatable": {room}}}}}"#);
    cluster.must(&[
        "patch",
        "node",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ]);
}

fn add_pod(cluster: &Cluster, name: &str, scheduler: &str) {
    cluster.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{schedulerName: {scheduler}, \
         containers: [{{name: c, image: busybox}}]}}}}"
    ));
}

fn node_of(cluster: &Cluster, pod: &str) -> Result<String, String> {
    let pod = cluster.json(&["get", "pod", pod])?;
    Ok(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_string())
}

fn has_node(cluster: &Cluster, pod: &str) -> Result<(), String> {
    match node_of(cluster, pod)?.as_str() {
        "" => Err(format!("{pod} has no node")),
        _ => Ok(()),
    }
}

fn is_on(cluster: &Cluster, pod: &str, node: &str) -> Result<(), String> {
    match node_of(cluster, pod)? {
        on if on == node => Ok(()),
        other => Err(format!("{pod} is on {other:?}")),
    }
}

/// Whether an Event about a pending pod begins so.
fn is_told(cluster: &Cluster, pod: &str, words: &str) -> Result<(), String> {
    let events = cluster.json(&["get", "events"])?;
    let told: Vec<String> = items(&events)
        .iter()
        .filter(|event| event["involvedObject"]["name"] == pod && event["reason"] == "FailedScheduling")
        .filter_map(|event| event["message"].as_str().map(String::from))
        .collect();
    match told.iter().any(|message| message.starts_with(words)) {
        true => Ok(()),
        false => Err(format!("{told:?}")),
    }
}
