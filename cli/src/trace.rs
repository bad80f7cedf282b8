//! The trace that a change starts. Everything that the cluster does because of the change continues it.

use crate::session::Session;
use gantry_proto::api::v1::{ReportTraceRequest, TraceSpan};
use gantry_telemetry::ring;
use gantry_telemetry::trace;
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use tracing::{Instrument as _, info_span};

/// Runs `work` as the root of a new trace named after the command, or as a part of the one that is under way. The id of
/// a trace that is recorded is printed where the user wants to know more.
pub async fn root<T>(command: &'static str, session: &Session, work: impl Future<Output = T>) -> T {
    let is_outermost = trace::current_cause().is_none();
    let span = info_span!("gantry", otel.name = command, gantry.root = true);
    let is_told = session.options.trace || session.options.verbose > 0;
    if is_told
        && is_outermost
        && let Some(cause) = trace::cause_of(&span)
    {
        eprintln!("trace {}", cause.trace_id());
    }
    work.instrument(span).await
}

/// How long the end of a command may be held up by handing its spans over.
const REPORT_LIMIT: Duration = Duration::from_secs(1);
/// Spans in one report: what the apiserver takes.
const REPORTED_SPANS: usize = 256;

/// Hands this command's spans to the apiserver, so that `gantry trace` shows where a trace began after the command has
/// ended. Where it fails, only that is missing.
pub async fn report(session: &Session) {
    let mut spans_by_trace: BTreeMap<String, Vec<TraceSpan>> = BTreeMap::new();
    for (trace_id, span) in ring::ring().all() {
        spans_by_trace.entry(trace_id).or_default().push(told(&span));
    }
    if spans_by_trace.is_empty() {
        return;
    }
    let Ok(connected) = session.connect() else { return };
    let reporting = async {
        for (trace_id, mut spans) in spans_by_trace {
            // Parents end after their children: the last ones say most.
            let spans = spans.split_off(spans.len().saturating_sub(REPORTED_SPANS));
            let request = ReportTraceRequest { trace_id, spans };
            if let Err(failure) = connected.cluster.report_trace(request).await {
                tracing::debug!(error = %failure, "this command's spans were not handed over");
            }
        }
    };
    if tokio::time::timeout(REPORT_LIMIT, reporting).await.is_err() {
        tracing::debug!("this command's spans were not handed over in time");
    }
}

fn told(span: &Value) -> TraceSpan {
    let text = |name: &str| span[name].as_str().unwrap_or_default().to_string();
    let nanos = |name: &str| text(name).parse().unwrap_or(0);
    let attributes = span["attributes"].as_object().into_iter().flatten();
    TraceSpan {
        service: text("service"),
        span_id: text("spanId"),
        parent_span_id: text("parentSpanId"),
        name: text("name"),
        start_unix_nanos: nanos("startTimeUnixNano"),
        end_unix_nanos: nanos("endTimeUnixNano"),
        error: span["error"].as_bool().unwrap_or(false),
        attributes: attributes
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string())))
            .collect(),
        links: Vec::new(),
    }
}

/// Runs `work` on one object within the trace.
pub async fn object<T>(action: &'static str, object: &str, work: impl Future<Output = T>) -> T {
    let span = info_span!("object", otel.name = action, gantry.object = object);
    work.instrument(span).await
}
