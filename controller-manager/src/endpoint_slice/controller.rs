//! What wakes a Service's slices, and what their decision looks at.

use super::endpoint::selects;
use super::{SERVICE_NAME, View, reconcile};
use crate::action::Action;
use crate::cluster::{Cluster, Watches, sides};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_proto::Key;
use std::sync::Arc;

const ZONE: &str = "topology.kubernetes.io/zone";

pub struct EndpointSliceController;

impl Controller for EndpointSliceController {
    type Key = Key;
    const NAME: &'static str = "endpoint_slice";
    const COMPONENT: &'static str = "endpoint-slice-controller";
    const RESOURCE: &'static str = "services";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let wake = wakes.clone();
        watches
            .services
            .add(move |change| wake.wake(change.key.clone(), change.cause.as_ref()));
        let wake = wakes.clone();
        watches.endpoint_slices.add(move |change| {
            for slice in sides(change) {
                if let Some(service) = slice.metadata().labels.get(SERVICE_NAME) {
                    wake.wake(Key::new(&change.key.namespace, service), change.cause.as_ref());
                }
            }
        });
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.pods.add(move |change| {
            let Some(cluster) = cluster.get() else { return };
            for service in cluster.services.list_namespace(&change.key.namespace) {
                if sides(change).any(|pod| selects(&service.object, pod)) {
                    let key = Key::new(&change.key.namespace, &service.metadata().name);
                    wake.wake(key, change.cause.as_ref());
                }
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &Key,
        memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let Some(service) = cluster.services.get(key) else {
            return Ok(None);
        };
        let pods = cluster.pods.list_namespace(&key.namespace);
        let slices = cluster.endpoint_slices.list_namespace(&key.namespace);
        let nodes = cluster.nodes.snapshot();
        let zones = nodes.values().filter_map(|node| {
            let metadata = node.metadata();
            Some((metadata.name.as_str(), metadata.labels.get(ZONE)?.as_str()))
        });
        Ok(Some(reconcile(&View {
            service: &service.object,
            pods: pods.iter().map(|entry| &entry.object).collect(),
            slices: slices.iter().map(|entry| &entry.object).collect(),
            zones_by_node: zones.collect(),
            names: &memory.names(&service.metadata().uid),
        })))
    }
}
