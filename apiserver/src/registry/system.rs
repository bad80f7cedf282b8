//! What every cluster has from its start.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use gantry_proto::core::v1::Namespace;
use gantry_proto::meta::v1::Status;
use gantry_proto::scheduling::v1::PriorityClass;
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind};

use super::{Creation, Registry, Writer};
use crate::kinds::priority_class::{SYSTEM_CLASSES, SystemClass};

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

    /// Makes what is missing of them. The first time, the classes of critical pods besides: who deletes one of those
    /// has it back when a server starts, as in Kubernetes.
    pub(super) async fn ensure_system_namespaces(&self) {
        for name in NAMESPACES {
            let mut namespace = Namespace::default();
            namespace.metadata_mut().name = name.into();
            self.ensure(namespace).await;
        }
        if !self.has_system_namespaces() {
            for class in SYSTEM_CLASSES {
                self.ensure(system_class(class)).await;
            }
        }
        self.has_system_namespaces.store(true, Ordering::Relaxed);
    }

    /// Tries until the object is there.
    async fn ensure<K: Kind>(&self, object: K) {
        while let Err(status) = self.create_where_missing(&object).await {
            tracing::warn!(
                object = format_args!("{}/{}", K::INFO.resource, object.metadata().name),
                error = status.message,
                "creating a system object failed; trying again"
            );
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn create_where_missing<K: Kind>(&self, object: &K) -> Result<(), Status> {
        let cache = self.cache::<K>()?;
        if cache.get(&Key::cluster(&object.metadata().name)).is_some() {
            return Ok(());
        }
        #[allow(clippy::disallowed_methods, reason = "the server itself writes now")]
        let creation = Creation {
            object: Box::new(object.clone()),
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

fn system_class((name, value, description): &SystemClass) -> PriorityClass {
    let mut class = PriorityClass {
        value: *value,
        description: (*description).into(),
        ..PriorityClass::default()
    };
    class.metadata_mut().name = (*name).into();
    class
}
