//! Why something is done: the trace context that travels with a change.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A valid W3C `traceparent` of version 00. Cheap to clone, because it is kept beside cached objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cause(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct InvalidCause;

impl Cause {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the trace is recorded. Work for an unsampled cause leaves no spans.
    pub fn is_sampled(&self) -> bool {
        self.span_context().is_sampled()
    }

    /// The 32 hexadecimal digits that name the trace.
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }

    pub(crate) fn of(span: &SpanContext) -> Option<Cause> {
        super::is_recorded(span).then(|| {
            Cause(
                format!(
                    "00-{}-{}-{:02x}",
                    span.trace_id(),
                    span.span_id(),
                    span.trace_flags()
                )
                .into(),
            )
        })
    }

    pub(crate) fn span_context(&self) -> SpanContext {
        decode(&self.0).unwrap_or(SpanContext::NONE)
    }
}

impl FromStr for Cause {
    type Err = InvalidCause;

    fn from_str(text: &str) -> Result<Cause, InvalidCause> {
        decode(text).map(|_| Cause(text.into())).ok_or(InvalidCause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Reads `00-<trace id>-<parent id>-<flags>` (W3C Trace Context, section 3.2.2). A later version may append
/// more after the flags; its first four fields mean the same.
fn decode(text: &str) -> Option<SpanContext> {
    let mut fields = text.split('-');
    let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let lengths = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    if !lengths
        .iter()
        .all(|(field, length)| field.len() == *length && is_lower_hex(field))
    {
        return None;
    }
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_is_a_cause() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let check = |text: String, sampled: Option<bool>| {
            let cause = text.parse::<Cause>();
            assert_eq!(cause.as_ref().ok().map(Cause::is_sampled), sampled, "{text:?}");
            if let Ok(cause) = cause {
                assert_eq!(cause.to_string(), text);
                assert_eq!(cause.trace_id(), trace);
            }
        };
        check(format!("00-{trace}-{span}-01"), Some(true));
        check(format!("00-{trace}-{span}-00"), Some(false));
        check(format!("00-{trace}-{span}-03"), Some(true));
        check(format!("01-{trace}-{span}-01-later"), Some(true));
        check(format!("00-{trace}-{span}-01-later"), None);
        check(format!("ff-{trace}-{span}-01"), None);
        check(format!("00-{}-{span}-01", trace.to_uppercase()), None);
        check(format!("00-{}-{span}-01", "0".repeat(32)), None);
        check(format!("00-{trace}-{}-01", "0".repeat(16)), None);
        check(format!("00-{trace}-{span}"), None);
        check(format!("00-{trace}-{span}-1"), None);
        check(format!("00-{trace}-é{}-01", &span[2..]), None);
        check(String::new(), None);
    }
}
