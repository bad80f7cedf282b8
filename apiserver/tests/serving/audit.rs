use std::path::Path;
use std::time::Duration;

use gantry_apiserver::{audit, run};
use gantry_proto::api::v1::pods_client::PodsClient;
use gantry_proto::api::v1::{self as api, FieldValidation, WatchRequest};
use gantry_proto::apps::v1::Deployment;
use gantry_proto::core::v1::{ConfigMap, Secret};
use gantry_proto::meta::v1::DeleteOptions;
use gantry_proto::status::Reason;
use gantry_store::etcd;
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, DEADLINE, Files, failure, object, wire};

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
  - level: None
    nonResourceURLs: ["/grpc.health.v1.Health/*"]
  - level: Metadata
    resources: [{group: "", resources: [secrets, configmaps]}]
  - level: Metadata
    resources: [{group: "", resources: [pods/log]}]
  - level: Request
    verbs: [delete, deletecollection]
    omitStages: [RequestReceived]
  - level: RequestResponse
    resources: [{group: apps}]
"#;

const LOOK_AGAIN: Duration = Duration::from_millis(10);
const TRACE: &str = "6b0080b55a16ff7725c569f78343f07d";

/// Waits until the log has what the caller looks for, and returns the whole log.
async fn recorded(folder: &Path, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let text = std::fs::read_to_string(folder.join("audit.log")).unwrap();
        // The last line may be half there.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let events: Vec<Value> = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if enough(&events) {
            return events;
        }
        assert!(tokio::time::Instant::now() < deadline, "{text}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn of<'a>(events: &'a [Value], verb: &str, resource: &str) -> Vec<&'a Value> {
    let about = |event: &&Value| event["verb"] == verb && event["objectRef"]["resource"] == resource;
    events.iter().filter(about).collect()
}

fn is_complete(events: &[Value], verb: &str, resource: &str) -> bool {
    of(events, verb, resource)
        .iter()
        .any(|event| event["stage"] == "ResponseComplete")
}

fn stages(events: &[&Value]) -> Vec<String> {
    let stages = events.iter().filter_map(|event| event["stage"].as_str());
    stages.map(str::to_owned).collect()
}

fn deployment() -> Deployment {
    object(
        r#"{"metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "hello"}]}}}}"#,
    )
}

async fn start() -> Cluster {
    Cluster::start_audited(POLICY, "audit.log", |_| {}).await
}

#[tokio::test]
async fn a_creation_is_recorded_with_its_objects_its_user_and_its_trace() {
    let cluster = start().await;
    let admin = cluster.admin().await;
    let mut request = tonic::Request::new(api::CreateRequest {
        object: Some(wire(&deployment())),
        ..Default::default()
    });
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", traceparent.parse().unwrap());
    let reply = admin.resources().create(request).await.unwrap();
    let id = reply
        .metadata()
        .get("audit-id")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let folder = &cluster.files.folder;
    let events = recorded(folder, |events| is_complete(events, "create", "deployments")).await;
    let created = of(&events, "create", "deployments");
    assert_eq!(stages(&created), ["RequestReceived", "ResponseComplete"]);
    let (received, complete) = (created[0], created[1]);
    for event in &created {
        assert_eq!(event["kind"], "Event");
        assert_eq!(event["apiVersion"], "audit.k8s.io/v1");
        assert_eq!(event["level"], "RequestResponse");
        assert_eq!(event["auditID"], id.as_str());
        assert_eq!(event["requestURI"], "/gantry.api.v1.Resources/Create");
        assert_eq!(
            event["user"],
            json!({"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]})
        );
        assert_eq!(event["sourceIPs"], json!(["127.0.0.1"]));
        assert!(event["userAgent"].as_str().unwrap().starts_with("tonic/"));
        assert_eq!(event["annotations"]["gantry.dev/trace-id"], TRACE);
        assert_eq!(
            event["annotations"]["gantry.dev/grpc-method"],
            "gantry.api.v1.Resources/Create"
        );
    }
    assert_eq!(received["stageTimestamp"], received["requestReceivedTimestamp"]);
    assert!(received["requestObject"].is_null() && received["responseStatus"].is_null());
    let stored: Deployment = admin.get("default", "web").await.unwrap();
    let stored = stored.metadata();
    assert_eq!(
        complete["objectRef"],
        json!({
            "resource": "deployments", "namespace": "default", "name": "web", "uid": stored.uid, "apiGroup": "apps",
            "apiVersion": "v1", "resourceVersion": stored.resource_version,
        })
    );
    assert_eq!(complete["responseStatus"]["code"], 201);
    assert_eq!(complete["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(
        complete["annotations"]["authorization.k8s.io/reason"],
        "allowed to Group \"system:masters\": everything"
    );
    assert_eq!(complete["requestObject"]["kind"], "Deployment");
    assert!(
        complete["requestObject"]["spec"]["replicas"].is_null(),
        "as it came"
    );
    assert_eq!(complete["responseObject"]["spec"]["replicas"], 1);
    assert!(complete["stageTimestamp"].as_str() > complete["requestReceivedTimestamp"].as_str());
}

#[tokio::test]
async fn a_denied_request_is_recorded_with_the_reason() {
    let cluster = start().await;
    let jane = cluster.client("jane", &["developers"]).await;
    jane.create(&deployment()).await.unwrap_err();
    let folder = &cluster.files.folder;
    let events = recorded(folder, |events| is_complete(events, "create", "deployments")).await;
    let denied = of(&events, "create", "deployments")[1];
    assert_eq!(denied["user"]["username"], "jane");
    assert_eq!(denied["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(
        denied["annotations"]["authorization.k8s.io/reason"],
        "no rule allows it"
    );
    let status = &denied["responseStatus"];
    assert_eq!(
        (&status["code"], &status["reason"]),
        (&json!(403), &json!("Forbidden"))
    );
    assert_eq!(status["status"], "Failure");
    assert_eq!(denied["responseObject"]["kind"], "Status");
    assert_eq!(denied["responseObject"]["reason"], "Forbidden");
}

#[tokio::test]
async fn a_watch_is_recorded_when_it_begins_and_when_it_ends() {
    let cluster = start().await;
    let admin = cluster.admin().await;
    let request = WatchRequest {
        namespace: "default".into(),
        ..Default::default()
    };
    let mut watch = admin.watch::<Deployment>(request).await.unwrap();
    admin.create(&deployment()).await.unwrap();
    assert_eq!(watch.told::<Deployment>().await.1, "web");
    let folder = &cluster.files.folder;
    let has = |events: &[Value], count| of(events, "watch", "deployments").len() == count;
    let events = recorded(folder, |events| has(events, 2)).await;
    let begun = of(&events, "watch", "deployments");
    assert_eq!(stages(&begun), ["RequestReceived", "ResponseStarted"]);
    assert_eq!(begun[1]["responseStatus"]["code"], 200);
    drop(watch);
    let events = recorded(folder, |events| has(events, 3)).await;
    let ended = of(&events, "watch", "deployments")[2];
    assert_eq!(ended["stage"], "ResponseComplete");
    assert_eq!(ended["responseStatus"]["code"], 200);
    assert!(
        ended["responseObject"].is_null(),
        "what it delivered is not recorded"
    );
    assert_eq!(ended["auditID"], begun[0]["auditID"]);
}

#[tokio::test]
async fn a_log_is_recorded_as_a_request_that_lasts() {
    let cluster = start().await;
    let mut pods = PodsClient::new(cluster.admin().await.0);
    let request = api::LogsRequest {
        namespace: "default".into(),
        pod: "p".into(),
        ..Default::default()
    };
    pods.logs(request).await.unwrap_err();
    let folder = &cluster.files.folder;
    let events = recorded(folder, |events| is_complete(events, "get", "pods")).await;
    let log = of(&events, "get", "pods");
    assert_eq!(
        stages(&log),
        ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    );
    let about = json!({
        "resource": "pods", "namespace": "default", "name": "p", "apiVersion": "v1", "subresource": "log",
    });
    assert_eq!(log[2]["objectRef"], about);
    assert_eq!(log[2]["responseStatus"]["code"], 404);
}

#[tokio::test]
async fn a_deletion_is_recorded_with_its_options_and_stages_are_left_out_as_the_rule_says() {
    let cluster = start().await;
    let admin = cluster.admin().await;
    let created = admin.create(&deployment()).await.unwrap();
    let options = DeleteOptions {
        propagation_policy: Some("Background".into()),
        ..DeleteOptions::default()
    };
    admin
        .delete::<Deployment>("default", "web", options.clone())
        .await
        .unwrap();
    let gone = admin.delete::<Deployment>("default", "web", options).await;
    assert_eq!(gone.unwrap_err().reason_code(), Reason::NotFound);
    let folder = &cluster.files.folder;
    let events = recorded(folder, |events| of(events, "delete", "deployments").len() == 2).await;
    let deleted = of(&events, "delete", "deployments");
    assert_eq!(stages(&deleted), ["ResponseComplete", "ResponseComplete"]);
    assert_eq!(deleted[0]["level"], "Request");
    assert_eq!(deleted[0]["requestObject"]["kind"], "DeleteOptions");
    assert_eq!(deleted[0]["requestObject"]["propagationPolicy"], "Background");
    assert_eq!(deleted[0]["objectRef"]["uid"], created.metadata().uid.as_str());
    assert!(deleted[0]["responseObject"].is_null());
    assert_eq!(deleted[1]["responseStatus"]["code"], 404);
    assert_eq!(
        deleted[1]["responseStatus"]["message"],
        "deployments.apps \"web\" not found"
    );
}

#[tokio::test]
async fn a_collections_deletion_is_recorded_and_counted_once_for_all_its_objects() {
    let cluster = start().await;
    let admin = cluster.admin().await;
    admin.create(&deployment()).await.unwrap();
    let request = api::DeleteCollectionRequest {
        namespace: "default".into(),
        options: Some(DeleteOptions {
            grace_period_seconds: Some(3),
            ..DeleteOptions::default()
        }),
        ..Default::default()
    };
    admin.delete_collection::<Deployment>(request).await.unwrap();
    let folder = &cluster.files.folder;
    let verb = "deletecollection";
    let events = recorded(folder, |events| of(events, verb, "deployments").len() == 1).await;
    let deleted = of(&events, verb, "deployments")[0];
    assert_eq!(deleted["objectRef"]["namespace"], "default");
    assert!(deleted["objectRef"]["name"].is_null());
    assert_eq!(deleted["requestObject"]["gracePeriodSeconds"], 3);
    assert!(of(&events, "delete", "deployments").is_empty());
    let told = gantry_telemetry::metrics::encode(&cluster.metrics);
    let line = "apiserver_request_total{verb=\"DELETECOLLECTION\",dry_run=\"\",group=\"apps\",version=\"v1\",\
                resource=\"deployments\",subresource=\"\",scope=\"namespace\",component=\"apiserver\",code=\"200\"} 1";
    assert!(told.contains(line), "{told}");
}

#[tokio::test]
async fn nothing_of_a_secret_or_a_configmap_is_recorded_at_metadata() {
    let cluster = start().await;
    let admin = cluster.admin().await;
    let secret: Secret = object(
        r#"{"metadata": {"name": "s", "namespace": "default"}, "data": {"password": "aHVudGVyMg=="}}"#,
    );
    let map: ConfigMap =
        object(r#"{"metadata": {"name": "m", "namespace": "default"}, "data": {"password": "hunter2"}}"#);
    admin.create(&secret).await.unwrap();
    admin.create(&map).await.unwrap();
    admin.update("", &secret).await.unwrap();
    admin
        .patch::<ConfigMap>("default", "m", "", r#"{"data": {"password": "hunter2 hunter2"}}"#)
        .await
        .unwrap();
    admin.list::<Secret>(Default::default()).await.unwrap();
    // Refusals quote what they refuse.
    for kind in ["Secret", "ConfigMap"] {
        let text = format!(
            r#"{{"apiVersion": "v1", "kind": "{kind}", "metadata": {{"name": "x", "namespace": "default"}},
                "data": "hunter2", "immutable": "hunter2"}}"#
        );
        let refused = admin
            .create_json(&text, FieldValidation::Strict)
            .await
            .unwrap_err();
        assert_eq!(refused.reason_code(), Reason::BadRequest);
    }
    admin
        .delete::<ConfigMap>("default", "m", DeleteOptions::default())
        .await
        .unwrap();
    let folder = &cluster.files.folder;
    let events = recorded(folder, |events| is_complete(events, "delete", "configmaps")).await;
    let text = std::fs::read_to_string(folder.join("audit.log")).unwrap();
    assert!(
        !text.contains("hunter2") && !text.contains("aHVudGVyMg"),
        "{text}"
    );
    for (verb, resource, count) in [
        ("create", "secrets", 2),
        ("create", "configmaps", 2),
        ("update", "secrets", 1),
        ("patch", "configmaps", 1),
        ("list", "secrets", 1),
    ] {
        let events = of(&events, verb, resource);
        let complete = events.iter().filter(|event| event["stage"] == "ResponseComplete");
        assert_eq!(complete.count(), count, "{verb} {resource}");
        assert!(events.iter().all(|event| event["level"] == "Metadata"));
        assert!(events.iter().all(|event| event["requestObject"].is_null()));
    }
}

#[tokio::test]
async fn what_no_rule_matches_is_not_recorded_and_everything_is_counted() {
    let cluster = start().await;
    let admin = cluster.admin().await;
    let discovered = admin.resources().discover(api::DiscoverRequest {}).await;
    discovered.unwrap();
    admin.create(&deployment()).await.unwrap();
    let folder = &cluster.files.folder;
    let events = recorded(folder, |events| is_complete(events, "create", "deployments")).await;
    assert_eq!(events.len(), 2, "{events:?}");
    let text = gantry_telemetry::metrics::encode(&cluster.metrics);
    for line in [
        "apiserver_audit_event_total 2",
        "apiserver_audit_level_total{level=\"RequestResponse\"} 1",
        "apiserver_audit_requests_rejected_total 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("apiserver_audit_level_total{level=\"None\"}"));
}

/// The log is a pipe that nobody reads, as a disk that hangs: the queue's bytes are full after some forty requests.
#[tokio::test]
async fn a_log_that_hangs_delays_no_request_and_its_losses_are_counted() {
    let everything = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]";
    let mut held = None;
    let cluster = Cluster::start_audited(everything, "pipe", |folder| {
        let pipe = folder.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        // Opened for both, so that the server's own opening does not wait.
        held = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe)
            .ok();
    })
    .await;
    assert!(held.is_some());
    let admin = cluster.admin().await;
    let value = "x".repeat(900_000);
    let lost = |text: &str| text.contains("apiserver_audit_error_total{plugin=\"buffered\"}");
    let mut count = 0;
    while !lost(&gantry_telemetry::metrics::encode(&cluster.metrics)) {
        let map: ConfigMap = object(&format!(
            r#"{{"metadata": {{"name": "m{count}", "namespace": "default"}}, "data": {{"k": "{value}"}}}}"#
        ));
        let created = tokio::time::timeout(DEADLINE, admin.create(&map)).await;
        created.expect("no request waits").unwrap();
        count += 1;
        assert!(count < 200, "the queue is bounded");
    }
    admin.get::<ConfigMap>("default", "m0").await.unwrap();
}

#[tokio::test]
async fn a_mistake_in_the_policy_refuses_the_start_with_its_fields_path() {
    let files = Files::new();
    let policy_file = files.folder.join("policy.yaml");
    let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}, {level: All}]";
    std::fs::write(&policy_file, text).unwrap();
    let nowhere = etcd::Config {
        endpoints: vec!["https://127.0.0.1:1".into()],
        ca_file: files.folder.join("ca.crt"),
        cert_file: files.folder.join("server.crt"),
        key_file: files.folder.join("server.key"),
    };
    let audit = audit::Config {
        policy_file: Some(policy_file.clone()),
        log: None,
    };
    let config = files.config("127.0.0.1:0".parse().unwrap(), nowhere, audit);
    let refused = run(config, Health::new(), Registry::new(), CancellationToken::new()).await;
    let why = format!("{:#}", refused.unwrap_err());
    std::fs::remove_dir_all(&files.folder).unwrap();
    assert!(
        why.contains(&policy_file.display().to_string())
            && why.contains(
                "rules[1].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\""
            ),
        "{why}"
    );
}

#[tokio::test]
async fn a_server_without_a_policy_records_nothing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let request = api::GetRequest {
        resource: "namespaces".into(),
        name: "default".into(),
        ..Default::default()
    };
    let reply = admin.resources().get(request).await.map_err(failure).unwrap();
    assert!(reply.metadata().get("audit-id").is_none());
    let text = gantry_telemetry::metrics::encode(&cluster.metrics);
    assert!(text.contains("apiserver_audit_event_total 0"), "{text}");
}
