//! The trace that a change starts. Everything that the cluster does because of the change continues it.

use gantry_telemetry::trace;
use std::future::Future;
use tracing::{Instrument as _, info_span};

/// Runs `work` as the root of a new trace named after the command. Its id is printed when `verbose`.
pub async fn root<T>(command: &'static str, verbose: bool, work: impl Future<Output = T>) -> T {
    let span = info_span!("gantry", otel.name = command, gantry.root = true);
    if verbose && let Some(cause) = trace::cause_of(&span) {
        // Of version-trace-span-flags, the second part.
        let traceparent = cause.to_string();
        eprintln!("trace {}", traceparent.split('-').nth(1).unwrap_or_default());
    }
    work.instrument(span).await
}

/// Runs `work` on one object within the trace.
pub async fn object<T>(action: &'static str, object: &str, work: impl Future<Output = T>) -> T {
    let span = info_span!("object", otel.name = action, gantry.object = object);
    work.instrument(span).await
}
