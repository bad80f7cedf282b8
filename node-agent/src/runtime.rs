//! The container runtime, through CRI and containerd's own services on one socket.

pub mod labels;
pub mod observe;
pub mod sandbox_config;
pub mod container_config;
pub mod events;
pub mod cgroup;
pub mod metrics;

use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use metrics::RuntimeMetrics;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Kubernetes' limit for a call to the runtime; making a sandbox, with its network, may take twice as long.
const CALL_LIMIT: Duration = Duration::from_secs(120);
const SANDBOX_LIMIT: Duration = Duration::from_secs(240);
/// A pull of 10 GB at 6 MB/s.
const PULL_LIMIT: Duration = Duration::from_secs(1800);
/// What containerd itself sends at most.
const MESSAGE_LIMIT: usize = 16 << 20;

/// Handles; cheap to clone. Connects when first used, and again when the runtime was restarted.
#[derive(Clone)]
pub struct Runtime {
    channel: Channel,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    metrics: RuntimeMetrics,
}

pub type Result<T> = std::result::Result<T, RuntimeError>;

/// A call that failed, as Go's gRPC prints it: what the kubelet's messages contain.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {message}")]
pub struct RuntimeError {
    pub code: tonic::Code,
    pub message: String,
}

impl From<tonic::Status> for RuntimeError {
    fn from(status: tonic::Status) -> Self {
        RuntimeError {
            code: status.code(),
            message: status.message().to_string(),
        }
    }
}

impl RuntimeError {
    pub fn is_not_found(&self) -> bool {
        self.code == tonic::Code::NotFound
    }
}

/// Removing what is not there is done.
pub fn unless_not_found(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

impl Runtime {
    pub fn connect(socket: &Path) -> anyhow::Result<Runtime> {
        let path: PathBuf = socket.to_path_buf();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        // The address is never used; the connector knows the socket.
        let channel = Endpoint::try_from("http://containerd.invalid")?.connect_with_connector_lazy(connector);
        Ok(Runtime {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT),
            metrics: RuntimeMetrics::default(),
            channel,
        })
    }

    /// For containerd's own services.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn metrics(&self) -> &RuntimeMetrics {
        &self.metrics
    }

    pub async fn version(&self) -> Result<cri::VersionResponse> {
        let request = limited(cri::VersionRequest::default(), CALL_LIMIT);
        self.call("version", self.runtime.clone().version(request)).await
    }

    pub async fn status(&self) -> Result<cri::RuntimeStatus> {
        let request = limited(cri::StatusRequest::default(), CALL_LIMIT);
        let reply = self.call("status", self.runtime.clone().status(request)).await?;
        Ok(reply.status.unwrap_or_default())
    }

    pub async fn run_sandbox(&self, config: cri::PodSandboxConfig, handler: String) -> Result<String> {
        let request = cri::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: handler,
        };
        let request = limited(request, SANDBOX_LIMIT);
        let reply = self
            .call("run_podsandbox", self.runtime.clone().run_pod_sandbox(request))
            .await;
        Ok(reply?.pod_sandbox_id)
    }

    pub async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = cri::StopPodSandboxRequest {
            pod_sandbox_id: id.into(),
        };
        let request = limited(request, SANDBOX_LIMIT);
        let reply = self
            .call("stop_podsandbox", self.runtime.clone().stop_pod_sandbox(request))
            .await;
        unless_not_found(reply.map(drop))
    }

    pub async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let request = cri::RemovePodSandboxRequest {
            pod_sandbox_id: id.into(),
        };
        let request = limited(request, SANDBOX_LIMIT);
        let reply = self
            .call(
                "remove_podsandbox",
                self.runtime.clone().remove_pod_sandbox(request),
            )
            .await;
        unless_not_found(reply.map(drop))
    }

    pub async fn sandboxes(&self, filter: Option<cri::PodSandboxFilter>) -> Result<Vec<cri::PodSandbox>> {
        let request = limited(cri::ListPodSandboxRequest { filter }, CALL_LIMIT);
        let reply = self
            .call("list_podsandbox", self.runtime.clone().list_pod_sandbox(request))
            .await;
        Ok(reply?.items)
    }

    pub async fn sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus> {
        let request = cri::PodSandboxStatusRequest {
            pod_sandbox_id: id.into(),
            verbose: false,
        };
        let request = limited(request, CALL_LIMIT);
        let reply = self
            .call(
                "podsandbox_status",
                self.runtime.clone().pod_sandbox_status(request),
            )
            .await;
        Ok(reply?.status.unwrap_or_default())
    }

    pub async fn containers(&self, filter: Option<cri::ContainerFilter>) -> Result<Vec<cri::Container>> {
        let request = limited(cri::ListContainersRequest { filter }, CALL_LIMIT);
        let reply = self
            .call("list_containers", self.runtime.clone().list_containers(request))
            .await;
        Ok(reply?.containers)
    }

    pub async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus> {
        let request = cri::ContainerStatusRequest {
            container_id: id.into(),
            verbose: false,
        };
        let request = limited(request, CALL_LIMIT);
        let reply = self
            .call("container_status", self.runtime.clone().container_status(request))
            .await;
        Ok(reply?.status.unwrap_or_default())
    }

    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let request = limited(request, CALL_LIMIT);
        let reply = self
            .call("create_container", self.runtime.clone().create_container(request))
            .await;
        Ok(reply?.container_id)
    }

    pub async fn start_container(&self, id: &str) -> Result<()> {
        let request = cri::StartContainerRequest {
            container_id: id.into(),
        };
        let request = limited(request, CALL_LIMIT);
        let reply = self
            .call("start_container", self.runtime.clone().start_container(request))
            .await;
        reply.map(drop)
    }

    /// Sends the stop signal, and SIGKILL after the grace period.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = cri::StopContainerRequest {
            container_id: id.into(),
            timeout,
        };
        let request = limited(request, CALL_LIMIT.saturating_add(grace));
        let reply = self
            .call("stop_container", self.runtime.clone().stop_container(request))
            .await;
        unless_not_found(reply.map(drop))
    }

    pub async fn remove_container(&self, id: &str) -> Result<()> {
        let request = cri::RemoveContainerRequest {
            container_id: id.into(),
        };
        let request = limited(request, CALL_LIMIT);
        let reply = self
            .call("remove_container", self.runtime.clone().remove_container(request))
            .await;
        unless_not_found(reply.map(drop))
    }

    pub async fn reopen_log(&self, id: &str) -> Result<()> {
        let request = cri::ReopenContainerLogRequest {
            container_id: id.into(),
        };
        let request = limited(request, CALL_LIMIT);
        let reply = self
            .call(
                "reopen_container_log",
                self.runtime.clone().reopen_container_log(request),
            )
            .await;
        reply.map(drop)
    }

    /// Runs a command to its end, or until `limit`, when the runtime kills it and fails.
    pub async fn exec(&self, id: &str, command: &[String], limit: Duration) -> Result<cri::ExecSyncResponse> {
        let timeout = i64::try_from(limit.as_secs().max(1)).unwrap_or(i64::MAX);
        let request = cri::ExecSyncRequest {
            container_id: id.into(),
            cmd: command.to_vec(),
            timeout,
        };
        let request = limited(request, limit + CALL_LIMIT);
        self.call("exec_sync", self.runtime.clone().exec_sync(request))
            .await
    }

    pub async fn image(&self, image: &str) -> Result<Option<cri::Image>> {
        let request = cri::ImageStatusRequest {
            image: Some(spec(image)),
            verbose: false,
        };
        let request = limited(request, CALL_LIMIT);
        let reply = self
            .call("image_status", self.images.clone().image_status(request))
            .await;
        Ok(reply?.image)
    }

    pub async fn images(&self) -> Result<Vec<cri::Image>> {
        let request = limited(cri::ListImagesRequest::default(), CALL_LIMIT);
        let reply = self
            .call("list_images", self.images.clone().list_images(request))
            .await;
        Ok(reply?.images)
    }

    pub async fn pull(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String> {
        let request = cri::PullImageRequest {
            image: Some(spec(image)),
            auth,
            sandbox_config: Some(sandbox_config),
        };
        let request = limited(request, PULL_LIMIT);
        let reply = self
            .call("pull_image", self.images.clone().pull_image(request))
            .await;
        Ok(reply?.image_ref)
    }

    /// `operation` as the kubelet's metrics name it.
    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T> {
        let begun = Instant::now();
        let outcome = call.await;
        self.metrics.called(operation, begun.elapsed(), outcome.is_ok());
        Ok(outcome?.into_inner())
    }
}

fn spec(image: &str) -> cri::ImageSpec {
    cri::ImageSpec {
        image: image.into(),
        ..cri::ImageSpec::default()
    }
}

fn limited<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}
