//! Objects that come, change and go.

use gantry_proto::core::v1::ConfigMap;
use gantry_proto::meta::v1::DeleteOptions;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::cluster::{Client, object};

const WRITERS: usize = 4;
const WRITES: usize = 250;
/// Few, so that each has a long history.
const NAMES: usize = 12;

fn map(name: &str, value: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "data": {{"k": "{value}"}}}}"#
    ))
}

/// Writes through a client whose connection is never cut.
pub async fn run(client: &Client, rng: &mut StdRng) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (client, mut rng) = (client.clone(), StdRng::seed_from_u64(rng.random()));
        writers.spawn(async move {
            for number in 0..WRITES {
                let name = format!("m{:02}", rng.random_range(0..NAMES));
                // Some are so large that their events are split over many frames.
                let filling = if rng.random_range(0..8) == 0 { 40_000 } else { 10 };
                let changed = map(&name, &format!("{writer}-{number}-{}", "x".repeat(filling)));
                // What another writer has just made or deleted is none of ours.
                let _ = match rng.random_range(0..10) {
                    0..2 => client
                        .delete::<ConfigMap>("default", &name, DeleteOptions::default())
                        .await
                        .map(drop),
                    2..5 => client.create(&changed).await.map(drop),
                    _ => client.update("", &changed).await.map(drop),
                };
            }
        });
    }
    writers.join_all().await;
}

/// A last object; returns its revision.
pub async fn mark_the_end(client: &Client) -> i64 {
    let last = client.create(&map("the-end", "")).await.unwrap();
    last.metadata().resource_version.parse().unwrap()
}
