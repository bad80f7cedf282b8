use gantry_proto::Kind;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::{self as api, FieldValidation, PatchType};
use gantry_proto::apps::v1::Deployment;
use gantry_proto::core::v1::{ConfigMap, Pod};
use gantry_proto::json;
use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;
use serde_json::Value;

use crate::cluster::{Client, Cluster, failure, object};

fn map() -> ConfigMap {
    object(r#"{"metadata": {"name": "m", "namespace": "default"}, "data": {"a": "1"}}"#)
}

fn deployment() -> Deployment {
    object(
        r#"{"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 3,
            "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "hello"}]}}}}"#,
    )
}

/// A patch of an object in `default`.
struct Patch<'a> {
    resource: &'a str,
    name: &'a str,
    subresource: &'a str,
    kind: PatchType,
    text: &'a str,
    validation: FieldValidation,
}

fn of_map(kind: PatchType, text: &str) -> Patch<'_> {
    Patch {
        resource: "configmaps",
        name: "m",
        subresource: "",
        kind,
        text,
        validation: FieldValidation::Warn,
    }
}

fn of_deployment<'a>(kind: PatchType, subresource: &'a str, text: &'a str) -> Patch<'a> {
    Patch {
        resource: "deployments.apps",
        name: "web",
        subresource,
        ..of_map(kind, text)
    }
}

impl Client {
    /// The patched object and the warnings.
    async fn send(&self, patch: Patch<'_>) -> Result<(Value, Vec<String>), Status> {
        let request = api::PatchRequest {
            resource: patch.resource.into(),
            namespace: "default".into(),
            name: patch.name.into(),
            subresource: patch.subresource.into(),
            r#type: patch.kind.into(),
            patch: patch.text.as_bytes().to_vec().into(),
            field_validation: patch.validation.into(),
            view: api::View::Json.into(),
            ..Default::default()
        };
        let reply = self
            .resources()
            .patch(request)
            .await
            .map_err(failure)?
            .into_inner();
        match reply.object.and_then(|object| object.form) {
            Some(Form::Json(object)) => Ok((json::struct_to_value(object), reply.warnings)),
            other => panic!("not JSON: {other:?}"),
        }
    }

    async fn refused(&self, patch: Patch<'_>) -> (Reason, String) {
        let status = self.send(patch).await.unwrap_err();
        (status.reason_code(), status.message)
    }
}

#[tokio::test]
async fn operations_are_carried_out_in_turn_or_not_at_all() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&map()).await.unwrap();
    let operations = r#"[{"op": "test", "path": "/data/a", "value": "1"},
        {"op": "add", "path": "/data/b", "value": "2"}, {"op": "move", "from": "/data/a", "path": "/data/c"},
        {"op": "add", "path": "/metadata/labels", "value": {"example.com/x": "y"}},
        {"op": "replace", "path": "/metadata/labels/example.com~1x", "value": "z"}]"#;
    let (patched, warnings) = admin.send(of_map(PatchType::Json, operations)).await.unwrap();
    assert_eq!(patched["data"], serde_json::json!({"b": "2", "c": "1"}));
    assert_eq!(patched["metadata"]["labels"]["example.com/x"], "z");
    assert!(warnings.is_empty(), "{warnings:?}");

    let failing = r#"[{"op": "remove", "path": "/data/b"}, {"op": "test", "path": "/data/c", "value": "2"}]"#;
    let refused = admin.send(of_map(PatchType::Json, failing)).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            422,
            "the server rejected our request due to an error in our request"
        )
    );
    let present: ConfigMap = admin.get("default", "m").await.unwrap();
    assert_eq!(present.data["b"], "2", "nothing of it was done");
    let (reason, _) = admin
        .refused(of_map(
            PatchType::Json,
            r#"[{"op": "remove", "path": "/data/none"}]"#,
        ))
        .await;
    assert_eq!(reason, Reason::Invalid);
}

#[tokio::test]
async fn a_patch_that_is_none_is_refused_as_kubernetes_does() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&map()).await.unwrap();
    for kind in [PatchType::Json, PatchType::Merge, PatchType::StrategicMerge] {
        let (reason, message) = admin.refused(of_map(kind, "{")).await;
        assert_eq!(reason, Reason::BadRequest, "{message}");
    }
    let (reason, message) = admin.refused(of_map(PatchType::Json, r#"{"op": "add"}"#)).await;
    assert_eq!(
        (reason, message.as_str()),
        (
            Reason::BadRequest,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        )
    );
    let operation = r#"{"op": "test", "path": "/data/a", "value": "1"}"#;
    let many = format!("[{}]", vec![operation; 10_001].join(","));
    assert_eq!(
        admin.refused(of_map(PatchType::Json, &many)).await,
        (
            Reason::RequestEntityTooLarge,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
                .to_owned()
        )
    );
    let large = format!(r#"{{"data": {{"a": "{}"}}}}"#, "x".repeat(4 << 20));
    let (reason, message) = admin.refused(of_map(PatchType::Merge, &large)).await;
    assert_eq!(reason, Reason::RequestEntityTooLarge, "{message}");
    let missing = Patch {
        name: "none",
        ..of_map(PatchType::Merge, "{}")
    };
    assert_eq!(
        admin.refused(missing).await,
        (Reason::NotFound, "configmaps \"none\" not found".to_owned())
    );
    let (reason, _) = admin.refused(of_map(PatchType::Unspecified, "{}")).await;
    assert_eq!(reason, Reason::BadRequest);
}

#[tokio::test]
async fn what_a_patch_makes_must_be_the_object_that_it_is_for() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&map()).await.unwrap();
    admin.create(&deployment()).await.unwrap();
    let check = async |patch: Patch<'_>, reason: Reason, message: &str| {
        assert_eq!(admin.refused(patch).await, (reason, message.to_owned()));
    };
    check(
        of_map(PatchType::Merge, r#"{"metadata": {"name": "n"}}"#),
        Reason::BadRequest,
        "the name of the object (n) does not match the name on the URL (m)",
    )
    .await;
    check(
        of_map(PatchType::Merge, r#"{"metadata": {"namespace": "kube-system"}}"#),
        Reason::BadRequest,
        "the namespace of the provided object does not match the namespace sent on the request",
    )
    .await;
    check(
        of_map(PatchType::Merge, r#"{"metadata": {"resourceVersion": "1"}}"#),
        Reason::Conflict,
        "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your changes to \
         the latest version and try again",
    )
    .await;
    let immutable = r#"{"spec": {"selector": {"matchLabels": {"app": "api"}}, "template": {"metadata":
        {"labels": {"app": "api"}}}}}"#;
    let (reason, message) = admin
        .refused(of_deployment(PatchType::Merge, "", immutable))
        .await;
    assert_eq!(reason, Reason::Invalid);
    assert!(message.ends_with("field is immutable"), "{message}");
    let strict = Patch {
        validation: FieldValidation::Strict,
        ..of_deployment(PatchType::StrategicMerge, "", r#"{"spec": {"replica": 5}}"#)
    };
    check(
        strict,
        Reason::Invalid,
        " \"\" is invalid: patch: Invalid value: \"map[spec:map[replica:5]]\": strict decoding error: unknown field \
         \"spec.replica\"",
    )
    .await;
    let lenient = of_deployment(PatchType::StrategicMerge, "", r#"{"spec": {"replica": 5}}"#);
    let (_, warnings) = admin.send(lenient).await.unwrap();
    assert_eq!(warnings, ["unknown field \"spec.replica\""]);
    let (reason, message) = admin
        .refused(of_deployment(
            PatchType::Merge,
            "",
            r#"{"spec": {"replicas": "three"}}"#,
        ))
        .await;
    assert_eq!(reason, Reason::Invalid);
    assert!(
        message.starts_with(" \"\" is invalid: patch: Invalid value: \"{"),
        "{message}"
    );
}

#[tokio::test]
async fn status_and_scale_are_patched_by_themselves() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&deployment()).await.unwrap();
    let both = r#"[{"op": "replace", "path": "/spec/replicas", "value": 9},
        {"op": "add", "path": "/status/replicas", "value": 2}]"#;
    let (patched, _) = admin
        .send(of_deployment(PatchType::Json, "status", both))
        .await
        .unwrap();
    assert_eq!(
        (&patched["spec"]["replicas"], &patched["status"]["replicas"]),
        (&3.into(), &2.into())
    );
    let scale = r#"[{"op": "replace", "path": "/spec/replicas", "value": 5}]"#;
    let (patched, _) = admin
        .send(of_deployment(PatchType::Json, "scale", scale))
        .await
        .unwrap();
    assert_eq!(
        (&patched["kind"], &patched["spec"]["replicas"]),
        (&"Scale".into(), &5.into())
    );
    let negative = of_deployment(PatchType::Merge, "scale", r#"{"spec": {"replicas": -1}}"#);
    assert_eq!(
        admin.refused(negative).await,
        (
            Reason::Invalid,
            "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
                .to_owned()
        )
    );
    let other = of_deployment(PatchType::Merge, "scale", r#"{"metadata": {"uid": "other"}}"#);
    let (reason, message) = admin.refused(other).await;
    assert_eq!(reason, Reason::Conflict);
    assert!(
        message.starts_with(
            "Operation cannot be fulfilled on deployments/scale.apps \"web\": Precondition failed: UID in precondition: \
             other"
        ),
        "{message}"
    );
    let none = of_deployment(PatchType::Merge, "log", "{}");
    assert_eq!(admin.refused(none).await.0, Reason::NotFound);
}

#[tokio::test]
async fn patches_at_once_are_all_carried_out() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&map()).await.unwrap();
    let texts: Vec<String> = (0..64)
        .map(|number| format!(r#"{{"data": {{"k{number}": "{number}"}}}}"#))
        .collect();
    let patches = texts
        .iter()
        .map(|text| admin.send(of_map(PatchType::Merge, text)));
    for result in futures::future::join_all(patches).await {
        result.unwrap();
    }
    let patched: ConfigMap = admin.get("default", "m").await.unwrap();
    assert_eq!(patched.data.len(), 65);
}

#[tokio::test]
async fn a_running_pod_takes_only_the_patches_that_kubernetes_takes() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let pod: Pod = object(
        r#"{"metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "hello"}]}}"#,
    );
    admin.create(&pod).await.unwrap();
    let of_pod = |text| Patch {
        resource: Pod::INFO.resource,
        name: "p",
        ..of_map(PatchType::Json, text)
    };
    let image = r#"[{"op": "replace", "path": "/spec/containers/0/image", "value": "hello:2"}]"#;
    let (patched, _) = admin.send(of_pod(image)).await.unwrap();
    assert_eq!(patched["spec"]["containers"][0]["image"], "hello:2");
    assert_eq!(patched["metadata"]["generation"], 2);
    let node = r#"[{"op": "add", "path": "/spec/nodeName", "value": "n1"}]"#;
    let (reason, message) = admin.refused(of_pod(node)).await;
    assert_eq!(reason, Reason::Invalid);
    assert!(
        message.contains("spec: Forbidden: pod updates may not change fields other than"),
        "{message}"
    );
}
