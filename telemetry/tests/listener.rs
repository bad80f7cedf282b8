//! The health and metrics listener, over real TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gantry_telemetry::connections::{self, Limits};
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::serve::{TlsFiles, serve_on};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);

struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn client(&self) -> Identity {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ClientAuth);
        (
            certificate.der().clone(),
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
    }

    fn write_server_files(&self, folder: &Path) -> TlsFiles {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
        let files = TlsFiles {
            cert: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            ca: folder.join("ca.crt"),
        };
        std::fs::write(&files.cert, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::write(&files.ca, self.certificate.pem()).unwrap();
        files
    }
}

async fn connect(
    address: SocketAddr,
    authority: &Authority,
    client: Option<Identity>,
) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, Box<dyn std::error::Error>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match client {
        Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key)?,
        None => config.with_no_client_auth(),
    };
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?)
}

/// Status and body of one request, or why the connection failed.
async fn get(
    address: SocketAddr,
    authority: &Authority,
    client: Option<Identity>,
    path: &str,
) -> Result<(u16, String), Box<dyn std::error::Error>> {
    let stream = connect(address, authority, client).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    Ok((
        status,
        String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?,
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_open_and_metrics_need_a_certificate_of_the_ca() {
    let folder = std::env::temp_dir().join(format!("gantry-telemetry-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let authority = Authority::new();
    let files = authority.write_server_files(&folder);
    let health = Health::new();
    let connected = Arc::new(AtomicBool::new(false));
    let seen = connected.clone();
    health.check("etcd", move || {
        if seen.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err("down".into())
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve_on(
        listener,
        files,
        Registry::new(),
        health,
        shutdown.clone(),
    ));

    let check = async |client: Option<Identity>, path, status, part: &str| {
        let (found, body) = get(address, &authority, client, path).await.unwrap();
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.contains(part), "{path}: {body}");
    };
    let certificate = || Some(authority.client());
    check(None, "/livez", 200, "ok").await;
    check(
        None,
        "/readyz",
        500,
        "[-]etcd failed: reason withheld\nreadyz check failed\n",
    )
    .await;
    check(
        None,
        "/readyz?exclude=etcd&verbose",
        200,
        "[+]etcd excluded: ok\n",
    )
    .await;
    check(None, "/readyz/etcd", 401, "client certificate").await;
    check(certificate(), "/readyz/etcd", 500, "internal server error: down").await;
    connected.store(true, Ordering::SeqCst);
    check(None, "/readyz", 200, "ok").await;
    check(None, "/metrics", 401, "client certificate").await;
    check(certificate(), "/metrics", 200, "process_cpu_seconds_total ").await;
    check(certificate(), "/nothing", 404, "").await;
    let stranger = Authority::new().client();
    get(address, &authority, Some(stranger), "/metrics")
        .await
        .expect_err("another authority's certificate");

    // A peer that never finishes its handshake must not hold up the end.
    let _idle = tokio::net::TcpStream::connect(address).await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_says_nothing_or_half_a_request_after_its_handshake_loses_its_place() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(ExtendedKeyUsagePurpose::ServerAuth);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let limits = Limits {
        connections: 1,
        handshake: Duration::from_millis(200),
        lifetime: None,
        drain: Duration::from_secs(1),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let ok = tower::service_fn(async |_| Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new())));
    let server = connections::serve(listener, tls, limits, |_| {}, move |_| Some(ok), shutdown.clone());
    let server = tokio::spawn(server);

    for said in [
        "",
        "PRI",
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: ",
    ] {
        let mut peer = connect(address, &authority, None).await.unwrap();
        peer.write_all(said.as_bytes()).await.unwrap();
        // There is one place, which the peer has.
        let request = tokio::time::timeout(DEADLINE, get(address, &authority, None, "/"));
        assert_eq!(request.await.expect(said).unwrap().0, 200, "{said:?}");
    }
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, server).await.unwrap().unwrap();
}
