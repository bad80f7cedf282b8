//! The health and metrics listener of components that serve nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Path as UrlPath, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use crate::connections::{self, Limits};
use crate::health::{Endpoint, Health};
use crate::metrics::{self, Registry};
use crate::ring;
use crate::trace::ServerLayer;

const LIMITS: Limits = Limits {
    // Probes and scrapers are few.
    connections: 64,
    handshake: Duration::from_secs(5),
    // Longer than a scrape interval of one minute, so that a scraper keeps its connection, and an idle one ends.
    lifetime: Some(Duration::from_secs(120)),
    drain: Duration::from_secs(2),
};

/// PEM files of a listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority that client certificates must be signed by.
    pub ca: PathBuf,
}

/// Serves `/livez`, `/readyz` and `/healthz` to anybody, and `/metrics`, `/debug/traces/ID` and single checks to those who show a
/// client certificate signed by the CA (others get 401). Returns once `shutdown` is cancelled and replies are
/// sent; fails when the files cannot be read or the address is taken.
pub async fn serve(
    address: SocketAddr,
    tls: TlsFiles,
    registry: Registry,
    health: Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}"))?;
    serve_on(listener, tls, registry, health, shutdown).await
}

/// Like [`serve`], on a listener that the caller has bound.
pub async fn serve_on(
    listener: TcpListener,
    tls: TlsFiles,
    registry: Registry,
    health: Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let routes = router(registry, health);
    serve_routes(listener, tls, LIMITS, routes, shutdown).await
}

/// Like [`serve_on`], for routes of the caller's own, [`router`]'s among them where wanted. But for the health
/// endpoints only those may use them who show a certificate that the CA signed; whose, the routes find as the
/// [`PeerCertificate`] among a request's extensions.
pub async fn serve_routes(
    listener: TcpListener,
    tls: TlsFiles,
    limits: Limits,
    routes: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let tls = server_config(&tls)?;
    let routes = routes.layer(middleware::from_fn(require_certificate));
    let service = move |peer: connections::Peer<'_>| {
        let shown = peer.certificates.and_then(|chain| chain.first());
        let shown = PeerCertificate(shown.map(|certificate| certificate.clone().into_owned()));
        Some(ServerLayer.layer(routes.clone().layer(Extension(shown))))
    };
    connections::serve(listener, tls, limits, |_| {}, service, shutdown).await;
    Ok(())
}

/// The health endpoints, single checks below them, and `/metrics`, without any authorization: a server that
/// mounts it decides who may ask for more than the three endpoints themselves.
pub fn router(registry: Registry, health: Health) -> Router {
    registry.register_collector(metrics::ChecksCollector(health.clone()));
    let mut router = Router::new()
        .route("/metrics", get(metrics_text))
        .with_state(registry)
        .route("/debug/traces/{trace_id}", get(trace_json));
    for endpoint in [Endpoint::Live, Endpoint::Ready, Endpoint::Health] {
        let routes = Router::new()
            .route(&format!("/{}", endpoint.name()), get(report))
            .route(&format!("/{}/{{check}}", endpoint.name()), get(single_check))
            .with_state((endpoint, health.clone()));
        router = router.merge(routes);
    }
    router
}

/// The certificate that the peer of a connection showed and that the CA signed, if it showed one.
#[derive(Clone, Debug)]
pub struct PeerCertificate(pub Option<CertificateDer<'static>>);

async fn require_certificate(
    Extension(PeerCertificate(shown)): Extension<PeerCertificate>,
    request: Request,
    next: Next,
) -> Response {
    let open = matches!(request.uri().path(), "/livez" | "/readyz" | "/healthz");
    if open || shown.is_some() {
        return next.run(request).await;
    }
    (
        StatusCode::UNAUTHORIZED,
        "Unauthorized: a client certificate signed by the cluster's CA is required\n",
    )
        .into_response()
}

async fn metrics_text(State(registry): State<Registry>) -> Response {
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        metrics::encode(&registry),
    )
        .into_response()
}

/// The spans of a trace that this process remembers.
async fn trace_json(UrlPath(trace_id): UrlPath<String>) -> Response {
    match ring::ring().trace(&trace_id) {
        Some(spans) => ([(header::CONTENT_TYPE, "application/json")], spans.to_string()).into_response(),
        None => (
            StatusCode::BAD_REQUEST,
            PLAIN,
            "a trace id has 32 hexadecimal digits\n",
        )
            .into_response(),
    }
}

async fn report(
    State((endpoint, health)): State<(Endpoint, Health)>,
    RawQuery(query): RawQuery,
) -> (StatusCode, [(header::HeaderName, &'static str); 2], String) {
    let query = query.unwrap_or_default();
    let values = |key: &'static str| {
        let pairs = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .filter(move |(name, _)| *name == key)
            .map(|(_, value)| value)
    };
    let excluded: Vec<String> = values("exclude").map(str::to_owned).collect();
    let report = health.report(endpoint, &excluded);
    health.note(&report);
    (
        status(report.passed()),
        PLAIN,
        report.body(values("verbose").next().is_some()),
    )
}

async fn single_check(
    State((endpoint, health)): State<(Endpoint, Health)>,
    UrlPath(name): UrlPath<String>,
) -> (StatusCode, [(header::HeaderName, &'static str); 2], String) {
    match health.run(endpoint, &name) {
        Some(Ok(())) => (status(true), PLAIN, "ok".into()),
        Some(Err(reason)) => (status(false), PLAIN, format!("internal server error: {reason}\n")),
        None => (StatusCode::NOT_FOUND, PLAIN, "404 page not found\n".into()),
    }
}

const PLAIN: [(header::HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

fn status(passed: bool) -> StatusCode {
    if passed {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}

fn server_config(tls: &TlsFiles) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots
            .add(certificate)
            .with_context(|| format!("CA certificate in {}", tls.ca.display()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .with_context(|| format!("CA certificates of {}", tls.ca.display()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("reading the private key {}", tls.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choosing TLS versions")?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&tls.cert)?, key)
        .with_context(|| format!("certificate {} and key {}", tls.cert.display(), tls.key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().with_context(|| format!("reading certificates from {}", path.display()))?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "{} holds no certificate",
        path.display()
    );
    Ok(certificates)
}
