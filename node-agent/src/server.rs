//! What the node serves, to the apiserver alone: logs and image imports. Metrics and health for whoever shows
//! a certificate of the cluster.

pub mod logs;
mod log_stream;
pub(crate) mod log_rotation;
mod import;
mod authorization;

use crate::worker::Shared;
use anyhow::Context as _;
use futures::Stream;
use gantry_proto::api::v1::{ImportImageReply, ImportImageRequest, LogsReply, LogsRequest};
use gantry_proto::node::v1::node_agent_server::{NodeAgent, NodeAgentServer};
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::service::Routes;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// A peer that has not finished its TLS handshake by then frees its place.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// What one message of an import may be: the client sends pieces far smaller.
const MESSAGE_LIMIT: usize = 8 << 20;

struct Service {
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl NodeAgent for Service {
    type LogsStream = Pin<Box<dyn Stream<Item = Result<LogsReply, Status>> + Send>>;

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        authorization::apiserver_only(&request)?;
        let stream = log_stream::stream(self.shared.clone(), request.into_inner()).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn import_image(
        &self,
        request: Request<Streaming<ImportImageRequest>>,
    ) -> Result<Response<ImportImageReply>, Status> {
        authorization::apiserver_only(&request)?;
        let images = import::import(&self.shared, request.into_inner()).await?;
        Ok(Response::new(ImportImageReply { images }))
    }
}

pub async fn serve(shared: Arc<Shared>, registry: Registry, health: Health) -> anyhow::Result<()> {
    let config = &shared.config;
    let read = |path: &Option<std::path::PathBuf>, flag: &str| -> anyhow::Result<Vec<u8>> {
        let path: &Path = path
            .as_deref()
            .with_context(|| format!("{flag} is needed to serve logs"))?;
        std::fs::read(path).with_context(|| format!("reading {}", path.display()))
    };
    let identity = Identity::from_pem(
        read(&config.tls_cert, "--tls-cert")?,
        read(&config.tls_key, "--tls-key")?,
    );
    let tls = ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(Certificate::from_pem(read(&config.ca, "--ca")?))
        .timeout(HANDSHAKE_LIMIT);
    let (listen, shutdown) = (config.listen, shared.shutdown.clone());
    let agent = NodeAgentServer::new(Service { shared }).max_decoding_message_size(MESSAGE_LIMIT);
    let routes = Routes::new(agent)
        .into_axum_router()
        .merge(gantry_telemetry::serve::router(registry, health));
    Server::builder()
        .tls_config(tls)?
        .accept_http1(true)
        .layer(gantry_telemetry::trace::ServerLayer)
        .add_routes(Routes::from(routes))
        .serve_with_shutdown(listen, shutdown.cancelled_owned())
        .await
        .with_context(|| format!("serving on {listen}"))
}
