//! Lists, whole or in chunks.

use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use gantry_proto::Key;
use gantry_proto::meta::v1::{ListMeta, Status};
use gantry_proto::status::Reason;
use gantry_store::{Error, Range};

use super::options::{ListOptions, Reading};
use super::pages::Token;
use super::state::{self, Objects};
use super::{Cache, Entry, Selection, unavailable};

/// One chunk of a list.
#[derive(Debug)]
pub struct Page {
    pub entries: Vec<Arc<Entry>>,
    /// The revision that the list shows.
    pub revision: i64,
    /// Brings the next chunk; empty at the end.
    pub token: String,
    /// Objects left after this chunk; known only without selectors, as in Kubernetes.
    pub remaining: Option<i64>,
}

/// What a list is taken from.
struct Shown {
    objects: Objects,
    revision: i64,
    from: Bound<Key>,
}

impl Cache {
    /// The chunk of a list that the options ask for.
    pub async fn list(
        &self,
        selection: &Selection,
        options: &ListOptions<'_>,
        now: SystemTime,
    ) -> Result<Page, Status> {
        let (reading, limit) = options.reading()?;
        let shown = self.shown(selection, reading, now).await?;
        Ok(self.page(shown, selection, limit.unwrap_or(usize::MAX), now))
    }

    async fn shown(&self, selection: &Selection, reading: Reading, now: SystemTime) -> Result<Shown, Status> {
        let (objects, revision, from) = match reading {
            Reading::Consistent => {
                let (objects, revision) = self.consistent_objects().await?;
                (objects, revision, Bound::Unbounded)
            }
            Reading::NotOlderThan(revision) => {
                let state = self.not_older_than(revision).await?;
                (state.objects.clone(), state.revision, Bound::Unbounded)
            }
            Reading::Exact(revision) => {
                let objects = self.objects_at(revision, now, too_old_for_a_list).await?;
                (objects, revision, Bound::Unbounded)
            }
            Reading::Continue(token) => {
                let from = token.place(self.kind().namespaced, &selection.namespace);
                if token.rv < 0 {
                    let (objects, revision) = self.consistent_objects().await?;
                    (objects, revision, from)
                } else {
                    let objects = self.objects_at(token.rv, now, || expired(&token)).await?;
                    (objects, token.rv, from)
                }
            }
        };
        Ok(Shown {
            objects,
            revision,
            from,
        })
    }

    /// The store's present objects: from the cache, or from the store itself where the cache does not keep up.
    async fn consistent_objects(&self) -> Result<(Objects, i64), Status> {
        let revision = self.store_revision().await?;
        self.synced().await?;
        if let Ok(state) = self.not_older_than(revision).await {
            return Ok((state.objects.clone(), state.revision));
        }
        let range = Range {
            prefix: self.kind().storage_prefix,
            ..Range::default()
        };
        let page = self.store.list(range).await;
        let page = page.map_err(|error| unavailable(&error.to_string()))?;
        Ok((state::objects(&*self.strategy, &page.kvs), page.revision))
    }

    /// The objects at one revision: kept since the chunk before, or from the store, which another server's chunk or
    /// an old one needs. `gone` says that the store has forgotten them.
    async fn objects_at(
        &self,
        revision: i64,
        now: SystemTime,
        gone: impl Fn() -> Status,
    ) -> Result<Objects, Status> {
        let kept = self.pages().get(revision, now);
        if let Some(objects) = kept {
            return Ok(objects);
        }
        let state = self.not_older_than(revision).await?;
        if state.revision == revision {
            return Ok(state.objects.clone());
        }
        let range = Range {
            prefix: self.kind().storage_prefix,
            revision: Some(revision),
            ..Range::default()
        };
        match self.store.list(range).await {
            Ok(page) => {
                let objects = state::objects(&*self.strategy, &page.kvs);
                self.keep(revision, objects.clone(), now);
                Ok(objects)
            }
            Err(Error::Compacted { .. } | Error::FutureRevision { .. }) => Err(gone()),
            Err(error) => Err(unavailable(&error.to_string())),
        }
    }

    fn page(&self, shown: Shown, selection: &Selection, limit: usize, now: SystemTime) -> Page {
        let Shown {
            objects,
            revision,
            from,
        } = shown;
        let mut rest = objects.select_from(selection, from);
        let entries: Vec<Arc<Entry>> = rest.by_ref().take(limit).cloned().collect();
        let left = rest.next().is_some();
        let mut page = Page {
            entries,
            revision,
            token: String::new(),
            remaining: None,
        };
        if left && let Some(last) = page.entries.last() {
            page.token = Token::new(revision, &last.key, &selection.namespace).encode();
            if !selection.has_selectors() {
                page.remaining = i64::try_from(rest.count() + 1).ok();
            }
            self.keep(revision, objects.clone(), now);
        }
        page
    }
}

/// The words are Kubernetes', as those of [`expired`] (apiserver/pkg/storage/etcd3/errors.go).
fn too_old_for_a_list() -> Status {
    Status::failure(
        Reason::Expired,
        "The resourceVersion for the provided list is too old.",
    )
}

fn expired(token: &Token) -> Status {
    let mut status = Status::failure(
        Reason::Expired,
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of \
         the results. Continuing with the provided token results in an inconsistent list - objects that were \
         created, modified, or deleted between the time the first chunk was returned and now may show up in the \
         list.",
    );
    status.metadata = Some(ListMeta {
        r#continue: token.latest().encode(),
        ..ListMeta::default()
    });
    status
}
