//! What the ends of steps and the results of probes do to what is remembered.

use super::jobs::Done;
use super::probes::ProbeResult;
use super::{WRITE_AGAIN, WRITE_AGAIN_LAST, Worker};
use crate::clock::now;
use crate::pod::identity::find_container;
use crate::pod::memory::{Failure, Volumes};
use crate::pod::probe::{ProbeKind, Schedule};
use gantry_client::EventType::Warning;
use std::time::{Duration, SystemTime};

/// The first wait after a failed sandbox or volume, doubled with each failure in a row, and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

impl Worker {
    pub(super) fn take(&mut self, done: Done) {
        let now = now();
        tracing::trace!(object = format_args!("pods/{}", self.key), step = ?done, "done");
        if done.is_in_the_runtime() {
            self.seen = None;
        }
        match done {
            Done::StatusWritten(Ok((said, stored))) => {
                let stands = self.known.written(*said, &stored);
                if let Some(since) = self.status_differs_since.take() {
                    let took = now.duration_since(since).unwrap_or_default();
                    self.shared.metrics.status_written(took);
                }
                self.why
                    .wrote(stored.metadata().resource_version.parse().unwrap_or(0));
                self.write_again_at = (!stands).then(|| now + WRITE_AGAIN);
                self.write_failures = 0;
            }
            Done::StatusWritten(Err(error)) => {
                // A pod that is gone is seen to be gone by the cache.
                if self.write_failures == 0 && !error.is_not_found() {
                    let (object, revision) = self.named();
                    tracing::warn!(object, revision, %error, "the status was not written");
                }
                let pause = WRITE_AGAIN.saturating_mul(1 << self.write_failures.min(3));
                self.write_again_at = Some(now + pause.min(WRITE_AGAIN_LAST));
                self.write_failures = self.write_failures.saturating_add(1);
            }
            Done::Volumes(Ok(())) => self.memory.volumes = Volumes::Ready,
            Done::Volumes(Err(why)) => self.volumes_failed(why, now),
            Done::Sandbox(Ok(())) => {
                self.shared.metrics.sandbox_tried(true);
                self.memory.sandbox_failure = None;
                self.why.made_sandbox();
            }
            Done::Sandbox(Err(why)) => {
                let message = format!("Failed to create pod sandbox: {why}");
                self.shared
                    .tell_pod(&self.pod, Warning, "FailedCreatePodSandBox", message);
                let (object, revision) = self.named();
                tracing::warn!(object, revision, error = why, "creating the sandbox failed");
                self.shared.metrics.sandbox_tried(false);
                self.memory.sandbox_failure = Some(failure(self.memory.sandbox_failure.take(), why, now));
            }
            Done::Started { container, outcome } => {
                let told = outcome.as_ref().map(|_| ()).map_err(|failure| failure.reason);
                let is_probed = find_container(self.pod.spec(), &container)
                    .is_some_and(|spec| spec.readiness_probe.is_some() || spec.startup_probe.is_some());
                self.why.started(&container, is_probed && outcome.is_ok());
                let init = &self.pod.spec().init_containers;
                let is_init = init.iter().any(|one| one.name == container);
                self.shared.metrics.container_tried(is_init, told);
                let memory = self.memory.container_mut(&container);
                memory.start_failure = outcome.err();
                if let Some(failure) = memory
                    .start_failure
                    .as_mut()
                    .filter(|f| f.reason == "ErrImagePull")
                {
                    memory.pulls.advance(now, now);
                    failure.retry_at = now + memory.pulls.delay();
                }
                // Such a container has run and ended: its restarts have their own back-off.
                if let Some(failure) = memory
                    .start_failure
                    .as_mut()
                    .filter(|f| f.reason == "RunContainerError")
                {
                    failure.retry_at = failure.failed_at;
                }
            }
            Done::Stopped | Done::SandboxesStopped | Done::Collected => {}
            Done::Released(released) => self.memory.released = released,
            Done::CleanedUp(Ok(())) => self.memory.clean = true,
            Done::CleanedUp(Err(why)) => {
                let (object, revision) = self.named();
                tracing::warn!(object, revision, error = why, "cleaning up failed");
            }
            Done::Deleted(Ok(())) => self.memory.deleted = true,
            Done::Deleted(Err(error)) => {
                let (object, revision) = self.named();
                tracing::warn!(object, revision, %error, "deleting failed");
            }
        }
    }

    /// The pod's name in the log, and the version of it that is acted on.
    pub(super) fn named(&self) -> (String, i64) {
        (format!("pods/{}", self.key), self.pod.revision)
    }

    fn volumes_failed(&mut self, why: String, now: SystemTime) {
        self.shared
            .tell_pod(&self.pod, Warning, "FailedMount", why.clone());
        let (object, revision) = self.named();
        tracing::warn!(object, revision, error = why, "setting up the volumes failed");
        let before = match std::mem::take(&mut self.memory.volumes) {
            // What could not be refreshed stays as it was; it is tried again in time.
            Volumes::Ready => return self.memory.volumes = Volumes::Ready,
            Volumes::Failed(failure) => Some(failure),
            Volumes::Pending => None,
        };
        self.memory.volumes = Volumes::Failed(failure(before, why, now));
    }

    /// Returns whether the result changed what is thought of the container.
    pub(super) fn take_probe(&mut self, result: ProbeResult) -> bool {
        let Some(container) = find_container(self.pod.spec(), &result.container) else {
            return false;
        };
        let Some(probe) = result.kind.of(container) else {
            return false;
        };
        if let Err(why) = &result.outcome {
            let message = format!("{} probe failed: {why}", result.kind.title());
            self.shared
                .tell_container(&self.pod, &result.container, Warning, "Unhealthy", message);
        }
        let schedule = Schedule::of(probe);
        // A startup probe may be all that a container has; a readiness probe has the last word.
        let has_last_word = result.kind == ProbeKind::Readiness
            || result.kind == ProbeKind::Startup && container.readiness_probe.is_none();
        let memory = self.memory.container_mut(&result.container);
        let probes = memory
            .probes
            .as_mut()
            .filter(|probes| probes.container_id == result.container_id);
        let is_news = probes.is_some_and(|probes| {
            probes
                .verdict_mut(result.kind)
                .take(result.outcome.is_ok(), &schedule)
        });
        if is_news && has_last_word && result.outcome.is_ok() {
            self.why.is_ready(&result.container);
        }
        is_news
    }
}

fn failure(before: Option<Failure>, message: String, now: SystemTime) -> Failure {
    let failures = before.map_or(0, |failure| failure.failures) + 1;
    let delay = FIRST_RETRY
        .saturating_mul(1 << (failures - 1).min(5))
        .min(LAST_RETRY);
    Failure {
        message,
        failures,
        retry_at: now + delay,
    }
}
