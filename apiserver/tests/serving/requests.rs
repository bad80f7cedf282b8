use gantry_proto::api::v1 as api;
use gantry_proto::coordination::v1::Lease;
use gantry_proto::core::v1::{ConfigMap, Endpoints, Pod, Service};
use gantry_proto::meta::v1::Status;
use gantry_proto::policy::v1::PodDisruptionBudget;
use gantry_proto::status::Reason;

use crate::cluster::{Client, Cluster, failure, json_form, object};

fn map(name: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}}}"#
    ))
}

fn lease(more: &str) -> Lease {
    object(&format!(
        r#"{{"metadata": {{"name": "l", "namespace": "default"{more}}}, "spec": {{"holderIdentity": "a",
            "leaseDurationSeconds": 15}}}}"#
    ))
}

impl Client {
    async fn get_at(&self, name: &str, resource_version: &str) -> Result<(), Status> {
        let request = api::GetRequest {
            resource: "configmaps".into(),
            namespace: "default".into(),
            name: name.into(),
            resource_version: resource_version.into(),
            ..Default::default()
        };
        self.resources().get(request).await.map(drop).map_err(failure)
    }

    async fn create_as(&self, resource: &str, namespace: &str, text: &str) -> Result<(), Status> {
        let request = api::CreateRequest {
            resource: resource.into(),
            namespace: namespace.into(),
            object: Some(json_form(text)),
            ..Default::default()
        };
        self.resources().create(request).await.map(drop).map_err(failure)
    }

    async fn update_as(&self, name: &str, text: &str) -> Result<(), Status> {
        let request = api::UpdateRequest {
            resource: "configmaps".into(),
            namespace: "default".into(),
            name: name.into(),
            object: Some(json_form(text)),
            ..Default::default()
        };
        self.resources().update(request).await.map(drop).map_err(failure)
    }
}

#[tokio::test]
async fn some_kinds_are_created_by_an_update_and_others_are_not() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let service: Service =
        object(r#"{"metadata": {"name": "s", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}"#);
    let created = admin.update("", &service).await.unwrap();
    assert!(!created.metadata().uid.is_empty() && !created.spec().cluster_ip.is_empty());
    let endpoints: Endpoints = object(r#"{"metadata": {"name": "e", "namespace": "default"}}"#);
    admin.update("", &endpoints).await.unwrap();
    admin
        .update("", &lease(r#", "resourceVersion": "1""#))
        .await
        .unwrap();
    let unconditional = admin.update("", &lease("")).await.unwrap_err();
    assert_eq!(
        (unconditional.reason_code(), unconditional.message.as_str()),
        (
            Reason::Invalid,
            "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified \
             for an update"
        )
    );
    let mut budget: PodDisruptionBudget = object(
        r#"{"metadata": {"name": "b", "namespace": "default"}, "spec": {"minAvailable": 1, "selector": {}}}"#,
    );
    let missing = admin.update("", &budget).await.unwrap_err();
    assert_eq!(missing.reason_code(), Reason::NotFound);
    admin.create(&budget).await.unwrap();
    budget.metadata_mut().labels.insert("a".into(), "b".into());
    let unconditional = admin.update("", &budget).await.unwrap_err();
    assert!(
        unconditional
            .message
            .ends_with("metadata.resourceVersion: Invalid value: 0: must be specified for an update"),
        "{unconditional:?}"
    );
    let missing = admin.update("", &map("m")).await.unwrap_err();
    assert_eq!(missing.message, "configmaps \"m\" not found");

    let mut other = service;
    other.metadata_mut().name = "t".into();
    other.metadata_mut().uid = "gone".into();
    let refused = admin.update("", &other).await.unwrap_err();
    assert_eq!(
        refused.message,
        "Operation cannot be fulfilled on services \"t\": StorageError: invalid object, Code: 4, Key: \
         /registry/services/specs/default/t, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
         precondition: gone, UID in object meta: "
    );
    // Who may update but not create creates nothing.
    let node = cluster.client("system:node:n1", &["system:nodes"]).await;
    let foreign = node.update("", &lease("")).await.unwrap_err();
    assert_eq!(foreign.reason_code(), Reason::Forbidden);
}

#[tokio::test]
async fn an_object_must_be_what_its_request_says() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let created = admin.create(&map("m")).await.unwrap();
    let check = |result: Result<(), Status>, reason: Reason, message: &str| {
        let refused = result.unwrap_err();
        assert_eq!(
            (refused.reason_code(), refused.message.as_str()),
            (reason, message)
        );
    };
    let named = |name: &str, more: &str| {
        format!(r#"{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "{name}"{more}}}}}"#)
    };
    check(
        admin.update_as("m", &named("n", "")).await,
        Reason::BadRequest,
        "the name of the object (n) does not match the name on the URL (m)",
    );
    check(
        admin
            .update_as(
                "m",
                r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}"#,
            )
            .await,
        Reason::BadRequest,
        "the name of the object (m based on URL) was undeterminable: name must be provided",
    );
    let elsewhere = named("m", r#", "namespace": "kube-system""#);
    let namespaces = "the namespace of the provided object does not match the namespace sent on the request";
    check(
        admin.update_as("m", &elsewhere).await,
        Reason::BadRequest,
        namespaces,
    );
    check(
        admin.create_as("configmaps", "default", &elsewhere).await,
        Reason::BadRequest,
        namespaces,
    );
    check(
        admin
            .update_as("m", &named("m", r#", "resourceVersion": "abc""#))
            .await,
        Reason::Unknown,
        "strconv.ParseUint: parsing \"abc\": invalid syntax",
    );
    check(
        admin
            .create_as(
                "configmaps",
                "default",
                &named("n", r#", "resourceVersion": "7""#),
            )
            .await,
        Reason::Unknown,
        "resourceVersion should not be set on objects to be created",
    );
    // Whatever is there now.
    admin
        .update_as("m", &named("m", r#", "resourceVersion": "0""#))
        .await
        .unwrap();
    assert_eq!(
        admin
            .get::<ConfigMap>("default", "m")
            .await
            .unwrap()
            .metadata()
            .uid,
        created.metadata().uid
    );
}

#[tokio::test]
async fn who_may_not_write_is_told_so_and_not_what_is_wrong_with_the_object() {
    let cluster = Cluster::start().await;
    let jane = cluster.client("jane", &[]).await;
    let nonsense = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}, "data": 7}"#;
    let created = jane.create_as("configmaps", "", nonsense).await.unwrap_err();
    assert_eq!(
        created.message,
        "configmaps is forbidden: User \"jane\" cannot create resource \"configmaps\" in API group \"\" in the \
         namespace \"default\""
    );
    let updated = jane.update_as("m", nonsense).await.unwrap_err();
    assert_eq!(
        updated.message,
        "configmaps \"m\" is forbidden: User \"jane\" cannot update resource \"configmaps\" in API group \"\" in the \
         namespace \"default\""
    );
    let admin = cluster.admin().await;
    let undecodable = admin.create_as("configmaps", "", nonsense).await.unwrap_err();
    assert_eq!(undecodable.reason_code(), Reason::BadRequest);
    // The request's namespace counts, not the object's.
    let node = cluster.client("system:node:n1", &["system:nodes"]).await;
    let lease = r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "n1", "namespace": "kube-node-lease"}}"#;
    let refused = node
        .create_as("leases.coordination.k8s.io", "default", lease)
        .await
        .unwrap_err();
    assert_eq!(refused.reason_code(), Reason::Forbidden);
}

#[tokio::test]
async fn selectors_that_cannot_be_meant_are_refused_in_kubernetes_words() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let check = async |resource: &str, labels: &str, fields: &str, expected: &str| {
        let request = api::ListRequest {
            resource: resource.into(),
            namespace: "default".into(),
            label_selector: labels.into(),
            field_selector: fields.into(),
            ..Default::default()
        };
        let refused = admin.resources().list(request).await.map(drop).map_err(failure);
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.reason_code(), refused.message.as_str()),
            (Reason::BadRequest, expected)
        );
    };
    check("pods", "", "spec.foo=1", "field label not supported: spec.foo").await;
    check(
        "nodes",
        "",
        "status.phase=1",
        "field label not supported: status.phase",
    )
    .await;
    check(
        "configmaps",
        "",
        "data=1",
        "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    )
    .await;
    check(
        "replicasets.apps",
        "",
        "status.replicas=1",
        "\"status.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    )
    .await;
    check(
        "pods",
        "",
        "metadata.name",
        "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
    )
    .await;
    check("pods", "a,,b", "", "found ',', expected: identifier after ','").await;
    check(
        "pods",
        "a in b",
        "",
        "unable to parse requirement: found 'b' expected: '('",
    )
    .await;
}

#[tokio::test]
async fn a_read_shows_what_is_not_older_than_it_asks() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let created = admin.create(&map("m")).await.unwrap();
    let version = &created.metadata().resource_version;
    admin.get_at("m", version).await.unwrap();
    admin.get_at("m", "0").await.unwrap();
    let missing = admin.get_at("n", version).await.unwrap_err();
    assert_eq!(missing.message, "configmaps \"n\" not found");
    let ahead: i64 = version.parse::<i64>().unwrap() + 1000;
    let refused = admin.get_at("m", &ahead.to_string()).await.unwrap_err();
    assert_eq!((refused.reason_code(), refused.code), (Reason::Timeout, 504));
    assert!(
        refused.message.starts_with(&format!(
            "Timeout: Too large resource version: {ahead}, current: "
        )),
        "{refused:?}"
    );
    let details = refused.details.unwrap();
    assert_eq!(details.retry_after_seconds, 1);
    assert_eq!(
        (
            details.causes[0].reason.as_str(),
            details.causes[0].message.as_str()
        ),
        ("ResourceVersionTooLarge", "Too large resource version")
    );
}

#[tokio::test]
async fn a_name_that_is_generated_is_told_from_one_that_is_given() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let mut generated = map("");
    generated.metadata_mut().generate_name = "m-".into();
    let first = admin.create(&generated).await.unwrap();
    let second = admin.create(&generated).await.unwrap();
    assert_ne!(first.metadata().name, second.metadata().name);
    let mut both = map(&first.metadata().name);
    both.metadata_mut().generate_name = "m-".into();
    let refused = admin.create(&both).await.unwrap_err();
    assert_eq!(refused.reason_code(), Reason::AlreadyExists);
    assert_eq!(
        refused.message,
        format!(
            "configmaps \"{}\" already exists, the server was not able to generate a unique name for the object",
            first.metadata().name
        )
    );
    assert_eq!(refused.details.unwrap().retry_after_seconds, 1);
    let nameless = admin.create(&map("")).await.unwrap_err();
    assert_eq!(
        nameless.message,
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
    let pod: Pod = object(r#"{"metadata": {"generateName": "p-", "namespace": "none"}}"#);
    let refused = admin.create(&pod).await.unwrap_err();
    assert_eq!(refused.message, "namespaces \"none\" not found");
}
