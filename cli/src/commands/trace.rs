//! `gantry trace`: what the last change of an object caused, as one tree, from the running cluster.
//!
//! ```text
//! gantry trace deployment/web               the tree
//! gantry trace deployment/web -o svg        a picture of it
//! gantry trace deployment/web -o json       its spans
//! ```

use crate::failure::Failure;
use crate::output::write;
use crate::resource;
use crate::session::Session;
use crate::span::Span;
use crate::{trace_svg, trace_tree};
use anyhow::Result;
use gantry_proto::api::v1::{ReadTraceReply, ReadTraceRequest};
use serde_json::{Value, json};
use std::time::Duration;

/// Show what the last change of an object caused, across all components, with durations and the critical path
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE/NAME
    #[arg(required_unless_present = "id")]
    object: Vec<String>,
    /// The trace itself, as `-v` prints it, in place of an object
    #[arg(long, value_name = "TRACE", conflicts_with = "object")]
    id: Option<String>,
    /// How to print it: a picture, or the spans as they are [default: a tree]
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Leave spans out of the picture that took less, such as 5ms, unless they failed, lead to longer ones or are on the
    /// critical path
    #[arg(long, value_name = "DURATION", default_value = "0")]
    shortest: Span,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Svg,
    Json,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let request = match arguments.id {
        Some(trace_id) => ReadTraceRequest {
            trace_id,
            ..ReadTraceRequest::default()
        },
        None => {
            let (kind, name) = resource::object(&arguments.object, None)?;
            ReadTraceRequest {
                resource: kind.group_resource(),
                namespace: connected.namespace_of(kind),
                name,
                ..ReadTraceRequest::default()
            }
        }
    };
    let reply = connected.cluster.read_trace(request).await?;
    for missing in &reply.missing {
        eprintln!("Warning: {missing}");
    }
    if reply.spans.is_empty() {
        return Err(Failure::message(format!(
            "no process remembers a span of trace {}: each keeps its last few thousand",
            reply.trace_id
        ))
        .into());
    }
    let text = match arguments.output {
        None => trace_tree::render(&reply.trace_id, &reply.spans),
        Some(Output::Svg) => trace_svg::render(&reply.trace_id, &reply.spans, nanos(arguments.shortest.0)),
        Some(Output::Json) => format!("{:#}\n", spans(&reply)),
    };
    write(format_args!("{text}"));
    Ok(())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// With the names and forms of OTLP's JSON, where that has them.
fn spans(reply: &ReadTraceReply) -> Value {
    let spans = reply.spans.iter().map(|span| {
        let mut told = json!({
            "service": span.service,
            "spanId": span.span_id,
            "name": span.name,
            "startTimeUnixNano": span.start_unix_nanos.to_string(),
            "error": span.error,
            "attributes": span.attributes,
            "links": span.links,
        });
        if !span.parent_span_id.is_empty() {
            told["parentSpanId"] = json!(span.parent_span_id);
        }
        // It goes on where there is none.
        if span.end_unix_nanos != 0 {
            told["endTimeUnixNano"] = json!(span.end_unix_nanos.to_string());
        }
        told
    });
    json!({"traceId": reply.trace_id, "missing": reply.missing, "spans": spans.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::api::v1::TraceSpan;

    #[test]
    fn spans_are_told_as_otlp_tells_them() {
        let span = TraceSpan {
            service: "gantry-cli".into(),
            span_id: "00f067aa0ba902b7".into(),
            name: "gantry apply".into(),
            start_unix_nanos: u64::MAX,
            ..TraceSpan::default()
        };
        let reply = ReadTraceReply {
            trace_id: "0af7".into(),
            spans: vec![span],
            ..ReadTraceReply::default()
        };
        let expected = json!({"traceId": "0af7", "missing": [], "spans": [{
            "service": "gantry-cli", "spanId": "00f067aa0ba902b7", "name": "gantry apply",
            "startTimeUnixNano": "18446744073709551615", "error": false, "attributes": {}, "links": [],
        }]});
        assert_eq!(spans(&reply), expected);
    }
}
