//! Connections to node agents and to the leading scheduler, by TLS with the apiserver's own client certificate.

use std::time::Duration;

use gantry_proto::Key;
use gantry_proto::core::v1::Node;
use gantry_proto::meta::v1::Status;
use gantry_proto::node::v1::node_agent_client::NodeAgentClient;
use gantry_proto::status::Reason;
use gantry_telemetry::trace::{Client, ClientLayer};
use prost::Message as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tower::Layer as _;

use crate::registry::{Registry, bad_request};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that is gone is noticed within 20 seconds while a log is followed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Where a node does not say where its agent listens.
const DEFAULT_AGENT_PORT: i32 = 10250;
/// One message of a log or an archive; agents send far smaller ones.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
const WINDOW_BYTES: u32 = 4 << 20;

/// A connection whose requests carry the trace on.
pub type Connection = Client<Channel>;

/// How peers are reached.
pub struct NodeStreams {
    tls: ClientTlsConfig,
}

impl NodeStreams {
    /// `ca` signed the peers' certificates; `certificate` and `key` are the apiserver's own. All PEM.
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8]) -> NodeStreams {
        NodeStreams {
            tls: ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(ca))
                .identity(Identity::from_pem(certificate, key))
                // A process that is stopped still has its kernel accept connections.
                .timeout(CONNECT_TIMEOUT),
        }
    }

    /// A client of the agent on a node.
    pub async fn agent(
        &self,
        registry: &Registry,
        node: &str,
    ) -> Result<NodeAgentClient<Connection>, Status> {
        let nodes = registry.cache::<Node>()?;
        let object = registry.read(nodes, &Key::cluster(node)).await?;
        let object = Node::decode(&*object.raw).map_err(|error| bad_request(error.to_string()))?;
        let (address, port) = agent_address(&object)?;
        let connection = self.connect(&address, port, node).await?;
        let client = NodeAgentClient::new(connection);
        Ok(client
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// Connects to a peer whose certificate must be for `server_name`.
    pub async fn connect(&self, host: &str, port: u16, server_name: &str) -> Result<Connection, Status> {
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let address = format!("https://{host}:{port}");
        let unreachable = |error: tonic::transport::Error| {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            Status::failure(
                Reason::ServiceUnavailable,
                format!("error dialing {address} of {server_name}: {text}"),
            )
        };
        let endpoint = Endpoint::from_shared(address.clone())
            .and_then(|endpoint| endpoint.tls_config(self.tls.clone().domain_name(server_name)))
            .map_err(unreachable)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Ok(ClientLayer.layer(channel))
    }
}

/// Where a node's agent listens.
pub fn agent_address(node: &Node) -> Result<(String, u16), Status> {
    let name = &gantry_proto::Kind::metadata(node).name;
    let status = node.status();
    let internal = status
        .addresses
        .iter()
        .find(|address| address.r#type == "InternalIP");
    let address = internal.map(|address| address.address.clone()).ok_or_else(|| {
        Status::failure(
            Reason::ServiceUnavailable,
            format!("no preferred addresses found; known addresses of node {name}: []"),
        )
    })?;
    let port = match status.daemon_endpoints().kubelet_endpoint().port {
        0 => DEFAULT_AGENT_PORT,
        port => port,
    };
    let port =
        u16::try_from(port).map_err(|_| bad_request(format!("node {name} has an impossible port {port}")))?;
    Ok((address, port))
}
