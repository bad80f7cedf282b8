//! Importing an archive: index it, write its blobs, name its images, wait until CRI knows them.

use crate::image::content::Lease;
use crate::image::{archive, tar};
use crate::runtime::Runtime;
use anyhow::{Context as _, bail};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// CRI learns of an image from an event; that takes milliseconds.
const KNOWN_LIMIT: Duration = Duration::from_secs(20);
const KNOWN_INTERVAL: Duration = Duration::from_millis(10);

/// Imports the images of an OCI or docker archive. Returns the names under which they can be used.
pub async fn import(
    runtime: &Runtime,
    path: &Path,
    lease_name: &str,
    now: SystemTime,
) -> anyhow::Result<Vec<String>> {
    let owned = path.to_path_buf();
    let contents = tokio::task::spawn_blocking(move || -> anyhow::Result<archive::Contents> {
        let mut file = std::fs::File::open(&owned).with_context(|| format!("opening {}", owned.display()))?;
        let entries = tar::index(&mut file)?;
        Ok(archive::contents(&mut file, &entries)?)
    })
    .await??;
    if contents.images.iter().all(|image| image.names.is_empty()) {
        bail!("no image in the archive has a name; tag it before saving it");
    }
    let lease = Lease::take(runtime, lease_name, now)
        .await
        .context("taking a lease in containerd")?;
    let outcome = write(runtime, &lease, path, &contents).await;
    lease
        .release()
        .await
        .context("releasing the lease in containerd")?;
    outcome
}

async fn write(
    runtime: &Runtime,
    lease: &Lease,
    path: &Path,
    contents: &archive::Contents,
) -> anyhow::Result<Vec<String>> {
    let mut file = tokio::fs::File::open(path).await?;
    for blob in &contents.blobs {
        lease
            .write(blob, &mut file)
            .await
            .with_context(|| format!("writing {} into containerd", blob.digest))?;
    }
    let mut names = Vec::new();
    for image in contents.images.iter().filter(|image| !image.names.is_empty()) {
        // CRI finds an image by its id first.
        for name in std::iter::once(&image.id).chain(&image.names) {
            lease
                .name(name, image)
                .await
                .with_context(|| format!("naming the image {name}"))?;
        }
        for name in &image.names {
            known(runtime, name, &image.id).await?;
            names.push(name.clone());
        }
    }
    Ok(names)
}

async fn known(runtime: &Runtime, name: &str, id: &str) -> anyhow::Result<()> {
    let wait = async {
        loop {
            if runtime.image(name).await?.is_some_and(|image| image.id == id) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(KNOWN_INTERVAL).await;
        }
    };
    match tokio::time::timeout(KNOWN_LIMIT, wait).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("the runtime did not take up the image {name} within {KNOWN_LIMIT:?}"),
    }
}
