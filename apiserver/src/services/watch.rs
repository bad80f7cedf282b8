//! Watches: the cache's deliveries as gRPC messages.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use gantry_proto::KindInfo;
use gantry_proto::api::v1::{self as api, View, WatchEvent, WatchReply};
use gantry_proto::meta::v1::Status;
use rand::RngExt as _;
use tokio::time::Instant;

use super::refuse;
use super::resources::ResourcesService;
use crate::cache::{Delivery, WatchOptions, Watcher};
use crate::codec;
use crate::request::{Caller, Verb};

/// How long a watch lasts that does not say: between half an hour and an hour, at random, so that clients which
/// came together do not come back together (Kubernetes' --min-request-timeout).
const MIN_DURATION_SECONDS: u64 = 1800;

/// No watch lasts longer than a day, whatever its client asks for: its client must be able to come back anyway, and
/// a moment too far off cannot be computed.
const MAX_DURATION_SECONDS: u64 = 24 * 3600;

type Replies = Pin<Box<dyn Stream<Item = Result<WatchReply, tonic::Status>> + Send>>;

impl ResourcesService {
    pub(super) async fn open_watch(
        &self,
        caller: &Caller,
        request: api::WatchRequest,
    ) -> Result<Replies, Status> {
        let (cache, selection) = self
            .select(
                caller,
                Verb::Watch,
                &request.resource,
                &request.namespace,
                &request.label_selector,
                &request.field_selector,
            )
            .await?;
        let options = WatchOptions {
            resource_version: &request.resource_version,
            resource_version_match: &request.resource_version_match,
            send_initial_events: request.send_initial_events,
        };
        let start = options.start()?;
        #[allow(
            clippy::disallowed_methods,
            reason = "so that watches do not all end together"
        )]
        let seconds = match u64::try_from(request.timeout_seconds) {
            Ok(0) => MIN_DURATION_SECONDS + rand::rng().random_range(0..MIN_DURATION_SECONDS),
            Ok(seconds) => seconds.min(MAX_DURATION_SECONDS),
            // Over before it begins, as in Kubernetes.
            Err(_) => 0,
        };
        let end = Instant::now() + Duration::from_secs(seconds);
        let namespace = selection.namespace.clone();
        let mut watcher = Watcher::new(cache.clone(), selection, start, request.allow_bookmarks, end).await?;
        let (info, view) = (cache.kind(), request.view());
        let open = self.metrics.watch_opened(info, &namespace);
        let shutdown = self.shutdown.clone();
        Ok(Box::pin(async_stream::stream! {
            // A timer may be late by its resolution.
            while Instant::now() < end {
                let deliveries = tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(end) => None,
                    () = shutdown.cancelled() => None,
                    deliveries = watcher.next() => deliveries,
                };
                let Some(deliveries) = deliveries else { break };
                open.sent(deliveries.len());
                let events = deliveries.iter().map(|delivery| event(info, delivery, view)).collect();
                match events {
                    Ok(events) => yield Ok(WatchReply { events }),
                    Err(status) => {
                        yield Err(refuse(status));
                        break;
                    }
                }
            }
        }))
    }
}

fn event(info: &'static KindInfo, delivery: &Delivery, view: View) -> Result<WatchEvent, Status> {
    let mut event = WatchEvent::default();
    let object = match delivery {
        Delivery::Added(entry) | Delivery::Modified(entry) => {
            event.revision = entry.revision;
            event.trace_parent = entry.cause.to_string();
            Some(entry.raw.clone())
        }
        Delivery::Deleted(gone) => {
            event.revision = gone.revision;
            event.trace_parent = gone.cause.to_string();
            Some(gone.raw())
        }
        Delivery::Bookmark {
            revision,
            ends_initial,
        } => {
            event.revision = *revision;
            event.initial_events_end = *ends_initial;
            None
        }
        Delivery::Error(status) => {
            event.error = Some((**status).clone());
            None
        }
    };
    event.r#type = match delivery {
        Delivery::Added(_) => "ADDED",
        Delivery::Modified(_) => "MODIFIED",
        Delivery::Deleted(_) => "DELETED",
        Delivery::Bookmark { .. } => "BOOKMARK",
        Delivery::Error(_) => "ERROR",
    }
    .into();
    event.object = object
        .map(|raw| codec::shown(info.message, raw, view))
        .transpose()?;
    Ok(event)
}
