use gantry_proto::Kind;
use gantry_proto::api::v1::{self as api, DiscoverRequest};
use gantry_proto::core::v1::{ConfigMap, Pod};
use gantry_proto::meta::v1::{DeleteOptions, Preconditions, Status};
use gantry_proto::status::Reason;

use crate::cluster::{Client, Cluster, decode, failure, object};

fn map(name: &str, app: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default", "labels": {{"app": "{app}"}}}}}}"#
    ))
}

fn pod(name: &str, node: &str) -> Pod {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "spec": {{"nodeName": "{node}",
            "containers": [{{"name": "c", "image": "hello"}}]}}}}"#
    ))
}

impl Client {
    /// What was deleted, and the reply.
    pub async fn delete_collection<K: Kind>(
        &self,
        request: api::DeleteCollectionRequest,
    ) -> Result<(Vec<K>, api::ListReply), Status> {
        let request = api::DeleteCollectionRequest {
            resource: K::INFO.group_resource(),
            ..request
        };
        let reply = self
            .resources()
            .delete_collection(request)
            .await
            .map_err(failure)?;
        let reply = reply.into_inner();
        let items = reply.items.iter().map(|item| decode(item.clone())).collect();
        Ok((items, reply))
    }

    async fn names<K: Kind>(&self) -> Vec<String> {
        let request = api::ListRequest {
            namespace: "default".into(),
            ..Default::default()
        };
        let (items, _) = self.list::<K>(request).await.unwrap();
        items.iter().map(|item| item.metadata().name.clone()).collect()
    }
}

fn in_default() -> api::DeleteCollectionRequest {
    api::DeleteCollectionRequest {
        namespace: "default".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_the_selectors_choose_goes_and_is_returned_as_it_was() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    for number in 0..30 {
        let app = if number % 3 == 0 { "api" } else { "web" };
        admin.create(&map(&format!("m{number:02}"), app)).await.unwrap();
    }
    let chosen = api::DeleteCollectionRequest {
        label_selector: "app=web".into(),
        ..in_default()
    };
    let (deleted, reply) = admin.delete_collection::<ConfigMap>(chosen).await.unwrap();
    assert_eq!(deleted.len(), 20);
    assert!(deleted.iter().all(|map| map.metadata().labels["app"] == "web"));
    assert_eq!(
        (reply.kind.as_str(), reply.api_version.as_str()),
        ("ConfigMapList", "v1")
    );
    assert!(!reply.resource_version.is_empty());
    assert_eq!(admin.names::<ConfigMap>().await.len(), 10);
    let one = api::DeleteCollectionRequest {
        field_selector: "metadata.name=m03".into(),
        ..in_default()
    };
    let (deleted, _) = admin.delete_collection::<ConfigMap>(one).await.unwrap();
    assert_eq!(deleted.len(), 1);
    let dry = api::DeleteCollectionRequest {
        options: Some(DeleteOptions {
            dry_run: vec!["All".into()],
            ..DeleteOptions::default()
        }),
        ..in_default()
    };
    let (pretended, _) = admin.delete_collection::<ConfigMap>(dry).await.unwrap();
    assert_eq!((pretended.len(), admin.names::<ConfigMap>().await.len()), (9, 9));
    let (deleted, _) = admin.delete_collection::<ConfigMap>(in_default()).await.unwrap();
    assert_eq!(deleted.len(), 9);
    assert!(admin.names::<ConfigMap>().await.is_empty());
}

#[tokio::test]
async fn each_object_goes_as_if_it_were_deleted_alone() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    for (name, node) in [("a", "n1"), ("b", "n2"), ("c", "n1")] {
        admin.create(&pod(name, node)).await.unwrap();
    }
    let mut unbound = pod("d", "n1");
    unbound.spec_mut().node_name.clear();
    admin.create(&unbound).await.unwrap();
    let everything = api::DeleteCollectionRequest {
        options: Some(DeleteOptions {
            grace_period_seconds: Some(7),
            ..DeleteOptions::default()
        }),
        ..in_default()
    };
    let (deleted, _) = admin.delete_collection::<Pod>(everything).await.unwrap();
    assert_eq!(deleted.len(), 4);
    assert!(
        deleted[0].metadata().deletion_timestamp.is_none(),
        "as it was before"
    );
    assert_eq!(
        admin.names::<Pod>().await,
        ["a", "b", "c"],
        "a node has to end them"
    );
    let going: Pod = admin.get("default", "a").await.unwrap();
    assert_eq!(going.metadata().deletion_grace_period_seconds, Some(7));
    let on_one_node = api::DeleteCollectionRequest {
        field_selector: "spec.nodeName=n1".into(),
        options: Some(DeleteOptions {
            grace_period_seconds: Some(0),
            ..DeleteOptions::default()
        }),
        ..in_default()
    };
    admin.delete_collection::<Pod>(on_one_node).await.unwrap();
    assert_eq!(admin.names::<Pod>().await, ["b"]);
    let of_another = api::DeleteCollectionRequest {
        options: Some(DeleteOptions {
            preconditions: Some(Preconditions {
                uid: Some("other".into()),
                ..Preconditions::default()
            }),
            ..DeleteOptions::default()
        }),
        ..in_default()
    };
    let refused = admin.delete_collection::<Pod>(of_another).await.map(drop);
    assert_eq!(refused.unwrap_err().reason_code(), Reason::Conflict);
}

#[tokio::test]
async fn a_collection_is_only_deleted_where_kubernetes_has_the_verb_and_by_who_may() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&map("m", "web")).await.unwrap();
    let jane = cluster.client("jane", &[]).await;
    let refused = jane.delete_collection::<ConfigMap>(in_default()).await.map(drop);
    assert_eq!(
        refused.unwrap_err().message,
        "configmaps is forbidden: User \"jane\" cannot deletecollection resource \"configmaps\" in API group \"\" in \
         the namespace \"default\""
    );
    let check = async |resource: &str, expected: (Reason, &str)| {
        let request = api::DeleteCollectionRequest {
            resource: resource.into(),
            ..Default::default()
        };
        let refused = admin
            .resources()
            .delete_collection(request)
            .await
            .map_err(failure);
        let refused = refused.map(drop).unwrap_err();
        assert_eq!((refused.reason_code(), refused.message.as_str()), expected);
    };
    let method = (
        Reason::MethodNotAllowed,
        "the server does not allow this method on the requested resource",
    );
    check("namespaces", method).await;
    // Not in all namespaces at once.
    check("configmaps", method).await;
    check(
        "widgets",
        (
            Reason::NotFound,
            "the server could not find the requested resource",
        ),
    )
    .await;
    let bad = api::DeleteCollectionRequest {
        label_selector: "app in (web".into(),
        ..in_default()
    };
    let refused = admin.delete_collection::<ConfigMap>(bad).await.map(drop);
    assert_eq!(
        refused.unwrap_err().message,
        "unable to parse requirement: found '', expected: ',' or ')'"
    );
    assert_eq!(admin.names::<ConfigMap>().await, ["m"]);

    let known = admin
        .resources()
        .discover(DiscoverRequest {})
        .await
        .unwrap()
        .into_inner();
    for resource in known.resources {
        let verbs: Vec<&str> = resource.verbs.iter().map(String::as_str).collect();
        let expected = match resource.resource.as_str() {
            "bindings" => "create",
            "namespaces" => "create delete get list patch update watch",
            _ => "create delete deletecollection get list patch update watch",
        };
        assert_eq!(verbs.join(" "), expected, "{}", resource.resource);
    }
}

#[tokio::test]
async fn many_deletions_at_once_leave_nothing_and_report_each_others_work_as_done() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    for number in 0..40 {
        admin.create(&map(&format!("m{number:02}"), "web")).await.unwrap();
    }
    let both = tokio::join!(
        admin.delete_collection::<ConfigMap>(in_default()),
        admin.delete_collection::<ConfigMap>(in_default()),
    );
    assert!(
        both.0.is_ok() && both.1.is_ok(),
        "what is gone already is no failure"
    );
    assert!(admin.names::<ConfigMap>().await.is_empty());
}
