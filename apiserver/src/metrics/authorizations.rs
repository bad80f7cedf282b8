//! How requests were decided on, in Kubernetes' words (k8s.io/apiserver/pkg/endpoints/filters/metrics.go).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::authorization::Denial;

/// How often, by result.
#[derive(Debug, Default)]
pub struct Authorizations {
    allowed: AtomicU64,
    denied: AtomicU64,
    no_opinion: AtomicU64,
    errors: AtomicU64,
}

impl Authorizations {
    /// A request that no rule allows is refused because nobody has an opinion on it; only a rule that forbids it denies.
    pub fn decided(&self, denial: Option<&Denial>) {
        let number = match denial {
            None => &self.allowed,
            Some(Denial::Restricted(_)) => &self.denied,
            Some(Denial::NoRule(_)) => &self.no_opinion,
        };
        number.fetch_add(1, Ordering::Relaxed);
    }

    /// It could not be found out.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub struct AuthorizationsCollector(pub Arc<Authorizations>);

impl Collector for AuthorizationsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'";
        let name = "authorization_attempts";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (result, number) in [
            ("allowed", &self.0.allowed),
            ("denied", &self.0.denied),
            ("no-opinion", &self.0.no_opinion),
            ("error", &self.0.errors),
        ] {
            let labels = [("result", result)];
            ConstCounter::new(number.load(Ordering::Relaxed)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gantry_telemetry::metrics::{Registry, encode};

    use super::*;

    #[test]
    fn what_no_rule_allows_and_what_a_rule_forbids_are_told_apart() {
        let (registry, all) = (Registry::new(), Arc::new(Authorizations::default()));
        registry.register_collector(AuthorizationsCollector(all.clone()));
        all.decided(None);
        all.decided(None);
        all.decided(Some(&Denial::NoRule(String::new())));
        all.decided(Some(&Denial::Restricted("no".into())));
        let text = encode(&registry);
        for line in [
            "authorization_attempts_total{result=\"allowed\"} 2",
            "authorization_attempts_total{result=\"no-opinion\"} 1",
            "authorization_attempts_total{result=\"denied\"} 1",
            "authorization_attempts_total{result=\"error\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
