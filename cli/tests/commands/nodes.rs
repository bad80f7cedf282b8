use crate::apiserver::{Cluster, pod};
use serde_json::{Value, json};

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"disk": "ssd"}}, "spec": {}})
}

fn owned() -> Value {
    json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1",
        "controller": true}]})
}

#[tokio::test]
async fn nodes_are_cordoned_by_name_and_by_selector() {
    let cluster = Cluster::start("cordon").await;
    cluster.apiserver.put(node("n1"));
    cluster.apiserver.put(node("n2"));
    cluster
        .check("cordon n1 --dry-run=client", "node/n1 cordoned (dry run)\n")
        .await;
    cluster
        .check("cordon node/n1 n2", "node/n1 cordoned\nnode/n2 cordoned\n")
        .await;
    cluster
        .check(
            "cordon -l disk=ssd",
            "node/n1 already cordoned\nnode/n2 already cordoned\n",
        )
        .await;
    cluster.check("uncordon n1", "node/n1 uncordoned\n").await;
    cluster
        .check_failure(
            "cordon n9",
            1,
            "Error from server (NotFound): nodes \"n9\" not found\n",
        )
        .await;
}

#[tokio::test]
async fn a_drain_waits_for_disruption_budgets_and_leaves_nothing_behind() {
    let cluster = Cluster::start("drain").await;
    cluster.apiserver.put(node("n1"));
    cluster.apiserver.put(pod("a", "n1", owned()));
    cluster.apiserver.put(pod("elsewhere", "n2", owned()));
    cluster.apiserver.refuse_evictions(1);
    let said = cluster.run("drain n1").await;
    assert_eq!(said.code, 0, "{}", said.error);
    assert_eq!(
        said.out,
        "node/n1 cordoned\nevicting pod default/a\nevicting pod default/a\npod/a evicted\nnode/n1 drained\n"
    );
    assert_eq!(
        said.error,
        "error when evicting pods/\"a\" -n \"default\" (will retry after 5s): Cannot evict pod as it would violate the \
         pod's disruption budget.\n"
    );
    assert_eq!(
        cluster.apiserver.object("pods", "elsewhere")["metadata"]["name"],
        "elsewhere"
    );
}

#[tokio::test]
async fn pods_that_would_be_lost_keep_a_node_from_being_drained() {
    let cluster = Cluster::start("drain-refused").await;
    cluster.apiserver.put(node("n1"));
    cluster.apiserver.put(pod("bare", "n1", json!({})));
    let refusal = "cannot delete Pods that declare no controller (use --force to override): default/bare";
    let said = cluster.run("drain n1").await;
    assert_eq!(said.code, 1);
    assert_eq!(
        said.error,
        format!(
            "error: unable to drain node \"n1\" due to error: {refusal}, continuing command...\nThere are pending nodes to \
             be drained:\n n1\nerror: {refusal}\n"
        )
    );
    let said = cluster.run("drain n1 --force --dry-run=client").await;
    assert_eq!(
        said.out,
        "node/n1 already cordoned (dry run)\nevicting pod default/bare (dry run)\nnode/n1 drained (dry run)\n"
    );
    let said = cluster
        .run("drain n1 --force --disable-eviction --grace-period=0")
        .await;
    assert_eq!(
        said.out, "node/n1 already cordoned\npod/bare deleted\nnode/n1 drained\n",
        "{}",
        said.error
    );
    assert_eq!(
        said.error,
        "Warning: deleting Pods that declare no controller: default/bare\n"
    );
}

#[tokio::test]
async fn a_drain_that_takes_too_long_says_what_is_left() {
    let cluster = Cluster::start("drain-limit").await;
    cluster.apiserver.put(node("n1"));
    cluster.apiserver.put(pod("a", "n1", owned()));
    let said = cluster.run("drain n1 --disable-eviction --timeout=300ms").await;
    assert_eq!(said.code, 3, "{}", said.error);
    assert!(
        said.error.contains("global timeout reached: 300ms"),
        "{}",
        said.error
    );
    assert!(
        said.error
            .contains("There are pending pods in node \"n1\" when an error occurred:"),
        "{}",
        said.error
    );
    assert!(said.error.contains("\npod/a\n"), "{}", said.error);
}

#[tokio::test]
async fn taints_are_set_and_removed_whoever_else_writes() {
    let cluster = Cluster::start("taint").await;
    cluster.apiserver.put(node("n1"));
    cluster.apiserver.refuse_patches(1);
    cluster
        .check("taint nodes n1 dedicated=db:NoSchedule", "node/n1 tainted\n")
        .await;
    assert_eq!(
        cluster.apiserver.object("nodes", "n1")["spec"]["taints"],
        json!([{"key": "dedicated", "value": "db", "effect": "NoSchedule"}])
    );
    cluster
        .check("taint nodes --all dedicated-", "node/n1 untainted\n")
        .await;
    assert_eq!(
        cluster.apiserver.object("nodes", "n1")["spec"]["taints"],
        Value::Null
    );
    cluster
        .check_failure("taint node n1 none-", 1, "error: taint \"none\" not found\n")
        .await;
    cluster
        .check_failure(
            "taint pods n1 a:NoExecute",
            1,
            "error: invalid resource type pods, only node types are supported\n",
        )
        .await;
}
