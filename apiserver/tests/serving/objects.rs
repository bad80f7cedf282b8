use gantry_proto::api::v1::{self as api, FieldValidation};
use gantry_proto::apps::v1::Deployment;
use gantry_proto::coordination::v1::Lease;
use gantry_proto::core::v1::{ConfigMap, Event, Namespace, Node, Pod};
use gantry_proto::meta::v1::{DeleteOptions, Preconditions};
use gantry_proto::status::Reason;

use crate::cluster::{Client, Cluster, failure, object, wire};

const POD: &str = r#"{"metadata": {"name": "p", "namespace": "default"},
    "spec": {"containers": [{"name": "c", "image": "hello"}]}}"#;

const DEPLOYMENT: &str = r#"{"apiVersion": "apps/v1", "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "hello"}]}}}}"#;

fn map(name: &str, value: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "data": {{"k": "{value}"}}}}"#
    ))
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let created = admin.create(&map("m", "1")).await.unwrap();
    let metadata = created.metadata();
    assert!(!metadata.uid.is_empty() && metadata.creation_timestamp.is_some());
    assert_eq!(admin.get::<ConfigMap>("default", "m").await.unwrap(), created);
    let exists = admin.create(&map("m", "1")).await.unwrap_err();
    assert_eq!(
        (exists.reason_code(), exists.message.as_str()),
        (Reason::AlreadyExists, "configmaps \"m\" already exists")
    );

    let mut changed = created.clone();
    changed.data.insert("k".into(), "2".into());
    let updated = admin.update("", &changed).await.unwrap();
    assert_eq!(updated.data["k"], "2");
    assert_ne!(
        updated.metadata().resource_version,
        created.metadata().resource_version
    );
    assert_eq!(updated.metadata().uid, created.metadata().uid);
    let unchanged = admin.update("", &updated).await.unwrap();
    assert_eq!(
        unchanged, updated,
        "an update that changes nothing writes nothing"
    );

    let stale = admin.update("", &changed).await.unwrap_err();
    assert_eq!(stale.reason_code(), Reason::Conflict);
    assert_eq!(
        stale.message,
        "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your changes \
         to the latest version and try again"
    );
    let mut unconditional = changed.clone();
    unconditional.metadata_mut().resource_version.clear();
    unconditional.data.insert("k".into(), "3".into());
    assert_eq!(admin.update("", &unconditional).await.unwrap().data["k"], "3");
    let patched: ConfigMap = admin
        .patch("default", "m", "", r#"{"data": {"k": null, "l": "4"}}"#)
        .await
        .unwrap();
    assert_eq!(
        patched.data.into_iter().collect::<Vec<_>>(),
        [("l".to_owned(), "4".to_owned())]
    );

    let wrong = DeleteOptions {
        preconditions: Some(Preconditions {
            uid: Some("other".into()),
            ..Preconditions::default()
        }),
        ..DeleteOptions::default()
    };
    let refused = admin
        .delete::<ConfigMap>("default", "m", wrong)
        .await
        .unwrap_err();
    assert_eq!(refused.reason_code(), Reason::Conflict);
    admin
        .delete::<ConfigMap>("default", "m", DeleteOptions::default())
        .await
        .unwrap();
    let gone = admin.get::<ConfigMap>("default", "m").await.unwrap_err();
    assert_eq!(
        (gone.reason_code(), gone.message.as_str()),
        (Reason::NotFound, "configmaps \"m\" not found")
    );
}

#[tokio::test]
async fn json_objects_are_checked_and_answered_in_json() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let misspelt = DEPLOYMENT.replace("\"replicas\"", "\"replica\"");
    let refused = admin
        .create_json(&misspelt, FieldValidation::Strict)
        .await
        .unwrap_err();
    assert_eq!(refused.reason_code(), Reason::BadRequest);
    assert_eq!(
        refused.message,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
         \"spec.replica\""
    );
    let (created, warnings) = admin.create_json(&misspelt, FieldValidation::Warn).await.unwrap();
    assert!(
        warnings.contains(&"unknown field \"spec.replica\"".to_owned()),
        "{warnings:?}"
    );
    assert_eq!(created["apiVersion"], "apps/v1");
    assert_eq!(created["spec"]["replicas"], 1, "the default");
    assert_eq!(created["metadata"]["generation"], 1);
    let wrong_type = DEPLOYMENT.replace("\"replicas\": 3", "\"replicas\": \"three\"");
    let refused = admin
        .create_json(&wrong_type, FieldValidation::Warn)
        .await
        .unwrap_err();
    assert!(refused.message.contains("spec.replicas"), "{}", refused.message);
    let mismatch = DEPLOYMENT.replace(
        "\"app\": \"web\"}}, \"template\"",
        "\"app\": \"other\"}}, \"template\"",
    );
    let refused = admin
        .create_json(&mismatch, FieldValidation::Warn)
        .await
        .unwrap_err();
    assert!(
        refused
            .message
            .contains("`selector` does not match template `labels`"),
        "{}",
        refused.message
    );

    let request = api::GetRequest {
        resource: "deployments.apps".into(),
        namespace: "default".into(),
        name: "web".into(),
        subresource: "scale".into(),
        view: api::View::Json.into(),
        ..Default::default()
    };
    let scale = admin.resources().get(request).await.unwrap().into_inner();
    let Some(api::object::Form::Json(scale)) = scale.object.unwrap().form else {
        panic!("not JSON")
    };
    let scale = gantry_proto::json::struct_to_value(scale);
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"]),
        (&"Scale".into(), &1.into())
    );
    let scaled = admin.patch_scale("web", r#"{"spec": {"replicas": 5}}"#).await;
    assert_eq!(scaled["spec"]["replicas"], 5);
}

impl Client {
    async fn patch_scale(&self, name: &str, patch: &str) -> serde_json::Value {
        let request = api::PatchRequest {
            resource: "deployments.apps".into(),
            namespace: "default".into(),
            name: name.into(),
            subresource: "scale".into(),
            r#type: api::PatchType::Merge.into(),
            patch: patch.as_bytes().to_vec().into(),
            view: api::View::Json.into(),
            ..Default::default()
        };
        let reply = self.resources().patch(request).await.unwrap().into_inner();
        match reply.object.unwrap().form {
            Some(api::object::Form::Json(scale)) => gantry_proto::json::struct_to_value(scale),
            other => panic!("not JSON: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_as_such() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let mut secret = gantry_proto::core::v1::Secret::default();
    secret.metadata_mut().name = "large".into();
    secret.metadata_mut().namespace = "default".into();
    let check = async |bytes: usize, reason| {
        let mut pod: Pod = object(POD);
        pod.spec_mut().containers[0].args = vec!["x".repeat(bytes)];
        let refused = admin.create(&pod).await.unwrap_err();
        assert_eq!(refused.reason_code(), reason, "{}", refused.message);
    };
    check(2 << 20, Reason::RequestEntityTooLarge).await;
    check(4 << 20, Reason::RequestEntityTooLarge).await;
}

#[tokio::test]
async fn a_namespace_must_be_there_and_takes_nothing_new_on_its_way_out() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let inside = |name: &str| {
        let mut inside = map(name, "1");
        inside.metadata_mut().namespace = "team".into();
        inside
    };
    let refused = admin.create(&inside("m")).await.unwrap_err();
    assert_eq!(
        (refused.reason_code(), refused.message.as_str()),
        (Reason::NotFound, "namespaces \"team\" not found")
    );
    let namespace: Namespace = admin
        .create(&object(r#"{"metadata": {"name": "team"}}"#))
        .await
        .unwrap();
    assert_eq!(namespace.status().phase, "Active");
    admin.create(&inside("m")).await.unwrap();

    let terminating: Namespace = admin.delete("", "team", DeleteOptions::default()).await.unwrap();
    assert_eq!(terminating.status().phase, "Terminating");
    let refused = admin.create(&inside("n")).await.unwrap_err();
    assert_eq!(
        refused.message,
        "configmaps \"n\" is forbidden: unable to create new content in namespace team because it is being terminated"
    );
    let mut finalized = terminating.clone();
    finalized.spec_mut().finalizers.clear();
    admin.update("finalize", &finalized).await.unwrap();
    assert_eq!(
        admin
            .get::<Namespace>("", "team")
            .await
            .unwrap_err()
            .reason_code(),
        Reason::NotFound
    );

    let refused = admin
        .delete::<Namespace>("", "default", DeleteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}

#[tokio::test]
async fn a_pod_is_bound_once_and_deleted_when_its_node_lets_go() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let mut generated: Pod = object(POD);
    generated.metadata_mut().name.clear();
    generated.metadata_mut().generate_name = "web-".into();
    let generated = admin.create(&generated).await.unwrap();
    assert_eq!(generated.metadata().name.len(), "web-".len() + 5);
    let unbound: Pod = admin
        .delete("default", &generated.metadata().name, DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(
        admin
            .get::<Pod>("default", &unbound.metadata().name)
            .await
            .unwrap_err()
            .reason_code(),
        Reason::NotFound
    );

    admin.create::<Pod>(&object(POD)).await.unwrap();
    let bind = async |node: &str| {
        let binding = format!(
            r#"{{"apiVersion": "v1", "kind": "Binding", "metadata": {{"name": "p", "namespace": "default"}}, "target": {{"kind": "Node", "name": "{node}"}}}}"#
        );
        let request = api::CreateRequest {
            resource: "pods".into(),
            namespace: "default".into(),
            name: "p".into(),
            subresource: "binding".into(),
            object: Some(crate::cluster::json_form(&binding)),
            ..Default::default()
        };
        admin.resources().create(request).await.map_err(failure)
    };
    bind("n1").await.unwrap();
    for node in ["n1", "n2"] {
        let refused = bind(node).await.unwrap_err();
        assert_eq!(
            refused.message,
            "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
        );
    }
    let node = cluster.client("system:node:n1", &["system:nodes"]).await;
    let running: Pod = node
        .patch("default", "p", "status", r#"{"status": {"phase": "Running"}}"#)
        .await
        .unwrap();
    assert_eq!(running.status().phase, "Running");

    let marked: Pod = admin
        .delete("default", "p", DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(marked.metadata().deletion_grace_period_seconds, Some(30));
    let now = DeleteOptions {
        grace_period_seconds: Some(0),
        ..DeleteOptions::default()
    };
    node.delete::<Pod>("default", "p", now).await.unwrap();
    assert_eq!(
        admin.get::<Pod>("default", "p").await.unwrap_err().reason_code(),
        Reason::NotFound
    );
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let mut held = map("m", "1");
    held.metadata_mut().finalizers = vec!["example.com/hold".into()];
    admin.create(&held).await.unwrap();
    let foreground = DeleteOptions {
        propagation_policy: Some("Foreground".into()),
        ..DeleteOptions::default()
    };
    let marked: ConfigMap = admin.delete("default", "m", foreground).await.unwrap();
    assert!(marked.metadata().deletion_timestamp.is_some());
    assert_eq!(
        marked.metadata().finalizers,
        ["example.com/hold", "foregroundDeletion"]
    );
    let added = admin
        .patch::<ConfigMap>(
            "default",
            "m",
            "",
            r#"{"metadata": {"finalizers": ["example.com/other"]}}"#,
        )
        .await
        .unwrap_err();
    assert!(
        added
            .message
            .contains("no new finalizers can be added if the object is being deleted"),
        "{added:?}"
    );
    let mut released = marked;
    released.metadata_mut().finalizers.clear();
    admin.update("", &released).await.unwrap();
    assert_eq!(
        admin
            .get::<ConfigMap>("default", "m")
            .await
            .unwrap_err()
            .reason_code(),
        Reason::NotFound
    );
}

#[tokio::test]
async fn a_fenced_write_is_done_only_while_its_lease_is_held() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let lease: Lease = object(
        r#"{"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "a",
            "leaseDurationSeconds": 15, "leaseTransitions": 1}}"#,
    );
    let fenced = |name: &str| api::CreateRequest {
        object: Some(wire(&map(name, "1"))),
        fence: Some(api::Fence {
            namespace: "default".into(),
            name: "l".into(),
            holder: "a".into(),
            transitions: 1,
        }),
        ..Default::default()
    };
    let create = async |name: &str| {
        let reply = admin.resources().create(fenced(name)).await;
        reply.map(drop).map_err(failure)
    };
    let refused = create("too-early").await.unwrap_err();
    assert_eq!(refused.reason_code(), Reason::Conflict, "there is no such lease");
    admin.create(&lease).await.unwrap();
    create("in-time").await.unwrap();
    let write = async |spec: String| {
        let patch = format!(r#"{{"spec": {{{spec}}}}}"#);
        admin.patch::<Lease>("default", "l", "", &patch).await.unwrap();
    };
    for seconds in 16..36 {
        // A renewal changes the lease and not who holds it; the server's cache may have it or not.
        write(format!(r#""leaseDurationSeconds": {seconds}"#)).await;
        create(&format!("renewed-{seconds}")).await.unwrap();
    }
    for (number, (holder, transitions)) in [("b", 2), ("a", 3)].into_iter().enumerate() {
        write(format!(
            r#""holderIdentity": "{holder}", "leaseTransitions": {transitions}"#
        ))
        .await;
        let name = format!("late-{number}");
        let refused = create(&name).await.unwrap_err();
        assert_eq!(refused.reason_code(), Reason::Conflict);
        let causes = refused.details.unwrap().causes;
        assert_eq!(causes[0].reason, "FencedOff", "{causes:?}");
        let absent = admin.get::<ConfigMap>("default", &name).await.unwrap_err();
        assert_eq!(absent.reason_code(), Reason::NotFound);
    }
    let late = api::DeleteRequest {
        resource: "configmaps".into(),
        namespace: "default".into(),
        name: "in-time".into(),
        fence: fenced("").fence,
        ..Default::default()
    };
    let refused = admin.resources().delete(late).await.map(drop).map_err(failure);
    assert_eq!(refused.unwrap_err().reason_code(), Reason::Conflict);
    admin.get::<ConfigMap>("default", "in-time").await.unwrap();
}

#[tokio::test]
async fn a_misspelt_dry_run_deletes_nothing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&map("m", "1")).await.unwrap();
    let options = DeleteOptions {
        dry_run: vec!["all".into()],
        ..DeleteOptions::default()
    };
    let refused = admin
        .delete::<ConfigMap>("default", "m", options)
        .await
        .unwrap_err();
    assert_eq!(
        refused.details.unwrap().causes[0].message,
        "Unsupported value: [\"all\"]: supported values: \"All\""
    );
    admin.get::<ConfigMap>("default", "m").await.unwrap();
}

#[tokio::test]
async fn a_kind_without_namespaces_ignores_a_namespace_as_kubernetes_does() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let node: Node = object(r#"{"metadata": {"name": "n", "namespace": "default"}}"#);
    let created = admin.create(&node).await.unwrap();
    assert_eq!(created.metadata().namespace, "");
    admin.update("", &node).await.unwrap();
}

#[tokio::test]
async fn an_event_tells_of_a_field_that_nothing_acts_on_when_an_update_brings_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin
        .create_json(DEPLOYMENT, FieldValidation::Strict)
        .await
        .unwrap();
    let events = async || {
        let in_namespace = api::ListRequest {
            namespace: "default".into(),
            ..Default::default()
        };
        let (events, _) = admin.list::<Event>(in_namespace).await.unwrap();
        events
            .iter()
            .filter(|event| event.reason == "FieldsNotActedOn")
            .count()
    };
    assert_eq!(events().await, 0);
    let patch = r#"{"spec": {"template": {"spec": {"runtimeClassName": "gvisor"}}}}"#;
    admin
        .patch::<Deployment>("default", "web", "", patch)
        .await
        .unwrap();
    assert_eq!(events().await, 1);
    admin
        .patch::<Deployment>("default", "web", "", r#"{"spec": {"replicas": 4}}"#)
        .await
        .unwrap();
    assert_eq!(events().await, 1, "what was known is no news");
}
