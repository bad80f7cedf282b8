//! Assigns pods to nodes, and says why where it cannot.
//!
//! The decision is [`schedule`], a pure function of a pod, a [`Snapshot`] of the nodes and a [`Profile`].
//! [`scheduling`] is the one task that owns the model and the queue; it is woken by caches, decides, and
//! hands bindings to tasks of their own.

pub mod profile;
pub mod decision;
pub mod filter;
pub mod score;
pub mod snapshot;
pub mod pods;
pub mod labels;
pub mod resources;
pub mod counting;
pub mod domains;
mod index;
pub mod explain;
pub mod preemption;
pub mod config;
pub mod plugin;
mod profiles;
mod model;
mod queue;
mod scheduling;
mod binding;
mod metrics;
mod server;

pub use decision::{Decision, Profile, schedule};
pub use snapshot::{NodeInfo, Snapshot};

use anyhow::Context as _;
use explain::Questions;
use gantry_client::election::{self, TELEMETRY_ADDRESS};
use gantry_client::{Candidate, Client, Recorder, Term};
use gantry_proto::Key;
use gantry_telemetry::health::Health;
use gantry_telemetry::serve::TlsFiles;
use metrics::{Depths, Held};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
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
    /// The address under which the apiserver reaches `--metrics-listen`, where it is another.
    #[arg(long)]
    pub advertise_metrics: Option<String>,
    /// How long the lead lasts when its holder is silent, such as 10s.
    #[arg(long, default_value = election::DEFAULT_DURATION, value_parser = election::parse_duration)]
    pub leader_elect_lease_duration: Duration,
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
    let registry = gantry_telemetry::metrics::Registry::new();
    let client_config = gantry_client::Config::load(&config.kubeconfig)
        .with_context(|| format!("reading {}", config.kubeconfig.display()))?
        .with_trace(gantry_telemetry::trace::current_traceparent)
        .with_observer(gantry_telemetry::metrics::rest_client::observer(&registry));
    let client = Client::new(client_config)?;
    let metrics = metrics::Metrics::register(&registry, &config.scheduler_name);
    metrics.set_leading(LEASE, false);
    let health = Health::new();
    let profiles: Arc<[Profile]> = [Profile::named(config.scheduler_name.clone())].into();
    let tls = TlsFiles {
        cert: config.tls_cert.clone(),
        key: config.tls_key.clone(),
        ca: config.ca.clone(),
    };
    // Whom the leader asks; nobody while another leads.
    let (answering, questions) = watch::channel(None::<Questions>);
    let leading = questions.clone();
    health.check("caches", move || {
        match leading.borrow().as_ref().is_none_or(Questions::synced) {
            true => Ok(()),
            false => Err("not synced yet".into()),
        }
    });
    let reached_at = |advertised: &Option<String>, listen: SocketAddr| {
        advertised.clone().unwrap_or_else(|| listen.to_string())
    };
    let telemetry_address = reached_at(&config.advertise_metrics, config.metrics_listen);
    let candidate = Candidate {
        client,
        lease: Key::new("kube-system", LEASE),
        identity: election::identity(&reached_at(&config.advertise, config.listen)),
        duration: config.leader_elect_lease_duration,
        annotations: [(TELEMETRY_ADDRESS.to_string(), telemetry_address)].into(),
    };
    tokio::try_join!(
        server::serve(&config, questions, shutdown.clone()),
        gantry_telemetry::serve::serve(config.metrics_listen, tls, registry, health, shutdown.clone()),
        async {
            let term = async |term: Term| {
                metrics.set_leading(LEASE, true);
                let recorder = Recorder::spawn(term.client.clone(), "default-scheduler", None);
                let (scheduling, questions) = scheduling::Scheduling::new(
                    term.client,
                    recorder,
                    profiles.clone(),
                    queue::Queue::default(),
                    metrics.clone(),
                    term.ended,
                );
                answering.send_replace(Some(questions));
                scheduling.run().await;
                answering.send_replace(None);
                // What was last seen is not so any more.
                metrics.set_depths(Depths::default());
                metrics.set_held(Held::default());
                metrics.set_leading(LEASE, false);
            };
            candidate.run(&shutdown, term).await;
            Ok(())
        },
    )?;
    Ok(())
}

/// The Lease for which schedulers compete, in `kube-system`. The apiserver passes questions on to its holder.
const LEASE: &str = "gantry-scheduler";
