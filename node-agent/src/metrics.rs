//! What the agent does with pods, in numbers, under the kubelet's names.

use gantry_telemetry::exemplar::TracedHistogram;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::trace::Cause;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::time::Duration;

type Code = [(&'static str, &'static str); 1];

/// Seconds: from a present image on an idle machine to a pull that takes minutes.
const START_BUCKETS: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];

#[derive(Clone)]
pub struct PodMetrics {
    start_duration: TracedHistogram,
    running: Gauge,
    started_containers: Counter,
    start_errors: Family<Code, Counter>,
}

impl Default for PodMetrics {
    fn default() -> Self {
        PodMetrics {
            start_duration: TracedHistogram::new(START_BUCKETS),
            running: Gauge::default(),
            started_containers: Counter::default(),
            start_errors: Family::default(),
        }
    }
}

impl PodMetrics {
    pub fn register(&self, registry: &Registry) {
        registry.register(
            "kubelet_pod_start_duration_seconds",
            "Duration in seconds from seeing a pod for the first time to the pod starting to run",
            self.start_duration.clone(),
        );
        registry.register(
            "kubelet_running_pods",
            "Number of pods that have a running pod sandbox",
            self.running.clone(),
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

    /// `reason` says why it did not start.
    pub fn container_started(&self, outcome: Result<(), &'static str>) {
        match outcome {
            Ok(()) => self.started_containers.inc(),
            Err(reason) => self.start_errors.get_or_create(&[("code", reason)]).inc(),
        };
    }

    /// Counts one pod as running or not.
    pub fn running_pod(&self) -> RunningPod {
        RunningPod {
            gauge: self.running.clone(),
            is_counted: false,
        }
    }
}

/// One pod's part in the number of running pods; dropped with what looks after the pod.
pub struct RunningPod {
    gauge: Gauge,
    is_counted: bool,
}

impl RunningPod {
    pub fn set(&mut self, is_running: bool) {
        if is_running != self.is_counted {
            self.is_counted = is_running;
            self.gauge.inc_by(if is_running { 1 } else { -1 });
        }
    }
}

impl Drop for RunningPod {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_counts_once_while_it_runs_and_not_after_its_end() {
        let metrics = PodMetrics::default();
        let (mut a, mut b) = (metrics.running_pod(), metrics.running_pod());
        a.set(true);
        a.set(true);
        b.set(true);
        assert_eq!(metrics.running.get(), 2);
        b.set(false);
        assert_eq!(metrics.running.get(), 1);
        drop((a, b));
        assert_eq!(metrics.running.get(), 0);
    }

    #[test]
    fn the_names_are_the_kubelets() {
        let (registry, metrics) = (Registry::new(), PodMetrics::default());
        metrics.register(&registry);
        metrics.pod_started(Duration::from_millis(300), None);
        metrics.container_started(Ok(()));
        metrics.container_started(Err("ErrImagePull"));
        let text = gantry_telemetry::metrics::encode(&registry);
        for line in [
            "kubelet_pod_start_duration_seconds_count 1",
            "kubelet_running_pods 0",
            "kubelet_started_containers_total 1",
            "kubelet_started_containers_errors_total{code=\"ErrImagePull\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
