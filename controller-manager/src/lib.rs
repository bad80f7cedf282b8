//! Keeps the cluster as its objects ask for: one decision for each controller, one driver for all.
//!
//! ```text
//! caches --wake--> queue --> view --decide (pure)--> actions --driver--> apiserver
//!    ^                                                                     |
//!    `------------------------------ gate ---------------------------------'
//! ```
//!
//! Architecture invariants: a decision makes no call and reads no clock; only [`driver`] writes; what a folder
//! decides is in its `mod.rs` and the files beside it, what it looks at is in its `controller.rs`.

pub mod deployment;
pub mod replica_set;
pub mod endpoint_slice;
pub mod endpoints;
pub mod endpoint_slice_mirroring;
pub mod namespace;
pub mod service_account;
pub mod garbage;
pub mod node_lifecycle;
pub mod node_ipam;
pub mod pod_eviction;
pub mod pod_gc;
pub mod disruption;
pub mod service_cidr;

pub mod action;
pub mod ownership;
pub mod conditions;
pub mod pod_facts;
pub mod child_names;
pub mod memory;

pub mod driver;
mod wakes;
mod cluster;
mod metrics;
mod clock;
#[cfg(test)]
mod test_store;

use anyhow::Context as _;
use cluster::Watches;
use driver::{Controller, Driver};
use futures::future::{BoxFuture, join_all};
use gantry_client::election::{self, TELEMETRY_ADDRESS};
use gantry_client::{Candidate, Client, Recorder, Term};
use gantry_proto::Key;
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::serve::{self, TlsFiles};
use node_ipam::{Cidr, Ranges};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How a controller manager is started.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// The kubeconfig that says where the apiservers are and who calls.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Where to serve health and metrics.
    #[arg(long, default_value = "127.0.0.1:10257")]
    pub listen: SocketAddr,
    #[arg(long)]
    pub tls_cert: PathBuf,
    #[arg(long)]
    pub tls_key: PathBuf,
    /// The certificates that sign callers'.
    #[arg(long)]
    pub ca: PathBuf,
    /// The address under which others reach `--listen`, where it is another.
    #[arg(long)]
    pub advertise: Option<String>,
    /// How long the lead lasts when its holder is silent, such as 10s.
    #[arg(long, default_value = election::DEFAULT_DURATION, value_parser = election::parse_duration)]
    pub leader_elect_lease_duration: Duration,
    /// The range of pod addresses, of which each node gets a part.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: Cidr,
    /// How large a node's part is.
    #[arg(long, default_value_t = 24)]
    pub node_cidr_mask_size: u8,
    /// How long a node may be silent before it is taken for lost, such as 40s.
    #[arg(long, default_value = "40s", value_parser = election::parse_duration)]
    pub node_monitor_grace_period: Duration,
    /// How many ended pods are kept.
    #[arg(long, default_value_t = pod_gc::DEFAULT_THRESHOLD)]
    pub terminated_pod_gc_threshold: usize,
}

/// Runs until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let ranges = Ranges::new(config.cluster_cidr, config.node_cidr_mask_size)?;
    let registry = Registry::new();
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
    // What the leader sees; nothing while another leads.
    let seen: Arc<Mutex<Option<Arc<cluster::Cluster>>>> = Arc::default();
    let leading = seen.clone();
    health.check("informer-sync", move || {
        let leading = leading.lock().unwrap_or_else(PoisonError::into_inner);
        match leading.as_ref().is_none_or(|cluster| cluster.is_synced()) {
            true => Ok(()),
            false => Err("some caches have not had their first list".into()),
        }
    });
    let address = config
        .advertise
        .clone()
        .unwrap_or_else(|| config.listen.to_string());
    let candidate = Candidate {
        client,
        lease: Key::new("kube-system", LEASE),
        identity: election::identity(&address),
        duration: config.leader_elect_lease_duration,
        annotations: [(TELEMETRY_ADDRESS.to_string(), address)].into(),
    };
    let (served, _) = tokio::join!(
        // Without its listener the process would run unseen.
        async {
            let served = serve::serve(config.listen, tls, registry, health, shutdown.clone()).await;
            shutdown.cancel();
            served
        },
        candidate.run(&shutdown, async |term| {
            metrics.set_leading(LEASE, true);
            lead(&config, ranges, &metrics, term, &seen).await;
            metrics.set_leading(LEASE, false);
        }),
    );
    served
}

/// The Lease for which controller managers compete, in `kube-system`.
const LEASE: &str = "gantry-controller-manager";

/// Runs all controllers until the term ends.
async fn lead(
    config: &Config,
    ranges: Ranges,
    metrics: &metrics::Metrics,
    term: Term,
    seen: &Mutex<Option<Arc<cluster::Cluster>>>,
) {
    let mut controllers = Controllers::new(metrics.clone());
    controllers.add(deployment::controller::DeploymentController);
    controllers.add(replica_set::controller::ReplicaSetController);
    controllers.add(endpoint_slice::controller::EndpointSliceController);
    controllers.add(endpoints::controller::EndpointsController::default());
    controllers.add(endpoint_slice_mirroring::controller::MirroringController);
    controllers.add(namespace::controller::NamespaceController);
    controllers.add(service_account::controller::ServiceAccountController);
    controllers.add(garbage::controller::GarbageController::default());
    controllers.add(node_lifecycle::controller::NodeLifecycleController::new(
        config.node_monitor_grace_period,
    ));
    controllers.add(node_ipam::controller::NodeIpamController::new(ranges));
    controllers.add(pod_eviction::controller::PodEvictionController::default());
    controllers.add(pod_gc::controller::PodGcController::new(
        config.terminated_pod_gc_threshold,
    ));
    controllers.add(disruption::controller::DisruptionController);
    controllers.add(service_cidr::controller::ServiceCidrController);
    let cluster = controllers.watches.spawn(term.client, &term.ended);
    let set = |cluster| *seen.lock().unwrap_or_else(PoisonError::into_inner) = cluster;
    set(Some(cluster.clone()));
    let runs = controllers
        .runs
        .into_iter()
        .map(|run| run(cluster.clone(), term.ended.clone()));
    join_all(runs).await;
    set(None);
}

type Run = Box<dyn FnOnce(Arc<cluster::Cluster>, CancellationToken) -> BoxFuture<'static, ()> + Send>;

/// The controllers that will run. They start together, when the caches are there.
struct Controllers {
    watches: Watches,
    metrics: metrics::Metrics,
    epoch: u64,
    runs: Vec<Run>,
}

impl Controllers {
    #[allow(clippy::disallowed_methods, reason = "terms of all processes must differ")]
    fn new(metrics: metrics::Metrics) -> Controllers {
        Controllers {
            watches: Watches::new(),
            metrics,
            epoch: rand::random(),
            runs: Vec::new(),
        }
    }

    fn add<C: Controller>(&mut self, controller: C) {
        let queue = self.metrics.queue(C::NAME);
        let driver = Driver::new(controller, &mut self.watches, queue, self.epoch);
        self.runs.push(Box::new(|cluster, shutdown| {
            let recorder = Recorder::spawn(cluster.client.clone(), C::COMPONENT, None);
            Box::pin(driver.run(cluster, recorder, shutdown))
        }));
    }
}
