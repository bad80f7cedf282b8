//! The last spans of this process, for `gantry trace`: it shows a trace from the running cluster where no collector
//! keeps one.
//!
//! The process has one ring, as it has one subscriber. Its newest spans push out its oldest.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, Status, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span as SdkSpan, SpanData, SpanProcessor};
use serde_json::{Value, json};

/// Spans that are kept. A deployment of three pods leaves some 40 in the busiest process: a hundred such changes. At
/// about 400 bytes each they take up to 1.6 MB.
const KEPT_SPANS: usize = 4096;
/// Spans under way that are shown: what a process does at once in traces that somebody asked for.
const OPEN_SPANS: usize = 1024;
/// Attributes of a span that are kept; ours have fewer.
const KEPT_ATTRIBUTES: usize = 12;

/// The service name of the command line, which reports its spans.
const COMMAND_SERVICE: &str = "gantry-cli";
/// The longest name or attribute in a report.
const REPORTED_TEXT_BYTES: usize = 256;

static RING: OnceLock<Ring> = OnceLock::new();

/// The last spans that ended in this process, or that another has handed over.
#[derive(Debug, Default)]
pub struct Ring {
    spans: Mutex<Spans>,
}

#[derive(Debug, Default)]
struct Spans {
    ended: VecDeque<Record>,
    /// By trace and span, as others may choose span ids.
    open: HashMap<(TraceId, SpanId), Record>,
}

#[derive(Debug)]
struct Record {
    service: Cow<'static, str>,
    trace_id: TraceId,
    span_id: SpanId,
    parent_span_id: SpanId,
    name: Cow<'static, str>,
    start: SystemTime,
    /// `None` while it goes on.
    end: Option<SystemTime>,
    failed: bool,
    attributes: Vec<KeyValue>,
    links: Vec<TraceId>,
}

/// A span of another process, as that process tells it.
#[derive(Debug)]
pub struct Reported<'a> {
    /// Ids in hexadecimal; the parent's is empty for a root.
    pub trace_id: &'a str,
    pub span_id: &'a str,
    pub parent_span_id: &'a str,
    pub name: String,
    pub start_unix_nanos: u64,
    pub end_unix_nanos: u64,
    pub error: bool,
    pub attributes: Vec<(String, String)>,
    /// Who says so.
    pub user: String,
}

/// The process's ring. Empty in a process that has not called [`crate::init`].
pub fn ring() -> &'static Ring {
    RING.get_or_init(Ring::default)
}

impl Ring {
    /// The spans of a trace as a JSON list, in the order in which they ended.
    /// Each has `service`, `traceId`, `spanId`, `parentSpanId` (absent for a root), `name`, `startTimeUnixNano` and
    /// `endTimeUnixNano` (decimal strings, as OTLP's JSON has them; no end while it goes on), `error`, `attributes`, and `links` (trace ids).
    /// `None` when the id is not 32 hexadecimal digits.
    pub fn trace(&self, trace_id: &str) -> Option<Value> {
        let wanted = TraceId::from_hex(trace_id)
            .ok()
            .filter(|id| trace_id.len() == 32 && *id != TraceId::INVALID)?;
        let spans = self.lock();
        let all = spans.ended.iter().chain(spans.open.values());
        Some(
            all.filter(|span| span.trace_id == wanted)
                .map(Record::to_json)
                .collect(),
        )
    }

    /// Remembers a span of a command that will not be there to be asked. It is kept under that command's service
    /// name and with the name of its user, so that nobody speaks for a component. Fails with what is wrong with it.
    pub fn report(&self, span: Reported<'_>) -> Result<(), String> {
        let id = |text: &str| {
            let id = SpanId::from_hex(text).ok().filter(|_| text.len() == 16);
            id.ok_or_else(|| format!("{text:?} is not a span id: it has 16 hexadecimal digits"))
        };
        let trace_id = TraceId::from_hex(span.trace_id)
            .ok()
            .filter(|_| span.trace_id.len() == 32);
        let too_long = |text: &str| text.len() > REPORTED_TEXT_BYTES;
        let mut attributes = span.attributes;
        attributes.truncate(KEPT_ATTRIBUTES);
        if too_long(&span.name)
            || attributes
                .iter()
                .any(|(key, value)| too_long(key) || too_long(value))
        {
            return Err(format!("a span's texts have at most {REPORTED_TEXT_BYTES} bytes"));
        }
        attributes.push(("user.name".into(), span.user));
        self.push(Record {
            service: COMMAND_SERVICE.into(),
            trace_id: trace_id.ok_or_else(|| {
                format!(
                    "{:?} is not a trace id: it has 32 hexadecimal digits",
                    span.trace_id
                )
            })?,
            span_id: id(span.span_id)?,
            parent_span_id: match span.parent_span_id {
                "" => SpanId::INVALID,
                parent => id(parent)?,
            },
            name: span.name.into(),
            start: SystemTime::UNIX_EPOCH + Duration::from_nanos(span.start_unix_nanos),
            end: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(span.end_unix_nanos)),
            failed: span.error,
            attributes: attributes
                .into_iter()
                .map(|(key, value)| KeyValue::new(key, value))
                .collect(),
            links: Vec::new(),
        });
        Ok(())
    }

    /// All that is remembered, for a process that hands it over before it ends: the trace of each span, and the span
    /// as [`Ring::trace`] has it.
    pub fn all(&self) -> Vec<(String, Value)> {
        let spans = self.lock();
        spans
            .ended
            .iter()
            .map(|span| (span.trace_id.to_string(), span.to_json()))
            .collect()
    }

    fn open(&self, record: Record) {
        let mut spans = self.lock();
        if spans.open.len() < OPEN_SPANS {
            spans.open.insert((record.trace_id, record.span_id), record);
        }
    }

    fn push(&self, record: Record) {
        let mut spans = self.lock();
        spans.open.remove(&(record.trace_id, record.span_id));
        if spans.ended.len() >= KEPT_SPANS {
            spans.ended.pop_front();
        }
        spans.ended.push_back(record);
    }

    fn lock(&self) -> MutexGuard<'_, Spans> {
        // A push cannot panic half way.
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn of(service: &'static str, span: SpanData) -> Record {
        let own = span.span_context.trace_id();
        let mut attributes = span.attributes;
        attributes.retain(|attribute| is_said(attribute.key.as_str()));
        attributes.truncate(KEPT_ATTRIBUTES);
        attributes.shrink_to_fit();
        Record {
            service: service.into(),
            trace_id: span.span_context.trace_id(),
            span_id: span.span_context.span_id(),
            parent_span_id: span.parent_span_id,
            name: span.name,
            start: span.start_time,
            end: Some(span.end_time),
            failed: matches!(span.status, Status::Error { .. }),
            attributes,
            links: span
                .links
                .links
                .iter()
                .map(|link| link.span_context.trace_id())
                // Other causes in the same trace are to be seen in it.
                .filter(|trace_id| *trace_id != own)
                .collect::<HashSet<_>>()
                .into_iter()
                .collect(),
        }
    }

    fn to_json(&self) -> Value {
        let attributes: serde_json::Map<String, Value> = self
            .attributes
            .iter()
            .map(|attribute| (attribute.key.to_string(), attribute.value.to_string().into()))
            .collect();
        let links: Vec<String> = self.links.iter().map(TraceId::to_string).collect();
        let mut span = json!({
            "service": self.service,
            "traceId": self.trace_id.to_string(),
            "spanId": self.span_id.to_string(),
            "name": self.name,
            "startTimeUnixNano": nanos(self.start),
            "error": self.failed,
            "attributes": attributes,
            "links": links,
        });
        if let Some(end) = self.end {
            span["endTimeUnixNano"] = nanos(end).into();
        }
        if self.parent_span_id != SpanId::INVALID {
            span["parentSpanId"] = self.parent_span_id.to_string().into();
        }
        span
    }
}

/// Where in the source a span was made is for a debugger, not for a reader of the trace.
fn is_said(key: &str) -> bool {
    !["code.", "thread.", "target", "busy_ns", "idle_ns"]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

fn nanos(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    since.as_nanos().to_string()
}

/// Puts each span that ends into the process's ring.
#[derive(Debug)]
pub(crate) struct IntoRing {
    pub(crate) service: &'static str,
}

impl SpanProcessor for IntoRing {
    fn on_start(&self, span: &mut SdkSpan, _: &Context) {
        if let Some(data) = span.exported_data() {
            let mut record = Record::of(self.service, data);
            record.end = None;
            ring().open(record);
        }
    }

    fn on_end(&self, span: SpanData) {
        ring().push(Record::of(self.service, span));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(trace: u128, span: u64) -> Record {
        Record {
            service: "test".into(),
            trace_id: TraceId::from(trace),
            span_id: SpanId::from(span),
            parent_span_id: SpanId::INVALID,
            name: "work".into(),
            start: SystemTime::UNIX_EPOCH + Duration::from_nanos(7),
            end: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(9)),
            failed: false,
            attributes: vec![KeyValue::new("key", "default/web")],
            links: Vec::new(),
        }
    }

    #[test]
    fn a_trace_is_found_by_its_id_until_newer_spans_push_it_out() {
        let ring = Ring::default();
        ring.open(Record {
            end: None,
            ..record(1, 10)
        });
        let open = ring.trace(&format!("{:032x}", 1)).unwrap();
        assert_eq!(
            (&open[0]["name"], open[0].get("endTimeUnixNano")),
            (&json!("work"), None)
        );
        ring.push(record(1, 10));
        ring.push(record(2, 20));
        let found = ring.trace(&format!("{:032x}", 1)).unwrap();
        assert_eq!(
            found,
            json!([{
                "service": "test", "traceId": format!("{:032x}", 1), "spanId": format!("{:016x}", 10), "name": "work",
                "startTimeUnixNano": "7", "endTimeUnixNano": "9", "error": false,
                "attributes": {"key": "default/web"}, "links": [],
            }])
        );
        for span in 0..KEPT_SPANS as u64 {
            ring.push(record(3, span + 100));
        }
        assert_eq!(ring.trace(&format!("{:032x}", 1)), Some(json!([])));
        assert_eq!(
            ring.trace(&format!("{:032x}", 3))
                .unwrap()
                .as_array()
                .map(Vec::len),
            Some(KEPT_SPANS)
        );
        let reported = |span_id, name: &str| Reported {
            trace_id: "0000000000000000000000000000000a",
            span_id,
            parent_span_id: "",
            name: name.into(),
            start_unix_nanos: 1,
            end_unix_nanos: 2,
            error: false,
            attributes: Vec::new(),
            user: "jane".into(),
        };
        assert_eq!(ring.report(reported("000000000000000b", "gantry apply")), Ok(()));
        let found = ring.trace("0000000000000000000000000000000a").unwrap();
        assert_eq!(
            (&found[0]["service"], &found[0]["attributes"]["user.name"]),
            (&json!("gantry-cli"), &json!("jane"))
        );
        assert!(ring.report(reported("b", "gantry apply")).is_err());
        assert!(
            ring.report(reported("000000000000000b", &"x".repeat(300)))
                .is_err()
        );
        for bad in ["", "1", "xyz", &"0".repeat(32)] {
            assert_eq!(ring.trace(bad), None, "{bad:?}");
        }
    }
}
