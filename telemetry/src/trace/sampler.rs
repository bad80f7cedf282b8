//! Which spans are recorded.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use super::ROOT;

/// Follows the parent's decision. Without a parent, only a span marked as a root may begin a trace, and of
/// those the given share.
#[derive(Clone, Debug)]
pub(crate) struct CauseSampler {
    ratio: Sampler,
}

impl CauseSampler {
    pub(crate) fn new(ratio: f64) -> CauseSampler {
        CauseSampler {
            ratio: Sampler::TraceIdRatioBased(ratio),
        }
    }
}

impl ShouldSample for CauseSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|context| context.span().span_context().clone());
        match parent.filter(|parent| parent.is_valid()) {
            Some(parent) if parent.is_sampled() => {
                result(SamplingDecision::RecordAndSample, parent.trace_state().clone())
            }
            Some(parent) => result(SamplingDecision::Drop, parent.trace_state().clone()),
            None if is_root(attributes) => self
                .ratio
                .should_sample(None, trace_id, name, kind, attributes, links),
            None => result(SamplingDecision::Drop, TraceState::default()),
        }
    }
}

fn is_root(attributes: &[KeyValue]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.key.as_str() == ROOT && attribute.value == Value::Bool(true))
}

fn result(decision: SamplingDecision, trace_state: TraceState) -> SamplingResult {
    SamplingResult {
        decision,
        attributes: Vec::new(),
        trace_state,
    }
}
