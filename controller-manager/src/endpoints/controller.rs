//! What wakes a Service's Endpoints, and what their decision looks at.

use super::{View, reconcile, reconcile_leftover};
use crate::action::Action;
use crate::cluster::{Cluster, Watches, sides};
use crate::driver::Controller;
use crate::endpoint_slice::endpoint::selects;
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_proto::Key;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub struct EndpointsController {
    /// Services that went and whose Endpoints have not yet.
    went: Mutex<HashSet<Key>>,
}

impl EndpointsController {
    fn lock(&self) -> MutexGuard<'_, HashSet<Key>> {
        // No code that holds the lock can panic half way through a change.
        self.went.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controller for EndpointsController {
    type Key = Key;
    const NAME: &'static str = "endpoint";
    const COMPONENT: &'static str = "endpoint-controller";
    const RESOURCE: &'static str = "services";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let (wake, controller, cluster) = (wakes.clone(), self.clone(), watches.cluster.clone());
        watches.services.add(move |change| {
            let has_endpoints = |cluster: &Arc<Cluster>| cluster.endpoints.get(&change.key).is_some();
            if change.new.is_none() && cluster.get().is_some_and(has_endpoints) {
                controller.lock().insert(change.key.clone());
            }
            wake.wake(change.key.clone(), change.cause.as_ref());
        });
        let wake = wakes.clone();
        watches
            .endpoints
            .add(move |change| wake.wake(change.key.clone(), change.cause.as_ref()));
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
        _memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let endpoints = cluster.endpoints.get(key);
        let Some(service) = cluster.services.get(key) else {
            let Some(endpoints) = endpoints else {
                self.lock().remove(key);
                return Ok(None);
            };
            let service_went = self.lock().contains(key);
            return Ok(Some(reconcile_leftover(&endpoints.object, service_went)));
        };
        self.lock().remove(key);
        let pods = cluster.pods.list_namespace(&key.namespace);
        Ok(Some(reconcile(&View {
            service: &service.object,
            pods: pods.iter().map(|entry| &entry.object).collect(),
            endpoints: endpoints.as_ref().map(|entry| &entry.object),
        })))
    }
}
