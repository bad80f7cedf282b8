//! When the server is fit to serve: its caches are filled and the store answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gantry_telemetry::health::Health;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::registry::Registry;

const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// While it is not ready yet.
const UNREADY_PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// Kubernetes' --etcd-readycheck-timeout.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the store answered lately.
#[derive(Clone, Debug, Default)]
pub struct StoreReachable(Arc<AtomicBool>);

/// Adds the checks to `health`.
pub fn add_checks(health: &Health, registry: &Arc<Registry>) -> StoreReachable {
    let reachable = StoreReachable::default();
    let store = reachable.clone();
    health.check("etcd", move || match store.0.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err("etcd does not answer".into()),
    });
    let namespaces = registry.clone();
    health.check("system-namespaces", move || {
        match namespaces.has_system_namespaces() {
            true => Ok(()),
            false => Err("the namespaces that every cluster has are not there yet".into()),
        }
    });
    let registry = registry.clone();
    health.check("watch-caches", move || match unsynced(&registry) {
        kinds if kinds.is_empty() => Ok(()),
        kinds => Err(format!("not filled yet: {}", kinds.join(", "))),
    });
    reachable
}

fn unsynced(registry: &Registry) -> Vec<&'static str> {
    let caches = registry.caches().filter(|cache| !cache.is_synced());
    caches.map(|cache| cache.kind().resource).collect()
}

/// What is told by gRPC.
const SERVICES: [&str; 2] = ["", "gantry.api.v1.Resources"];

/// Says that nothing is ready yet: the reporter's own first word is that everything is.
pub async fn begin(reporter: &HealthReporter) {
    for service in SERVICES {
        reporter
            .set_service_status(service, ServingStatus::NotServing)
            .await;
    }
}

/// Asks the store again and again, and tells those who ask by gRPC, until `shutdown`.
pub async fn watch(
    registry: Arc<Registry>,
    reachable: StoreReachable,
    reporter: HealthReporter,
    shutdown: CancellationToken,
) {
    loop {
        let asked = timeout(PROBE_TIMEOUT, registry.store().current_revision()).await;
        let answered = matches!(asked, Ok(Ok(_)));
        reachable.0.store(answered, Ordering::Relaxed);
        let status = match answered && registry.has_system_namespaces() && unsynced(&registry).is_empty() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        let pause = match status {
            ServingStatus::Serving => PROBE_INTERVAL,
            _ => UNREADY_PROBE_INTERVAL,
        };
        let pause = shutdown.run_until_cancelled(tokio::time::sleep(pause));
        if pause.await.is_none() {
            return;
        }
    }
}
