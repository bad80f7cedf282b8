//! The object that was probably meant where one of the name that was given is not there.

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::session::Connected;
use crate::suggest;
use gantry_proto::KindInfo;
use std::time::Duration;

/// Names that are compared: of more, the right one is hard to guess.
const MOST_NAMES: i64 = 500;
/// A hint is worth no longer wait than this.
const LIMIT: Duration = Duration::from_secs(2);
/// Of shorter names every other is as near.
const LEAST_LENGTH: usize = 3;

/// Says what went wrong, and which name was probably meant.
pub async fn tell(failure: &Failure, connected: &Connected) {
    eprintln!("{failure}");
    if let Some(name) = meant(failure, connected).await {
        eprintln!("Did you mean \"{name}\"?");
    }
}

/// The name that is nearest to the one that was not found.
pub async fn meant(failure: &Failure, connected: &Connected) -> Option<String> {
    let Failure::Status(status) = failure else {
        return None;
    };
    let details = status.details.as_ref().filter(|_| failure.is_not_found())?;
    let resource = match details.group.as_str() {
        "" => details.kind.clone(),
        group => format!("{}.{group}", details.kind),
    };
    let kind = KindInfo::of_resource(&resource)?;
    near(
        &details.name,
        kind,
        &connected.namespace_of(kind),
        &connected.cluster,
    )
    .await
}

/// The namespace that was probably meant, where one of this name is not there.
pub async fn meant_namespace(connected: &Connected) -> Option<String> {
    let kind = KindInfo::of_resource("namespaces")?;
    near(&connected.namespace, kind, "", &connected.cluster).await
}

async fn near(name: &str, kind: &'static KindInfo, namespace: &str, cluster: &Cluster) -> Option<String> {
    if name.chars().count() < LEAST_LENGTH {
        return None;
    }
    let listing = cluster.list_first(kind, namespace, MOST_NAMES);
    let objects = tokio::time::timeout(LIMIT, listing).await.ok()?.ok()?;
    let names = || objects.iter().map(|object| object.metadata.name.as_str());
    // One that is there after all is not mistyped.
    let is_there = names().any(|other| other == name);
    let found = suggest::nearest(name, names()).filter(|_| !is_there);
    found.map(String::from)
}
