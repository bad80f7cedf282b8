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
use gantry_telemetry::connections::Limits;
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::serve::TlsFiles;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

const LIMITS: Limits = Limits {
    // The apiservers, with a connection for each log that is followed, and who measures.
    connections: 512,
    handshake: Duration::from_secs(5),
    // A log may be followed for as long as its reader likes.
    lifetime: None,
    drain: Duration::from_secs(2),
};
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
    let file = |path: &Option<PathBuf>, flag: &str| {
        let path = path.clone();
        path.with_context(|| format!("{flag} is needed to serve logs"))
    };
    let tls = TlsFiles {
        cert: file(&config.tls_cert, "--tls-cert")?,
        key: file(&config.tls_key, "--tls-key")?,
        ca: file(&config.ca, "--ca")?,
    };
    let (listen, shutdown) = (config.listen, shared.shutdown.clone());
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listening on {listen}"))?;
    let agent = NodeAgentServer::new(Service { shared }).max_decoding_message_size(MESSAGE_LIMIT);
    let routes = Routes::new(agent)
        .into_axum_router()
        .merge(gantry_telemetry::serve::router(registry, health));
    gantry_telemetry::serve::serve_routes(listener, tls, LIMITS, routes, shutdown).await
}
