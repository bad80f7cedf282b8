//! The session that the README shows, command by command.

use crate::sample::{SLOW, answers, cluster_with_sample, example, names, ready_pods, served_by_all};
use gantry_tests::cluster::{Cluster, Options, root};
use gantry_tests::eventually;
use std::process::Command;

#[test]
fn the_readmes_session_works() {
    let cluster = cluster_with_sample("session", &Options::default());
    served_by_all(&cluster, 1, 3);
    pods_reach_the_service_by_name(&cluster);
    output_forms_agree(&cluster);
    logs_and_describe_tell(&cluster);
    logs_follow_to_the_end(&cluster);
    a_watch_tells_what_changes(&cluster);
    an_oci_archive_is_imported_and_runs(&cluster);
    an_image_is_rolled_out_and_back(&cluster);
    the_number_of_pods_follows(&cluster);
    apply_removes_what_left_the_file_and_keeps_what_others_set(&cluster);
    why_explains_a_pending_pod(&cluster);
    deletion_leaves_nothing(&cluster);
}

fn pods_reach_the_service_by_name(cluster: &Cluster) {
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  restartPolicy: Never
  containers:
    - name: client
      image: busybox:1
      command: [/bin/sh, -c]
      args:
        - for name in web web.default.svc.cluster.local web; do
            for i in 1 2 3; do timeout 10 wget -q -O - http://$name/ || exit 1; done;
          done
"#,
    );
    eventually("the client pod ends well", SLOW, || {
        let pod = cluster.json(&["get", "pod", "client"])?;
        match pod["status"]["phase"].as_str() {
            Some("Succeeded") => Ok(()),
            phase => Err(format!(
                "phase {phase:?}: {}",
                cluster.gantry(&["logs", "client"]).stdout
            )),
        }
    });
    let log = cluster.must(&["logs", "client"]);
    let pods: std::collections::BTreeSet<&str> =
        log.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(
        (log.lines().count(), pods.len()),
        (9, 3),
        "all three pods answer in turn: {log}"
    );
    cluster.must(&["delete", "pod", "client"]);
}

fn output_forms_agree(cluster: &Cluster) {
    let table = cluster.must(&["get", "pods", "-l", "app=web"]);
    let header: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(header, ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(
        table
            .lines()
            .filter(|line| line.contains("1/1") && line.contains("Running"))
            .count(),
        3,
        "{table}"
    );
    let listed = cluster.must(&["get", "pods", "-l", "app=web", "-o", "name"]);
    let expected: Vec<String> = names(&cluster.pods("app=web").unwrap_or_default())
        .iter()
        .map(|name| format!("pod/{name}"))
        .collect();
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    let yaml = cluster.must(&["get", "deployment", "web", "-o", "yaml"]);
    assert!(
        yaml.contains("apiVersion: apps/v1\n") && yaml.contains("kind: Deployment\n"),
        "{yaml}"
    );
    let wide = cluster.must(&["get", "pods", "-o", "wide"]);
    assert!(wide.contains("NODE") && wide.contains("10.244."), "{wide}");
}

fn logs_and_describe_tell(cluster: &Cluster) {
    let pod = names(&ready_pods(cluster).unwrap_or_default())
        .pop_first()
        .unwrap_or_default();
    let log = cluster.must(&["logs", &pod]);
    assert!(
        log.contains(&format!("{pod} version 1 listens on port 8080")),
        "{log}"
    );
    let description = cluster.must(&["describe", "pod", &pod]);
    for expected in [
        "Successfully assigned default/",
        "Container started",
        "Liveness:",
        "cpu:",
    ] {
        assert!(
            description.contains(expected),
            "{expected:?} is not in: {description}"
        );
    }
}

fn logs_follow_to_the_end(cluster: &Cluster) {
    let shared = cluster.folder().join("shared");
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: counts}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: c\n    image: busybox:1\n    command: [/bin/sh, -c, 'echo first; until [ -e /shared/go ]; do sleep 0.1; done; echo last']\n    volumeMounts: [{{name: shared, mountPath: /shared}}]\n  volumes: [{{name: shared, hostPath: {{path: {}, type: DirectoryOrCreate}}}}]\n",
        shared.display()
    ));
    eventually("the pod has begun to count", SLOW, || {
        let log = cluster.gantry(&["logs", "counts"]);
        (log.stdout == "first\n").then_some(()).ok_or(log.stderr)
    });
    let mut followed = cluster.spawn(&["logs", "-f", "counts"]);
    eventually("the first line is followed", SLOW, || {
        let printed = followed.printed();
        (printed == "first\n").then_some(()).ok_or(printed)
    });
    if let Err(error) = std::fs::write(shared.join("go"), "") {
        panic!("writing into {}: {error}", shared.display());
    }
    eventually("following ends with the container", SLOW, || {
        followed
            .has_ended()
            .then_some(())
            .ok_or_else(|| followed.printed())
    });
    assert_eq!(followed.printed(), "first\nlast\n");
    cluster.must(&["delete", "pod", "counts"]);
}

fn a_watch_tells_what_changes(cluster: &Cluster) {
    let mut watch = cluster.spawn(&["get", "configmaps", "-w", "-o", "name"]);
    // Objects that were there are told first: once one of them is, what comes next is a change.
    cluster.must(&[
        "create",
        "-f",
        &cluster.write("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: seen}\n"),
    ]);
    eventually("the new object is told", SLOW, || {
        let printed = watch.printed();
        let told = printed.lines().any(|line| line == "configmap/seen");
        told.then_some(()).ok_or(printed)
    });
    assert!(!watch.has_ended(), "a watch goes on: {}", watch.printed());
    cluster.must(&["delete", "configmap", "seen"]);
}

/// The sample's images are archives of docker's format.
fn an_oci_archive_is_imported_and_runs(cluster: &Cluster) {
    let archive = cluster.folder().join("oci.tar");
    let made = Command::new(root().join("scripts/oci-archive.sh"))
        .arg(root().join("target/images/hello-1.tar"))
        .arg("oci.example/hello:1")
        .arg(&archive)
        .output();
    assert!(matches!(&made, Ok(output) if output.status.success()), "{made:?}");
    let told = cluster.must(&["image", "import", &archive.to_string_lossy()]);
    assert!(told.contains("oci.example/hello:1"), "{told}");
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: oci}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers: [{name: c, image: 'oci.example/hello:1'}]\n",
    );
    eventually("the imported image runs", SLOW, || {
        let log = cluster.gantry(&["logs", "oci"]);
        let runs = log.stdout.contains("listens on port 8080");
        runs.then_some(()).ok_or(log.stderr)
    });
    cluster.must(&["delete", "pod", "oci"]);
}

fn an_image_is_rolled_out_and_back(cluster: &Cluster) {
    cluster.must(&["set", "image", "deployment/web", "web=hello:2"]);
    let status = cluster.must(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    assert!(
        status.contains("deployment \"web\" successfully rolled out"),
        "{status}"
    );
    served_by_all(cluster, 1, 3);
    let images = |cluster: &Cluster| -> Vec<String> {
        let pods = ready_pods(cluster).unwrap_or_default();
        pods.iter()
            .map(|pod| {
                pod["spec"]["containers"][0]["image"]
                    .as_str()
                    .unwrap_or_default()
                    .into()
            })
            .collect()
    };
    assert_eq!(images(cluster), ["hello:2"; 3]);
    cluster.must(&["rollout", "undo", "deployment/web"]);
    cluster.must(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    served_by_all(cluster, 1, 3);
    assert_eq!(images(cluster), ["hello:1"; 3]);
}

fn the_number_of_pods_follows(cluster: &Cluster) {
    cluster.must(&["scale", "deployment/web", "--replicas=5"]);
    served_by_all(cluster, 1, 5);
    cluster.must(&["scale", "deployment/web", "--replicas=2"]);
    served_by_all(cluster, 1, 2);
}

fn apply_removes_what_left_the_file_and_keeps_what_others_set(cluster: &Cluster) {
    let with = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, labels: {team: a, tier: b}}\ndata: {one: '1', two: '2'}\n";
    let without =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, labels: {tier: b}}\ndata: {one: '1'}\n";
    assert_eq!(cluster.apply(with).trim(), "configmap/settings created");
    cluster.must(&["label", "configmap", "settings", "owner=someone"]);
    assert_eq!(cluster.apply(without).trim(), "configmap/settings configured");
    assert_eq!(cluster.apply(without).trim(), "configmap/settings unchanged");
    let found = cluster
        .json(&["get", "configmap", "settings"])
        .unwrap_or_default();
    assert_eq!(found["data"], serde_json::json!({"one": "1"}));
    assert_eq!(
        found["metadata"]["labels"],
        serde_json::json!({"owner": "someone", "tier": "b"})
    );
}

fn why_explains_a_pending_pod(cluster: &Cluster) {
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: huge}\nspec:\n  containers:\n  - name: c\n    image: busybox:1\n    resources: {requests: {cpu: '1000'}}\n",
    );
    eventually("the pod is said to be unschedulable", SLOW, || {
        let answer = cluster.gantry(&["why", "pod/huge"]).stdout;
        let told = answer.contains("0/1 nodes are available: 1 Insufficient cpu.")
            && answer.contains("lowered requests.cpu");
        told.then_some(()).ok_or(answer)
    });
    let description = cluster.must(&["describe", "pod", "huge"]);
    assert!(description.contains("FailedScheduling"), "{description}");
    cluster.must(&["delete", "pod", "huge"]);
}

fn deletion_leaves_nothing(cluster: &Cluster) {
    let address = cluster.cluster_ip("web", 80);
    cluster.must(&["delete", "-f", &example("web.yaml")]);
    eventually("the sample's pods are gone", SLOW, || {
        let pods = cluster.pods("app=web")?;
        pods.is_empty()
            .then_some(())
            .ok_or(format!("{} are left", pods.len()))
    });
    eventually("the Service's address is dead", SLOW, || {
        match answers(&cluster.node_network(1), address, 1) {
            Err(_) => Ok(()),
            Ok(pods) => Err(format!("{pods:?} still answer")),
        }
    });
}
