//! Beginning logs anew before they fill the disk.

use super::logs;
use crate::clock::now;
use crate::runtime::Runtime;
use crate::worker::Shared;
use anyhow::Context as _;
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Log sizes are looked at this often.
const LOGS_EVERY: Duration = Duration::from_secs(10);

/// Begins logs anew that have grown large, until shutdown.
pub async fn keep_logs_small(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(LOGS_EVERY) => {}
        }
        let root = shared.config.root_dir.join("log/pods");
        let large = tokio::task::spawn_blocking(move || large_logs(&root))
            .await
            .unwrap_or_default();
        if large.is_empty() {
            continue;
        }
        let state = cri::ContainerStateValue {
            state: cri::ContainerState::ContainerRunning as i32,
        };
        let filter = cri::ContainerFilter {
            state: Some(state),
            ..cri::ContainerFilter::default()
        };
        for container in shared.runtime.containers(Some(filter)).await.unwrap_or_default() {
            let Ok(status) = shared.runtime.container_status(&container.id).await else {
                continue;
            };
            let path = PathBuf::from(status.log_path);
            if !large.contains(&path) {
                continue;
            }
            if let Err(error) = begin_log_anew(&shared.runtime, &container.id, &path).await {
                tracing::warn!(path = %path.display(), %error, "beginning a large log anew failed");
            }
        }
    }
}

async fn begin_log_anew(runtime: &Runtime, container_id: &str, path: &Path) -> anyhow::Result<()> {
    let time = Timestamp::try_from(now()).unwrap_or_default();
    let aside = logs::set_aside(path, time).context("setting it aside")?;
    if let Err(error) = runtime.reopen_log(container_id).await {
        // The runtime still writes to the file under its new name: it must be found again by its own.
        if !path.exists() {
            std::fs::rename(&aside, path).context("putting it back")?;
        }
        return Err(error.into());
    }
    Ok(())
}

/// Logs being written that are larger than they should be: `POD/CONTAINER/ATTEMPT.log`.
fn large_logs(root: &Path) -> Vec<PathBuf> {
    let children = |folder: PathBuf| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    children(root.to_path_buf())
        .flat_map(children)
        .flat_map(children)
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter(|path| {
            path.metadata()
                .is_ok_and(|metadata| metadata.len() > logs::ROTATE_AT_BYTES)
        })
        .collect()
}
