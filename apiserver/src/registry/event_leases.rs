//! Events go away by themselves: each is attached to a store lease that ends after an hour.

use std::time::Duration;

use gantry_proto::Kind as _;
use gantry_proto::core::v1::Event;
use gantry_proto::meta::v1::Status;
use gantry_store::{LeaseId, Store};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::commit;

/// Kubernetes' --event-ttl.
const EVENT_TTL: Duration = Duration::from_secs(3600);
/// Events within this time share a lease, because a lease costs the store more than an event does. They live that
/// much longer than an hour at most.
const SHARED_FOR: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct EventLeases(Mutex<Option<(LeaseId, Instant)>>);

impl EventLeases {
    /// The store knows the lease no more, because it was set back: the next Event gets another.
    pub async fn forget(&self) {
        *self.0.lock().await = None;
    }

    pub async fn lease(&self, store: &dyn Store) -> Result<LeaseId, Status> {
        // The lock is held while the store answers on purpose: the others want the same lease.
        let mut present = self.0.lock().await;
        if let Some((lease, granted)) = *present
            && granted.elapsed() < SHARED_FOR
        {
            return Ok(lease);
        }
        let seconds = (EVENT_TTL + SHARED_FOR).as_secs() as i64;
        let lease = store
            .grant_lease(seconds)
            .await
            // A lease that nobody uses ends by itself, so a lost reply is no ambiguity.
            .map_err(|error| {
                commit::failure(
                    Event::INFO,
                    "create",
                    &gantry_store::Error::Unavailable(error.into()),
                )
            })?;
        *present = Some((lease, Instant::now()));
        Ok(lease)
    }
}
