use gantry_proto::api::v1::{DiscoverRequest, ListRequest, LogsRequest, WatchRequest};
use gantry_proto::core::v1::{ConfigMap, Node, Pod, Secret};
use gantry_proto::node::v1::node_agent_client::NodeAgentClient;
use gantry_proto::status::Reason;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::cluster::{Cluster, object};

fn secret(name: &str) -> Secret {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "data": {{"key": "c2VjcmV0"}}}}"#
    ))
}

fn pod(name: &str, node: &str, secret: &str) -> Pod {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "spec": {{"nodeName": "{node}",
            "containers": [{{"name": "c", "image": "hello"}}],
            "volumes": [{{"name": "v", "secret": {{"secretName": "{secret}"}}}}]}}}}"#
    ))
}

#[tokio::test]
async fn a_node_reads_the_secrets_of_its_own_pods_and_no_others() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    for name in ["ours", "theirs", "nobodys"] {
        admin.create(&secret(name)).await.unwrap();
    }
    admin.create(&pod("p1", "n1", "ours")).await.unwrap();
    admin.create(&pod("p2", "n2", "theirs")).await.unwrap();
    let node = cluster.client("system:node:n1", &["system:nodes"]).await;
    assert_eq!(
        node.get::<Secret>("default", "ours").await.unwrap().data["key"],
        b"secret"
    );
    for name in ["theirs", "nobodys", "missing"] {
        let refused = node.get::<Secret>("default", name).await.unwrap_err();
        assert_eq!(refused.reason_code(), Reason::Forbidden);
        assert_eq!(
            refused.message,
            format!(
                "secrets \"{name}\" is forbidden: User \"system:node:n1\" cannot get resource \"secrets\" in API group \
                 \"\" in the namespace \"default\": no relationship found between node 'n1' and this object"
            )
        );
    }
    let all = node
        .list::<Secret>(ListRequest::default())
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(all.reason_code(), Reason::Forbidden);

    let own = ListRequest {
        field_selector: "spec.nodeName=n1".into(),
        ..Default::default()
    };
    let (pods, _) = node.list::<Pod>(own).await.unwrap();
    assert_eq!(
        pods.iter()
            .map(|pod| pod.metadata().name.as_str())
            .collect::<Vec<_>>(),
        ["p1"]
    );
    let everybodys = node
        .watch::<Pod>(WatchRequest::default())
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(everybodys.reason_code(), Reason::Forbidden);
    let refused = node
        .patch::<Pod>("default", "p2", "status", r#"{"status": {"phase": "Failed"}}"#)
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        "pods \"p2\" is forbidden: node \"n1\" can only update pod status for pods with spec.nodeName set to itself"
    );
    let refused = node
        .create::<Node>(&object(r#"{"metadata": {"name": "n2"}}"#))
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
    );
    node.create::<Node>(&object(r#"{"metadata": {"name": "n1"}}"#))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_node_cannot_draw_workloads_to_itself() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let node = cluster.client("system:node:n1", &["system:nodes"]).await;
    let refused = node
        .create::<Node>(&object(
            r#"{"metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/x": ""}}}"#,
        ))
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        "nodes \"n1\" is forbidden: node \"n1\" is not allowed to set the following labels: \
         node-role.kubernetes.io/x"
    );
    let registered =
        r#"{"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1", "team": "a"}}}"#;
    node.create::<Node>(&object(registered)).await.unwrap();
    let taint = r#"{"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}"#;
    admin.patch::<Node>("", "n1", "", taint).await.unwrap();
    let relabel = r#"{"metadata": {"labels": {"k8s.io/pool": "secure"}}}"#;
    for (subresource, patch, expected) in [
        (
            "",
            r#"{"spec": {"taints": null}}"#,
            "not allowed to modify taints",
        ),
        ("", relabel, "is not allowed to modify labels: k8s.io/pool"),
        ("status", relabel, "is not allowed to modify labels: k8s.io/pool"),
    ] {
        let refused = node
            .patch::<Node>("", "n1", subresource, patch)
            .await
            .unwrap_err();
        assert_eq!(refused.reason_code(), Reason::Forbidden, "{patch}");
        assert!(refused.message.ends_with(expected), "{}", refused.message);
    }
    let allowed = r#"{"metadata": {"labels": {"team": "b"}}}"#;
    let relabelled = node.patch::<Node>("", "n1", "", allowed).await.unwrap();
    assert_eq!(
        (
            relabelled.metadata().labels["team"].as_str(),
            relabelled.spec().taints.len()
        ),
        ("b", 1)
    );

    admin.create(&pod("p1", "n1", "s")).await.unwrap();
    let refused = node
        .patch::<Pod>(
            "default",
            "p1",
            "status",
            r#"{"metadata": {"labels": {"app": "web"}}}"#,
        )
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        "pods \"p1\" is forbidden: node \"n1\" cannot update labels through pod status"
    );
}

#[tokio::test]
async fn strangers_learn_what_there_is_and_nothing_more() {
    let cluster = Cluster::start().await;
    let stranger = cluster.anonymous().await;
    let refused = stranger
        .list::<ConfigMap>(ListRequest {
            namespace: "default".into(),
            ..Default::default()
        })
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(
        refused.message,
        "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in \
         the namespace \"default\""
    );
    let mut agent = NodeAgentClient::new(stranger.0.clone());
    let unknown = agent.logs(LogsRequest::default()).await.map(drop).unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unimplemented);
    let known = stranger
        .resources()
        .discover(DiscoverRequest {})
        .await
        .unwrap()
        .into_inner();
    let pods = known
        .resources
        .iter()
        .find(|resource| resource.resource == "pods")
        .unwrap();
    assert_eq!(
        (pods.kind.as_str(), pods.message.as_str()),
        ("Pod", "gantry.core.v1.Pod")
    );
    assert!(known.server_version.starts_with("v1.36.2+gantry."));

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(stranger.0.clone());
    let mut replies = reflection
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let reply = replies.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = reply.message_response else {
        panic!("not a list of services");
    };
    let names: Vec<&str> = services
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for name in [
        "gantry.api.v1.Resources",
        "gantry.api.v1.Pods",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(
        !names.contains(&"gantry.node.v1.NodeAgent"),
        "what others serve is not listed"
    );
}
