//! What every cluster has from its start.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use gantry_proto::Key;
use gantry_proto::core::v1::Namespace;
use gantry_proto::status::Reason;

use super::{Creation, Registry, Writer};

/// Made at start where missing.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Which of them nobody may delete (Kubernetes' immortal namespaces).
pub(super) const NAMESPACES_THAT_STAY: [&str; 3] = ["default", "kube-system", "kube-public"];
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often they are looked for (Kubernetes' system namespaces controller).
const INTERVAL: Duration = Duration::from_secs(60);

impl Registry {
    /// Makes the namespaces that every cluster has, and makes them again when one was deleted, for ever.
    pub async fn keep_system_namespaces(&self) {
        loop {
            self.ensure_system_namespaces().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    pub(super) async fn ensure_system_namespaces(&self) {
        for name in NAMESPACES {
            while let Err(status) = self.ensure_namespace(name).await {
                tracing::warn!(
                    object = format_args!("namespaces/{name}"),
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
        if cache.get(&Key::cluster(name)).is_some() {
            return Ok(());
        }
        let mut namespace = Namespace::default();
        namespace.metadata_mut().name = name.into();
        #[allow(clippy::disallowed_methods, reason = "the server itself writes now")]
        let creation = Creation {
            object: Box::new(namespace),
            writer: Writer::server(),
            dry_run: false,
            now: SystemTime::now(),
        };
        match self.create(cache, creation).await {
            Err(status) if status.reason_code() != Reason::AlreadyExists => Err(status),
            _ => Ok(()),
        }
    }
}
