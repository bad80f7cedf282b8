//! Metrics in the OpenMetrics text format, with those that every process has.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Metric;

/// The media type of what [`encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Mutex<prometheus_client::registry::Registry>>);

impl Registry {
    /// A registry that holds the process metrics.
    pub fn new() -> Registry {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
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

/// What the kernel knows about this process, read at each scrape. Names are those of Prometheus' own client
/// libraries.
#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let process = Process::parse(
            &read("/proc/self/stat"),
            &read("/proc/self/status"),
            &read("/proc/stat"),
        );
        if let Some(process) = process {
            let mut gauge = |name, help, value: f64| write(&mut encoder, name, help, ConstGauge::new(value));
            gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                process.resident_bytes,
            )?;
            gauge(
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                process.virtual_bytes,
            )?;
            gauge("process_threads", "Number of threads", process.threads)?;
            let help = "Start time of the process since the Unix epoch in seconds";
            gauge("process_start_time_seconds", help, process.start_seconds)?;
            let help = "Total user and system CPU time spent in seconds";
            write(
                &mut encoder,
                "process_cpu_seconds",
                help,
                ConstCounter::new(process.cpu_seconds),
            )?;
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // One of the entries is the descriptor that the listing itself uses.
            let open = files.count().saturating_sub(1) as f64;
            let help = "Number of open file descriptors";
            write(&mut encoder, "process_open_fds", help, ConstGauge::new(open))?;
        }
        Ok(())
    }
}

fn write(encoder: &mut DescriptorEncoder, name: &str, help: &str, metric: impl EncodeMetric) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

#[derive(Debug, PartialEq)]
struct Process {
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    start_seconds: f64,
    cpu_seconds: f64,
}

/// Clock ticks per second in /proc/*/stat: USER_HZ, fixed at 100 in the kernel's interface on every
/// architecture that we build for, whatever its internal rate.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// Reads the texts of `/proc/self/stat`, `/proc/self/status` and `/proc/stat` (proc(5)).
    fn parse(stat: &str, status: &str, system: &str) -> Option<Process> {
        // The second field is the command's name in parentheses and may contain anything, so count from its end.
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        // Field 3 of proc(5) is the first after the name.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot = line_value(system, "btime")?;
        Some(Process {
            resident_bytes: line_value(status, "VmRSS:")? * 1024.0,
            virtual_bytes: field(23)?,
            threads: field(20)?,
            start_seconds: boot + field(22)? / TICKS_PER_SECOND,
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
        })
    }
}

fn line_value(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 3 0 1000 4096 9 1 1";
        let process = Process::parse(stat, "Name:\ta\nVmRSS:\t  12 kB\n", "cpu 1 2\nbtime 1700000000\n");
        let expected = Process {
            resident_bytes: 12288.0,
            virtual_bytes: 4096.0,
            threads: 3.0,
            start_seconds: 1_700_000_010.0,
            cpu_seconds: 2.0,
        };
        assert_eq!(process, Some(expected));
        assert_eq!(Process::parse("", "", ""), None);
    }

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
        assert!(value("process_cpu_seconds_total ") >= 0.0, "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
