//! Lists, whole or in chunks.

use std::sync::Arc;
use std::time::SystemTime;

use gantry_proto::Key;
use gantry_proto::meta::v1::{ListMeta, Status};
use gantry_proto::status::Reason;
use gantry_store::{Error, Range};

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

/// From which revision on a list may be: `""`, `"0"` or a number.
fn minimum_revision(resource_version: &str) -> Result<Option<i64>, Status> {
    match resource_version {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Status::failure(
                Reason::BadRequest,
                format!("Invalid value: \"{text}\": resourceVersion must be a number"),
            )
        }),
    }
}

impl Cache {
    /// The first chunk of a list, or all of it if `limit` is 0.
    pub async fn list(
        &self,
        selection: &Selection,
        resource_version: &str,
        limit: usize,
        now: SystemTime,
    ) -> Result<Page, Status> {
        let state = match minimum_revision(resource_version)? {
            None => self.consistent().await?,
            Some(revision) => self.reach(revision).await?,
        };
        Ok(self.page(&state.objects, state.revision, selection, None, limit, now))
    }

    /// The chunk that a token asks for.
    pub async fn list_on(
        &self,
        selection: &Selection,
        token: &str,
        limit: usize,
        now: SystemTime,
    ) -> Result<Page, Status> {
        let bad = || {
            Status::failure(
                Reason::BadRequest,
                "continue key is not valid: it is not a token of this server",
            )
        };
        let token = Token::decode(token).ok_or_else(bad)?;
        let last = token.last().ok_or_else(bad)?;
        if token.rv == Token::LATEST {
            let state = self.consistent().await?;
            return Ok(self.page(&state.objects, state.revision, selection, Some(&last), limit, now));
        }
        let kept = self.pages().get(token.rv, now);
        let objects = match kept {
            Some(objects) => objects,
            None => self.list_at(&token).await?,
        };
        Ok(self.page(&objects, token.rv, selection, Some(&last), limit, now))
    }

    /// The objects at a token's revision, from the store: another server gave the token out, or it is old.
    async fn list_at(&self, token: &Token) -> Result<Objects, Status> {
        let range = Range {
            prefix: self.kind().storage_prefix,
            revision: Some(token.rv),
            ..Range::default()
        };
        match self.store.list(range).await {
            Ok(page) => Ok(state::objects(&*self.strategy, &page.kvs)),
            Err(Error::Compacted { .. } | Error::FutureRevision { .. }) => Err(expired(token)),
            Err(error) => Err(unavailable(&error.to_string())),
        }
    }

    fn page(
        &self,
        objects: &Objects,
        revision: i64,
        selection: &Selection,
        start_after: Option<&Key>,
        limit: usize,
        now: SystemTime,
    ) -> Page {
        let mut rest = objects.select(selection, start_after);
        let take = if limit == 0 { usize::MAX } else { limit };
        let entries: Vec<Arc<Entry>> = rest.by_ref().take(take).cloned().collect();
        let left = rest.next().is_some();
        let mut page = Page {
            entries,
            revision,
            token: String::new(),
            remaining: None,
        };
        if left && let Some(last) = page.entries.last() {
            page.token = Token::new(revision, &last.key).encode();
            if !selection.has_selectors() {
                page.remaining = i64::try_from(rest.count() + 1).ok();
            }
            self.keep(revision, objects.clone(), now);
        }
        page
    }
}

/// The words are Kubernetes' (apiserver/pkg/storage/etcd3/errors.go).
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
