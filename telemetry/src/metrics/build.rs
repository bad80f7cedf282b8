//! Which build runs, as every component of Kubernetes says it.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;

use prometheus_client::metrics::MetricType;

/// The version of Kubernetes' API that is served, and behind it our own: the form that Kubernetes' distributions use.
pub const KUBERNETES_VERSION: &str = concat!("v1.36.2+gantry.", env!("CARGO_PKG_VERSION"));

/// Always 1; what it says is in its labels. Those of Kubernetes' that only a release's build would know are absent.
#[derive(Debug)]
pub struct BuildCollector;

impl Collector for BuildCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "A metric with a constant '1' value labeled by the version and the platform";
        let mut family = encoder.encode_descriptor("kubernetes_build_info", help, None, MetricType::Gauge)?;
        let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
        let labels = [
            ("compiler", "rustc"),
            ("git_version", KUBERNETES_VERSION),
            ("major", "1"),
            ("minor", "36"),
            ("platform", &platform),
        ];
        ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)
    }
}
