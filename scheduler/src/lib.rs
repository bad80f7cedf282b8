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
use config::Configuration;
use explain::Questions;
use gantry_client::election::{self, TELEMETRY_ADDRESS};
use gantry_client::{Candidate, Client, Term};
use gantry_proto::Key;
use gantry_telemetry::health::Health;
use gantry_telemetry::serve::TlsFiles;
use metrics::{Depths, Held};
use profiles::Profiles;
use std::net::SocketAddr;
use std::path::PathBuf;
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
    /// How long the lead lasts when its holder is silent; 10s unless the configuration says otherwise.
    #[arg(long, value_parser = election::parse_duration)]
    pub leader_elect_lease_duration: Option<Duration>,
    #[arg(long)]
    pub tls_cert: PathBuf,
    #[arg(long)]
    pub tls_key: PathBuf,
    /// The certificates that sign callers'.
    #[arg(long)]
    pub ca: PathBuf,
    /// A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): profiles, their rules, and plug-ins.
    #[arg(long, conflicts_with = "scheduler_name")]
    pub config: Option<PathBuf>,
    /// The pods whose spec.schedulerName is this one are ours, where there is no configuration.
    #[arg(long, default_value = "default-scheduler")]
    pub scheduler_name: String,
}

impl Config {
    fn configuration(&self) -> anyhow::Result<Configuration> {
        match &self.config {
            Some(path) => Configuration::load(path),
            None => Ok(Configuration::of_name(&self.scheduler_name)),
        }
    }

    /// What the command line says counts more than what the file says.
    fn lease_duration(&self, configuration: &Configuration) -> Duration {
        let configured = configuration.leader_election.lease_duration;
        self.leader_elect_lease_duration
            .or(configured)
            .unwrap_or(DEFAULT_LEASE)
    }
}

/// client's [`election::DEFAULT_DURATION`].
const DEFAULT_LEASE: Duration = Duration::from_secs(10);

/// Runs until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let configuration = config.configuration()?;
    for warning in &configuration.warnings {
        tracing::warn!(warning, "the configuration says what changes nothing");
    }
    let profiles = Profiles::new(&configuration)?;
    let backoff = configuration.backoff;
    let registry = gantry_telemetry::metrics::Registry::new();
    let client_config = gantry_client::Config::load(&config.kubeconfig)
        .with_context(|| format!("reading {}", config.kubeconfig.display()))?
        .with_trace(gantry_telemetry::trace::current_traceparent)
        .with_observer(gantry_telemetry::metrics::rest_client::observer(&registry));
    let client = Client::new(client_config)?;
    let metrics = metrics::Metrics::register(&registry);
    metrics.set_leading(LEASE, false);
    let health = Health::new();
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
        duration: config.lease_duration(&configuration),
        annotations: [(TELEMETRY_ADDRESS.to_string(), telemetry_address)].into(),
    };
    tokio::try_join!(
        server::serve(&config, questions, shutdown.clone()),
        gantry_telemetry::serve::serve(config.metrics_listen, tls, registry, health, shutdown.clone()),
        async {
            let term = async |term: Term| {
                metrics.set_leading(LEASE, true);
                let (scheduling, questions) = scheduling::Scheduling::new(
                    term.client,
                    profiles.clone(),
                    queue::Queue::new(backoff.first, backoff.last),
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
