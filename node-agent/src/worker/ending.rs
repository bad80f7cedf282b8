//! The end of a pod: releasing what it holds, cleaning up after it, deleting it.

use super::jobs::Done;
use super::{Shared, Worker};
use crate::pod::plan::{Busy, Subject};
use crate::runtime::sandbox_config::cgroup;
use crate::volume;
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::{DeleteOptions, Preconditions};
use std::sync::Arc;
use tracing::{Instrument as _, Span, info_span};

impl Worker {
    /// Unmounts a finished pod's volumes; its containers and their last words stay.
    pub(super) fn release(&mut self) {
        let shared = self.shared.clone();
        let (pod, key) = (self.pod.object.clone(), self.key.clone());
        let step = async move {
            let pod_dir = shared.config.pod_dir(&pod.metadata().uid);
            let work = move || {
                let volumes = volume::tear_down(&pod_dir.join("volume-subpaths"));
                volumes.and_then(|()| volume::tear_down(&pod_dir.join("volumes")))
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(())) => {
                    shared.cgroups.remove(&cgroup(&pod, &shared.node_facts(&pod)));
                    Done::Released(true)
                }
                outcome => {
                    tracing::warn!(object = format_args!("pods/{key}"), error = ?outcome, "unmounting the pod's volumes failed");
                    tokio::time::sleep(super::LOOK_AGAIN).await;
                    Done::Released(false)
                }
            }
        };
        self.jobs.begin(Subject::Ending, Busy::Doing, step);
    }

    pub(super) fn clean_up(&mut self, sandbox_ids: Vec<String>, span: &Span) {
        let (shared, pod) = (self.shared.clone(), self.pod.object.clone());
        let span = info_span!(parent: span, "pod.clean_up");
        let step = async move {
            let outcome = clean_up(&shared, &pod, sandbox_ids).await;
            if outcome.is_err() {
                tokio::time::sleep(super::LOOK_AGAIN).await;
            }
            Done::CleanedUp(outcome)
        };
        self.jobs
            .begin(Subject::Ending, Busy::Doing, step.instrument(span));
    }

    /// Deletes the pod from the API, and no other of its name.
    pub(super) fn delete(&mut self, span: &Span) {
        let (client, key) = (self.shared.client.clone(), self.key.clone());
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                ..Preconditions::default()
            }),
            ..DeleteOptions::default()
        };
        let span = info_span!(parent: span, "pod.delete");
        let step = async move {
            let outcome = match client.delete::<Pod>(&key, options).await {
                Err(error) if error.is_not_found() => Ok(()),
                outcome => outcome,
            };
            if outcome.is_err() {
                tokio::time::sleep(super::LOOK_AGAIN).await;
            }
            Done::Deleted(outcome)
        };
        self.jobs
            .begin(Subject::Ending, Busy::Doing, step.instrument(span));
    }
}

async fn clean_up(shared: &Arc<Shared>, pod: &Pod, sandbox_ids: Vec<String>) -> Result<(), String> {
    for id in sandbox_ids {
        // Its containers go with it.
        shared
            .runtime
            .stop_sandbox(&id)
            .await
            .map_err(|error| error.to_string())?;
        shared
            .runtime
            .remove_sandbox(&id)
            .await
            .map_err(|error| error.to_string())?;
    }
    let metadata = pod.metadata();
    let pod_dir = shared.config.pod_dir(&metadata.uid);
    let logs = shared
        .config
        .log_dir(&metadata.namespace, &metadata.name, &metadata.uid);
    let work = move || {
        volume::tear_down(&pod_dir)?;
        match std::fs::remove_dir_all(&logs) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    };
    let outcome = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())?;
    outcome.map_err(|error| error.to_string())?;
    let facts = shared.node_facts(pod);
    for class in ["burstable/", "besteffort/", ""] {
        // The class of a pod that only the runtime knew is not known.
        shared
            .cgroups
            .remove(&format!("{}/{class}pod{}", facts.cgroup_parent, metadata.uid));
    }
    shared.forget(&metadata.uid);
    Ok(())
}
