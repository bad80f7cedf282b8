//! kube-proxy's metrics, under its names, as far as they mean something here.

use gantry_telemetry::metrics::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

type Labels = [(&'static str, &'static str); 1];
type Seconds = Family<Labels, Gauge<f64, AtomicU64>>;

/// kube-proxy has a set of rules for each family; there is one here.
const FAMILY: Labels = [("ip_family", "IPv4")];

#[derive(Clone, Debug)]
pub struct Metrics {
    sync_duration: Histogram,
    full_sync_duration: Histogram,
    partial_sync_duration: Histogram,
    programming_duration: Histogram,
    last_sync: Gauge<f64, AtomicU64>,
    last_queued: Gauge<f64, AtomicU64>,
    failures: Counter,
    pub changed_services: Counter,
    pub changed_slices: Counter,
    pub pending_services: Gauge,
    pub pending_slices: Gauge,
    pub dns_queries: Counter,
    pub dns_forwarded: Counter,
    pub dns_refused: Counter,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Metrics {
        // 1 ms to 16 s, as in Kubernetes: one element takes some milliseconds, a full load of 10,000 Services some
        // seconds.
        let durations = || {
            Family::<Labels, Histogram>::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 15))
            })
        };
        let (sync, full, partial) = (durations(), durations(), durations());
        // 8 ms to 131 s. Kubernetes' begin at 250 ms, below which all but a burst falls here.
        let programming = Family::<Labels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.008, 2.0, 15))
        });
        let (last_sync, last_queued) = (Seconds::default(), Seconds::default());
        let failures = Family::<Labels, Counter>::default();
        let metrics = Metrics {
            sync_duration: sync.get_or_create_owned(&FAMILY),
            full_sync_duration: full.get_or_create_owned(&FAMILY),
            partial_sync_duration: partial.get_or_create_owned(&FAMILY),
            programming_duration: programming.get_or_create_owned(&FAMILY),
            last_sync: last_sync.get_or_create_owned(&FAMILY),
            last_queued: last_queued.get_or_create_owned(&FAMILY),
            failures: failures.get_or_create_owned(&FAMILY),
            changed_services: Counter::default(),
            changed_slices: Counter::default(),
            pending_services: Gauge::default(),
            pending_slices: Gauge::default(),
            dns_queries: Counter::default(),
            dns_forwarded: Counter::default(),
            dns_refused: Counter::default(),
        };
        for (name, help, histogram) in [
            (
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "Time to compute and load a change of the rules",
                sync,
            ),
            (
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                "Time to compute and load all rules",
                full,
            ),
            (
                "kubeproxy_sync_partial_proxy_rules_duration_seconds",
                "Time to compute and load what changed of the rules",
                partial,
            ),
            (
                "kubeproxy_network_programming_duration_seconds",
                "Time from a change of pods, as its EndpointSlice tells it, to its rules",
                programming,
            ),
        ] {
            registry.register(name, help, histogram);
        }
        registry.register(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "When rules were last loaded, since the Unix epoch in seconds",
            last_sync,
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When a change of the rules was last asked for, since the Unix epoch in seconds",
            last_queued,
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures",
            "Loads that nft refused",
            failures,
        );
        for (name, help, gauge) in [
            (
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "Services whose change is not in the rules yet",
                &metrics.pending_services,
            ),
            (
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "EndpointSlices whose change is not in the rules yet",
                &metrics.pending_slices,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            (
                "kubeproxy_sync_proxy_rules_service_changes",
                "Services that were looked at again",
                &metrics.changed_services,
            ),
            (
                "kubeproxy_sync_proxy_rules_endpoint_changes",
                "EndpointSlices that were looked at again",
                &metrics.changed_slices,
            ),
            ("gantry_dns_queries", "DNS queries", &metrics.dns_queries),
            (
                "gantry_dns_forwarded",
                "DNS queries about other domains",
                &metrics.dns_forwarded,
            ),
            (
                "gantry_dns_refused",
                "DNS queries beyond the limit of concurrent ones",
                &metrics.dns_refused,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// Changes were asked for.
    pub fn queued(&self, now: SystemTime) {
        self.last_queued.set(since_epoch(now));
    }

    /// Rules were given to the kernel, all or what changed of them.
    pub fn synced(&self, is_full: bool, took: Duration, loaded: bool) {
        let took = took.as_secs_f64();
        self.sync_duration.observe(took);
        match is_full {
            true => self.full_sync_duration.observe(took),
            false => self.partial_sync_duration.observe(took),
        }
        if !loaded {
            self.failures.inc();
        }
    }

    /// The rules are in place at `now`, those that a change at each of the `triggers` asked for among them.
    pub fn programmed(&self, now: SystemTime, triggers: &[SystemTime]) {
        self.last_sync.set(since_epoch(now));
        for trigger in triggers {
            let latency = now.duration_since(*trigger).unwrap_or_default();
            self.programming_duration.observe(latency.as_secs_f64());
        }
    }
}

fn since_epoch(now: SystemTime) -> f64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_labels_are_kube_proxys() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let now = UNIX_EPOCH + Duration::from_secs(100);
        metrics.queued(now);
        metrics.synced(true, Duration::from_millis(20), true);
        metrics.synced(false, Duration::from_millis(5), false);
        metrics.programmed(now, &[now - Duration::from_secs(1)]);
        metrics.changed_services.inc();
        let text = gantry_telemetry::metrics::encode(&registry);
        for line in [
            "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 2",
            "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1",
            "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"} 1.0",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 100.0",
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 100.0",
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_proxy_rules_service_changes_total 1",
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
