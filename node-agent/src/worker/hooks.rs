//! postStart and preStop.

use super::probe_call::{self, MOST_BYTES, Target};
use crate::runtime::Runtime;
use gantry_proto::core::v1::{Container, LifecycleHandler, ProbeHandler};
use std::time::Duration;

/// A hook that never ends would hold its container's start for ever; a preStop hook ends with its grace period.
const LIMIT: Duration = Duration::from_secs(3600);

/// The error says why it failed.
pub async fn run(
    runtime: &Runtime,
    container: &Container,
    container_id: &str,
    pod_ip: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    if let Some(exec) = &hook.exec {
        return run_command(runtime, container_id, &exec.command).await;
    }
    let handler = ProbeHandler {
        http_get: hook.http_get.clone(),
        ..ProbeHandler::default()
    };
    probe_call::ask(
        runtime,
        &Target::new(&handler, container, container_id, pod_ip),
        LIMIT,
    )
    .await
}

async fn run_command(runtime: &Runtime, container_id: &str, command: &[String]) -> Result<(), String> {
    let reply = runtime
        .exec(container_id, command, LIMIT)
        .await
        .map_err(|error| error.to_string())?;
    if reply.exit_code == 0 {
        return Ok(());
    }
    let mut output = reply.stdout;
    output.extend(reply.stderr);
    output.truncate(MOST_BYTES);
    Err(format!(
        "command '{}' exited with {}: {}",
        command.join(" "),
        reply.exit_code,
        String::from_utf8_lossy(&output)
    ))
}
