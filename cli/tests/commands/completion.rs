use crate::apiserver::{Cluster, pod};
use serde_json::json;

#[tokio::test]
async fn names_come_from_the_cluster() {
    let cluster = Cluster::start("complete").await;
    for name in ["web-1", "web-2", "db"] {
        cluster.apiserver.put(pod(name, "n1", json!({})));
    }
    // The last word is begun and empty, which no line of words can say.
    let complete = async |words: &[&str]| {
        let mut command = cluster.command("__complete --");
        command.args(words);
        cluster.run_with(&mut command, "").await.out
    };
    assert_eq!(complete(&["get", "pods", "we"]).await, "web-1\nweb-2\n:4\n");
    assert_eq!(complete(&["get", "pods", "web-1", "we"]).await, "web-2\n:4\n");
    assert_eq!(
        complete(&["delete", "pod/"]).await,
        "pod/db\npod/web-1\npod/web-2\n:4\n"
    );
    assert_eq!(complete(&["get", "pods", "-n", "other", ""]).await, ":4\n");
    assert_eq!(complete(&["logs", "db", "-c", ""]).await, "main\ti:1\n:4\n");
    assert_eq!(complete(&["apply", "-f", ""]).await, ":0\n");
}

#[tokio::test]
async fn a_cluster_that_is_away_keeps_nobody_waiting() {
    let cluster = Cluster::start("complete-away").await;
    // A server that takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let config = format!(
        "clusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
    );
    let path = cluster.file("silent", &config);
    let said = cluster
        .run(&format!("__complete -- --kubeconfig={path} get pods w"))
        .await;
    assert_eq!(
        (said.out.as_str(), said.error.as_str(), said.code),
        (":4\n", "", 0)
    );
}

#[tokio::test]
async fn bash_offers_what_the_program_says() {
    let cluster = Cluster::start("complete-bash").await;
    cluster.apiserver.put(pod("web-1", "n1", json!({})));
    let program = env!("CARGO_BIN_EXE_gantry");
    let config = cluster.folder.join("config");
    let script = format!(
        "source <({program} completion bash)\nexport GANTRY_CONFIG={}\noffer() {{ COMP_LINE=$1; COMP_POINT=${{#1}}; shift; \
         COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); __gantry_complete; echo \"${{COMPREPLY[@]}}\"; }}\n\
         offer '{program} get pods ' {program} get pods ''\noffer '{program} get pods --output=ya' {program} get pods --output \
         = ya\noffer '{program} rollout un' {program} rollout un\n",
        config.display()
    );
    let mut command = tokio::process::Command::new("bash");
    command
        .args(["--norc", "-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let said = cluster.run_with(&mut command, "").await;
    assert_eq!(said.out, "web-1\nyaml\nundo\n", "{}", said.error);
}
