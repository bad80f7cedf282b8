//! What the watch caches hold and have taken in, read from them at each scrape.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::cache::Cache;
use crate::registry::Registry;

pub struct CachesCollector(pub Arc<Registry>);

impl fmt::Debug for CachesCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CachesCollector")
    }
}

/// As a float, a number up to 10^15 is exact; Kubernetes cuts revisions off there.
const LARGEST_REVISION: i64 = 1_000_000_000_000_000;

impl Collector for CachesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let encoder = &mut encoder;
        let objects = |cache: &Cache| i64::try_from(cache.present().objects.len()).unwrap_or(i64::MAX);
        self.gauge(
            encoder,
            "apiserver_resource_objects",
            "Objects in the store, by resource",
            objects,
        )?;
        self.gauge(
            encoder,
            "apiserver_watch_cache_resource_version",
            "The revision that the watch cache is at, by resource",
            |cache| cache.present().revision % LARGEST_REVISION,
        )?;
        let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let help = "Events that the watch cache received from the store, by resource";
        self.counter(encoder, "apiserver_watch_cache_events_received", help, |cache| {
            count(&cache.seen.events_received)
        })?;
        self.counter(encoder, "apiserver_storage_events_received", help, |cache| {
            count(&cache.seen.events_received)
        })?;
        self.counter(
            encoder,
            "apiserver_watch_cache_events_dispatched",
            "Events that the watch cache published to its watches, by resource",
            |cache| count(&cache.seen.events_dispatched),
        )?;
        self.counter(
            encoder,
            "apiserver_watch_cache_initializations",
            "Lists of the store that the watch cache began anew from, by resource",
            |cache| count(&cache.seen.initializations),
        )?;
        // Older dashboards know the objects by this name, with the resource and its group in one label.
        let help = "Objects in the store, by resource and group";
        let mut family =
            encoder.encode_descriptor("apiserver_storage_objects", help, None, MetricType::Gauge)?;
        for cache in self.0.caches() {
            let labels = [("resource", cache.kind().group_resource())];
            ConstGauge::new(objects(cache)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl CachesCollector {
    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        value: impl Fn(&Cache) -> i64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for cache in self.0.caches() {
            ConstGauge::new(value(cache)).encode(family.encode_family(&labels(cache))?)?;
        }
        Ok(())
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        value: impl Fn(&Cache) -> u64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for cache in self.0.caches() {
            ConstCounter::new(value(cache)).encode(family.encode_family(&labels(cache))?)?;
        }
        Ok(())
    }
}

fn labels(cache: &Cache) -> [(&'static str, &'static str); 2] {
    [("group", cache.kind().group), ("resource", cache.kind().resource)]
}
