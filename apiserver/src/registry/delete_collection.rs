//! Deleting what a list shows, each object as if it were deleted alone.

use std::time::SystemTime;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use gantry_proto::Key;
use gantry_proto::meta::v1::{DeleteOptions, Status};
use gantry_proto::status::Reason;

use super::{Deletion, Registry, Writer, delete};
use crate::cache::{Cache, ListOptions, Page, Selection};

/// Deletions of one request that are under way at a time. Kubernetes has one by default, which costs a round trip to
/// etcd for each object; with eight, 10,000 objects go in a few seconds and leave etcd room for others.
const WORKERS: usize = 8;

/// A deletion of many objects.
pub struct CollectionDeletion {
    pub selection: Selection,
    pub options: DeleteOptions,
    pub writer: Writer,
    pub now: SystemTime,
}

impl Registry {
    /// Returns the list that was deleted, as it was before. It is not atomic: the first failure ends it, and what was
    /// deleted until then stays deleted.
    pub async fn delete_collection(
        &self,
        cache: &Cache,
        deletion: CollectionDeletion,
    ) -> Result<Page, Status> {
        delete::checked_for_many(deletion.options.clone())?;
        let page = cache
            .list(&deletion.selection, &ListOptions::default(), deletion.now)
            .await?;
        let mut under_way = FuturesUnordered::new();
        for entry in &page.entries {
            if under_way.len() == WORKERS
                && let Some(result) = under_way.next().await
            {
                result?;
            }
            under_way.push(self.delete_listed(cache, &deletion, &entry.key));
        }
        while let Some(result) = under_way.next().await {
            result?;
        }
        drop(under_way);
        Ok(page)
    }

    async fn delete_listed(
        &self,
        cache: &Cache,
        deletion: &CollectionDeletion,
        key: &Key,
    ) -> Result<(), Status> {
        let one = Deletion {
            key: key.clone(),
            options: deletion.options.clone(),
            writer: deletion.writer.clone(),
            now: deletion.now,
        };
        match self.delete(cache, one).await {
            // Somebody else was faster.
            Err(status) if status.reason_code() == Reason::NotFound => Ok(()),
            Err(status) => Err(status),
            Ok(_) => Ok(()),
        }
    }
}
