//! Assigns pods to nodes, and says why where it cannot.
//!
//! The decision is [`schedule`], a pure function of a pod, a [`Snapshot`] of the nodes and a [`Profile`].
//! [`scheduling`] is the one task that owns the model and the queue; it is woken by caches, decides, and
//! hands bindings to tasks of their own.

pub mod decision;
pub mod filter;
pub mod score;
pub mod snapshot;
pub mod resources;
pub mod explain;
mod model;
mod queue;
mod scheduling;
mod binding;
mod heartbeat;
mod metrics;
mod server;

pub use decision::{Decision, Profile, schedule};
pub use snapshot::{NodeInfo, Snapshot};

use anyhow::Context as _;
use gantry_client::{Client, Recorder};
use gantry_telemetry::health::Health;
use gantry_telemetry::serve::TlsFiles;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// How a scheduler is started.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// The kubeconfig that says where the apiservers are and who calls.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Where to answer the apiserver's questions ("why is this pod pending").
    #[arg(long, default_value = "127.0.0.1:10259")]
    pub listen: SocketAddr,
    /// Where to serve health and metrics.
    #[arg(long, default_value = "127.0.0.1:10260")]
    pub metrics_listen: SocketAddr,
    /// The address under which the apiserver reaches `--listen`, where it is another.
    #[arg(long)]
    pub advertise: Option<String>,
    #[arg(long)]
    pub tls_cert: PathBuf,
    #[arg(long)]
    pub tls_key: PathBuf,
    /// The certificates that sign callers'.
    #[arg(long)]
    pub ca: PathBuf,
    /// The pods whose spec.schedulerName is this one are ours.
    #[arg(long, default_value = "default-scheduler")]
    pub scheduler_name: String,
}

/// Runs until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client_config = gantry_client::Config::load(&config.kubeconfig)
        .with_context(|| format!("reading {}", config.kubeconfig.display()))?
        .with_trace(gantry_telemetry::trace::current_traceparent);
    let client = Client::new(client_config)?;
    let registry = gantry_telemetry::metrics::Registry::new();
    let metrics = metrics::Metrics::register(&registry);
    let health = Health::new();
    let recorder = Recorder::spawn(client.clone(), "default-scheduler", None);
    let profile = Profile {
        scheduler_name: config.scheduler_name.clone(),
    };

    let tls = TlsFiles {
        cert: config.tls_cert.clone(),
        key: config.tls_key.clone(),
        ca: config.ca.clone(),
    };
    let (scheduling, questions) =
        scheduling::Scheduling::new(client.clone(), recorder, profile, metrics, shutdown.clone());
    {
        let questions = questions.clone();
        health.check("caches", move || {
            if questions.synced() {
                Ok(())
            } else {
                Err("not synced yet".into())
            }
        });
    }
    let identity = heartbeat::identity(&config);
    tokio::try_join!(
        async {
            scheduling.run().await;
            anyhow::Ok(())
        },
        server::serve(&config, questions, shutdown.clone()),
        gantry_telemetry::serve::serve(config.metrics_listen, tls, registry, health, shutdown.clone()),
        async {
            heartbeat::beat(client, identity, shutdown.clone()).await;
            Ok(())
        },
    )?;
    Ok(())
}
