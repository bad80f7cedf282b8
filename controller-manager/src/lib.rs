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
pub mod namespace;
pub mod service_account;
pub mod garbage;
pub mod node_lifecycle;
pub mod node_ipam;
pub mod pod_eviction;
pub mod pod_gc;

pub mod action;
pub mod ownership;
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
use gantry_client::{Client, Recorder};
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::serve::{self, TlsFiles};
use node_ipam::{Cidr, Ranges};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// The range of pod addresses, of which each node gets a part.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: Cidr,
    /// How large a node's part is.
    #[arg(long, default_value_t = 24)]
    pub node_cidr_mask_size: u8,
    /// How long a node may be silent before it is taken for lost, such as 40s.
    #[arg(long, default_value = "40s", value_parser = parse_duration)]
    pub node_monitor_grace_period: Duration,
    /// How many ended pods are kept.
    #[arg(long, default_value_t = pod_gc::DEFAULT_THRESHOLD)]
    pub terminated_pod_gc_threshold: usize,
}

/// Runs until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let ranges = Ranges::new(config.cluster_cidr, config.node_cidr_mask_size)?;
    let client_config = gantry_client::Config::load(&config.kubeconfig)
        .with_context(|| format!("reading {}", config.kubeconfig.display()))?
        .with_trace(gantry_telemetry::trace::current_traceparent);
    let client = Client::new(client_config)?;
    let registry = Registry::new();

    let mut controllers = Controllers::new(&registry);
    controllers.add(deployment::controller::DeploymentController);
    controllers.add(replica_set::controller::ReplicaSetController);
    controllers.add(endpoint_slice::controller::EndpointSliceController);
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

    let health = Health::new();
    let tls = TlsFiles {
        cert: config.tls_cert,
        key: config.tls_key,
        ca: config.ca,
    };
    let cluster = controllers.watches.spawn(client, &shutdown);
    let seen = cluster.clone();
    health.check("informer-sync", move || match seen.is_synced() {
        true => Ok(()),
        false => Err("some caches have not had their first list".into()),
    });
    let runs = controllers
        .runs
        .into_iter()
        .map(|run| run(cluster.clone(), shutdown.clone()));
    let (served, _) = tokio::join!(
        // Without its listener the process would run unseen.
        async {
            let served = serve::serve(config.listen, tls, registry, health, shutdown.clone()).await;
            shutdown.cancel();
            served
        },
        join_all(runs),
    );
    served
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
    #[allow(clippy::disallowed_methods, reason = "runs of the process must differ")]
    fn new(registry: &Registry) -> Controllers {
        Controllers {
            watches: Watches::new(),
            metrics: metrics::Metrics::register(registry),
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

/// A number with a unit: `500ms`, `40s`, `2m`, `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let error = || format!("{text:?} is not a duration such as 40s");
    let number: u64 = number.parse().map_err(|_| error())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(error()),
    };
    Ok(Duration::from_millis(
        number.checked_mul(millis).ok_or_else(error)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, expected) in [
            ("40s", 40_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expected)));
        }
        for bad in ["", "40", "s", "-1s", "4 s", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
