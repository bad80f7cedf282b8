//! What wakes an object for garbage collection, and how its surroundings are read.

use super::Dependent;
use super::graph::{Graph, Item};
use super::sight::{Reads, decide};
use crate::action::{Action, Attempt, Target};
use crate::cluster::{Cluster, Watches, for_each_cached, list_metadata, read_metadata};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_client::{Change, Error};
use gantry_proto::kinds::KINDS;
use gantry_proto::meta::v1::ObjectMeta;
use gantry_proto::{Key, Kind, KindInfo};
use std::sync::Arc;

#[derive(Default)]
pub struct GarbageController {
    graph: Arc<Graph>,
}

impl Controller for GarbageController {
    type Key = Item;
    const NAME: &'static str = "garbage_collector";
    const COMPONENT: &'static str = "garbage-collector-controller";
    const RESOURCE: &'static str = "";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Item>) {
        macro_rules! watch {
            ($field:ident, $kind:path) => {
                let (graph, wake) = (self.graph.clone(), wakes.clone());
                watches
                    .$field
                    .add(move |change: &Change<$kind>| observe(&graph, &wake, change));
            };
        }
        for_each_cached!(watch);
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        item: &Item,
        memory: &Memory,
    ) -> Result<Option<Vec<Action>>, Error> {
        let failed_as = memory.failure.as_ref().map(|failure| failure.of);
        decide(&self.graph, cluster, item, failed_as == Some(Attempt::Outdated)).await
    }
}

fn observe<K: Kind>(graph: &Graph, wakes: &Wakes<Item>, change: &Change<K>) {
    let item = Item {
        resource: K::INFO.group_resource(),
        key: change.key.clone(),
    };
    let old = change.old.as_ref().map(|entry| entry.metadata());
    let new = change.new.as_ref().map(|entry| entry.metadata());
    for concerned in graph.observe(&item, old, new) {
        wakes.wake(concerned, change.cause.as_ref());
    }
}

impl Reads for Cluster {
    fn cached(&self, kind: &'static KindInfo, key: &Key) -> Option<ObjectMeta> {
        self.metadata(kind, key).ok().flatten()
    }

    fn shows_uid(&self, kind: &'static KindInfo, uid: &str) -> bool {
        self.has_uid(kind, uid)
    }

    async fn live(&self, kind: &'static KindInfo, key: &Key) -> Result<Option<ObjectMeta>, Error> {
        read_metadata(&self.client, kind, key).await
    }

    async fn live_dependents(&self, owner: &ObjectMeta) -> Result<Vec<Dependent>, Error> {
        let mut found = Vec::new();
        // Events own nothing and are nobody's garbage: they expire (Kubernetes' ignoredResources).
        let kinds = KINDS
            .iter()
            .copied()
            .filter(|kind| kind.stored && kind.kind != "Event");
        // An object without a namespace can't have an owner in one.
        let kinds = kinds.filter(|kind| kind.namespaced || owner.namespace.is_empty());
        for kind in kinds {
            let objects = list_metadata(&self.client, kind, &owner.namespace).await?;
            let depends =
                |metadata: &ObjectMeta| metadata.owner_references.iter().any(|one| one.uid == owner.uid);
            found.extend(objects.into_iter().filter(depends).map(|metadata| Dependent {
                target: Target {
                    kind,
                    key: Key::new(&metadata.namespace, &metadata.name),
                    uid: metadata.uid.clone(),
                },
                metadata,
            }));
        }
        Ok(found)
    }
}
