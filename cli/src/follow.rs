//! Following one object until something is true of it.

use crate::cluster::{Cluster, Event, Object, Patience, Selection, before_watching_again};
use crate::failure::Failure;
use crate::span::Span;
use gantry_proto::{Key, KindInfo};
use std::time::Duration;

/// Returns when `is_met` says so of the object, which is `None` while it is not there. Outlasts apiservers that are
/// away; what else goes wrong, `is_met`'s failures included, ends it.
pub async fn until(
    cluster: &Cluster,
    kind: &'static KindInfo,
    key: &Key,
    mut is_met: impl FnMut(Option<&Object>) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let selection = Selection {
        namespace: key.namespace.clone(),
        fields: format!("metadata.name={}", key.name),
        ..Selection::default()
    };
    let mut patience = Patience::default();
    loop {
        let (objects, revision) = match cluster.list(kind, &selection).await {
            Ok(listed) => listed,
            Err(failure) => {
                patience.outlast(failure).await?;
                continue;
            }
        };
        patience.answered();
        if is_met(objects.first())? {
            return Ok(());
        }
        if let Ok(mut events) = cluster.watch(kind, &selection, &revision).await {
            // Whatever ends the watch, the object is read again.
            while let Ok(Some((event, object))) = events.next().await {
                let seen = (event != Event::Deleted).then_some(&object);
                if is_met(seen)? {
                    return Ok(());
                }
            }
        }
        before_watching_again().await;
    }
}

/// Waits at most this long, or as long as it takes where the span is zero.
pub async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>>,
    timed_out: impl FnOnce() -> String,
) -> Result<T, Failure> {
    if limit.is_zero() {
        return work.await;
    }
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Failure::TimedOut(timed_out())),
    }
}

/// A span that may be below zero, which means for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Span(Duration),
    Never,
}

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        match text.strip_prefix('-') {
            Some(positive) => positive.parse::<Span>().map(|_| Limit::Never),
            None => text.parse().map(|Span(duration)| Limit::Span(duration)),
        }
    }
}
