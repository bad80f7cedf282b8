//! Receiving an archive and importing it.

use crate::clock::now;
use crate::image;
use crate::leftovers::IMPORTS;
use crate::worker::Shared;
use gantry_proto::api::v1::ImportImageRequest;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::{Status, Streaming};

/// The largest archive that is taken: what does not fit here should come from a registry.
const MOST_BYTES: u64 = 16 << 30;
/// Imports at once; each has its archive on disk.
static PLACES: Semaphore = Semaphore::const_new(4);

/// A sender that is silent for longer frees its place.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// The archive on disk, removed when it is not needed any more.
struct Spool(PathBuf);

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub async fn import(
    shared: &Shared,
    mut pieces: Streaming<ImportImageRequest>,
) -> Result<Vec<String>, Status> {
    let _place = PLACES
        .acquire()
        .await
        .map_err(|_| Status::unavailable("shutting down"))?;
    #[allow(clippy::disallowed_methods, reason = "a name that no other import has")]
    let name = format!("gantry-import-{:016x}", rand::random::<u64>());
    let folder = shared.config.root_dir.join(IMPORTS);
    let spool = Spool(folder.join(&name));
    receive(&mut pieces, &folder, &spool.0).await?;
    let imported = image::import::import(&shared.runtime, &spool.0, &name, now()).await;
    let names = imported.map_err(|error| Status::invalid_argument(format!("{error:#}")))?;
    tracing::info!(images = ?names, "imported");
    Ok(names)
}

async fn receive(
    pieces: &mut Streaming<ImportImageRequest>,
    folder: &Path,
    path: &Path,
) -> Result<(), Status> {
    let full = |error: std::io::Error| Status::internal(format!("keeping the archive: {error}"));
    tokio::fs::create_dir_all(folder).await.map_err(full)?;
    let mut file = tokio::fs::File::create(path).await.map_err(full)?;
    let mut length = 0;
    let silent = |_| Status::deadline_exceeded(format!("nothing came for {SILENCE_LIMIT:?}"));
    while let Some(piece) = timeout(SILENCE_LIMIT, pieces.message()).await.map_err(silent)?? {
        length += piece.data.len() as u64;
        if length > MOST_BYTES {
            return Err(Status::resource_exhausted(format!(
                "the archive is larger than {MOST_BYTES} bytes"
            )));
        }
        file.write_all(&piece.data).await.map_err(full)?;
    }
    file.flush().await.map_err(full)
}
