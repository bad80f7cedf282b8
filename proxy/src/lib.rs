//! Services on one node: nftables rules for their addresses, and cluster DNS.
//!
//! [`follow`] wakes Services whose objects changed; [`service`] reads one, [`topology`] places its endpoints,
//! [`ruleset`] says what the kernel should hold, [`ledger`] what of it changes, [`render`] says it in nft's
//! words, [`nft`] runs it, and [`program`] is the one task that does all this in turn. Nothing is ever read
//! back from the kernel: after a failure everything is loaded anew. [`dns`] answers from the same views.

mod config;
pub mod follow;
pub mod service;
pub mod topology;
pub mod ruleset;
pub mod ledger;
pub mod render;
pub mod nft;
pub mod conntrack;
pub mod program;
pub mod dns;
mod address;
mod metrics;

pub use config::{Command, Config};

use anyhow::Context as _;
use dns::{Resolver, Upstreams, Zone};
use follow::Wakes;
use gantry_client::{Cache, Client};
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::serve::TlsFiles;
use metrics::Metrics;
use program::Programmer;
use ruleset::Node;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where bridges say whether their packets pass netfilter.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const DNS_PORT: u16 = 53;

/// Serves until `shutdown`. The rules and the DNS address stay: see [`cleanup`].
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    // An empty transaction shows that nft is there and may be used, before anything else is begun.
    nft::run("").await?;
    let registry = Registry::new();
    let health = Health::new();
    let metrics = Metrics::new(&registry);
    let kubeconfig = config.kubeconfig.as_deref().context("--kubeconfig is required")?;
    let client_config = gantry_client::Config::load(kubeconfig)?
        .with_trace(gantry_telemetry::trace::current_traceparent)
        .with_observer(gantry_telemetry::metrics::rest_client::observer(&registry));
    let client = Client::new(client_config)?;

    let wakes = Wakes::default();
    let (service_wakes, slice_wakes) = (wakes.clone(), wakes.clone());
    let services = Cache::builder(client.clone())
        .on_change(move |change| service_wakes.service(change))
        .spawn(shutdown.clone());
    let slices = Cache::builder(client)
        .on_change(move |change| slice_wakes.slice(change))
        .spawn(shutdown.clone());
    let zone = Arc::new(RwLock::new(Zone::new(
        &config.cluster_domain,
        config.cluster_dns,
    )?));

    let tasks = TaskTracker::new();
    let programmed = Arc::new(AtomicBool::new(false));
    let programmer = Programmer {
        services,
        slices,
        wakes,
        node_name: config.node_name.clone(),
        node: node(&config).await,
        zone: zone.clone(),
        metrics: metrics.clone(),
        programmed: programmed.clone(),
    };
    tracing::info!(node = config.node_name, address = ?config.node_ip, table = config.nft_table, "proxy starts");
    health.check("rules", move || {
        let programmed = programmed.load(Ordering::Relaxed);
        programmed
            .then_some(())
            .ok_or_else(|| "the kernel does not hold the rules yet".to_owned())
    });
    let programming = tasks.spawn(programmer.run(shutdown.clone()));

    address::add(config.cluster_dns).await?;
    let listeners = dns::Listeners::bind((config.cluster_dns, DNS_PORT).into()).await?;
    let upstreams = Upstreams::new(config.resolv_conf.clone(), config.cluster_dns);
    let resolver = Resolver::new(zone, upstreams, metrics);
    let answering = tasks.spawn(listeners.serve(resolver, shutdown.clone()));

    let tls = tls(&config)?;
    let serving = async {
        match tls {
            Some(tls) => {
                gantry_telemetry::serve::serve(config.listen, tls, registry, health, shutdown.clone()).await
            }
            None => {
                shutdown.cancelled().await;
                Ok(())
            }
        }
    };
    let served = tokio::select! {
        served = serving => served,
        error = panicked("keeping the rules", programming) => Err(error),
        error = panicked("answering DNS", answering) => Err(error),
    };
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    served
}

/// Returns only when the task panicked: a proxy that goes on without it would serve what once was, and be healthy.
async fn panicked(what: &str, task: JoinHandle<()>) -> anyhow::Error {
    match task.await {
        Ok(()) => std::future::pending().await,
        Err(error) => anyhow::anyhow!("{what} failed: {error}"),
    }
}

/// Removes what [`run`] leaves behind.
pub async fn cleanup(config: &Config) -> anyhow::Result<()> {
    nft::run(&render::unload(&config.nft_table)).await?;
    address::remove(config.cluster_dns).await
}

fn tls(config: &Config) -> anyhow::Result<Option<TlsFiles>> {
    match (&config.tls_cert, &config.tls_key, &config.ca) {
        (Some(cert), Some(key), Some(ca)) => Ok(Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            ca: ca.clone(),
        })),
        (None, None, None) => Ok(None),
        _ => anyhow::bail!("--tls-cert, --tls-key and --ca go together"),
    }
}

async fn node(config: &Config) -> Node {
    let bridge_is_filtered = match filter_bridges().await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "pods on this node see each other's connections through a Service come from the node"
            );
            false
        }
    };
    Node {
        table: config.nft_table.clone(),
        cluster_cidr: Some(config.cluster_cidr),
        bridge_is_filtered,
    }
}

/// Lets packets between two ports of a bridge pass netfilter, as Kubernetes asks of every node.
async fn filter_bridges() -> anyhow::Result<()> {
    if !Path::new(BRIDGE_FILTER).exists() {
        let outcome = tokio::process::Command::new("modprobe")
            .arg("br_netfilter")
            .output()
            .await;
        outcome.context("running modprobe br_netfilter")?;
    }
    let value = tokio::fs::read_to_string(BRIDGE_FILTER).await;
    if value.with_context(|| format!("reading {BRIDGE_FILTER}"))?.trim() != "1" {
        tokio::fs::write(BRIDGE_FILTER, "1")
            .await
            .with_context(|| format!("writing {BRIDGE_FILTER}"))?;
    }
    Ok(())
}
