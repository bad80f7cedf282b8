//! Removing what the agent made on this machine.

use crate::config::Config;
use crate::network::{cni, masquerade, routes};
use crate::runtime::cgroup::Hierarchies;
use crate::runtime::{Runtime, labels};
use crate::volume;
use anyhow::Context as _;
use k8s_cri::v1 as cri;
use std::collections::HashMap;
use std::time::Duration;

/// How long containers get to end: whoever cleans up does not wait for graceful ends.
const GRACE: Duration = Duration::from_secs(1);

/// Ends all pods of the node and removes their containers, mounts, cgroups and addresses, then bridge, routes
/// and rules. Goes on where a step fails, and fails in the end. Doing it again is harmless.
pub async fn cleanup(config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(!config.node_name.is_empty(), "--node-name is needed");
    let mut problems = Vec::new();
    let mut note = |what: &str, outcome: anyhow::Result<()>| {
        if let Err(error) = outcome {
            problems.push(format!("{what}: {error:#}"));
        }
    };
    // A runtime that is gone has no containers.
    if config.containerd.exists() {
        note("containers", remove_pods(config).await);
    }
    let root = config.root_dir.clone();
    let volumes = tokio::task::spawn_blocking(move || volume::tear_down(&root)).await?;
    note(
        "volumes and logs",
        volumes.with_context(|| format!("removing {}", config.root_dir.display())),
    );
    let cgroups = Hierarchies::detect();
    cgroups.remove(&config.cgroup_parent());
    // Another node of this machine may still use it.
    cgroups.remove_empty(&format!("/{}", config.cgroup_root));
    if let Err(error) = std::fs::remove_file(cni::file(&config.cni_conf_dir))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        note("CNI configuration", Err(error.into()));
    }
    note("routes and bridge", remove_network(config).await);
    note("masquerading", masquerade::apply(&masquerade::empty()).await);
    anyhow::ensure!(
        problems.is_empty(),
        "not everything was removed: {}",
        problems.join("; ")
    );
    Ok(())
}

async fn remove_pods(config: &Config) -> anyhow::Result<()> {
    let runtime = Runtime::connect(&config.containerd)?;
    let ours: HashMap<String, String> = [(labels::NODE_NAME.to_string(), config.node_name.clone())].into();
    let filter = cri::PodSandboxFilter {
        label_selector: ours,
        ..cri::PodSandboxFilter::default()
    };
    let sandboxes = runtime.sandboxes(Some(filter)).await?;
    let end = |sandbox: cri::PodSandbox| {
        let runtime = &runtime;
        async move {
            let of_sandbox = cri::ContainerFilter {
                pod_sandbox_id: sandbox.id.clone(),
                ..cri::ContainerFilter::default()
            };
            let containers = runtime.containers(Some(of_sandbox)).await?;
            let stops = containers
                .iter()
                .map(|container| runtime.stop_container(&container.id, GRACE));
            // One that does not stop is killed with its sandbox.
            futures::future::join_all(stops).await;
            runtime.stop_sandbox(&sandbox.id).await?;
            runtime.remove_sandbox(&sandbox.id).await
        }
    };
    let ends = futures::future::join_all(sandboxes.into_iter().map(end)).await;
    ends.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(())
}

async fn remove_network(config: &Config) -> anyhow::Result<()> {
    let table = routes::Table::open()?;
    table.make(&routes::Routes::new()).await?;
    table.remove_link(&config.bridge).await
}
