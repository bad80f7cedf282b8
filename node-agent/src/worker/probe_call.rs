//! Asking once: by a command, HTTP, TCP or gRPC.

use crate::runtime::Runtime;
use gantry_proto::core::v1::{Container, HttpHeader, ProbeHandler};
use gantry_proto::meta::v1::IntOrString;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// What is read of a reply or a command's output: as much as the kubelet reads.
pub const MOST_BYTES: usize = 10 << 10;

/// What to ask, with everything looked up.
#[derive(Clone, Debug)]
pub enum Target {
    Exec {
        container_id: String,
        command: Vec<String>,
    },
    Http {
        is_tls: bool,
        host: String,
        port: u16,
        path: String,
        headers: Vec<HttpHeader>,
    },
    Tcp {
        host: String,
        port: u16,
    },
    Grpc {
        host: String,
        port: u16,
        service: String,
    },
    /// It cannot be asked, for this reason.
    Broken(String),
}

impl Target {
    pub fn new(handler: &ProbeHandler, container: &Container, container_id: &str, pod_ip: &str) -> Target {
        let host = |given: &str| {
            if given.is_empty() {
                pod_ip.to_string()
            } else {
                given.to_string()
            }
        };
        if let Some(exec) = &handler.exec {
            return Target::Exec {
                container_id: container_id.into(),
                command: exec.command.clone(),
            };
        }
        if let Some(get) = &handler.http_get {
            return match port(get.port(), container) {
                Ok(port) => Target::Http {
                    is_tls: get.scheme.eq_ignore_ascii_case("https"),
                    host: host(&get.host),
                    port,
                    path: if get.path.starts_with('/') {
                        get.path.clone()
                    } else {
                        format!("/{}", get.path)
                    },
                    headers: get.http_headers.clone(),
                },
                Err(why) => Target::Broken(why),
            };
        }
        if let Some(socket) = &handler.tcp_socket {
            return match port(socket.port(), container) {
                Ok(port) => Target::Tcp {
                    host: host(&socket.host),
                    port,
                },
                Err(why) => Target::Broken(why),
            };
        }
        match &handler.grpc {
            Some(grpc) => match u16::try_from(grpc.port) {
                Ok(port) => {
                    let service = grpc.service.clone().unwrap_or_default();
                    Target::Grpc {
                        host: pod_ip.into(),
                        port,
                        service,
                    }
                }
                Err(_) => Target::Broken(format!("invalid port number: {}", grpc.port)),
            },
            None => Target::Broken("missing probe handler".into()),
        }
    }
}

/// A number, or the name of one of the container's ports.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port.as_str() {
        None => port.as_int().unwrap_or(0),
        Some(name) => match container.ports.iter().find(|port| port.name == name) {
            Some(port) => port.container_port,
            None => name.parse().map_err(|_| format!("couldn't find port: {name}"))?,
        },
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Asks within `limit`. The error says what is wrong, in the kubelet's words.
pub async fn ask(runtime: &Runtime, target: &Target, limit: Duration) -> Result<(), String> {
    match target {
        Target::Exec {
            container_id,
            command,
        } => exec(runtime, container_id, command, limit).await,
        Target::Broken(why) => Err(why.clone()),
        Target::Tcp { host, port } => {
            let address = authority(host, *port);
            match tokio::time::timeout(limit, dial(&address)).await {
                Ok(outcome) => outcome.map(|_| ()),
                Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
            }
        }
        Target::Http {
            is_tls,
            host,
            port,
            path,
            ..
        } => {
            let scheme = if *is_tls { "https" } else { "http" };
            let url = format!("{scheme}://{}{path}", authority(host, *port));
            match tokio::time::timeout(limit, get(target)).await {
                Ok(Ok(status)) if (200..400).contains(&status) => Ok(()),
                Ok(Ok(status)) => Err(format!("HTTP probe failed with statuscode: {status}")),
                Ok(Err(why)) => Err(format!("Get \"{url}\": {why}")),
                Err(_) => Err(format!(
                    "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                )),
            }
        }
        Target::Grpc { host, port, service } => {
            let address = authority(host, *port);
            match tokio::time::timeout(limit, check_health(&address, service)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(format!(
                    "timeout: failed to connect service \"{address}\" within {}s",
                    limit.as_secs()
                )),
            }
        }
    }
}

async fn exec(runtime: &Runtime, id: &str, command: &[String], limit: Duration) -> Result<(), String> {
    match runtime.exec(id, command, limit).await {
        Ok(reply) if reply.exit_code == 0 => Ok(()),
        Ok(reply) => {
            let mut output = reply.stdout;
            output.extend(reply.stderr);
            output.truncate(MOST_BYTES);
            Err(String::from_utf8_lossy(&output).into_owned())
        }
        Err(error) if error.code == tonic::Code::DeadlineExceeded => Err(format!(
            "command timed out: \"{}\" timed out after {}s",
            command.join(" "),
            limit.as_secs()
        )),
        Err(error) => Err(error.to_string()),
    }
}

async fn dial(address: &str) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_string(),
            std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_string(),
            std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_string(),
            _ => error.to_string(),
        };
        format!("dial tcp {address}: {why}")
    })
}

/// Returns the reply's status code.
async fn get(target: &Target) -> Result<u16, String> {
    let Target::Http {
        is_tls, host, port, ..
    } = target
    else {
        return Err("not an HTTP probe".into());
    };
    let stream = dial(&authority(host, *port)).await?;
    if *is_tls {
        let connector = TlsConnector::from(Arc::new(trusting_config()?));
        let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        send(
            connector
                .connect(name, stream)
                .await
                .map_err(|error| error.to_string())?,
            target,
        )
        .await
    } else {
        send(stream, target).await
    }
}

async fn send<S>(stream: S, target: &Target) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Target::Http {
        host,
        port,
        path,
        headers,
        ..
    } = target
    else {
        return Err("not an HTTP probe".into());
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // It ends with the exchange: the task must not outlive an aborted probe.
    let _connection = AbortOnDrop(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let own_host = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("host"));
    let mut request = http::Request::builder()
        .uri(path)
        .header(
            http::header::HOST,
            own_host.map_or_else(|| authority(host, *port), |header| header.value.clone()),
        )
        .header(http::header::CONNECTION, "close");
    let has = |name: &str| {
        headers
            .iter()
            .any(|header| header.name.eq_ignore_ascii_case(name))
    };
    if !has("user-agent") {
        request = request.header(http::header::USER_AGENT, "kube-probe/1.36");
    }
    if !has("accept") {
        request = request.header(http::header::ACCEPT, "*/*");
    }
    for header in headers
        .iter()
        .filter(|header| !header.name.eq_ignore_ascii_case("host"))
    {
        request = request.header(&header.name, &header.value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let reply = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let status = reply.status().as_u16();
    // Read so that the server sees a client that is interested; what it says does not matter.
    let _ = Limited::new(reply.into_body(), MOST_BYTES).collect().await;
    Ok(status)
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn check_health(address: &str, service: &str) -> Result<(), String> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| format!("error: failed to connect service at {address}: {error}"))?;
    let request = HealthCheckRequest {
        service: service.to_string(),
    };
    let reply = HealthClient::new(channel)
        .check(request)
        .await
        .map_err(|status| {
            format!(
                "error: health rpc probe failed: rpc error: code = {:?} desc = {}",
                status.code(),
                status.message()
            )
        })?;
    match reply.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!(
            "service unhealthy (responded with \"{}\")",
            other.as_str_name()
        )),
    }
}

fn trusting_config() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth())
}

/// Kubernetes does not verify certificates in probes: they ask whether the server works, not who it is.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
