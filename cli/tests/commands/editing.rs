use crate::apiserver::Cluster;
use serde_json::{Value, json};

fn config_map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}})
}

#[tokio::test]
async fn what_an_editor_changes_is_patched_and_nothing_else() {
    let cluster = Cluster::start("edit").await;
    cluster.apiserver.put(config_map());
    let edit = async |editor: &str, line: &str| {
        let mut command = cluster.command(line);
        command.env("KUBE_EDITOR", editor);
        cluster.run_with(&mut command, "").await
    };
    let said = edit("true", "edit cm c").await;
    assert_eq!(
        (said.error.as_str(), said.code),
        ("Edit cancelled, no changes made.\n", 0)
    );
    let said = edit("sh -c ': > \"$1\"' -", "edit cm/c").await;
    assert_eq!(
        (said.error.as_str(), said.code),
        ("Edit cancelled, saved file was empty.\n", 0)
    );
    let said = edit("sed -i 's/a: \"1\"/a: \"2\"/'", "edit cm c --output-patch").await;
    assert_eq!(
        said.out, "Patch: {\"data\":{\"a\":\"2\"}}\nconfigmap/c edited\n",
        "{}",
        said.error
    );
    assert_eq!(cluster.apiserver.object("configmaps", "c")["data"]["a"], "2");
    let said = edit("false", "edit cm c").await;
    assert_eq!(
        (said.error.as_str(), said.code),
        ("error: there was a problem with the editor \"false\"\n", 1)
    );
    let said = edit("sed -i 's/^  name: c/  name: d/'", "edit cm c").await;
    assert!(
        said.error
            .contains("error: At least one of apiVersion, kind and name was changed"),
        "{}",
        said.error
    );
    assert!(
        said.error.contains("A copy of your changes has been stored to"),
        "{}",
        said.error
    );
}

#[tokio::test]
async fn a_text_that_is_wrong_is_edited_again_with_what_is_wrong_above_it() {
    let cluster = Cluster::start("edit-again").await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1}});
    cluster.apiserver.put(deployment);
    // First a syntax error, then a value that the server refuses, then a good one.
    let seen = cluster.folder.join("seen");
    let script = cluster.file(
        "editor.sh",
        &format!(
            "cat \"$1\" >> {seen}\ncase $(grep -c '^apiVersion' {seen}) in\n1) echo 'a: [' >> \"$1\" ;;\n2) sed -i -e '/^a: \
             \\[/d' -e 's/replicas: 1/replicas: -1/' \"$1\" ;;\n*) sed -i 's/replicas: -1/replicas: 3/' \"$1\" ;;\nesac\n",
            seen = seen.display()
        ),
    );
    let mut command = cluster.command("edit deployment web");
    command.env("KUBE_EDITOR", format!("sh {script}"));
    let said = cluster.run_with(&mut command, "").await;
    assert_eq!(
        (said.out.as_str(), said.code),
        ("deployment.apps/web edited\n", 0),
        "{}",
        said.error
    );
    assert_eq!(said.error, "error: deployments.apps \"web\" is invalid\n");
    assert_eq!(
        cluster.apiserver.object("deployments.apps", "web")["spec"]["replicas"],
        3
    );
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("# The edited file had a syntax error: "), "{seen}");
    assert!(
        seen.contains("# deployments.apps \"web\" was not valid:\n# * spec.replicas: Invalid value: -1"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_difference_is_shown_and_ends_with_one() {
    let cluster = Cluster::start("diff").await;
    cluster.apiserver.put(config_map());
    let same = cluster.file(
        "same.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1'}\n",
    );
    cluster.check(&format!("diff -f {same}"), "").await;
    let other = cluster.file(
        "other.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '2'}\n",
    );
    let said = cluster.run(&format!("diff -f {other}")).await;
    assert_eq!(said.code, 1, "{}", said.error);
    assert!(said.out.contains("-  a: \"1\"\n+  a: \"2\"\n"), "{}", said.out);
    assert!(said.out.contains("MERGED"), "{}", said.out);
    let new = cluster.file(
        "new.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {password: c2VjcmV0}\n",
    );
    let said = cluster.run(&format!("diff -f {new}")).await;
    assert_eq!(said.code, 1, "{}", said.error);
    assert!(
        said.out.contains("+  password: '***'") && !said.out.contains("c2VjcmV0"),
        "{}",
        said.out
    );
    let said = cluster.run("diff -f /nonexistent").await;
    assert_eq!(
        (said.code, said.error.as_str()),
        (2, "error: the path \"/nonexistent\" does not exist\n")
    );
    assert!(
        cluster
            .apiserver
            .writes()
            .iter()
            .all(|write| write.ends_with(" dry"))
    );
}
