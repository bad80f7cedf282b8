//! What the health checks say, as metrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::health::{Endpoint, Health};

/// Asks the checks at each scrape, so that a metric never says what was true when somebody last looked.
pub struct ChecksCollector(pub Health);

impl fmt::Debug for ChecksCollector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ChecksCollector")
    }
}

impl Collector for ChecksCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "This metric records the result of a single healthcheck";
        let mut family =
            encoder.encode_descriptor("kubernetes_healthcheck", help, None, MetricType::Gauge)?;
        for endpoint in [Endpoint::Health, Endpoint::Live, Endpoint::Ready] {
            for (name, passed) in self.0.report(endpoint, &[]).results() {
                let labels = [("name", name), ("type", endpoint.name())];
                ConstGauge::new(i64::from(passed)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "This metric records the results of all healthcheck";
        let mut family =
            encoder.encode_descriptor("kubernetes_healthchecks", help, None, MetricType::Counter)?;
        for ((name, endpoint, passed), times) in self.0.times_asked() {
            let status = if passed { "success" } else { "error" };
            let labels = [
                ("name", name.as_str()),
                ("status", status),
                ("type", endpoint.name()),
            ];
            ConstCounter::new(times).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Registry, encode};

    #[test]
    fn each_check_is_told_by_name_and_endpoint_and_counted_when_somebody_asks() {
        let (registry, health) = (Registry::new(), Health::new());
        health.check("caches", || Err("not yet".into()));
        registry.register_collector(ChecksCollector(health.clone()));
        let has = |line: &str| {
            let text = encode(&registry);
            assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
        };
        has("kubernetes_healthcheck{name=\"caches\",type=\"readyz\"} 0");
        has("kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1");
        health.note(&health.report(Endpoint::Ready, &[]));
        has("kubernetes_healthchecks_total{name=\"caches\",status=\"error\",type=\"readyz\"} 1");
        has("kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"readyz\"} 1");
    }
}
