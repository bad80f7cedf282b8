//! Connections to the apiservers, one lazily made to each, and which of them is in use.

use crate::config::{Config, ConfigError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// A connection attempt that takes longer has failed, and the next apiserver is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection is probed while a call is open, and how long the answer may take: a dead
/// apiserver is noticed within 10 + 5 seconds.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 windows: one list chunk of a thousand objects of 4 KiB fits, so that a list is not paced by
/// round trips.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

pub(crate) type Service = InterceptedService<Channel, CarryTrace>;

/// All apiservers, and the one that calls go to now.
#[derive(Clone)]
pub(crate) struct Connections {
    channels: Arc<[Channel]>,
    current: Arc<AtomicUsize>,
    carry: CarryTrace,
}

impl Connections {
    pub fn new(config: &Config) -> Result<Connections, ConfigError> {
        let channels = config
            .servers
            .iter()
            .map(|server| channel(config, server))
            .collect::<Result<Vec<_>, _>>()?;
        if channels.is_empty() {
            return Err(ConfigError::Server {
                server: String::new(),
                why: "no apiserver is configured".into(),
            });
        }
        Ok(Connections {
            channels: channels.into(),
            current: Arc::new(AtomicUsize::new(0)),
            carry: CarryTrace {
                trace_parent: config.trace_parent,
            },
        })
    }

    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// The connection in use, and its number for [`Connections::failed`].
    pub fn current(&self) -> (usize, Service) {
        let number = self.current.load(Ordering::Relaxed) % self.channels.len();
        (
            number,
            InterceptedService::new(self.channels[number].clone(), self.carry),
        )
    }

    /// Moves on to the next apiserver, unless another call has done so already.
    pub fn failed(&self, number: usize) {
        let next = (number + 1) % self.channels.len();
        let _ = self
            .current
            .compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn channel(config: &Config, server: &str) -> Result<Channel, ConfigError> {
    let wrong = |error: tonic::transport::Error| ConfigError::Server {
        server: server.to_string(),
        why: std::error::Error::source(&error).map_or_else(|| error.to_string(), |s| s.to_string()),
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&config.ca));
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
