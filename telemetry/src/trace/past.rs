//! Spans of work that another program has done.

use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::trace::{Span as _, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use super::Cause;

/// The process has one, as it has one subscriber.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Work that is over.
#[derive(Debug)]
pub struct Past<'a> {
    pub name: &'static str,
    /// The span that it belongs to.
    pub cause: &'a Cause,
    pub start: SystemTime,
    pub end: SystemTime,
    pub attributes: &'a [(&'static str, &'a str)],
}

/// Records work that is over as a span of its cause, if that is sampled. Does nothing in a process that has not called
/// [`crate::init`].
pub fn record(past: &Past<'_>) {
    let Some(tracer) = TRACER.get() else { return };
    let parent = Context::new().with_remote_span_context(past.cause.span_context());
    let attributes = past.attributes.iter();
    let attributes = attributes.map(|(key, value)| KeyValue::new(*key, value.to_string()));
    let span = tracer
        .span_builder(past.name)
        .with_start_time(past.start)
        .with_attributes(attributes);
    let mut span = tracer.build_with_context(span, &parent);
    span.end_with_timestamp(past.end.max(past.start));
}

pub(crate) fn set_tracer(tracer: SdkTracer) {
    // A second subscriber is refused before it could have one.
    let _ = TRACER.set(tracer);
}
