//! What wakes Endpoints for mirroring, and what their decision looks at.

use super::{MANAGER, View, reconcile};
use crate::action::Action;
use crate::cluster::{Cluster, Watches, sides};
use crate::driver::Controller;
use crate::endpoint_slice::{MANAGED_BY, SERVICE_NAME};
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_proto::Key;
use std::sync::Arc;

pub struct MirroringController;

impl Controller for MirroringController {
    type Key = Key;
    const NAME: &'static str = "endpoint_slice_mirroring";
    const COMPONENT: &'static str = "endpoint-slice-mirroring-controller";
    const RESOURCE: &'static str = "endpoints";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let wake = wakes.clone();
        watches
            .endpoints
            .add(move |change| wake.wake(change.key.clone(), change.cause.as_ref()));
        let wake = wakes.clone();
        watches.services.add(move |change| {
            let selects = |service: &gantry_proto::core::v1::Service| !service.spec().selector.is_empty();
            let before = change.old.as_ref().map(|service| selects(&service.object));
            let after = change.new.as_ref().map(|service| selects(&service.object));
            if before != after {
                wake.wake(change.key.clone(), change.cause.as_ref());
            }
        });
        let wake = wakes.clone();
        watches.endpoint_slices.add(move |change| {
            for slice in sides(change) {
                let labels = &slice.metadata().labels;
                let is_own = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
                if let Some(service) = labels.get(SERVICE_NAME).filter(|_| is_own) {
                    wake.wake(Key::new(&change.key.namespace, service), change.cause.as_ref());
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
        let endpoints = cluster.endpoints.get(key);
        let service = cluster.services.get(key);
        let slices = cluster.endpoint_slices.list_namespace(&key.namespace);
        let uid = endpoints.as_ref().map(|entry| entry.metadata().uid.clone());
        let actions = reconcile(
            &View {
                endpoints: endpoints.as_ref().map(|entry| &entry.object),
                service: service.as_ref().map(|entry| &entry.object),
                slices: slices.iter().map(|entry| &entry.object).collect(),
                names: &memory.names(uid.as_deref().unwrap_or_default()),
            },
            &key.name,
        );
        // Nothing is left to remember where there is nothing left to do for Endpoints that are gone.
        Ok(Some(actions).filter(|actions| endpoints.is_some() || !actions.is_empty()))
    }
}
