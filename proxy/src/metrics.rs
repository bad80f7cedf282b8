//! kube-proxy's metrics, under its names, as far as they mean something here.

use gantry_telemetry::metrics::Registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::sync::atomic::AtomicU64;

#[derive(Clone, Debug)]
pub struct Metrics {
    pub sync_duration_seconds: Histogram,
    pub programming_duration_seconds: Histogram,
    pub last_sync_seconds: Gauge<f64, AtomicU64>,
    pub full_syncs: Counter,
    pub failures: Counter,
    pub changed_services: Counter,
    pub dns_queries: Counter,
    pub dns_forwarded: Counter,
    pub dns_refused: Counter,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Metrics {
        let metrics = Metrics {
            // 1 ms to 16 s: one element takes some milliseconds, a full load of 10,000 Services some seconds.
            sync_duration_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            // 8 ms to 131 s.
            programming_duration_seconds: Histogram::new(exponential_buckets(0.008, 2.0, 15)),
            last_sync_seconds: Gauge::default(),
            full_syncs: Counter::default(),
            failures: Counter::default(),
            changed_services: Counter::default(),
            dns_queries: Counter::default(),
            dns_forwarded: Counter::default(),
            dns_refused: Counter::default(),
        };
        let Metrics {
            sync_duration_seconds,
            programming_duration_seconds,
            last_sync_seconds,
            ..
        } = &metrics;
        registry.register(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "Time to compute and load a change of the rules",
            sync_duration_seconds.clone(),
        );
        registry.register(
            "kubeproxy_network_programming_duration_seconds",
            "Time from a change of pods, as its EndpointSlice tells it, to its rules",
            programming_duration_seconds.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "When rules were last loaded, since the Unix epoch in seconds",
            last_sync_seconds.clone(),
        );
        let counters = [
            (
                "kubeproxy_sync_full_proxy_rules",
                "Loads of all rules",
                &metrics.full_syncs,
            ),
            (
                "kubeproxy_sync_proxy_rules_nftables_sync_failures",
                "Loads that nft refused",
                &metrics.failures,
            ),
            (
                "kubeproxy_sync_proxy_rules_service_changes",
                "Services that were looked at again",
                &metrics.changed_services,
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
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        metrics
    }
}
