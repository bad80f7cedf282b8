//! What wakes a Namespace, and the fresh reads that its decision looks at.

use super::{Content, View, reconcile};
use crate::action::{Action, Target};
use crate::clock;
use crate::cluster::{Cluster, Watches, list_metadata};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::wakes::Wakes;
use gantry_client::Error;
use gantry_proto::{Key, KindInfo};
use std::sync::Arc;

pub struct NamespaceController;

impl Controller for NamespaceController {
    type Key = Key;
    const NAME: &'static str = "namespace";
    const COMPONENT: &'static str = "namespace-controller";
    const RESOURCE: &'static str = "namespaces";

    fn watch(self: &Arc<Self>, watches: &mut Watches, wakes: &Wakes<Key>) {
        let wake = wakes.clone();
        watches
            .namespaces
            .add(move |change| wake.wake(change.key.clone(), change.cause.as_ref()));
        let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
        watches.pods.add(move |change| {
            // The last pod's end is what a deletion mostly waits for.
            let Some(cluster) = cluster.get().filter(|_| change.new.is_none()) else {
                return;
            };
            let key = Key::cluster(&change.key.namespace);
            let namespace = cluster.namespaces.get(&key);
            if namespace.is_some_and(|namespace| namespace.metadata().deletion_timestamp.is_some()) {
                wake.wake(key, change.cause.as_ref());
            }
        });
    }

    async fn decide(
        &self,
        cluster: &Cluster,
        key: &Key,
        memory: &Memory,
    ) -> Result<Option<Vec<Action>>, Error> {
        let Some(namespace) = cluster.namespaces.get(key) else {
            return Ok(None);
        };
        if namespace.metadata().deletion_timestamp.is_none() {
            return Ok(Some(Vec::new()));
        }
        let (kinds, unknown_kinds) = namespaced_kinds(cluster).await?;
        let mut contents = Vec::new();
        for kind in kinds {
            let found = list_metadata(&cluster.client, kind, &key.name).await?;
            contents.extend(found.into_iter().map(|metadata| Content {
                target: Target {
                    kind,
                    key: Key::new(&metadata.namespace, &metadata.name),
                    uid: metadata.uid,
                },
                is_terminating: metadata.deletion_timestamp.is_some(),
                finalizers: metadata.finalizers,
            }));
        }
        Ok(Some(reconcile(&View {
            namespace: &namespace.object,
            contents,
            unknown_kinds,
            failure: memory.failure.as_ref(),
            now: clock::now(),
        })))
    }
}

/// The kinds that the apiserver has in namespaces: those that this process knows, and the names of others.
async fn namespaced_kinds(cluster: &Cluster) -> Result<(Vec<&'static KindInfo>, Vec<String>), Error> {
    let resources = cluster.client.discover().await?.resources;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let stored = |verbs: &[String]| {
        verbs.iter().any(|verb| verb == "list") && verbs.iter().any(|verb| verb == "delete")
    };
    for resource in resources
        .into_iter()
        .filter(|one| one.namespaced && stored(&one.verbs))
    {
        let name = match resource.group.as_str() {
            "" => resource.resource.clone(),
            group => format!("{}.{group}", resource.resource),
        };
        match KindInfo::of_resource(&name) {
            Some(kind) => known.push(kind),
            None => unknown.push(name),
        }
    }
    Ok((known, unknown))
}
