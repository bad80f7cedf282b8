//! How often the runtime was called, how long it took and how often it failed, under the kubelet's names.

use gantry_telemetry::metrics::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

type Labels = [(&'static str, &'static str); 1];

/// Seconds: from a list to a pull that takes minutes (the kubelet's own buckets go on doubling for longer).
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0,
];

/// A handle; clones count together.
#[derive(Clone)]
pub struct RuntimeMetrics {
    calls: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    sandbox_durations: Family<Labels, Histogram, fn() -> Histogram>,
    sandbox_errors: Family<Labels, Counter>,
}

/// Whose duration the kubelet tells apart, by the handler; there is no other than the default yet.
const RUN_SANDBOX: &str = "run_podsandbox";
const DEFAULT_HANDLER: Labels = [("runtime_handler", "")];

impl Default for RuntimeMetrics {
    fn default() -> Self {
        RuntimeMetrics {
            calls: Family::default(),
            errors: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            sandbox_durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            sandbox_errors: Family::default(),
        }
    }
}

impl RuntimeMetrics {
    pub fn register(&self, registry: &Registry) {
        registry.register(
            "kubelet_runtime_operations",
            "Cumulative number of runtime operations by operation type",
            self.calls.clone(),
        );
        registry.register(
            "kubelet_runtime_operations_errors",
            "Cumulative number of runtime operation errors by operation type",
            self.errors.clone(),
        );
        registry.register(
            "kubelet_runtime_operations_duration_seconds",
            "Duration in seconds of runtime operations by operation type",
            self.durations.clone(),
        );
        registry.register(
            "kubelet_run_podsandbox_duration_seconds",
            "Duration in seconds of the run_podsandbox operations, by handler",
            self.sandbox_durations.clone(),
        );
        registry.register(
            "kubelet_run_podsandbox_errors",
            "Cumulative number of the run_podsandbox operations that failed, by handler",
            self.sandbox_errors.clone(),
        );
    }

    pub(super) fn called(&self, operation: &'static str, took: Duration, succeeded: bool) {
        let labels = [("operation_type", operation)];
        self.calls.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        if !succeeded {
            self.errors.get_or_create(&labels).inc();
        }
        if operation == RUN_SANDBOX {
            self.sandbox_durations
                .get_or_create(&DEFAULT_HANDLER)
                .observe(took.as_secs_f64());
            self.sandbox_errors
                .get_or_create(&DEFAULT_HANDLER)
                .inc_by(u64::from(!succeeded));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_their_operation_and_outcome() {
        let (registry, metrics) = (Registry::new(), RuntimeMetrics::default());
        metrics.register(&registry);
        metrics.called("run_podsandbox", Duration::from_millis(100), true);
        metrics.called("run_podsandbox", Duration::from_millis(100), false);
        let text = gantry_telemetry::metrics::encode(&registry);
        for line in [
            "kubelet_runtime_operations_total{operation_type=\"run_podsandbox\"} 2",
            "kubelet_runtime_operations_errors_total{operation_type=\"run_podsandbox\"} 1",
            "kubelet_runtime_operations_duration_seconds_count{operation_type=\"run_podsandbox\"} 2",
            "kubelet_run_podsandbox_duration_seconds_count{runtime_handler=\"\"} 2",
            "kubelet_run_podsandbox_errors_total{runtime_handler=\"\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
