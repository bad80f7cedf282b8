//! `gantry trace`: what the last change of an object caused, as one tree, from the running cluster.

use crate::failure::Failure;
use crate::output::write;
use crate::resource;
use crate::session::Session;
use crate::trace_tree;
use anyhow::Result;
use gantry_proto::api::v1::ReadTraceRequest;

/// Show what the last change of an object caused, across all components, with durations and the critical path
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE/NAME
    #[arg(required_unless_present = "id")]
    object: Vec<String>,
    /// The trace itself, as `-v` prints it, in place of an object
    #[arg(long, value_name = "TRACE", conflicts_with = "object")]
    id: Option<String>,
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
    write(format_args!(
        "{}",
        trace_tree::render(&reply.trace_id, &reply.spans)
    ));
    Ok(())
}
