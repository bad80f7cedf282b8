use crate::apiserver::{Cluster, pod};
use serde_json::json;

fn deployment() -> serde_json::Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "a", "image": "i:1"}]}}}})
}

#[tokio::test]
async fn patches_of_each_type_are_sent_and_said() {
    let cluster = Cluster::start("patch").await;
    cluster.apiserver.put(deployment());
    cluster
        .check(
            "patch deploy web -p {\"spec\":{\"replicas\":2}}",
            "deployment.apps/web patched\n",
        )
        .await;
    cluster
        .check(
            "patch deploy/web -p {\"spec\":{\"replicas\":2}} --type=merge",
            "deployment.apps/web patched (no change)\n",
        )
        .await;
    let file = cluster.file("patch.yaml", "metadata:\n  labels:\n    tier: front\n");
    cluster
        .check(
            &format!(
                "patch deploy web --patch-file {file} --dry-run=server -o jsonpath={{.metadata.labels.tier}}"
            ),
            "front",
        )
        .await;
    cluster
        .check(
            "patch deploy web -p {\"spec\":{\"replicas\":7}} --dry-run=client -o jsonpath={.spec.replicas}",
            "7",
        )
        .await;
    cluster
        .check(
            "patch deploy web --subresource=scale --type=merge -p {\"spec\":{\"replicas\":3}}",
            "scale.autoscaling/web patched\n",
        )
        .await;
    assert_eq!(
        cluster.apiserver.object("deployments.apps", "web")["spec"]["replicas"],
        3
    );
    cluster
        .check_failure(
            "patch deploy web -p {\"spec\":{\"replicas\":-1}}",
            1,
            "The Deployment \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0\n",
        )
        .await;
    cluster
        .check_failure(
            "patch deploy web",
            1,
            "error: must specify --patch or --patch-file containing the contents of the patch\n",
        )
        .await;
    cluster
        .check(
            "patch deploy web --dry-run=client --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/replicas\"}] -o \
             jsonpath=<{.spec.replicas}>",
            "<>",
        )
        .await;
    let local = cluster.file(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: a}\n",
    );
    cluster
        .check(
            &format!("patch --local -f {local} -p {{\"spec\":{{\"nodeName\":\"b\"}}}} -o jsonpath={{.spec.nodeName}}"),
            "b",
        )
        .await;
}

#[tokio::test]
async fn labels_and_annotations_are_set_listed_and_guarded() {
    let cluster = Cluster::start("label").await;
    cluster.apiserver.put(pod("p", "n1", json!({})));
    cluster.check("label pod p tier=front", "pod/p labeled\n").await;
    cluster
        .check("label pod p tier=front", "pod/p not labeled\n")
        .await;
    cluster
        .check("label pods --all tier- x=1", "pod/p modified\n")
        .await;
    cluster
        .check(
            "label pods -l app=web y- x-",
            "label \"y\" not found.\npod/p unlabeled\n",
        )
        .await;
    cluster.check("label pod p --list", "app=web\n").await;
    cluster
        .check_failure(
            "label pod p app=db",
            1,
            "error: 'app' already has a value (web), and --overwrite is false\n",
        )
        .await;
    cluster
        .check("label pod p app=db --overwrite", "pod/p labeled\n")
        .await;
    cluster
        .check_failure(
            "label pod p z=1 --resource-version=1",
            1,
            "Error from server (Conflict): Operation cannot be fulfilled on pods \"p\": the object has been modified\n",
        )
        .await;
    cluster
        .check(
            "label pod p z=1 --dry-run=client -o jsonpath={.metadata.labels}",
            "{\"app\":\"db\",\"z\":\"1\"}",
        )
        .await;
    cluster.check("annotate pod/p note=hi", "pod/p annotated\n").await;
    cluster
        .check(
            "annotate pods --all --list",
            "Listing annotations for Pod./p:\n note=hi\n",
        )
        .await;
    cluster
        .check_failure(
            "annotate pod p",
            1,
            "error: at least one annotation update is required\n",
        )
        .await;
}

#[tokio::test]
async fn objects_are_created_from_the_command_line() {
    let cluster = Cluster::start("create").await;
    cluster
        .check("create namespace team", "namespace/team created\n")
        .await;
    cluster
        .check_failure(
            "create ns team",
            1,
            "Error from server (AlreadyExists): namespaces \"team\" already exists\n",
        )
        .await;
    cluster
        .check(
            "create deployment web --image=web:1",
            "deployment.apps/web created\n",
        )
        .await;
    cluster
        .check_failure(
            "create deployment web --image=web:1",
            1,
            "error: failed to create deployment: deployments.apps \"web\" already exists\n",
        )
        .await;
    cluster
        .check(
            "create cm c --from-literal=a=1 --dry-run=client -o yaml",
            "apiVersion: v1\ndata:\n  a: \"1\"\nkind: ConfigMap\nmetadata:\n  name: c\n",
        )
        .await;
    cluster
        .check(
            "create pdb web --selector=app=web --min-available=1 --dry-run=server",
            "poddisruptionbudget.policy/web created (server dry run)\n",
        )
        .await;
    cluster
        .check_failure("create", 1, "error: must specify one of -f and -k\n")
        .await;
}
