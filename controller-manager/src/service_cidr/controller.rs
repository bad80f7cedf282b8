//! What wakes a range of service addresses, and what its decision looks at.

use super::{View, is_allocated, offers, reconcile};
use crate::action::Action;
use crate::clock;
use crate::cluster::{Cluster, Watches, sides};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_proto::Key;
use gantry_proto::networking::v1::{IpAddress, ServiceCidr};
use std::sync::Arc;

pub struct ServiceCidrController;

fn is_going(range: &ServiceCidr) -> bool {
    range.metadata().deletion_timestamp.is_some()
}

impl Controller for ServiceCidrController {
    type Key = Key;
    const NAME: &'static str = "service_cidr";
    const COMPONENT: &'static str = "service-cidr-controller";
    const RESOURCE: &'static str = "servicecidrs";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.service_cidrs.add(move |change| {
            wake.wake(change.key.clone(), change.cause.as_ref());
            // One that comes may take over what another waits for.
            let ranges = cluster
                .get()
                .map(|cluster| cluster.service_cidrs.snapshot())
                .unwrap_or_default();
            for (key, _) in ranges.iter().filter(|(_, range)| is_going(&range.object)) {
                wake.wake(key.clone(), change.cause.as_ref());
            }
        });
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.ip_addresses.add(move |change| {
            let Some(cluster) = cluster.get() else { return };
            let concerns = |range: &ServiceCidr| {
                let mut addresses = sides(change).filter(|address| is_allocated(address));
                is_going(range) && addresses.any(|address| offers(range, address))
            };
            for (key, _) in cluster
                .service_cidrs
                .snapshot()
                .iter()
                .filter(|(_, range)| concerns(&range.object))
            {
                wake.wake(key.clone(), change.cause.as_ref());
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &Key,
        _memory: &Memory,
    ) -> Result<Option<Vec<Action>>, gantry_client::Error> {
        let Some(range) = cluster.service_cidrs.get(key) else {
            return Ok(None);
        };
        let ranges = cluster.service_cidrs.snapshot();
        let others = ranges.iter().filter(|(other, _)| *other != key);
        let addresses = match is_going(&range.object) {
            true => cluster.ip_addresses.snapshot(),
            false => gantry_client::Snapshot::new(),
        };
        let addresses: Vec<&IpAddress> = addresses.values().map(|entry| &entry.object).collect();
        Ok(Some(reconcile(&View {
            range: &range.object,
            others: others.map(|(_, entry)| &entry.object).collect(),
            addresses,
            now: clock::now(),
        })))
    }
}
