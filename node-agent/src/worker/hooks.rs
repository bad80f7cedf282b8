//! postStart and preStop.

use super::probe_call::{self, Target};
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
    let handler = ProbeHandler {
        exec: hook.exec.clone(),
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
