use crate::apiserver::{Cluster, pod};
use serde_json::json;

#[tokio::test]
async fn objects_are_deleted_by_name_by_type_by_selector_and_by_file() {
    let cluster = Cluster::start("delete").await;
    let config_map = |name: &str, app: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": app}}});
    let fill = || {
        for (name, app) in [("a", "web"), ("b", "web"), ("c", "db")] {
            cluster.apiserver.put(config_map(name, app));
        }
    };
    fill();
    cluster
        .check("delete cm a", "configmap \"a\" deleted from default namespace\n")
        .await;
    cluster
        .check(
            "delete configmaps -l app=web",
            "configmap \"b\" deleted from default namespace\n",
        )
        .await;
    cluster
        .check("delete cm,secrets --all -o name", "configmap/c\n")
        .await;
    cluster.check("delete cm --all", "No resources found\n").await;
    fill();
    let path = cluster.file("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    cluster
        .check(
            &format!("delete -f {path} --dry-run=server"),
            "configmap \"a\" deleted from default namespace (server dry run)\n",
        )
        .await;
    cluster
        .check(
            &format!("delete -f {path}"),
            "configmap \"a\" deleted from default namespace\n",
        )
        .await;
    cluster
        .check_failure(
            &format!("delete -f {path}"),
            1,
            &format!(
                "Error from server (NotFound): error when deleting \"{path}\": configmaps \"a\" not found\n"
            ),
        )
        .await;
    cluster
        .check(
            &format!("delete -f {path} --ignore-not-found"),
            "No resources found\n",
        )
        .await;
    cluster
        .check_failure(
            "delete cm x",
            1,
            "Error from server (NotFound): configmaps \"x\" not found\n",
        )
        .await;
    cluster
        .check_failure(
            "delete cm --all -l app=web",
            1,
            "error: cannot set --all and --selector at the same time\n",
        )
        .await;
}

#[tokio::test]
async fn grace_and_cascade_are_sent_as_they_are_given() {
    let cluster = Cluster::start("grace").await;
    let deployment = || json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    cluster.apiserver.put(deployment());
    cluster
        .check(
            "delete deploy/web --cascade=orphan",
            "deployment.apps \"web\" deleted from default namespace\n",
        )
        .await;
    cluster.apiserver.put(pod("p", "n1", json!({})));
    cluster
        .check(
            "delete pod p --wait=false --now",
            "pod \"p\" deleted from default namespace\n",
        )
        .await;
    let said = cluster.run("delete pod p --force").await;
    assert_eq!(said.out, "pod \"p\" force deleted from default namespace\n");
    assert!(
        said.error
            .starts_with("Warning: Immediate deletion does not wait for confirmation"),
        "{}",
        said.error
    );
    assert_eq!(
        cluster.apiserver.writes(),
        [
            "delete deployments/web grace - Orphan",
            "delete pods/p grace 1 Background",
            "delete pods/p grace 0 Background",
        ]
    );
}

#[tokio::test]
async fn deletion_is_waited_for_and_a_limit_ends_the_waiting() {
    let cluster = Cluster::start("delete-wait").await;
    cluster.apiserver.put(pod("p", "n1", json!({})));
    let said = cluster.run("delete pod p --timeout=300ms").await;
    assert_eq!(said.out, "pod \"p\" deleted from default namespace\n");
    assert_eq!(
        said.error,
        "error: timed out waiting for the condition on pods/p\n"
    );
    assert_eq!(said.code, 3);
    let apiserver = cluster.apiserver.clone();
    let deletion = cluster.run("delete pod p");
    let ends = async {
        // The pod is gone when its node has said so, which is after the deletion was asked for a second time.
        while apiserver.writes().len() < 2 {
            tokio::task::yield_now().await;
        }
        apiserver.remove("pods", "p");
    };
    let (said, ()) = tokio::join!(deletion, ends);
    assert_eq!((said.code, said.error.as_str()), (0, ""));
}

#[tokio::test]
async fn who_wants_to_be_asked_is_asked() {
    let cluster = Cluster::start("delete-ask").await;
    cluster
        .apiserver
        .put(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}));
    let question = "You are about to delete the following 1 resource(s):\ndeployment.apps/web\nDo you want to continue? (y/N): ";
    let said = cluster
        .run_with(&mut cluster.command("delete deploy web -i"), "\n")
        .await;
    assert_eq!(
        (said.out, said.code),
        (format!("{question}deletion is cancelled\n"), 0)
    );
    let said = cluster
        .run_with(&mut cluster.command("delete deploy web -i"), "y\n")
        .await;
    let deleted = "deployment.apps \"web\" deleted from default namespace\n";
    assert_eq!((said.out, said.code), (format!("{question}{deleted}"), 0));
}
