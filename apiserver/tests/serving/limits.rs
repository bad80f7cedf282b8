use std::time::Duration;

use gantry_apiserver::limits;
use gantry_proto::api::v1::{DiscoverRequest, ListRequest, WatchRequest};
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;

use crate::cluster::{Client, Cluster, DEADLINE, failure};

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// One seat for each lane, and one place to wait for each user.
fn narrow() -> limits::Config {
    limits::Config {
        seats: limits::LEAST_SEATS,
        waiting: 1,
        lasting_calls: 2,
        patience: DEADLINE,
        request: DEADLINE,
    }
}

async fn pods(client: Client) -> Result<(), Status> {
    client.list::<Pod>(ListRequest::default()).await.map(drop)
}

async fn scrape_has(cluster: &Cluster, line: &str) -> bool {
    gantry_telemetry::metrics::encode(&cluster.metrics)
        .lines()
        .any(|own| own == line)
}

async fn until_scrape_has(cluster: &Cluster, line: &str) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !scrape_has(cluster, line).await {
        assert!(tokio::time::Instant::now() < deadline, "{line} must come");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test]
async fn one_who_floods_is_told_to_come_again_and_the_others_are_served() {
    let (cluster, proxy) = Cluster::start_limited(narrow()).await;
    let scheduler = cluster.client("system:kube-scheduler", &[]).await;
    let admin = cluster.admin().await;
    pods(scheduler.clone()).await.unwrap();
    // Reads that want the present state wait for etcd, which answers no more.
    proxy.lose_replies();
    let first = tokio::spawn(pods(scheduler.clone()));
    until_scrape_has(
        &cluster,
        r#"apiserver_flowcontrol_current_executing_requests{priority_level="workload-high",flow_schema="kube-scheduler"} 1"#,
    )
    .await;
    let second = tokio::spawn(pods(scheduler.clone()));
    until_scrape_has(
        &cluster,
        r#"apiserver_flowcontrol_current_inqueue_requests{priority_level="workload-high",flow_schema="kube-scheduler"} 1"#,
    )
    .await;
    let refused = pods(scheduler.clone()).await.unwrap_err();
    assert_eq!(
        (refused.reason_code(), refused.code, refused.message.as_str()),
        (
            Reason::TooManyRequests,
            429,
            "Too many requests, please try again later."
        )
    );
    assert_eq!(refused.details().retry_after_seconds, 1);
    assert!(
        scrape_has(
            &cluster,
            r#"apiserver_flowcontrol_rejected_requests_total{priority_level="workload-high",flow_schema="kube-scheduler",reason="queue-full"} 1"#
        )
        .await
    );
    // The administrator's seat is nobody else's.
    admin.resources().discover(DiscoverRequest {}).await.unwrap();
    let node = cluster.client("system:node:n1", &["system:nodes"]).await;
    node.resources().discover(DiscoverRequest {}).await.unwrap();
    proxy.cut();
    // Answered, or told that the store was away: each in its turn, and none forgotten.
    for call in [first, second] {
        let _ = tokio::time::timeout(DEADLINE, call)
            .await
            .expect("an answer")
            .unwrap();
    }
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while pods(scheduler.clone()).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "it must be served again");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test]
async fn a_client_has_no_more_watches_than_it_may_and_others_have_theirs() {
    let (cluster, _proxy) = Cluster::start_limited(narrow()).await;
    let scheduler = cluster.client("system:kube-scheduler", &[]).await;
    let watch = async |client: &Client| {
        let request = WatchRequest {
            resource: "pods".into(),
            ..Default::default()
        };
        client.resources().watch(request).await.map_err(failure)
    };
    let first = watch(&scheduler).await.unwrap();
    let _second = watch(&scheduler).await.unwrap();
    let refused = watch(&scheduler).await.unwrap_err();
    assert_eq!(refused.reason_code(), Reason::TooManyRequests);
    watch(&cluster.admin().await).await.unwrap();
    drop(first);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while watch(&scheduler).await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the place must be free again"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
