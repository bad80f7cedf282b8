use gantry_proto::Kind;
use gantry_proto::api::v1::{self as api, PatchType};
use gantry_proto::apps::v1::Deployment;
use gantry_proto::core::v1::{Binding, ConfigMap, Pod, Service};
use gantry_proto::meta::v1::{DeleteOptions, Status};
use gantry_proto::status::Reason;

use crate::cluster::{Client, Cluster, decode, failure, json_form, object, wire};

fn map(name: &str, value: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "data": {{"k": "{value}"}}}}"#
    ))
}

fn service(name: &str, spec: &str) -> Service {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "spec": {{{spec}
            "ports": [{{"port": 80}}]}}}}"#
    ))
}

impl Client {
    async fn pretend_to_create<K: Kind>(&self, object: &K) -> Result<K, Status> {
        let request = api::CreateRequest {
            object: Some(wire(object)),
            dry_run: true,
            ..Default::default()
        };
        let reply = self.resources().create(request).await.map_err(failure)?;
        Ok(decode(reply.into_inner().object.unwrap()))
    }

    async fn pretend_to_update<K: Kind>(&self, subresource: &str, object: &K) -> Result<K, Status> {
        let request = api::UpdateRequest {
            subresource: subresource.into(),
            object: Some(wire(object)),
            dry_run: true,
            ..Default::default()
        };
        let reply = self.resources().update(request).await.map_err(failure)?;
        Ok(decode(reply.into_inner().object.unwrap()))
    }

    async fn pretend_to_patch(
        &self,
        resource: &str,
        name: &str,
        subresource: &str,
        patch: &str,
    ) -> api::Object {
        let request = api::PatchRequest {
            resource: resource.into(),
            namespace: "default".into(),
            name: name.into(),
            subresource: subresource.into(),
            r#type: PatchType::Merge.into(),
            patch: patch.as_bytes().to_vec().into(),
            dry_run: true,
            ..Default::default()
        };
        let reply = self.resources().patch(request).await.unwrap().into_inner();
        reply.object.unwrap()
    }
}

fn dry() -> DeleteOptions {
    DeleteOptions {
        dry_run: vec!["All".into()],
        ..DeleteOptions::default()
    }
}

#[tokio::test]
async fn nothing_that_is_only_pretended_is_stored() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let pretended = admin.pretend_to_create(&map("m", "1")).await.unwrap();
    assert!(!pretended.metadata().uid.is_empty() && pretended.metadata().resource_version.is_empty());
    let absent = admin.get::<ConfigMap>("default", "m").await.unwrap_err();
    assert_eq!(absent.reason_code(), Reason::NotFound);
    let created = admin.create(&map("m", "1")).await.unwrap();
    let exists = admin.pretend_to_create(&map("m", "1")).await.unwrap_err();
    assert_eq!(exists.message, "configmaps \"m\" already exists");

    let mut changed = created.clone();
    changed.data.insert("k".into(), "2".into());
    let pretended = admin.pretend_to_update("", &changed).await.unwrap();
    assert_eq!(pretended.data["k"], "2");
    assert_eq!(
        pretended.metadata().resource_version,
        created.metadata().resource_version
    );
    let patched = admin
        .pretend_to_patch("configmaps", "m", "", r#"{"data": {"k": "3"}}"#)
        .await;
    assert_eq!(decode::<ConfigMap>(patched).data["k"], "3");
    let deleted: ConfigMap = admin.delete("default", "m", dry()).await.unwrap();
    assert_eq!(deleted.data["k"], "1");
    assert_eq!(admin.get::<ConfigMap>("default", "m").await.unwrap(), created);
    // The last finalizer of what is going ends it, but not in a dry run.
    let mut held = map("held", "1");
    held.metadata_mut().finalizers = vec!["example.com/hold".into()];
    admin.create(&held).await.unwrap();
    let going: ConfigMap = admin
        .delete("default", "held", DeleteOptions::default())
        .await
        .unwrap();
    let mut released = going.clone();
    released.metadata_mut().finalizers.clear();
    admin.pretend_to_update("", &released).await.unwrap();
    assert_eq!(admin.get::<ConfigMap>("default", "held").await.unwrap(), going);
}

#[tokio::test]
async fn a_dry_run_is_refused_like_the_real_thing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let mut wrong = map("m", "1");
    wrong.metadata_mut().namespace = "none".into();
    let refused = admin.pretend_to_create(&wrong).await.unwrap_err();
    assert_eq!(refused.message, "namespaces \"none\" not found");
    let created = admin.create(&map("m", "1")).await.unwrap();
    let mut stale = created.clone();
    stale.metadata_mut().resource_version = "1".into();
    let refused = admin.pretend_to_update("", &stale).await.unwrap_err();
    assert_eq!(refused.reason_code(), Reason::Conflict);
    let mut invalid = created;
    invalid.data.insert("no spaces".into(), String::new());
    let refused = admin.pretend_to_update("", &invalid).await.unwrap_err();
    assert_eq!(refused.reason_code(), Reason::Invalid);
    let missing = admin
        .delete::<ConfigMap>("default", "none", dry())
        .await
        .unwrap_err();
    assert_eq!(missing.reason_code(), Reason::NotFound);
}

#[tokio::test]
async fn addresses_and_ports_are_shown_and_not_taken() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    // More often than there are addresses or ports.
    for number in 0..20 {
        let name = format!("s{number}");
        let shown = admin
            .pretend_to_create(&service(&name, r#""type": "NodePort","#))
            .await
            .unwrap();
        assert!(!shown.spec().cluster_ip.is_empty());
    }
    let chosen = service("chosen", r#""clusterIP": "10.96.0.5","#);
    admin.pretend_to_create(&chosen).await.unwrap();
    admin.create(&chosen).await.unwrap();
    let taken = service("late", r#""clusterIP": "10.96.0.5","#);
    let mut refused = admin.pretend_to_create(&taken).await;
    // What others have is known from a cache.
    while refused.is_ok() {
        tokio::task::yield_now().await;
        refused = admin.pretend_to_create(&taken).await;
    }
    assert_eq!(refused.unwrap_err().reason_code(), Reason::Invalid);
}

#[tokio::test]
async fn subresources_know_dry_runs_too() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let deployment: Deployment = object(
        r#"{"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 3,
            "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "hello"}]}}}}"#,
    );
    let created = admin.create(&deployment).await.unwrap();
    admin
        .pretend_to_patch("deployments.apps", "web", "scale", r#"{"spec": {"replicas": 5}}"#)
        .await;
    let status = admin
        .pretend_to_patch(
            "deployments.apps",
            "web",
            "status",
            r#"{"status": {"replicas": 5}}"#,
        )
        .await;
    assert_eq!(decode::<Deployment>(status).status().replicas, 5);
    let mut with_status = created.clone();
    with_status.status_mut().replicas = 7;
    let pretended = admin.pretend_to_update("status", &with_status).await.unwrap();
    assert_eq!(pretended.status().replicas, 7);
    assert_eq!(admin.get::<Deployment>("default", "web").await.unwrap(), created);

    let pod: Pod = object(
        r#"{"metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "hello"}]}}"#,
    );
    let pod = admin.create(&pod).await.unwrap();
    let bind = async |dry_run: bool| {
        let binding = r#"{"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", "namespace": "default"},
            "target": {"kind": "Node", "name": "n1"}}"#;
        let request = api::CreateRequest {
            resource: "pods".into(),
            subresource: "binding".into(),
            object: Some(json_form(binding)),
            view: api::View::Any.into(),
            dry_run,
            ..Default::default()
        };
        let reply = admin.resources().create(request).await.map_err(failure)?;
        Ok::<Binding, Status>(decode(reply.into_inner().object.unwrap()))
    };
    bind(true).await.unwrap();
    assert_eq!(admin.get::<Pod>("default", "p").await.unwrap(), pod);
    bind(false).await.unwrap();
    let refused = bind(true).await.unwrap_err();
    assert_eq!(refused.reason_code(), Reason::Conflict, "it is bound");
}
