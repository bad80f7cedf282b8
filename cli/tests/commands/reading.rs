use crate::apiserver::{Cluster, pod};
use serde_json::json;

async fn cluster(name: &str) -> Cluster {
    let cluster = Cluster::start(name).await;
    for (name, priority) in [("a", 3), ("b", 1), ("c", 2)] {
        let mut pod = pod(name, "n1", json!({"uid": name}));
        pod["spec"]["priority"] = priority.into();
        cluster.apiserver.put(pod);
    }
    cluster
}

#[tokio::test]
async fn objects_are_printed_in_every_format_and_order() {
    let cluster = cluster("get").await;
    cluster
        .check("get pods -o name --chunk-size=1", "pod/a\npod/b\npod/c\n")
        .await;
    cluster
        .check(
            "get pods --sort-by=.spec.priority -o name",
            "pod/b\npod/c\npod/a\n",
        )
        .await;
    cluster
        .check("get pods -o jsonpath={.items[*].spec.priority}", "3 1 2")
        .await;
    cluster
        .check(
            "get pod a -o jsonpath={.metadata.name}{\"-\"}{.spec.nodeName}",
            "a-n1",
        )
        .await;
    cluster
        .check(
            "get pods -o custom-columns=NAME:.metadata.name,P:.spec.priority,X:.status.podIP --sort-by=spec.priority",
            "NAME   P     X\nb      1     <none>\nc      2     <none>\na      3     <none>\n",
        )
        .await;
    cluster
        .check_failure(
            "get pods --sort-by=.spec.nothing",
            1,
            "error: couldn't find any field with path \"{.spec.nothing}\" in the list of objects\n",
        )
        .await;
    let said = cluster.run("get pods -L app --no-headers --show-kind").await;
    let first = said
        .out
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>();
    assert_eq!(first, ["pod/a", "0/1", "Running", "0", "<unknown>", "web"]);
    cluster
        .check_failure(
            "get pods -o jsonpath={.items",
            1,
            "error: error parsing jsonpath {.items, unclosed action\n",
        )
        .await;
    cluster.check("get pod x --ignore-not-found", "").await;
    cluster
        .check_failure(
            "get pod x",
            1,
            "Error from server (NotFound): pods \"x\" not found\n",
        )
        .await;
}

#[tokio::test]
async fn a_mistyped_kind_format_or_option_is_answered_with_the_right_one() {
    let cluster = cluster("mistyped").await;
    for (line, hint) in [
        ("get pdos", "Did you mean \"pods\"?"),
        ("delete deploymet web", "Did you mean \"deployment\"?"),
        ("get pods -o yml", "Did you mean \"yaml\"?"),
        ("get pods --sort-bye=x", "'--sort-by'"),
        ("explain pods.sepc", "Did you mean \"spec\"?"),
        ("drian n1", "'drain'"),
    ] {
        let said = cluster.run(line).await;
        assert!(said.error.contains(hint), "{line}: {}", said.error);
        assert_eq!(said.code, 1, "{line}");
        assert!(!said.error.contains('\x1b'), "{line} is coloured in a pipe");
    }
}

#[tokio::test]
async fn a_mistyped_name_is_answered_with_the_right_one() {
    let cluster = cluster("mistyped-name").await;
    cluster.apiserver.put(pod("frontend", "n1", json!({})));
    cluster
        .apiserver
        .put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "production"}}));
    for line in [
        "get pod fronted",
        "delete pods fronted",
        "label pod/fronted a=b",
        "describe pod fronted",
        "wait pod/fronted --for=condition=Ready",
        "patch pod fronted -p {}",
    ] {
        let expected =
            "Error from server (NotFound): pods \"fronted\" not found\nDid you mean \"frontend\"?\n";
        cluster.check_failure(line, 1, expected).await;
    }
    let said = cluster.run("get pods -n prodution").await;
    assert_eq!(
        said.error,
        "No resources found in prodution namespace.\nThere is no namespace \"prodution\". Did you mean \"production\"?\n"
    );
}

#[tokio::test]
async fn a_cluster_that_is_not_there_ends_with_a_code_of_its_own() {
    let cluster = cluster("away").await;
    let config = "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n\
                  contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
    let path = cluster.file("away", config);
    let said = cluster.run(&format!("--kubeconfig {path} get pods")).await;
    assert_eq!(
        (said.code, said.error.as_str()),
        (
            4,
            "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n"
        )
    );
}
