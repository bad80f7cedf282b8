//! containerd's event stream: what wakes the pods.

use crate::runtime::Runtime;
use containerd_client::events::{TaskExit, TaskOom};
use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use prost::Message as _;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The runtime is asked again after this when its stream ends, as when it restarts.
const RECONNECT: Duration = Duration::from_millis(500);

/// What happened. Events wake; they are never believed: the pod is looked at anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container or a sandbox's own container, by its id.
    Exited(String),
    /// Events may have been missed.
    Resynced,
}

/// Calls `on_event` for each event until shutdown.
pub async fn follow(runtime: Runtime, shutdown: CancellationToken, on_event: impl Fn(RuntimeEvent) + Send) {
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = stream(&runtime, &on_event) => {
                if let Err(error) = outcome {
                    tracing::warn!(error = error.message(), "containerd's event stream ended");
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

async fn stream(runtime: &Runtime, on_event: &(impl Fn(RuntimeEvent) + Send)) -> Result<(), tonic::Status> {
    let filters = ["/tasks/exit", "/tasks/oom"].map(|topic| format!("namespace==k8s.io,topic==\"{topic}\""));
    let request = SubscribeRequest {
        filters: filters.to_vec(),
    };
    let mut events = EventsClient::new(runtime.channel())
        .subscribe(request)
        .await?
        .into_inner();
    on_event(RuntimeEvent::Resynced);
    while let Some(envelope) = events.message().await? {
        let bytes = envelope.event.map(|event| event.value).unwrap_or_default();
        let id = match envelope.topic.as_str() {
            "/tasks/exit" => {
                // Only the container's own process matters here, not those that were exec'ed into it.
                TaskExit::decode(&*bytes)
                    .ok()
                    .filter(|exit| exit.id == exit.container_id)
                    .map(|exit| exit.container_id)
            }
            _ => TaskOom::decode(&*bytes).ok().map(|oom| oom.container_id),
        };
        if let Some(id) = id {
            on_event(RuntimeEvent::Exited(id));
        }
    }
    Ok(())
}
