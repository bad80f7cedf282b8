//! Starting a container: image, configuration, create, start.

use super::jobs::Done;
use super::{Ends, Shared, Worker, hooks};
use crate::clock::now;
use crate::image::credentials::credentials;
use crate::image::policy::{Need, need};
use crate::pod::environment::environment;
use crate::pod::identity::{find_container, grace_seconds};
use crate::pod::memory::StartFailure;
use crate::pod::observed::Observed;
use crate::pod::plan::{Busy, Subject};
use crate::references;
use crate::runtime::cgroup::Hierarchies;
use crate::runtime::container_config::{Made, container_config, root_is_forbidden};
use crate::runtime::sandbox_config::sandbox_config;
use crate::volume::container_mounts::container_mounts;
use gantry_client::EventType::{Normal, Warning};
use gantry_proto::core::v1::{Container, Pod};
use k8s_cri::v1 as cri;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tracing::{Instrument as _, Span, info_span};

/// The kubelet looks at a pod that failed to start again after this.
const RETRY: Duration = Duration::from_secs(10);

/// One start of one container.
struct Start {
    shared: Arc<Shared>,
    pod: Pod,
    container: Container,
    attempt: u32,
    sandbox_id: String,
    sandbox_attempt: u32,
    pod_ips: Vec<String>,
    signals: Arc<Ends>,
}

impl Worker {
    pub(super) fn start(
        &mut self,
        container: String,
        attempt: u32,
        sandbox_id: String,
        observed: &Observed,
        span: &Span,
    ) {
        let Some(spec) = find_container(self.pod.spec(), &container) else {
            return;
        };
        let sandbox = observed.sandboxes.iter().find(|sandbox| sandbox.id == sandbox_id);
        let pod_ips = match self.pod.spec().host_network {
            true => vec![self.shared.host_ip.clone()],
            false => sandbox.map(|sandbox| sandbox.ips.clone()).unwrap_or_default(),
        };
        let start = Start {
            shared: self.shared.clone(),
            pod: self.pod.object.clone(),
            container: spec.clone(),
            attempt,
            sandbox_attempt: sandbox.map_or(0, |sandbox| sandbox.attempt),
            sandbox_id,
            pod_ips,
            signals: self.signals.clone(),
        };
        let span = info_span!(
            parent: span,
            "container.start",
            k8s.container.name = container,
            k8s.container.restart_count = attempt,
            container.image.name = spec.image,
        );
        self.why.starts(&container, &span);
        let subject = Subject::Container(container.clone());
        let (object, revision) = self.named();
        let step = async move {
            let outcome = start.run().await;
            match &outcome {
                Ok(()) => tracing::info!(object, revision, container, "started"),
                Err(failure) => {
                    let (reason, error) = (failure.reason, &*failure.message);
                    tracing::warn!(object, revision, container, reason, error, "not started");
                }
            }
            Done::Started { container, outcome }
        };
        self.jobs.begin(subject, Busy::Starting, step.instrument(span));
    }
}

impl Start {
    async fn run(&self) -> Result<(), StartFailure> {
        let ensured = info_span!("image.ensure", container.image.name = self.container.image);
        let image = self.image().instrument(ensured).await?;
        let config = self.config(&image).await?;
        let place = self.shared.starts.acquire().await;
        let runtime = &self.shared.runtime;
        let create = runtime.create_container(&self.sandbox_id, config, self.sandbox_config());
        let id = match create.instrument(info_span!("container.create")).await {
            Ok(id) => id,
            Err(error) => return Err(self.failed("CreateContainerError", error.message)),
        };
        self.tell(Normal, "Created", "Container created".into());
        if let Err(error) = runtime
            .start_container(&id)
            .instrument(info_span!("container.run"))
            .await
        {
            return Err(self.failed("RunContainerError", error.message));
        }
        drop(place);
        self.tell(Normal, "Started", "Container started".into());
        self.post_start(&id).await
    }

    async fn post_start(&self, id: &str) -> Result<(), StartFailure> {
        let Some(hook) = self.container.lifecycle().post_start.as_ref() else {
            return Ok(());
        };
        // The hook may take long, and the container runs meanwhile.
        self.signals.doubt_all();
        let ip = self.pod_ips.first().cloned().unwrap_or_default();
        let Err(why) = hooks::run(&self.shared.runtime, &self.container, id, &ip, hook).await else {
            return Ok(());
        };
        // What the hook said may hold secrets, and more people read Events than pods.
        self.tell(Warning, "FailedPostStartHook", "PostStartHook failed".into());
        self.tell(Normal, "Killing", "FailedPostStartHook".into());
        let grace = Duration::from_secs(grace_seconds(self.pod.spec()));
        if let Err(error) = self.shared.runtime.stop_container(id, grace).await {
            tracing::warn!(%error, "stopping a container whose postStart hook failed");
        }
        Err(self.failure(
            "PostStartHookError",
            format!("PostStartHook failed: {why}"),
            now(),
        ))
    }

    /// Ensures that the image is there.
    async fn image(&self) -> Result<cri::Image, StartFailure> {
        let name = &self.container.image;
        if crate::image::reference::normalized(name).is_none() {
            let why = format!(
                "Failed to apply default image tag \"{name}\": couldn't parse image name \"{name}\": invalid reference format"
            );
            self.tell(Warning, "InspectFailed", why.clone());
            return Err(self.failed("InvalidImageName", why));
        }
        let present = match self.shared.runtime.image(name).await {
            Ok(image) => image,
            Err(error) => {
                let why = format!("Failed to inspect image \"{name}\": {error}");
                self.tell(Warning, "InspectFailed", why.clone());
                return Err(self.failed("ImageInspectError", why));
            }
        };
        match (need(&self.container, present.is_some()), present) {
            (Need::Use, Some(image)) => {
                let message = format!(
                    "Container image \"{name}\" already present on machine and can be accessed by the pod"
                );
                self.tell(Normal, "Pulled", message);
                Ok(image)
            }
            (Need::Refuse, _) => {
                let message = format!("Container image \"{name}\" is not present with pull policy of Never");
                self.tell(Warning, "ErrImageNeverPull", message.clone());
                Err(self.failed("ErrImageNeverPull", message))
            }
            _ => {
                self.pull()
                    .instrument(info_span!("image.pull", container.image.name = name))
                    .await
            }
        }
    }

    async fn pull(&self) -> Result<cri::Image, StartFailure> {
        let name = &self.container.image;
        self.tell(Normal, "Pulling", format!("Pulling image \"{name}\""));
        let begun = now();
        let pulled = async {
            self.shared
                .runtime
                .pull(name, self.credentials().await, self.sandbox_config())
                .await?;
            let image = self.shared.runtime.image(name).await?;
            image
                .ok_or_else(|| tonic::Status::not_found(format!("{name} is not there after its pull")).into())
        };
        match pulled.await {
            Ok(image) => {
                let duration = now().duration_since(begun).unwrap_or_default();
                self.shared.metrics.image_pulled(duration, image.size);
                let took = format!("{:.3}s", duration.as_secs_f64());
                let size = image.size;
                self.tell(
                    Normal,
                    "Pulled",
                    format!("Successfully pulled image \"{name}\" in {took} ({took} including waiting). Image size: {size} bytes."),
                );
                Ok(image)
            }
            Err(error) => {
                let error: crate::runtime::RuntimeError = error;
                self.tell(
                    Warning,
                    "Failed",
                    format!("Failed to pull image \"{name}\": {error}"),
                );
                Err(self.failed("ErrImagePull", error.to_string()))
            }
        }
    }

    /// From the pod's imagePullSecrets. One that cannot be read is told, and the pull goes on without it.
    async fn credentials(&self) -> Option<cri::AuthConfig> {
        let mut secrets = Vec::new();
        for reference in &self.pod.spec().image_pull_secrets {
            let namespace = &self.pod.metadata().namespace;
            match self.shared.references.secret(namespace, &reference.name).await {
                Ok(Some(secret)) => secrets.push(secret),
                Ok(None) | Err(_) => {
                    let message = format!(
                        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                        reference.name
                    );
                    self.shared
                        .tell_pod(&self.pod, Warning, "FailedToRetrieveImagePullSecret", message);
                }
            }
        }
        credentials(&self.container.image, secrets.iter().map(Arc::as_ref))
    }

    async fn config(&self, image: &cri::Image) -> Result<cri::ContainerConfig, StartFailure> {
        let config_error = |why: String| self.failed("CreateContainerConfigError", why);
        if let Some(why) = root_is_forbidden(&self.pod, &self.container, image) {
            return Err(config_error(why));
        }
        let names = references::of_environment(&self.container);
        let sources = self.shared.sources(&self.pod, names, self.pod_ips.clone()).await;
        let sources = sources.map_err(|error| config_error(error.to_string()))?;
        let environment = environment(&self.pod, &self.container, &sources)
            .map_err(|error| config_error(error.to_string()))?;
        let mounts = {
            let (pod, container, attempt) = (self.pod.clone(), self.container.clone(), self.attempt);
            let (ips, environment) = (self.pod_ips.clone(), environment.clone());
            let pod_dir = self.shared.config.pod_dir(&pod.metadata().uid);
            let domain = self.shared.config.cluster_domain.clone();
            let work =
                move || container_mounts(&pod, &container, attempt, &pod_dir, &ips, &domain, &environment);
            tokio::task::spawn_blocking(work)
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
        };
        let made = Made {
            attempt: self.attempt,
            image_ref: image.id.clone(),
            environment,
            mounts: mounts.map_err(config_error)?,
            node_memory: self.shared.machine.memory_bytes,
            is_unified: matches!(self.shared.cgroups, Hierarchies::V2(_)),
        };
        Ok(container_config(&self.pod, &self.container, made))
    }

    fn sandbox_config(&self) -> cri::PodSandboxConfig {
        sandbox_config(
            &self.pod,
            self.sandbox_attempt,
            &self.shared.node_facts(&self.pod),
        )
    }

    fn tell(&self, kind: gantry_client::EventType, reason: &str, message: String) {
        self.shared
            .tell_container(&self.pod, &self.container.name, kind, reason, message);
    }

    /// The failure, told as an Event too.
    fn failed(&self, reason: &'static str, message: String) -> StartFailure {
        let told = match reason {
            "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" | "ImageInspectError" => reason,
            _ => message.as_str(),
        };
        self.tell(Warning, "Failed", format!("Error: {told}"));
        self.failure(reason, message, now())
    }

    fn failure(&self, reason: &'static str, message: String, now: SystemTime) -> StartFailure {
        StartFailure {
            reason,
            message,
            failed_at: now,
            retry_at: now + RETRY,
        }
    }
}
