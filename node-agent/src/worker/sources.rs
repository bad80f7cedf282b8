//! Gathering what volumes and environments are made from.

use super::Shared;
use crate::node::object::{allocatable_memory, allocatable_storage};
use crate::pod::environment::Sources;
use crate::pod::resources::Amounts;
use crate::pod::service_links::service_links;
use crate::references::Names;
use gantry_client::Error;
use gantry_proto::Key;
use gantry_proto::core::v1::Pod;

impl Shared {
    /// Fails when the apiserver cannot be asked and nothing is remembered.
    pub(super) async fn sources(
        &self,
        pod: &Pod,
        names: Names,
        pod_ips: Vec<String>,
    ) -> Result<Sources, Error> {
        let fetched = self.references.fetch(&pod.metadata().namespace, names).await?;
        Ok(Sources {
            config_maps: fetched.config_maps,
            secrets: fetched.secrets,
            service_links: self.service_links(pod),
            host_ip: self.host_ip.clone(),
            pod_ips,
            allocatable: Amounts {
                cpu: Some(self.machine.cpus * 1000),
                memory: Some(allocatable_memory(&self.machine)),
            },
            allocatable_storage: allocatable_storage(&self.machine),
        })
    }

    /// The pod's namespace's Services unless it does not want them, and always the apiserver's.
    fn service_links(&self, pod: &Pod) -> std::collections::BTreeMap<String, String> {
        let mut services = match pod.spec().enable_service_links {
            Some(false) => Vec::new(),
            _ => self.services.list_namespace(&pod.metadata().namespace),
        };
        services.extend(self.services.get(&Key::new("default", "kubernetes")));
        service_links(services.iter().map(|entry| &entry.object))
    }
}
