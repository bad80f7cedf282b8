use gantry_proto::api::v1::pods_client::PodsClient;
use gantry_proto::api::v1::traces_client::TracesClient;
use gantry_proto::api::v1::{LogsRequest, ReadTraceRequest};
use gantry_proto::core::v1::ConfigMap;
use gantry_proto::status::Reason;

use crate::cluster::{Cluster, failure, json_form, object, wire};

fn labels(verb: &str, resource: &str, subresource: &str, code: i32) -> String {
    let version = if resource.is_empty() { "" } else { "v1" };
    let scope = if resource.is_empty() { "" } else { "resource" };
    format!(
        "apiserver_request_total{{verb=\"{verb}\",dry_run=\"\",group=\"\",version=\"{version}\",\
         resource=\"{resource}\",subresource=\"{subresource}\",scope=\"{scope}\",component=\"apiserver\",\
         code=\"{code}\"}}"
    )
}

#[tokio::test]
async fn every_services_requests_are_counted_and_a_creation_by_its_objects_kind() {
    let cluster = Cluster::start().await;
    let (admin, stranger) = (cluster.admin().await, cluster.anonymous().await);
    let text =
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}}"#;
    let map: ConfigMap = object(text);
    // Neither form names a resource.
    for form in [wire(&map), json_form(text)] {
        let request = gantry_proto::api::v1::CreateRequest {
            object: Some(form),
            ..Default::default()
        };
        let _ = admin.resources().create(request).await;
    }
    let refused = stranger.create(&map).await.unwrap_err();
    assert_eq!(refused.reason_code(), Reason::Forbidden);
    let logs = LogsRequest {
        namespace: "default".into(),
        pod: "none".into(),
        ..Default::default()
    };
    let refused = PodsClient::new(admin.0.clone()).logs(logs).await;
    assert_eq!(refused.map(drop).map_err(failure).unwrap_err().code, 404);
    let by_id = ReadTraceRequest {
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        ..Default::default()
    };
    let refused = TracesClient::new(stranger.0.clone()).read(by_id).await;
    assert_eq!(refused.map(drop).map_err(failure).unwrap_err().code, 403);
    let told = gantry_telemetry::metrics::encode(&cluster.metrics);
    for line in [
        labels("POST", "configmaps", "", 201) + " 1",
        labels("POST", "configmaps", "", 409) + " 1",
        labels("POST", "configmaps", "", 403) + " 1",
        labels("GET", "pods", "log", 404) + " 1",
        labels("POST", "", "/gantry.api.v1.Traces/Read", 403) + " 1",
        "authorization_attempts_total{result=\"no-opinion\"} 2".into(),
    ] {
        assert!(told.contains(&line), "{line} is not in {told}");
    }
    assert!(!told.contains("resource=\"unknown\""), "{told}");
}
