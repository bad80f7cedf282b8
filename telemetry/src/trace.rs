//! Traces: which spans are recorded, and how a trace crosses a process boundary.
//!
//! A trace begins only where a person or a test asked for something: a span made with the field
//! `gantry.root = true`, or passed to [`root`]. Every other span is recorded only when it continues a sampled
//! trace. Heartbeats, leases and watch loops come without a parent and therefore leave no trace of their own,
//! without knowing about it.

mod cause;
mod age;
mod sampler;
mod server;
mod client;
mod past;

pub(crate) use age::TimedIds;
#[cfg(test)]
pub(crate) use age::timed;
pub use cause::{Cause, InvalidCause};
pub use client::{Client, ClientLayer};
pub(crate) use past::set_tracer;
pub use past::{Past, record};
pub(crate) use sampler::CauseSampler;
pub use server::{Server, ServerLayer, TracedBody};

use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The span field that makes a span the root of a new trace when it has no parent.
pub const ROOT: &str = "gantry.root";
/// The header that carries a trace context (W3C Trace Context, section 3.2).
pub const TRACEPARENT: &str = "traceparent";

/// The current span as a W3C `traceparent`; `None` outside of a sampled trace.
pub fn current_traceparent() -> Option<String> {
    current_cause().map(|cause| cause.to_string())
}

/// The current span as a [`Cause`]; `None` outside of a sampled trace.
pub fn current_cause() -> Option<Cause> {
    Context::map_current(|context| Cause::of(context.span().span_context()))
}

/// The cause that work inside `span` would have, without entering it; `None` when the span is not sampled.
/// Starts the span: its parent can no longer be changed.
pub fn cause_of(span: &tracing::Span) -> Option<Cause> {
    Cause::of(span.context().span().span_context())
}

/// Makes `span` a child of the span that `traceparent` names, for work that a change causes. A trace is continued
/// for ten minutes from its root; `span` begins another one afterwards, which is linked to it. Malformed input is
/// ignored, as W3C asks.
///
/// The span must not have been entered yet: a parent cannot be changed after the start.
#[allow(clippy::disallowed_methods, reason = "a trace is continued now")]
pub fn continue_from(span: &tracing::Span, traceparent: &str) {
    let Ok(cause) = traceparent.parse::<Cause>() else {
        return;
    };
    let context = cause.span_context();
    if context.is_sampled() && age::is_over(context.trace_id(), SystemTime::now()) {
        root(span);
        span.add_link(context);
    } else {
        become_child(span, &cause);
    }
}

/// Makes `span` a child of its caller's, however old the trace is: the caller waits for it.
fn become_child(span: &tracing::Span, cause: &Cause) {
    // Fails when no trace layer is installed or the span is disabled: then there is nothing to continue.
    let _ = span.set_parent(Context::new().with_remote_span_context(cause.span_context()));
}

/// Links `span` to the span that `traceparent` names, for work that several causes share. Malformed input is
/// ignored.
pub fn link(span: &tracing::Span, traceparent: &str) {
    if let Ok(cause) = traceparent.parse::<Cause>() {
        span.add_link(cause.span_context());
    }
}

/// Marks `span` as the root of a new trace, if it has no parent. The span must not have been entered yet.
pub fn root(span: &tracing::Span) {
    span.set_attribute(ROOT, true);
}

fn is_recorded(context: &SpanContext) -> bool {
    context.is_valid() && context.is_sampled()
}
