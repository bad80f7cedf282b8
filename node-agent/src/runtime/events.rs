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
    /// The kernel killed a process of this container for want of memory. The container may go on; if it ended,
    /// the runtime may have said so before it knew why.
    OutOfMemory(String),
    /// Events may have been missed.
    Resynced,
}

/// Calls `on_event` for each event until shutdown.
pub async fn follow(runtime: Runtime, shutdown: CancellationToken, on_event: impl Fn(RuntimeEvent) + Send) {
    let mut told = None;
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = stream(&runtime, &on_event) => {
                let why = outcome.err().map(|error| error.message().to_string());
                if told != why {
                    tracing::warn!(error = why, "containerd's event stream ended");
                    told = why;
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
        if let Some(event) = decode(&envelope.topic, &bytes) {
            on_event(event);
        }
    }
    Ok(())
}

fn decode(topic: &str, bytes: &[u8]) -> Option<RuntimeEvent> {
    if topic == "/tasks/oom" {
        return Some(RuntimeEvent::OutOfMemory(
            TaskOom::decode(bytes).ok()?.container_id,
        ));
    }
    // Only the container's own process matters here, not those that were exec'ed into it.
    let exit = TaskExit::decode(bytes).ok()?;
    (exit.id == exit.container_id).then_some(RuntimeEvent::Exited(exit.container_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_for_want_of_memory_is_not_taken_for_the_containers_end() {
        let oom = TaskOom {
            container_id: "c".into(),
        };
        assert_eq!(
            decode("/tasks/oom", &oom.encode_to_vec()),
            Some(RuntimeEvent::OutOfMemory("c".into()))
        );
        let exit = |id: &str| {
            let exit = TaskExit {
                container_id: "c".into(),
                id: id.into(),
                ..TaskExit::default()
            };
            decode("/tasks/exit", &exit.encode_to_vec())
        };
        assert_eq!(exit("c"), Some(RuntimeEvent::Exited("c".into())));
        assert_eq!(exit("exec-1"), None);
    }
}
