//! What users get wrong, and what they are told.

use crate::sample::{SLOW, cluster_with_sample, served_by_all};
use gantry_tests::cluster::{Cluster, Options};
use gantry_tests::eventually;
use std::fs;

#[test]
fn bad_input_is_refused_with_what_to_do_and_nothing_else_is_disturbed() {
    let mut cluster = cluster_with_sample("bad", &Options::default());
    manifests_are_refused_by_field(&cluster);
    unknown_fields_are_warned_of_or_refused(&cluster);
    unsupported_fields_are_stored_and_said(&cluster);
    too_large_an_object_is_refused(&cluster);
    stale_writes_conflict(&cluster);
    containers_that_cannot_run_say_why(&cluster);
    an_absent_etcd_is_said_and_survived(&mut cluster);
    served_by_all(&cluster, 1, 3);
}

fn apply(cluster: &Cluster, manifest: &str, more: &[&str]) -> (bool, String) {
    let path = cluster.folder().join("bad.yaml");
    if let Err(error) = fs::write(&path, manifest) {
        panic!("writing {}: {error}", path.display());
    }
    let output = cluster.gantry(&[&["apply", "-f", &path.to_string_lossy()], more].concat());
    (output.ok, output.stdout + &output.stderr)
}

#[track_caller]
fn refused(cluster: &Cluster, manifest: &str, expected: &[&str]) {
    let (ok, told) = apply(cluster, manifest, &[]);
    assert!(!ok, "it was accepted: {told}");
    for text in expected {
        assert!(told.contains(text), "{text:?} is not in: {told}");
    }
}

fn deployment(template_label: &str, container: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: bad}}\nspec:\n  selector: {{matchLabels: {{app: bad}}}}\n  template:\n    metadata: {{labels: {{app: {template_label}}}}}\n    spec:\n      containers:\n      - {container}\n"
    )
}

fn manifests_are_refused_by_field(cluster: &Cluster) {
    refused(
        cluster,
        &deployment("bad", "{name: c, image: x, ports: [{containerPort: 'eighty'}]}"),
        &["spec.template.spec.containers[0].ports[0].containerPort"],
    );
    refused(
        cluster,
        &deployment("bad", "{name: c, image: x, ports: [{containerPort: 70000}]}"),
        &[
            "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    );
    refused(
        cluster,
        &deployment("other", "{name: c, image: x}"),
        &["`selector` does not match template `labels`"],
    );
    refused(
        cluster,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name}\n",
        &[
            "metadata.name: Invalid value: \"Bad_Name\"",
            "a lowercase RFC 1123 subdomain must consist of",
        ],
    );
    // All that is wrong is said at once.
    refused(
        cluster,
        &deployment("other", "{name: c, ports: [{containerPort: 70000}]}"),
        &[
            "does not match",
            "must be between 1 and 65535",
            "spec.template.spec.containers[0].image: Required value",
        ],
    );
    refused(
        cluster,
        "apiVersion: v9\nkind: Pod\nmetadata: {name: a}\n",
        &["no matches for kind \"Pod\" in version \"v9\""],
    );
    let path = cluster.folder().join("one.yaml");
    fs::write(&path, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n").unwrap_or_default();
    cluster.must(&["create", "-f", &path.to_string_lossy()]);
    let again = cluster.gantry(&["create", "-f", &path.to_string_lossy()]);
    assert!(
        !again.ok
            && again.stderr.contains("(AlreadyExists)")
            && again.stderr.contains("configmaps \"one\" already exists"),
        "{again:?}"
    );
}

fn unknown_fields_are_warned_of_or_refused(cluster: &Cluster) {
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\ndatum: {a: b}\n";
    let (ok, told) = apply(cluster, manifest, &["--validate=strict"]);
    assert!(!ok && told.contains("unknown field \"datum\""), "{told}");
    let (ok, told) = apply(cluster, manifest, &["--validate=warn"]);
    assert!(ok && told.contains("Warning: unknown field \"datum\""), "{told}");
}

fn unsupported_fields_are_stored_and_said(cluster: &Cluster) {
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: wishes}\nspec:\n  nodeName: nowhere\n  hostUsers: false\n  containers: [{name: c, image: 'busybox:1'}]\n";
    let (ok, told) = apply(cluster, manifest, &[]);
    assert!(
        ok && told.contains("Warning: spec.hostUsers: accepted and stored, but not acted on yet"),
        "{told}"
    );
    let stored = cluster.json(&["get", "pod", "wishes"]).unwrap_or_default();
    assert_eq!(stored["spec"]["hostUsers"], false, "{stored}");
    let events = cluster.must(&["get", "events"]);
    assert!(
        events.contains("FieldsNotActedOn") && events.contains("pod/wishes"),
        "{events}"
    );
    cluster.must(&["delete", "pod", "wishes", "--force", "--grace-period=0"]);
}

fn too_large_an_object_is_refused(cluster: &Cluster) {
    let value = "x".repeat(2 << 20);
    let (ok, told) = apply(
        cluster,
        &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large}}\ndata: {{a: {value}}}\n"),
        &[],
    );
    assert!(
        !ok && told.len() < 4096,
        "the answer is short and a refusal: {}",
        &told[..told.len().min(300)]
    );
    assert!(told.contains("Too long") || told.contains("too large"), "{told}");
}

fn stale_writes_conflict(cluster: &Cluster) {
    let stale =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, resourceVersion: '1'}\ndata: {a: b}\n";
    refused(
        cluster,
        stale,
        &[
            "(Conflict)",
            "the object has been modified; please apply your changes to the latest version and try again",
        ],
    );
}

fn containers_that_cannot_run_say_why(cluster: &Cluster) {
    for (name, container, reason) in [
        (
            "no-image",
            "{name: c, image: 'absent.example/none:1'}",
            "ErrImagePull,ImagePullBackOff",
        ),
        (
            "no-command",
            "{name: c, image: 'busybox:1', command: [/does/not/exist]}",
            "RunContainerError,CrashLoopBackOff,StartError",
        ),
        (
            "exits",
            "{name: c, image: 'busybox:1', command: [/bin/false]}",
            "CrashLoopBackOff",
        ),
    ] {
        cluster.apply(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers: [{container}]\n"));
        eventually(&format!("pod {name} says {reason}"), SLOW, || {
            let pod = cluster.json(&["get", "pod", name])?;
            let waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
            let told = waiting["reason"].as_str().unwrap_or_default();
            let expected = !told.is_empty() && reason.split(',').any(|reason| reason == told);
            (expected && waiting["message"].is_string())
                .then_some(())
                .ok_or(pod["status"].to_string())
        });
        cluster.must(&["delete", "pod", name]);
    }
}

fn an_absent_etcd_is_said_and_survived(cluster: &mut Cluster) {
    let address = cluster.cluster_ip("web", 80);
    cluster.etcd.kill();
    let output = cluster.gantry(&["create", "-f", &crate::sample::example("web.yaml")]);
    assert!(!output.ok, "{output:?}");
    let away = std::time::Instant::now();
    // What runs goes on being served while the store is away.
    while away.elapsed() < std::time::Duration::from_secs(60) {
        let answered = crate::sample::answers(&cluster.node_network(1), address, 3);
        assert!(answered.is_ok(), "{answered:?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    if let Err(error) = cluster.etcd.start() {
        panic!("etcd did not start again: {error:#}");
    }
    eventually("writes work again", SLOW, || {
        let output = cluster.gantry(&["label", "configmap", "one", "after=etcd", "--overwrite"]);
        output.ok.then_some(()).ok_or(output.stderr)
    });
    let found = cluster.json(&["get", "configmap", "one"]).unwrap_or_default();
    assert_eq!(
        found["metadata"]["labels"]["after"], "etcd",
        "nothing that was acknowledged is lost"
    );
}
