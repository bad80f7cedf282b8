//! What wakes a namespace for its default ServiceAccount.

use super::{DEFAULT, reconcile};
use crate::action::Action;
use crate::cluster::{Cluster, Watches};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_proto::Key;
use std::sync::Arc;

pub struct ServiceAccountController;

impl Controller for ServiceAccountController {
    type Key = Key;
    const NAME: &'static str = "serviceaccount";
    const COMPONENT: &'static str = "service-account-controller";
    const RESOURCE: &'static str = "namespaces";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let wake = wakes.clone();
        watches
            .namespaces
            .add(move |change| wake.wake(change.key.clone(), change.cause.as_ref()));
        let wake = wakes.clone();
        watches.service_accounts.add(move |change| {
            if change.key.name == DEFAULT {
                wake.wake(Key::cluster(&change.key.namespace), change.cause.as_ref());
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &Key,
        _memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let Some(namespace) = cluster.namespaces.get(key) else {
            return Ok(None);
        };
        let present = cluster.service_accounts.get(&Key::new(&key.name, DEFAULT));
        Ok(Some(reconcile(
            &namespace.object,
            present.as_ref().map(|entry| &entry.object),
        )))
    }
}
