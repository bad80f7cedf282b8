//! What every cluster has from its start.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use gantry_proto::core::v1::Namespace;
use gantry_proto::status::Reason;

use super::{Creation, Registry};

/// Made at start where missing.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Which of them nobody may delete (Kubernetes' immortal namespaces).
pub(super) const NAMESPACES_THAT_STAY: [&str; 3] = ["default", "kube-system", "kube-public"];
const RETRY_PAUSE: Duration = Duration::from_secs(1);

impl Registry {
    /// Makes the namespaces that every cluster has, trying until it succeeds.
    pub async fn ensure_system_namespaces(&self) {
        for name in NAMESPACES {
            while let Err(status) = self.ensure_namespace(name).await {
                tracing::warn!(
                    namespace = name,
                    error = status.message,
                    "creating a system namespace failed; trying again"
                );
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        self.has_system_namespaces.store(true, Ordering::Relaxed);
    }

    async fn ensure_namespace(&self, name: &str) -> Result<(), gantry_proto::meta::v1::Status> {
        let cache = self.cache::<Namespace>()?;
        let mut namespace = Namespace::default();
        namespace.metadata_mut().name = name.into();
        let creation = Creation {
            object: Box::new(namespace),
            dry_run: false,
            now: SystemTime::now(),
        };
        match self.create(cache, creation).await {
            Err(status) if status.reason_code() != Reason::AlreadyExists => Err(status),
            _ => Ok(()),
        }
    }
}
