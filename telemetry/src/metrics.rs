//! Metrics in the OpenMetrics text format, with those that every process has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::registry::Metric;

mod process;
mod build;
mod checks;
pub mod rest_client;

pub use build::KUBERNETES_VERSION;
pub(crate) use checks::ChecksCollector;

/// The media type of what [`encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Mutex<prometheus_client::registry::Registry>>);

impl Registry {
    /// A registry that holds the metrics of the process and of its build.
    pub fn new() -> Registry {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(process::ProcessCollector));
        registry.register_collector(Box::new(build::BuildCollector));
        Registry(Arc::new(Mutex::new(registry)))
    }

    /// Adds a metric, of which the caller keeps a clone to update. A counter's `name` is given without
    /// `_total`, `help` without its full stop: the encoder adds both.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.lock().register(name, help, metric);
    }

    /// Adds metrics that are computed for each scrape.
    pub fn register_collector(&self, collector: impl Collector) {
        self.lock().register_collector(Box::new(collector));
    }

    fn lock(&self) -> MutexGuard<'_, prometheus_client::registry::Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Registry::new()
    }
}

/// Renders all metrics as OpenMetrics text, which Prometheus reads too.
pub fn encode(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail; a collector that fails is its author's mistake and costs the rest.
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry.lock()) {
        tracing::error!(%error, "a metric could not be encoded");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registry_shows_this_process_and_what_was_registered() {
        let registry = Registry::new();
        let counter: prometheus_client::metrics::counter::Counter = Default::default();
        registry.register("gantry_tests", "Tests that ran", counter.clone());
        counter.inc();
        let text = encode(&registry);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<f64>().ok())
                .unwrap_or_else(|| panic!("{name}: {text}"))
        };
        assert_eq!(value("gantry_tests_total "), 1.0);
        assert!(value("process_resident_memory_bytes ") > 1e6, "{text}");
        assert!(value("process_start_time_seconds ") > 1.7e9, "{text}");
        assert!(value("process_open_fds ") >= 3.0, "{text}");
        assert!(value("process_max_fds ") >= 3.0, "{text}");
        assert!(value("process_cpu_seconds_total ") >= 0.0, "{text}");
        assert!(value("process_network_receive_bytes_total ") >= 0.0, "{text}");
        assert!(text.contains("kubernetes_build_info{"), "{text}");
        assert!(!text.contains("_total_total"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
