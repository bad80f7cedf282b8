//! Histograms that lead from a slow bucket to a trace.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::trace::Cause;

/// A histogram whose buckets each remember the last sampled trace that fell into them, as an OpenMetrics exemplar.
/// So it holds at most one trace for each bucket, and an observation outside of a sampled trace leaves none. Clones
/// share it.
#[derive(Clone, Debug)]
pub struct TracedHistogram(HistogramWithExemplars<TraceLabel>);

/// `trace_id` is the name that Prometheus' and Grafana's documents use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabel {
    trace_id: String,
}

impl TracedHistogram {
    pub fn new(buckets: impl IntoIterator<Item = f64>) -> TracedHistogram {
        TracedHistogram(HistogramWithExemplars::new(buckets.into_iter()))
    }

    /// Counts `value`, which is an example of the trace of `cause`.
    pub fn observe(&self, value: f64, cause: Option<&Cause>) {
        let label = cause.filter(|cause| cause.is_sampled()).map(|cause| TraceLabel {
            trace_id: cause.trace_id().to_owned(),
        });
        #[allow(clippy::disallowed_methods, reason = "an exemplar says when it was seen")]
        let seen = label.is_some().then(std::time::SystemTime::now);
        self.0.observe(value, label, seen);
    }
}

impl TypedMetric for TracedHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for TracedHistogram {
    fn encode(&self, encoder: MetricEncoder) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Registry, encode};

    #[test]
    fn only_a_sampled_trace_is_an_example_and_only_of_its_bucket() {
        let registry = Registry::new();
        let histogram = TracedHistogram::new([0.1, 1.0]);
        registry.register("work_seconds", "Work", histogram.clone());
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let cause = |flags: &str| format!("00-{trace}-{span}-{flags}").parse::<Cause>().unwrap();
        let exemplars = || {
            let text = encode(&registry);
            let lines = text.lines().filter(|line| line.contains("trace_id"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        histogram.observe(0.5, None);
        histogram.observe(0.5, Some(&cause("00")));
        assert_eq!(exemplars(), Vec::<String>::new());
        histogram.observe(0.5, Some(&cause("01")));
        let [line] = &exemplars()[..] else {
            panic!("{:?}", exemplars())
        };
        let expected = format!("work_seconds_bucket{{le=\"1.0\"}} 3 # {{trace_id=\"{trace}\"}} 0.5 ");
        assert!(line.starts_with(&expected), "{line}");
    }
}
