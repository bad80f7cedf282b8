use gantry_proto::Kind;
use gantry_proto::api::v1 as api;
use gantry_proto::api::v1::object::Form;
use gantry_proto::core::v1::Pod;
use gantry_proto::json;
use gantry_proto::meta::v1::Status;
use gantry_proto::policy::v1::PodDisruptionBudget;
use gantry_proto::status::Reason;
use serde_json::Value;

use crate::cluster::{Client, Cluster, failure, json_form, object};

fn pod(name: &str) -> Pod {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default", "labels": {{"app": "web"}}}}, "spec": {{
            "nodeName": "n1", "containers": [{{"name": "c", "image": "hello"}}]}}}}"#
    ))
}

fn budget(name: &str, more: &str) -> PodDisruptionBudget {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "spec": {{"minAvailable": 1,
            "selector": {{"matchLabels": {{"app": "web"}}}}{more}}}}}"#
    ))
}

impl Client {
    async fn running(&self, name: &str, ready: bool) {
        self.create(&pod(name)).await.unwrap();
        let ready = if ready { "True" } else { "False" };
        let status = format!(
            r#"{{"status": {{"phase": "Running", "conditions": [{{"type": "Ready", "status": "{ready}"}}]}}}}"#
        );
        self.patch::<Pod>("default", name, "status", &status)
            .await
            .unwrap();
    }

    /// As the disruption controller would.
    async fn counted(&self, name: &str, allowed: i32, healthy: i32, desired: i32) {
        let present: PodDisruptionBudget = self.get("default", name).await.unwrap();
        let status = format!(
            r#"{{"status": {{"observedGeneration": {}, "disruptionsAllowed": {allowed}, "currentHealthy": {healthy},
                "desiredHealthy": {desired}, "expectedPods": {healthy}}}}}"#,
            present.metadata().generation
        );
        self.patch::<PodDisruptionBudget>("default", name, "status", &status)
            .await
            .unwrap();
    }

    async fn evict_as(&self, name: &str, eviction: &str, dry_run: bool) -> Result<Value, Status> {
        let request = api::CreateRequest {
            resource: "pods".into(),
            namespace: "default".into(),
            name: name.into(),
            subresource: "eviction".into(),
            object: Some(json_form(eviction)),
            dry_run,
            ..Default::default()
        };
        let reply = self
            .resources()
            .create(request)
            .await
            .map_err(failure)?
            .into_inner();
        match reply.object.and_then(|object| object.form) {
            Some(Form::Json(object)) => Ok(json::struct_to_value(object)),
            other => panic!("asked in JSON, answered with {other:?}"),
        }
    }

    async fn evict(&self, name: &str) -> Result<Value, Status> {
        self.evict_as(name, &eviction(name, ""), false).await
    }

    async fn going(&self, name: &str) -> bool {
        match self.get::<Pod>("default", name).await {
            Ok(pod) => pod.metadata().deletion_timestamp.is_some(),
            Err(status) => status.reason_code() == Reason::NotFound,
        }
    }
}

fn eviction(name: &str, more: &str) -> String {
    format!(
        r#"{{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {{"name": "{name}", "namespace": "default"}}{more}}}"#
    )
}

fn cause(status: &Status) -> (&str, &str) {
    let cause = &status.details.as_ref().unwrap().causes[0];
    (cause.reason.as_str(), cause.message.as_str())
}

#[tokio::test]
async fn a_budget_grants_what_it_has_and_says_why_not_more() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&budget("web", "")).await.unwrap();
    for name in ["a", "b", "c"] {
        admin.running(name, true).await;
    }
    let unseen = admin.evict("a").await.unwrap_err();
    assert_eq!(unseen.code, 429);
    assert_eq!(unseen.details.as_ref().unwrap().retry_after_seconds, 10);
    assert_eq!(
        cause(&unseen),
        (
            "DisruptionBudget",
            "The disruption budget web is still being processed by the server."
        )
    );
    admin.counted("web", 1, 3, 2).await;
    let done = admin.evict("a").await.unwrap();
    assert_eq!(
        (&done["kind"], &done["status"], &done["code"]),
        (&"Status".into(), &"Success".into(), &201.into())
    );
    let evicted: Pod = admin.get("default", "a").await.unwrap();
    assert_eq!(evicted.metadata().deletion_grace_period_seconds, Some(30));
    let condition = evicted
        .status()
        .conditions
        .iter()
        .find(|one| one.r#type == "DisruptionTarget");
    let condition = condition.unwrap();
    assert_eq!(
        (condition.reason.as_str(), condition.message.as_str()),
        ("EvictionByEvictionAPI", "Eviction API: evicting")
    );
    let spent: PodDisruptionBudget = admin.get("default", "web").await.unwrap();
    assert_eq!(spent.status().disruptions_allowed, 0);
    assert!(spent.status().disrupted_pods.contains_key("a"));

    let refused = admin.evict("b").await.unwrap_err();
    assert_eq!(
        (refused.reason_code(), refused.code, refused.message.as_str()),
        (
            Reason::TooManyRequests,
            429,
            "Cannot evict pod as it would violate the pod's disruption budget."
        )
    );
    admin.counted("web", 0, 2, 2).await;
    let refused = admin.evict("b").await.unwrap_err();
    assert_eq!(
        cause(&refused).1,
        "The disruption budget web needs 2 healthy pods and has 2 currently"
    );
    assert!(!admin.going("b").await);
    admin.evict("a").await.unwrap();
}

#[tokio::test]
async fn evictions_at_once_do_not_take_more_than_the_budget_has() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&budget("web", "")).await.unwrap();
    let names: Vec<String> = (0..10).map(|number| format!("p{number}")).collect();
    for name in &names {
        admin.running(name, true).await;
    }
    admin.counted("web", 3, 10, 7).await;
    let evictions = names.iter().map(|name| admin.evict(name));
    let granted = futures::future::join_all(evictions)
        .await
        .into_iter()
        .filter(Result::is_ok)
        .count();
    let spent: PodDisruptionBudget = admin.get("default", "web").await.unwrap();
    assert_eq!((granted, spent.status().disruptions_allowed), (3, 0));
    assert_eq!(spent.status().disrupted_pods.len(), 3);
}

#[tokio::test]
async fn pods_that_nobody_would_miss_go_whatever_the_budget() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&budget("web", "")).await.unwrap();
    admin.counted("web", 0, 1, 2).await;
    admin.create(&pod("pending")).await.unwrap();
    admin.evict("pending").await.unwrap();
    assert!(admin.going("pending").await);
    admin.running("done", true).await;
    admin
        .patch::<Pod>("default", "done", "status", r#"{"status": {"phase": "Failed"}}"#)
        .await
        .unwrap();
    admin.evict("done").await.unwrap();
    assert!(admin.going("done").await);

    admin.running("unready", false).await;
    assert_eq!(admin.evict("unready").await.unwrap_err().code, 429);
    admin
        .patch::<PodDisruptionBudget>(
            "default",
            "web",
            "",
            r#"{"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}"#,
        )
        .await
        .unwrap();
    admin.evict("unready").await.unwrap();
    assert!(admin.going("unready").await);
}

#[tokio::test]
async fn an_eviction_that_cannot_be_meant_is_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.running("a", true).await;
    let other = admin.evict_as("a", &eviction("b", ""), false).await.unwrap_err();
    assert_eq!(
        (other.reason_code(), other.message.as_str()),
        (
            Reason::BadRequest,
            "name in URL does not match name in Eviction object"
        )
    );
    let missing = admin.evict("b").await.unwrap_err();
    assert_eq!(missing.message, "pods \"b\" not found");
    let uid = eviction("a", r#", "deleteOptions": {"preconditions": {"uid": "other"}}"#);
    let conflict = admin.evict_as("a", &uid, false).await.unwrap_err();
    assert_eq!(conflict.reason_code(), Reason::Conflict);
    assert!(conflict.message.starts_with(
        "Operation cannot be fulfilled on Pod \"a\": the UID in the precondition (other) does not match"
    ));
    admin.create(&budget("one", "")).await.unwrap();
    admin.counted("one", 1, 2, 1).await;
    let conflict = admin.evict_as("a", &uid, false).await.unwrap_err();
    assert_eq!(conflict.reason_code(), Reason::Conflict);
    let present: PodDisruptionBudget = admin.get("default", "one").await.unwrap();
    assert_eq!(present.status().disruptions_allowed, 1, "nothing was taken");
    admin.create(&budget("two", "")).await.unwrap();
    let several = admin.evict("a").await.unwrap_err();
    assert_eq!(
        (several.code, several.message.as_str()),
        (
            500,
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    );
    let jane = cluster.client("jane", &[]).await;
    let refused = jane.evict("a").await.unwrap_err();
    assert_eq!(
        refused.message,
        "pods \"a\" is forbidden: User \"jane\" cannot create resource \"pods/eviction\" in API group \"\" in the \
         namespace \"default\""
    );
    assert!(!admin.going("a").await);
}

#[tokio::test]
async fn an_eviction_deletes_as_its_options_say() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&budget("web", "")).await.unwrap();
    admin.running("a", true).await;
    admin.counted("web", 1, 2, 1).await;
    let dry = admin.evict_as("a", &eviction("a", ""), true).await.unwrap();
    assert_eq!(dry["status"], "Success");
    let present: PodDisruptionBudget = admin.get("default", "web").await.unwrap();
    assert_eq!(present.status().disruptions_allowed, 1, "a dry run takes nothing");
    let pod: Pod = admin.get("default", "a").await.unwrap();
    assert!(pod.metadata().deletion_timestamp.is_none());
    assert!(
        pod.status()
            .conditions
            .iter()
            .all(|one| one.r#type != "DisruptionTarget")
    );

    let version = &pod.metadata().resource_version;
    let options = format!(
        r#", "deleteOptions": {{"gracePeriodSeconds": 5, "preconditions": {{"resourceVersion": "{version}"}}}}"#
    );
    admin
        .evict_as("a", &eviction("a", &options), false)
        .await
        .unwrap();
    let pod: Pod = admin.get("default", "a").await.unwrap();
    assert_eq!(pod.metadata().deletion_grace_period_seconds, Some(5));
    let stale = admin
        .evict_as("a", &eviction("a", &options), false)
        .await
        .unwrap_err();
    assert_eq!(stale.reason_code(), Reason::Conflict);
    let known = admin
        .resources()
        .discover(api::DiscoverRequest {})
        .await
        .unwrap()
        .into_inner();
    let pods = known
        .resources
        .iter()
        .find(|one| one.message == Pod::INFO.message)
        .unwrap();
    let eviction = pods
        .subresources
        .iter()
        .find(|one| one.name == "eviction")
        .unwrap();
    assert_eq!(
        (eviction.kind.as_str(), &eviction.verbs[..]),
        ("Eviction", &["create".to_owned()][..])
    );
}
