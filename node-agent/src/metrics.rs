//! What the agent does with pods, in numbers, under the kubelet's names.

use gantry_telemetry::exemplar::TracedHistogram;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::trace::Cause;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::time::{Duration, Instant};

type Label = [(&'static str, &'static str); 1];
type Failure = [(&'static str, &'static str); 2];

/// Seconds: from a present image on an idle machine to a pull that takes minutes. Kubernetes' begin at half a second,
/// below which many starts fall here.
const START_BUCKETS: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];
/// Seconds: Prometheus' defaults, as the kubelet has them.
const WORK_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds: the kubelet's.
const STATUS_BUCKETS: [f64; 11] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];
/// Seconds: the kubelet's.
const PULL_BUCKETS: [f64; 18] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0,
    2700.0, 3600.0,
];

/// What a look at a pod is for.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// The first one.
    Create,
    Sync,
    /// The pod is to end.
    Kill,
}

#[derive(Clone)]
pub struct PodMetrics {
    node_name: Family<Vec<(&'static str, String)>, Gauge>,
    start_duration: TracedHistogram,
    work_duration: Family<Label, Histogram, fn() -> Histogram>,
    status_duration: Histogram,
    pull_duration: Family<Label, Histogram, fn() -> Histogram>,
    running: Gauge,
    containers: Family<Label, Gauge>,
    started_pods: Counter,
    pod_start_errors: Counter,
    started_containers: Family<Label, Counter>,
    start_errors: Family<Failure, Counter>,
}

impl Default for PodMetrics {
    fn default() -> Self {
        PodMetrics {
            node_name: Family::default(),
            start_duration: TracedHistogram::new(START_BUCKETS),
            work_duration: Family::new_with_constructor(|| Histogram::new(WORK_BUCKETS)),
            status_duration: Histogram::new(STATUS_BUCKETS),
            pull_duration: Family::new_with_constructor(|| Histogram::new(PULL_BUCKETS)),
            running: Gauge::default(),
            containers: Family::default(),
            started_pods: Counter::default(),
            pod_start_errors: Counter::default(),
            started_containers: Family::default(),
            start_errors: Family::default(),
        }
    }
}

impl PodMetrics {
    pub fn register(&self, registry: &Registry, node: &str) {
        self.node_name
            .get_or_create_owned(&vec![("node", node.to_owned())])
            .set(1);
        registry.register(
            "kubelet_node_name",
            "The node's name. The count is always 1",
            self.node_name.clone(),
        );
        registry.register(
            "kubelet_pod_start_duration_seconds",
            "Duration in seconds from seeing a pod for the first time to the pod starting to run",
            self.start_duration.clone(),
        );
        registry.register(
            "kubelet_pod_worker_duration_seconds",
            "Duration in seconds of a look at a single pod, by operation type: create, sync, or kill",
            self.work_duration.clone(),
        );
        registry.register(
            "kubelet_pod_status_sync_duration_seconds",
            "Duration in seconds from a change of a pod's status until the API has it",
            self.status_duration.clone(),
        );
        registry.register(
            "kubelet_image_pull_duration_seconds",
            "Duration in seconds to pull an image, by its size",
            self.pull_duration.clone(),
        );
        registry.register(
            "kubelet_running_pods",
            "Number of pods that have a running pod sandbox",
            self.running.clone(),
        );
        registry.register(
            "kubelet_running_containers",
            "Number of containers that are there, by state",
            self.containers.clone(),
        );
        registry.register(
            "kubelet_started_pods",
            "Cumulative number of pods started",
            self.started_pods.clone(),
        );
        registry.register(
            "kubelet_started_pods_errors",
            "Cumulative number of errors when starting pods",
            self.pod_start_errors.clone(),
        );
        registry.register(
            "kubelet_started_containers",
            "Cumulative number of containers started",
            self.started_containers.clone(),
        );
        registry.register(
            "kubelet_started_containers_errors",
            "Cumulative number of errors when starting containers, by reason",
            self.start_errors.clone(),
        );
    }

    /// `cause` is what the start continues, where that is sampled.
    pub fn pod_started(&self, took: Duration, cause: Option<&Cause>) {
        self.start_duration.observe(took.as_secs_f64(), cause);
    }

    /// A sandbox was to be made. Like the kubelet's, the number of pods started is that of the attempts.
    pub fn sandbox_tried(&self, succeeded: bool) {
        self.started_pods.inc();
        if !succeeded {
            self.pod_start_errors.inc();
        }
    }

    /// As [`PodMetrics::sandbox_tried`]; an error is the reason why the container did not start.
    pub fn container_tried(&self, is_init: bool, outcome: Result<(), &'static str>) {
        let kind = (
            "container_type",
            if is_init { "init_container" } else { "container" },
        );
        self.started_containers.get_or_create(&[kind]).inc();
        if let Err(reason) = outcome {
            self.start_errors.get_or_create(&[kind, ("code", reason)]).inc();
        }
    }

    pub fn status_written(&self, took: Duration) {
        self.status_duration.observe(took.as_secs_f64());
    }

    pub fn image_pulled(&self, took: Duration, bytes: u64) {
        self.pull_duration
            .get_or_create(&[("image_size_in_bytes", size_class(bytes))])
            .observe(took.as_secs_f64());
    }

    pub fn looked(&self, look: Look, begun: Instant) {
        let operation = match look {
            Look::Create => "create",
            Look::Sync => "sync",
            Look::Kill => "kill",
        };
        self.work_duration
            .get_or_create(&[("operation_type", operation)])
            .observe(begun.elapsed().as_secs_f64());
    }

    /// Counts one pod as running or not, and its containers.
    pub fn running_pod(&self) -> RunningPod {
        RunningPod {
            pods: self.running.clone(),
            containers: self.containers.clone(),
            is_counted: false,
            counted: Containers::default(),
        }
    }
}

/// The kubelet's classes of image sizes.
fn size_class(bytes: u64) -> &'static str {
    const MB: u64 = 1 << 20;
    const GB: u64 = 1 << 30;
    let classes = [
        (100 * GB, "GT100GB"),
        (60 * GB, "60GB-100GB"),
        (40 * GB, "40GB-60GB"),
        (30 * GB, "30GB-40GB"),
        (20 * GB, "20GB-30GB"),
        (10 * GB, "10GB-20GB"),
        (5 * GB, "5GB-10GB"),
        (GB, "1GB-5GB"),
        (500 * MB, "500MB-1GB"),
        (100 * MB, "100MB-500MB"),
        (10 * MB, "10MB-100MB"),
        (0, "0-10MB"),
    ];
    let class = classes.into_iter().find(|(above, _)| bytes > *above);
    class.map_or("N/A", |(_, name)| name)
}

/// How many containers of a pod are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Containers {
    pub created: i64,
    pub running: i64,
    pub exited: i64,
    pub unknown: i64,
}

/// One pod's part in the numbers of running pods and containers; dropped with what looks after the pod.
pub struct RunningPod {
    pods: Gauge,
    containers: Family<Label, Gauge>,
    is_counted: bool,
    counted: Containers,
}

impl RunningPod {
    pub fn set(&mut self, is_running: bool, containers: Containers) {
        if is_running != self.is_counted {
            self.is_counted = is_running;
            self.pods.inc_by(if is_running { 1 } else { -1 });
        }
        let before = std::mem::replace(&mut self.counted, containers);
        for (state, change) in [
            ("created", containers.created - before.created),
            ("running", containers.running - before.running),
            ("exited", containers.exited - before.exited),
            ("unknown", containers.unknown - before.unknown),
        ] {
            if change != 0 {
                self.containers
                    .get_or_create(&[("container_state", state)])
                    .inc_by(change);
            }
        }
    }
}

impl Drop for RunningPod {
    fn drop(&mut self) {
        self.set(false, Containers::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_counts_once_while_it_runs_and_not_after_its_end() {
        let metrics = PodMetrics::default();
        let running = |running| Containers {
            running,
            ..Containers::default()
        };
        let containers = || {
            metrics
                .containers
                .get_or_create_owned(&[("container_state", "running")])
                .get()
        };
        let (mut a, mut b) = (metrics.running_pod(), metrics.running_pod());
        a.set(true, running(2));
        a.set(true, running(2));
        b.set(true, running(1));
        assert_eq!((metrics.running.get(), containers()), (2, 3));
        b.set(false, running(0));
        assert_eq!((metrics.running.get(), containers()), (1, 2));
        drop((a, b));
        assert_eq!((metrics.running.get(), containers()), (0, 0));
    }

    #[test]
    fn images_are_classed_as_the_kubelet_does() {
        for (bytes, class) in [
            (0, "N/A"),
            (1, "0-10MB"),
            (10 << 20, "0-10MB"),
            (11 << 20, "10MB-100MB"),
            (2 << 30, "1GB-5GB"),
            (200 << 30, "GT100GB"),
        ] {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
    }

    #[test]
    fn the_names_and_labels_are_the_kubelets() {
        let (registry, metrics) = (Registry::new(), PodMetrics::default());
        metrics.register(&registry, "node-1");
        metrics.pod_started(Duration::from_millis(300), None);
        metrics.sandbox_tried(false);
        metrics.container_tried(false, Ok(()));
        metrics.container_tried(true, Err("ErrImagePull"));
        metrics.status_written(Duration::from_millis(8));
        metrics.image_pulled(Duration::from_secs(2), 5_000_000);
        metrics.looked(Look::Sync, crate::clock::monotonic());
        let text = gantry_telemetry::metrics::encode(&registry);
        for line in [
            "kubelet_node_name{node=\"node-1\"} 1",
            "kubelet_pod_start_duration_seconds_count 1",
            "kubelet_pod_worker_duration_seconds_count{operation_type=\"sync\"} 1",
            "kubelet_pod_status_sync_duration_seconds_count 1",
            "kubelet_image_pull_duration_seconds_count{image_size_in_bytes=\"0-10MB\"} 1",
            "kubelet_running_pods 0",
            "kubelet_started_pods_total 1",
            "kubelet_started_pods_errors_total 1",
            "kubelet_started_containers_total{container_type=\"container\"} 1",
            "kubelet_started_containers_total{container_type=\"init_container\"} 1",
            "kubelet_started_containers_errors_total{container_type=\"init_container\",code=\"ErrImagePull\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
