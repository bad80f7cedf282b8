//! Stopping and removing containers.

use super::Worker;
use super::hooks;
use super::jobs::Done;
use crate::clock::now;
use crate::pod::garbage::Garbage;
use crate::pod::identity::find_container;
use crate::pod::plan::{Busy, StopReason, Subject};
use crate::volume::container_mounts::message_file;
use gantry_client::EventType::{Normal, Warning};
use std::time::{Duration, SystemTime};
use tracing::{Instrument as _, Span, info_span};

/// What a container has after its preStop hook used up the grace period.
const LEAST_AFTER_HOOK: Duration = Duration::from_secs(2);

impl Worker {
    pub(super) fn stop(
        &mut self,
        container: String,
        id: String,
        stop_by: SystemTime,
        why: StopReason,
        span: &Span,
    ) {
        let message = match why {
            StopReason::PodEnds | StopReason::LostTrack => format!("Stopping container {container}"),
            StopReason::DefinitionChanged => {
                format!("Container {container} definition changed, will be restarted")
            }
            StopReason::Probe(kind) => {
                format!(
                    "Container {container} failed {} probe, will be restarted",
                    kind.title().to_lowercase()
                )
            }
        };
        self.tell(&container, Normal, "Killing", message);
        let (shared, pod) = (self.shared.clone(), self.pod.clone());
        let ip = self.known.get().pod_ip.clone();
        let span =
            info_span!(parent: span, "container.stop", k8s.container.name = container, container.id = id);
        let subject = Subject::Container(container.clone());
        let step = async move {
            let left = || {
                stop_by
                    .duration_since(now())
                    .unwrap_or_default()
                    .max(LEAST_AFTER_HOOK)
            };
            let spec = find_container(pod.spec(), &container);
            if let Some((spec, hook)) =
                spec.and_then(|spec| Some((spec, spec.lifecycle().pre_stop.as_ref()?)))
            {
                let run = hooks::run(&shared.runtime, spec, &id, &ip, hook);
                let outcome = match tokio::time::timeout(left(), run).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err("it took longer than the grace period".to_string()),
                };
                if let Err(why) = outcome {
                    tracing::warn!(container, error = why, "the preStop hook failed");
                    // What the hook said may hold secrets, and more people read Events than the node's logs.
                    let message = "PreStopHook failed".to_string();
                    shared.tell_container(&pod, &container, Warning, "FailedPreStopHook", message);
                }
            }
            if let Err(error) = shared.runtime.stop_container(&id, left()).await {
                tracing::warn!(container, %error, "stopping the container failed");
                tokio::time::sleep(super::LOOK_AGAIN).await;
            }
            Done::Stopped
        };
        self.jobs
            .begin(subject, Busy::Stopping { stop_by }, step.instrument(span));
    }

    pub(super) fn remove(&mut self, container: String, id: String) {
        let shared = self.shared.clone();
        let subject = Subject::Container(container.clone());
        let step = async move {
            if let Err(error) = shared.runtime.remove_container(&id).await {
                tracing::warn!(container, %error, "removing a container that was never started failed");
                tokio::time::sleep(super::LOOK_AGAIN).await;
            }
            Done::Stopped
        };
        self.jobs.begin(subject, Busy::Doing, step);
    }

    pub(super) fn collect(&mut self, garbage: Garbage) {
        if self.jobs.busy().contains_key(&Subject::Garbage) {
            return;
        }
        let shared = self.shared.clone();
        let pod_dir = shared.config.pod_dir(&self.uid);
        let step = async move {
            for id in &garbage.container_ids {
                if let Err(error) = shared.runtime.remove_container(id).await {
                    tracing::debug!(%error, "removing an old container failed");
                }
            }
            for id in &garbage.sandbox_ids {
                if let Err(error) = shared.runtime.remove_sandbox(id).await {
                    tracing::debug!(%error, "removing an old sandbox failed");
                }
            }
            for path in &garbage.log_paths {
                crate::server::logs::remove(path.as_ref());
            }
            for (container, attempt) in &garbage.runs {
                let _ = std::fs::remove_file(message_file(&pod_dir, container, *attempt));
            }
            Done::Collected
        };
        self.jobs.begin(Subject::Garbage, Busy::Doing, step);
    }
}
