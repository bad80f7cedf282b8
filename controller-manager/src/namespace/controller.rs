//! What wakes a Namespace, and the fresh reads that its decision looks at.

use super::{Content, View, reconcile};
use crate::action::{Action, Target};
use crate::clock;
use crate::cluster::{Cluster, Watches, for_each_cached, list_metadata};
use crate::driver::Controller;
use crate::memory::Memory;
use crate::pod_facts;
use crate::wakes::Wakes;
use gantry_client::{Cache, Change, Error};
use gantry_proto::core::v1::Pod;
use gantry_proto::{Key, Kind, KindInfo};
use std::sync::Arc;
use std::time::Duration;

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
        macro_rules! watch {
            ($field:ident, $kind:path) => {
                let (wake, cluster) = (wakes.clone(), watches.cluster.clone());
                watches.$field.add(move |change: &Change<$kind>| {
                    let is_last = |cluster: &&Arc<Cluster>| was_last(change, &cluster.$field);
                    if let Some(cluster) = cluster.get().filter(is_last) {
                        wake_if_ending(&wake, cluster, change);
                    }
                });
            };
        }
        for_each_cached!(watch);
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
        let mut found = contents_of(cluster, &[Pod::INFO], &key.name).await;
        let mut unknown_kinds = Vec::new();
        if found.contents.is_empty() && found.errors.is_empty() {
            let (kinds, unknown) = namespaced_kinds(cluster).await?;
            unknown_kinds = unknown;
            found = contents_of(cluster, &kinds, &key.name).await;
        }
        Ok(Some(reconcile(&View {
            namespace: &namespace.object,
            contents: found.contents,
            errors: found.errors,
            unknown_kinds,
            pods_grace: pods_grace(cluster, &key.name),
            failure: memory.failure.as_ref(),
            now: clock::now(),
        })))
    }
}

/// Whether the last object of its kind in its namespace has gone: that is what a deletion waits for.
fn was_last<K: Kind>(change: &Change<K>, cache: &Cache<K>) -> bool {
    if change.new.is_some() || !K::INFO.namespaced {
        return false;
    }
    let namespace = &change.key.namespace;
    let objects = cache.snapshot();
    let next = objects.range(Key::new(namespace, "")..).next();
    next.is_none_or(|(key, _)| key.namespace != *namespace)
}

fn wake_if_ending<K>(wake: &Wakes<Key>, cluster: &Cluster, change: &Change<K>) {
    let namespace = &change.key.namespace;
    if cluster.is_ending(namespace) {
        wake.wake(Key::cluster(namespace), change.cause.as_ref());
    }
}

#[derive(Default)]
struct Found {
    contents: Vec<Content>,
    errors: Vec<String>,
}

/// A kind that cannot be read keeps no other from being deleted.
async fn contents_of(cluster: &Cluster, kinds: &[&'static KindInfo], namespace: &str) -> Found {
    let mut found = Found::default();
    for kind in kinds {
        match list_metadata(&cluster.client, kind, namespace).await {
            Ok(objects) => found.contents.extend(objects.into_iter().map(|metadata| Content {
                target: Target {
                    kind,
                    key: Key::new(&metadata.namespace, &metadata.name),
                    uid: metadata.uid,
                },
                is_terminating: metadata.deletion_timestamp.is_some(),
                finalizers: metadata.finalizers,
            })),
            Err(error) => found.errors.push(error.to_string()),
        }
    }
    found
}

/// The longest time that any of the namespace's pods may take to end.
fn pods_grace(cluster: &Cluster, namespace: &str) -> Duration {
    let pods = cluster.pods.list_namespace(namespace);
    let running = pods.iter().filter(|pod| !pod_facts::is_finished(&pod.object));
    let seconds = running.filter_map(|pod| pod.spec().termination_grace_period_seconds);
    Duration::from_secs(
        seconds
            .max()
            .and_then(|most| u64::try_from(most).ok())
            .unwrap_or(0),
    )
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
