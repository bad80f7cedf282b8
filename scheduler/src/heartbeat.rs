//! The Lease by which the apiserver finds the scheduler that answers questions.

use crate::Config;
use gantry_client::{Client, PatchType};
use gantry_proto::coordination::v1::{Lease, LeaseSpec};
use gantry_proto::meta::v1::{MicroTime, ObjectMeta};
use gantry_proto::{Key, Kind as _};
use serde_json::json;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "gantry-scheduler";
/// A holder that has not renewed for this long is gone, and how often it renews (kube-scheduler's values).
const DURATION: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// `NAME@HOST:PORT`, as the apiserver reads it.
#[allow(clippy::disallowed_methods, reason = "processes on one host must differ")]
pub fn identity(config: &Config) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let address = config
        .advertise
        .clone()
        .unwrap_or_else(|| config.listen.to_string());
    format!("{}_{:08x}@{address}", host.trim(), rand::random::<u32>())
}

pub async fn beat(client: Client, identity: String, shutdown: CancellationToken) {
    let _ = shutdown
        .run_until_cancelled(async {
            loop {
                if let Err(error) = renew(&client, &identity).await {
                    tracing::debug!(%error, "the scheduler's lease was not renewed");
                }
                tokio::time::sleep(RENEW_EVERY).await;
            }
        })
        .await;
}

async fn renew(client: &Client, identity: &str) -> Result<(), gantry_client::Error> {
    let key = Key::new(NAMESPACE, NAME);
    let now = MicroTime::from_system(now());
    let patch = json!({"spec": {"holderIdentity": identity, "renewTime": now}});
    match client.patch::<Lease>(&key, None, PatchType::Merge, &patch).await {
        Err(error) if error.is_not_found() => {}
        other => return other.map(drop),
    }
    let lease = Lease {
        metadata: Some(ObjectMeta {
            name: NAME.into(),
            namespace: NAMESPACE.into(),
            ..ObjectMeta::default()
        }),
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.into()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    debug_assert_eq!(lease.key(), key);
    client.create(&lease).await.map(drop)
}

#[allow(clippy::disallowed_methods, reason = "a lease says when it was renewed")]
fn now() -> SystemTime {
    SystemTime::now()
}
