//! The same containers through CRI alone: what no orchestrator can be faster than on this runtime.

use crate::figures::percentile;
use gantry_tests::cluster::Cluster;
use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Started at once, as the node agent does it: containerd and runc only get slower with more on two cores.
const CONCURRENT_STARTS: usize = 8;

/// The node agent must not run meanwhile: it removes what it does not know.
pub async fn print(cluster: &Cluster, one_by_one: usize, at_once: usize) -> anyhow::Result<()> {
    let client = connect(&cluster.folder().join("n1/containerd.sock"))?;
    let mut times = Vec::new();
    for number in 0..one_by_one {
        let start = Instant::now();
        let sandbox = run(client.clone(), format!("cri-one-{number}")).await?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        remove(client.clone(), sandbox).await?;
    }
    println!("the same through CRI alone, one at a time, {one_by_one} pods");
    println!(
        "  p50 {:.0} ms, p90 {:.0} ms",
        percentile(&times, 0.5),
        percentile(&times, 0.9)
    );

    let start = Instant::now();
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CONCURRENT_STARTS));
    let mut runs = tokio::task::JoinSet::new();
    for number in 0..at_once {
        let (client, places) = (client.clone(), places.clone());
        runs.spawn(async move {
            let _place = places.acquire_owned().await?;
            run(client, format!("cri-many-{number}")).await
        });
    }
    let mut sandboxes = Vec::new();
    while let Some(sandbox) = runs.join_next().await {
        sandboxes.push(sandbox??);
    }
    println!(
        "the same through CRI alone, {at_once} pods at once\n  {:.1} s",
        start.elapsed().as_secs_f64()
    );
    for sandbox in sandboxes {
        remove(client.clone(), sandbox).await?;
    }
    Ok(())
}

fn connect(socket: &Path) -> anyhow::Result<RuntimeServiceClient<Channel>> {
    let socket: PathBuf = socket.into();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    // The address is never used; the connector knows the socket.
    let channel = Endpoint::try_from("http://containerd.invalid")?.connect_with_connector_lazy(connector);
    Ok(RuntimeServiceClient::new(channel))
}

async fn run(mut client: RuntimeServiceClient<Channel>, name: String) -> anyhow::Result<String> {
    let sandbox_config = cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.clone(),
            uid: name.clone(),
            namespace: "bench".into(),
            attempt: 0,
        }),
        hostname: name.clone(),
        log_directory: std::env::temp_dir().to_string_lossy().into_owned(),
        linux: Some(cri::LinuxPodSandboxConfig::default()),
        ..cri::PodSandboxConfig::default()
    };
    let request = cri::RunPodSandboxRequest {
        config: Some(sandbox_config.clone()),
        runtime_handler: String::new(),
    };
    let sandbox = client.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    let config = cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: "c".into(),
            attempt: 0,
        }),
        image: Some(cri::ImageSpec {
            image: "docker.io/library/busybox:1".into(),
            ..cri::ImageSpec::default()
        }),
        command: vec!["/bin/sleep".into(), "3600".into()],
        linux: Some(cri::LinuxContainerConfig::default()),
        ..cri::ContainerConfig::default()
    };
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: sandbox.clone(),
        config: Some(config),
        sandbox_config: Some(sandbox_config),
    };
    let container_id = client.create_container(request).await?.into_inner().container_id;
    client
        .start_container(cri::StartContainerRequest { container_id })
        .await?;
    Ok(sandbox)
}

async fn remove(mut client: RuntimeServiceClient<Channel>, pod_sandbox_id: String) -> anyhow::Result<()> {
    client
        .stop_pod_sandbox(cri::StopPodSandboxRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
        })
        .await?;
    client
        .remove_pod_sandbox(cri::RemovePodSandboxRequest { pod_sandbox_id })
        .await?;
    Ok(())
}
