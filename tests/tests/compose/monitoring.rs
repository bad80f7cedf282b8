//! Prometheus scrapes every component, and what Grafana and the alerts ask for is measured.

use crate::SLOW;
use crate::administrator::Administrator;
use gantry_tests::cluster::root;
use gantry_tests::docker::Engine;
use gantry_tests::eventually;
use serde_json::Value;
use std::collections::BTreeSet;

const PROMETHEUS: &str = "http://127.0.0.1:9090/api/v1";

/// Scrape jobs, and how many processes each has.
const TARGETS: [(&str, usize); 7] = [
    ("apiserver", 2),
    ("scheduler", 2),
    ("controller-manager", 2),
    ("node-agent", 3),
    ("proxy", 3),
    ("etcd", 1),
    ("prometheus", 1),
];

/// Words of a query with an underscore that name no metric.
const OTHER_WORDS: [&str; 1] = ["histogram_quantile"];

/// Nothing listens where its image is said to be: what a node cannot do is counted from the first time on.
const IMPOSSIBLE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: impossible}
spec:
  containers: [{name: c, image: '127.0.0.1:1/impossible:1'}]
";

pub fn sees_every_component(engine: &Engine, administrator: &Administrator) {
    administrator.apply(engine, IMPOSSIBLE);
    every_target_is_up(administrator);
    every_series_is_there(administrator);
    every_series_moves(administrator);
    histograms_lead_to_traces(administrator);
    every_panel_shows_something(administrator);
    every_alert_asks_for_what_is_measured(administrator);
}

fn every_target_is_up(administrator: &Administrator) {
    eventually("Prometheus reaches every target", SLOW, || {
        let targets = administrator.page(&format!("{PROMETHEUS}/targets"), "state=active")?;
        let active = targets["data"]["activeTargets"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if let Some(down) = active.iter().find(|target| target["health"] != "up") {
            return Err(format!(
                "{} is {}: {}",
                down["scrapeUrl"], down["health"], down["lastError"]
            ));
        }
        for (job, wanted) in TARGETS {
            let found = active
                .iter()
                .filter(|target| target["labels"]["job"] == job)
                .count();
            if found != wanted {
                return Err(format!("{found} targets of {job}, {wanted} are wanted"));
            }
        }
        Ok(())
    });
}

/// Series that must be there, with the labels that Kubernetes gives them: what is not in braces would be found even if
/// a label had another name. Each is shown by every process of the job, or by the leader.
const PRESENT: [&str; 54] = [
    r#"process_resident_memory_bytes{job="apiserver"}"#,
    r#"process_start_time_seconds{job="scheduler"}"#,
    r#"process_open_fds{job="controller-manager"}"#,
    r#"process_max_fds{job="node-agent"}"#,
    r#"process_virtual_memory_bytes{job="proxy"}"#,
    r#"kubernetes_build_info{job="apiserver",major="1",minor="36",git_version=~"v1.+"}"#,
    r#"kubernetes_build_info{job="proxy",platform=~"linux/.+"}"#,
    r#"kubernetes_healthcheck{job="apiserver",type="readyz",name="ping"} == 1"#,
    r#"kubernetes_healthcheck{job="node-agent",type="readyz",name="pods"} == 1"#,
    r#"apiserver_request_total{verb="POST",version="v1",resource="pods",subresource="binding",scope="resource",component="apiserver",code="201"}"#,
    r#"apiserver_request_total{verb="PUT",group="apps",version="v1",resource="deployments",subresource="status",scope="resource",code="200"}"#,
    r#"apiserver_request_duration_seconds_bucket{verb="LIST",resource="pods",scope="cluster",le=~"1|1[.]0"}"#,
    r#"apiserver_request_sli_duration_seconds_bucket{verb="POST",resource="pods",le=~"5|5[.]0"}"#,
    r#"apiserver_response_sizes_bucket{verb="LIST",resource="pods",component="apiserver"}"#,
    r#"apiserver_current_inflight_requests{request_kind="mutating"}"#,
    r#"apiserver_current_inflight_requests{request_kind="readOnly"}"#,
    r#"apiserver_longrunning_requests{verb="WATCH",resource="pods",scope="cluster"} > 0"#,
    r#"apiserver_watch_events_total{group="apps",version="v1",resource="deployments"}"#,
    r#"apiserver_resource_objects{group="",resource="pods"} > 0"#,
    r#"apiserver_storage_objects{resource="deployments.apps"} > 0"#,
    r#"apiserver_watch_cache_resource_version{group="apps",resource="replicasets"} > 0"#,
    r#"apiserver_watch_cache_initializations_total{resource="pods"} > 0"#,
    r#"etcd_request_duration_seconds_bucket{operation="create",group="",resource="pods"}"#,
    r#"etcd_requests_total{operation="update",group="coordination.k8s.io",resource="leases"}"#,
    r#"rest_client_requests_total{job="scheduler",code="200",method="GET",host=~"apiserver-.+"}"#,
    r#"rest_client_requests_total{job="node-agent",code="200",method="PATCH"}"#,
    r#"rest_client_request_duration_seconds_bucket{job="controller-manager",verb="POST"}"#,
    r#"rest_client_requests_total{job="proxy",method="GET"}"#,
    r#"sum by (name) (leader_election_master_status{job="scheduler"}) == 1"#,
    r#"sum by (name) (leader_election_master_status{job="controller-manager"}) == 1"#,
    r#"leader_election_master_status == 0"#,
    r#"scheduler_schedule_attempts_total{result="scheduled",profile="default-scheduler"}"#,
    r#"scheduler_scheduling_attempt_duration_seconds_bucket{result="scheduled",profile="default-scheduler"}"#,
    r#"scheduler_scheduling_algorithm_duration_seconds_bucket"#,
    r#"scheduler_pod_scheduling_sli_duration_seconds_bucket{attempts="1"}"#,
    r#"scheduler_pod_scheduling_attempts_bucket"#,
    r#"scheduler_pending_pods{queue="gated"}"#,
    r#"scheduler_queue_incoming_pods_total{queue="active",event="UnschedulablePodAdd"}"#,
    r#"scheduler_cache_size{type="nodes"} == 3"#,
    r#"workqueue_depth{name="deployment"}"#,
    r#"workqueue_queue_duration_seconds_bucket{name="replicaset"}"#,
    r#"workqueue_unfinished_work_seconds{name="endpoint_slice"}"#,
    r#"workqueue_longest_running_processor_seconds{name="namespace"}"#,
    r#"kubelet_node_name{node="node-1"} == 1"#,
    r#"kubelet_running_pods > 0"#,
    r#"kubelet_running_containers{container_state="running"} > 0"#,
    r#"kubelet_started_containers_errors_total{container_type="container",code="ErrImagePull"}"#,
    r#"kubelet_pod_start_duration_seconds_bucket"#,
    r#"kubelet_run_podsandbox_duration_seconds_bucket"#,
    r#"kubelet_runtime_operations_errors_total{operation_type="pull_image"}"#,
    r#"kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} > 0"#,
    r#"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} > 0"#,
    r#"kubeproxy_sync_proxy_rules_service_changes_pending"#,
    r#"kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"}"#,
];

/// What must grow while the sample is scaled to and fro.
const MOVING: [&str; 28] = [
    r#"authorization_attempts_total{result="allowed"}"#,
    r#"process_cpu_seconds_total{job="apiserver"}"#,
    r#"process_network_receive_bytes_total{job="apiserver"}"#,
    r#"apiserver_request_total{verb="POST",resource="pods",subresource="binding"}"#,
    r#"apiserver_request_duration_seconds_count{verb="PATCH",resource="pods",subresource="status"}"#,
    r#"apiserver_request_sli_duration_seconds_count{verb="POST",resource="pods"}"#,
    r#"apiserver_response_sizes_count{verb="GET"}"#,
    r#"apiserver_watch_events_total{resource="pods"}"#,
    r#"apiserver_watch_cache_events_received_total{resource="pods"}"#,
    r#"apiserver_watch_cache_events_dispatched_total{resource="pods"}"#,
    r#"apiserver_storage_events_received_total{resource="pods"}"#,
    r#"etcd_request_duration_seconds_count{operation="create",resource="pods"}"#,
    r#"etcd_requests_total{operation="delete",resource="pods"}"#,
    r#"rest_client_requests_total{job="scheduler",method="POST"}"#,
    r#"rest_client_request_duration_seconds_count{job="node-agent",verb="PATCH"}"#,
    r#"scheduler_schedule_attempts_total{result="scheduled"}"#,
    r#"scheduler_pod_scheduling_sli_duration_seconds_count"#,
    r#"scheduler_queue_incoming_pods_total{event="UnschedulablePodAdd"}"#,
    r#"workqueue_adds_total{name="replicaset"}"#,
    r#"workqueue_work_duration_seconds_count{name="replicaset"}"#,
    r#"workqueue_queue_duration_seconds_count{name="endpoint_slice"}"#,
    r#"kubelet_pod_start_duration_seconds_count"#,
    r#"kubelet_pod_worker_duration_seconds_count{operation_type="kill"}"#,
    r#"kubelet_pod_status_sync_duration_seconds_count"#,
    r#"kubelet_started_pods_total"#,
    r#"kubelet_started_containers_total{container_type="container"}"#,
    r#"kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"}"#,
    r#"kubeproxy_sync_proxy_rules_endpoint_changes_total"#,
];

fn every_series_is_there(administrator: &Administrator) {
    for series in PRESENT {
        eventually(&format!("{series} is there"), SLOW, || {
            value(administrator, series).map(drop)
        });
    }
}

fn every_series_moves(administrator: &Administrator) {
    let sum = |series: &str| value(administrator, &format!("sum({series}) or vector(0)"));
    let before = MOVING.map(|series| {
        (
            series,
            eventually(&format!("{series} can be asked for"), SLOW, || sum(series)),
        )
    });
    for replicas in [5, 3] {
        let scaled = format!("--replicas={replicas}");
        let done = administrator.gantry(&["scale", "deployment/web", &scaled]);
        assert!(done.is_ok(), "{done:?}");
        eventually("the sample is scaled", SLOW, || {
            let web = administrator.json(&["get", "deployment/web"])?;
            let status = &web["status"];
            let ready = (&status["readyReplicas"], &status["replicas"]);
            (*ready.0 == replicas && *ready.1 == replicas)
                .then_some(())
                .ok_or(format!("{ready:?}"))
        });
    }
    for (series, before) in before {
        eventually(&format!("{series} moves"), SLOW, || {
            let after = sum(series)?;
            (after > before)
                .then_some(())
                .ok_or(format!("{after} after {before}"))
        });
    }
}

/// The value of the first result of a query.
fn value(administrator: &Administrator, query: &str) -> Result<f64, String> {
    let answer = administrator.page(&format!("{PROMETHEUS}/query"), &format!("query={query}"))?;
    let text = answer["data"]["result"][0]["value"][1].as_str();
    text.and_then(|text| text.parse().ok())
        .ok_or(format!("{query}: {answer}"))
}

/// Prometheus keeps the traces that the histograms name.
fn histograms_lead_to_traces(administrator: &Administrator) {
    for series in [
        "apiserver_request_duration_seconds_bucket",
        "scheduler_scheduling_attempt_duration_seconds_bucket",
        "kubelet_pod_start_duration_seconds_bucket",
    ] {
        eventually(&format!("{series} names a trace"), SLOW, || {
            let page = format!("{PROMETHEUS}/query_exemplars");
            let answer = administrator.page(&page, &format!("query={series}"))?;
            let trace = answer["data"][0]["exemplars"][0]["labels"]["trace_id"].as_str();
            trace
                .is_some_and(|trace| trace.len() == 32)
                .then_some(())
                .ok_or(format!("{answer}"))
        });
    }
}

fn every_panel_shows_something(administrator: &Administrator) {
    let queries = panel_queries();
    assert!(queries.len() > 20, "{} queries", queries.len());
    for (panel, query) in queries {
        // A rate needs two scrapes.
        eventually(&format!("the panel {panel:?} shows something"), SLOW, || {
            let answer = administrator.page(&format!("{PROMETHEUS}/query"), &format!("query={query}"))?;
            let results = answer["data"]["result"].as_array().map_or(0, Vec::len);
            (results > 0).then_some(()).ok_or(format!("{query}: {answer}"))
        });
    }
}

/// The title and the query of each panel of the dashboard.
fn panel_queries() -> Vec<(String, String)> {
    let path = root().join("deploy/grafana/dashboards/gantry.json");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let dashboard: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
            queries.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    queries
}

fn every_alert_asks_for_what_is_measured(administrator: &Administrator) {
    let page = |path: &str| -> Result<Value, String> {
        let answer = administrator.page(&format!("{PROMETHEUS}/{path}"), "unused=")?;
        Ok(answer["data"].clone())
    };
    eventually("every alert's metrics are measured", SLOW, || {
        let names = page("label/__name__/values")?;
        let names: BTreeSet<&str> = names
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let groups = page("rules")?;
        let groups = groups["groups"].as_array().into_iter().flatten();
        let rules: Vec<&Value> = groups
            .filter_map(|group| group["rules"].as_array())
            .flatten()
            .collect();
        if rules.is_empty() {
            return Err("no alert is loaded".into());
        }
        for rule in rules {
            if rule["health"] == "err" {
                return Err(rule.to_string());
            }
            let query = rule["query"].as_str().unwrap_or_default();
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let mut metrics = words.filter(|word| word.contains('_') && !OTHER_WORDS.contains(word));
            if let Some(metric) = metrics.find(|metric| !names.contains(metric)) {
                return Err(format!(
                    "{} asks for {metric}, which nothing measures",
                    rule["name"]
                ));
            }
        }
        Ok(())
    });
}
