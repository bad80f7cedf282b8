use crate::apiserver::{Cluster, pod};
use serde_json::json;

#[tokio::test]
async fn waiting_ends_when_the_condition_has_come() {
    let cluster = Cluster::start("wait").await;
    cluster.apiserver.put(pod("p", "n1", json!({})));
    cluster
        .check_failure(
            "wait pod/p --for=condition=Ready --timeout=300ms",
            3,
            "error: timed out waiting for the condition on pods/p\n",
        )
        .await;
    cluster
        .check_failure(
            "wait pod/p --for=condition=Ready --timeout=0",
            3,
            "error: condition not met for pods/p\n",
        )
        .await;
    let apiserver = cluster.apiserver.clone();
    let mut ready = pod(
        "p",
        "n1",
        json!({"uid": apiserver.object("pods", "p")["metadata"]["uid"]}),
    );
    ready["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    let waiting = cluster.run("wait pods --all --for=condition=Ready");
    let (said, ()) = tokio::join!(waiting, async { apiserver.put(ready) });
    assert_eq!(
        (said.out.as_str(), said.code),
        ("pod/p condition met\n", 0),
        "{}",
        said.error
    );
    cluster
        .check(
            "wait pod p --for=jsonpath={.status.phase}=Running --for=condition=ready",
            "pod/p condition met\npod/p condition met\n",
        )
        .await;
}

#[tokio::test]
async fn creation_and_deletion_are_waited_for() {
    let cluster = Cluster::start("wait-create").await;
    let apiserver = cluster.apiserver.clone();
    cluster
        .check_failure(
            "wait pod/p --for=condition=Ready --timeout=1s",
            1,
            "Error from server (NotFound): pods \"p\" not found\n",
        )
        .await;
    cluster.check("wait pod/p --for=delete", "").await;
    let waiting = cluster.run("wait pod/p --for=create");
    let (said, ()) = tokio::join!(waiting, async { apiserver.put(pod("p", "n1", json!({}))) });
    assert_eq!(
        (said.out.as_str(), said.code),
        ("pod/p condition met\n", 0),
        "{}",
        said.error
    );
    let watches = async {
        apiserver.watched().await;
        apiserver.remove("pods", "p");
    };
    let (said, ()) = tokio::join!(cluster.run("wait pod/p --for=delete --timeout=30s"), watches);
    assert_eq!(
        (said.out.as_str(), said.code),
        ("pod/p condition met\n", 0),
        "{}",
        said.error
    );
    cluster
        .check_failure(
            "wait pods --all --for=condition=Ready",
            1,
            "error: no matching resources found\n",
        )
        .await;
    let said = cluster.run("wait pod/p --for=ready").await;
    assert!(
        said.error.contains("unrecognized condition: \"ready\""),
        "{}",
        said.error
    );
}
