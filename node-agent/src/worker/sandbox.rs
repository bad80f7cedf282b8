//! Volumes and sandboxes.

use super::jobs::Done;
use super::{Shared, Worker};
use crate::clock::now;
use crate::pod::plan::{Busy, Subject};
use crate::references;
use crate::runtime::sandbox_config::{cgroup, sandbox_config};
use crate::volume;
use gantry_client::EventType::Normal;
use gantry_proto::core::v1::Pod;
use std::sync::Arc;
use tracing::{Instrument as _, Span, info_span};

impl Worker {
    pub(super) fn set_up_volumes(&mut self, span: &Span) {
        let (shared, pod) = (self.shared.clone(), self.pod.clone());
        let span = match pod.spec().volumes.is_empty() {
            true => Span::none(),
            false => info_span!(parent: span, "volumes.set_up"),
        };
        let step = async move { Done::Volumes(set_up_volumes(&shared, &pod.object).await) };
        self.jobs
            .begin(Subject::Volumes, Busy::Doing, step.instrument(span));
    }

    pub(super) fn create_sandbox(&mut self, attempt: u32, replaces: Vec<String>, span: &Span) {
        let (shared, pod) = (self.shared.clone(), self.pod.clone());
        let span = info_span!(parent: span, "sandbox.create", gantry.attempt = attempt);
        self.why.makes_sandbox(&span);
        self.shared.cni.enter(&self.uid, &span);
        let step = async move {
            let outcome = create_sandbox(&shared, &pod.object, attempt, replaces).await;
            Done::Sandbox(outcome)
        };
        self.jobs
            .begin(Subject::Sandbox, Busy::Doing, step.instrument(span));
    }

    pub(super) fn stop_sandboxes(&mut self, ids: Vec<String>, span: &Span) {
        let shared = self.shared.clone();
        let key = self.key.clone();
        let span = info_span!(parent: span, "sandbox.stop");
        self.shared.cni.enter(&self.uid, &span);
        let step = async move {
            for id in ids {
                if let Err(error) = shared.runtime.stop_sandbox(&id).await {
                    tracing::warn!(object = format_args!("pods/{key}"), %error, "stopping the sandbox failed");
                    tokio::time::sleep(super::LOOK_AGAIN).await;
                }
            }
            Done::SandboxesStopped
        };
        self.jobs
            .begin(Subject::Sandbox, Busy::Doing, step.instrument(span));
    }
}

async fn set_up_volumes(shared: &Shared, pod: &Pod) -> Result<(), String> {
    let pod_dir = shared.config.pod_dir(&pod.metadata().uid);
    let names = references::of_volumes(pod);
    let sources = shared
        .sources(pod, names, Vec::new())
        .await
        .map_err(|error| error.to_string())?;
    let (pod, now) = (pod.clone(), now());
    let work = move || {
        std::fs::create_dir_all(&pod_dir).map_err(|error| error.to_string())?;
        volume::set_up(&pod, &pod_dir, &sources, now).map_err(|error| error.to_string())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(error.to_string()),
    }
}

async fn create_sandbox(
    shared: &Arc<Shared>,
    pod: &Pod,
    attempt: u32,
    replaces: Vec<String>,
) -> Result<(), String> {
    let facts = shared.node_facts(pod);
    if !replaces.is_empty() {
        let message = "Pod sandbox changed, it will be killed and re-created.".to_string();
        shared.tell_pod(pod, Normal, "SandboxChanged", message);
    }
    for id in replaces {
        shared
            .runtime
            .stop_sandbox(&id)
            .await
            .map_err(|error| error.to_string())?;
    }
    std::fs::create_dir_all(&facts.log_directory)
        .map_err(|error| format!("{}: {error}", facts.log_directory))?;
    let group = cgroup(pod, &facts);
    shared
        .cgroups
        .make(&group, pod.spec())
        .map_err(|error| format!("making the cgroup {group}: {error}"))?;
    let _place = shared.starts.acquire().await;
    // There are no RuntimeClasses yet that could say which handler a runtimeClassName stands for.
    let handler = String::new();
    let outcome = shared
        .runtime
        .run_sandbox(sandbox_config(pod, attempt, &facts), handler)
        .await;
    outcome.map(|_| ()).map_err(|error| error.to_string())
}
