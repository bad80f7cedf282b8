//! The only door to the store: Gantry's API over gRPC, with authentication, authorization, the rules of every
//! kind, and a watch cache from which all lists and watches are served.
//!
//! A request goes through `server` (TLS, user), `services` (one gRPC method), `registry` (authorization, rules,
//! the write itself) and `commit` (one transaction). Reads go from `services` to `cache`.

#![allow(
    clippy::result_large_err,
    reason = "a refusal is made once and moved a few times; a box around it would be in everybody's way"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use gantry_store::Store;
use gantry_store::etcd;
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry as MetricsRegistry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod server;
mod tls;
mod routes;
mod services;
mod node_streams;
mod request;
pub mod limits;
mod authentication;
mod authorization;
pub mod audit;
mod codec;
mod registry;
mod allocation;
mod strategy;
pub mod kinds;
mod cache;
mod readiness;
mod compaction;
mod measured_store;
mod metrics;

pub use allocation::{parse_cidr, parse_port_range};

use allocation::Ranges;
use measured_store::MeasuredStore;
use metrics::{AuthorizationsCollector, CachesCollector, Metrics};
use node_streams::NodeStreams;
use registry::Registry;
use services::resources::ResourcesService;

/// What the server needs to know. Files are PEM.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub tls_certificate: PathBuf,
    pub tls_key: PathBuf,
    /// Signs the certificates of clients, and those of node agents and the scheduler.
    pub client_ca: PathBuf,
    pub etcd: etcd::Config,
    /// The server's own certificate when it calls node agents and the scheduler.
    pub kubelet_client_certificate: PathBuf,
    pub kubelet_client_key: PathBuf,
    /// Where pods reach the server; `None` for the address that it listens on, or this machine's.
    pub advertise: Option<Ipv4Addr>,
    /// Such as `10.96.0.0/12`.
    pub service_cidr: String,
    pub node_ports: RangeInclusive<u16>,
    /// What is recorded of requests, and where.
    pub audit: audit::Config,
    /// How much each client may ask at once.
    pub limits: limits::Config,
}

/// Serves until `shutdown`. Fails when a file cannot be read, the address is taken, or etcd is not usable.
pub async fn run(
    config: Config,
    health: Health,
    metrics: MetricsRegistry,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // A mistake in it is told before anything is waited for.
    config.audit.load_policy()?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listening on {}", config.listen))?;
    let connect = etcd::connect(config.etcd.clone());
    let Some(store) = shutdown.run_until_cancelled(connect).await else {
        return Ok(());
    };
    let store = store.context("connecting to etcd")?;
    run_on(listener, store, config, health, metrics, shutdown).await
}

/// Like [`run`], on a listener and a store of the caller's.
pub async fn run_on(
    listener: TcpListener,
    store: impl Store,
    config: Config,
    health: Health,
    metrics_registry: MetricsRegistry,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let tls = tls::server_config(&tls::Files {
        certificate: config.tls_certificate.clone(),
        key: config.tls_key.clone(),
        client_ca: config.client_ca.clone(),
    })?;
    let nodes = Arc::new(node_streams(&config)?);
    let metrics = Metrics::new(&metrics_registry);
    let auditor = audit::start(&config.audit, &metrics_registry)?;
    let ranges = Ranges {
        networks: vec![parse_cidr(&config.service_cidr).map_err(anyhow::Error::msg)?],
        ports: config.node_ports.clone(),
    };
    let store: Arc<dyn Store> = Arc::new(MeasuredStore {
        store,
        metrics: metrics.clone(),
    });
    let registry = Arc::new(Registry::new(store.clone(), ranges));
    metrics_registry.register_collector(CachesCollector(registry.clone()));
    metrics_registry.register_collector(AuthorizationsCollector(registry.authorizations().clone()));
    let reachable = readiness::add_checks(&health, &registry);
    let (health_reporter, _) = tonic_health::server::health_reporter();
    readiness::begin(&health_reporter).await;
    let resources = ResourcesService {
        registry: registry.clone(),
        metrics,
        shutdown: shutdown.clone(),
    };
    let gate = limits::Gate::new(config.limits, &metrics_registry);
    let router = routes::router(
        resources,
        nodes,
        health,
        health_reporter.clone(),
        metrics_registry,
        gate,
    )?;

    let tasks = TaskTracker::new();
    registry.follow(&tasks, &shutdown);
    tasks.spawn(readiness::watch(
        registry.clone(),
        reachable,
        health_reporter,
        shutdown.clone(),
    ));
    tasks.spawn(compaction::run(store, shutdown.clone()));
    let (starting, namespaces) = (shutdown.clone(), registry.clone());
    tasks.spawn(async move {
        let _ = starting
            .run_until_cancelled(namespaces.keep_system_namespaces())
            .await;
    });
    tasks.spawn(registry.clone().keep_addresses(shutdown.clone()));
    let address = listener.local_addr().context("reading the listener's address")?;
    match registry::reachable_at(address, config.advertise) {
        Ok(own) => {
            tasks.spawn(registry.keep_kubernetes_service(own, shutdown.clone()));
        }
        Err(error) => tracing::warn!(
            error = %format!("{error:#}"),
            "pods will not find this server by the Service kubernetes; --advertise-address says where it is"
        ),
    }
    tracing::info!(%address, "serving");
    server::serve(listener, tls, router, auditor.clone(), shutdown).await;
    tasks.close();
    tasks.wait().await;
    if let Some(auditor) = auditor {
        auditor.flush().await;
    }
    Ok(())
}

fn node_streams(config: &Config) -> anyhow::Result<NodeStreams> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    Ok(NodeStreams::new(
        &read(&config.client_ca)?,
        &read(&config.kubelet_client_certificate)?,
        &read(&config.kubelet_client_key)?,
    ))
}
