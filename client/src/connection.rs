//! Connections to the apiservers, one lazily made to each, and which of them is in use.

use crate::config::{Config, ConfigError, Observer};
use crate::observed::Observed;
use gantry_proto::api::v1::diagnostics_client::DiagnosticsClient;
use gantry_proto::api::v1::nodes_client::NodesClient;
use gantry_proto::api::v1::pods_client::PodsClient;
use gantry_proto::api::v1::resources_client::ResourcesClient;
use gantry_proto::api::v1::traces_client::TracesClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// The largest reply: a chunk of a list. 1,000 objects of the largest size that etcd takes would be more,
/// and no cluster has them.
const MAX_REPLY_BYTES: usize = 256 << 20;
/// A connection attempt that takes longer has failed, and the next apiserver is tried. It counts for the
/// handshake of TLS once more: a process that is stopped still has its kernel accept connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection is probed while a call is open, and how long the answer may take: a dead
/// apiserver is noticed within 10 + 5 seconds.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 windows: one list chunk of a thousand objects of 4 KiB fits, so that a list is not paced by
/// round trips.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// How long another apiserver must have been in use before watches follow there. Calls go to and fro while none
/// of them can serve (the store is away), and watches need not.
const FOLLOW_AFTER: Duration = Duration::from_secs(5);

pub type Service = InterceptedService<Observed, CarryTrace>;

/// All apiservers, and the one that calls go to now.
#[derive(Clone)]
pub(crate) struct Connections {
    channels: Arc<[(Arc<str>, Channel)]>,
    current: Arc<watch::Sender<usize>>,
    carry: CarryTrace,
    observer: Observer,
}

/// The connection to one apiserver, with a client of each of its services. Good for one attempt at a call: the next
/// one asks for the connection in use again.
#[derive(Clone)]
pub struct Connection {
    server: Arc<str>,
    number: usize,
    service: Service,
}

impl Connections {
    pub fn new(config: &Config) -> Result<Connections, ConfigError> {
        let channels = config
            .servers
            .iter()
            .map(|server| Ok((Arc::from(host_and_port(server)), channel(config, server)?)))
            .collect::<Result<Vec<_>, _>>()?;
        if channels.is_empty() {
            return Err(ConfigError::Server {
                server: String::new(),
                why: "no apiserver is configured".into(),
            });
        }
        Ok(Connections {
            channels: channels.into(),
            current: Arc::new(watch::Sender::new(0)),
            carry: CarryTrace {
                trace_parent: config.trace_parent,
            },
            observer: config.observer.clone(),
        })
    }

    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// The connection in use.
    pub fn current(&self) -> Connection {
        let number = *self.current.borrow();
        let (server, channel) = &self.channels[number];
        Connection {
            server: server.clone(),
            number,
            service: InterceptedService::new(
                Observed::new(channel.clone(), server.clone(), self.observer.clone()),
                self.carry,
            ),
        }
    }

    /// Moves on to the next apiserver, unless another call has done so already.
    pub fn failed(&self, connection: &Connection) {
        let next = (connection.number + 1) % self.channels.len();
        self.current.send_if_modified(|current| {
            let moves = *current == connection.number && next != *current;
            if moves {
                *current = next;
            }
            moves
        });
    }

    /// Returns when calls have gone to another apiserver for a while: this one cannot serve, even if its connection
    /// is well.
    pub async fn left(&self, connection: &Connection) {
        let mut current = self.current.subscribe();
        loop {
            // The sender lives as long as `self`.
            let _ = current.wait_for(|current| *current != connection.number).await;
            tokio::time::sleep(FOLLOW_AFTER).await;
            if *current.borrow() != connection.number {
                return;
            }
        }
    }
}

impl Connection {
    /// Host and port of the apiserver.
    pub fn server(&self) -> &str {
        &self.server
    }

    pub fn resources(&self) -> ResourcesClient<Service> {
        ResourcesClient::new(self.service.clone()).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub fn pods(&self) -> PodsClient<Service> {
        PodsClient::new(self.service.clone()).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub fn nodes(&self) -> NodesClient<Service> {
        NodesClient::new(self.service.clone())
    }

    pub fn traces(&self) -> TracesClient<Service> {
        TracesClient::new(self.service.clone()).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub fn diagnostics(&self) -> DiagnosticsClient<Service> {
        DiagnosticsClient::new(self.service.clone()).max_decoding_message_size(MAX_REPLY_BYTES)
    }
}

fn host_and_port(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.trim_end_matches('/')
}

fn channel(config: &Config, server: &str) -> Result<Channel, ConfigError> {
    let wrong = |error: tonic::transport::Error| ConfigError::Server {
        server: server.to_string(),
        why: std::error::Error::source(&error).map_or_else(|| error.to_string(), |s| s.to_string()),
    };
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&config.ca))
        .timeout(CONNECT_TIMEOUT);
    if let Some((certificate, key)) = &config.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    if let Some(name) = &config.tls_server_name {
        tls = tls.domain_name(name);
    }
    let endpoint = Endpoint::from_shared(server.to_string()).map_err(wrong)?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let endpoint = if server.starts_with("https:") {
        endpoint.tls_config(tls).map_err(wrong)?
    } else {
        endpoint
    };
    Ok(endpoint.connect_lazy())
}

/// Puts the caller's trace context into each request.
#[derive(Clone, Copy)]
pub struct CarryTrace {
    trace_parent: fn() -> Option<String>,
}

impl Interceptor for CarryTrace {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(value) = (self.trace_parent)().and_then(|t| AsciiMetadataValue::try_from(t).ok()) {
            request.metadata_mut().insert("traceparent", value);
        }
        Ok(request)
    }
}
