//! The configuration file: kube-scheduler's KubeSchedulerConfiguration, kubescheduler.config.k8s.io/v1.
//!
//! Read strictly, completed with kube-scheduler's defaults, checked by its rules and told in its words
//! (pkg/scheduler/apis/config). What it says and this scheduler does not do is a warning where nothing would change by
//! it, and an error where pods would be placed otherwise than somebody meant.

mod document;
mod problems;
mod plugins;
mod arguments;
mod added;

pub use added::{AddedPlugin, Tls};

use crate::profile::Profile;
use document::{Document, LeaderElection as WrittenLeaderElection, WrittenProfile};
use problems::{Path, Problems};
use std::path::Path as FilePath;
use std::time::Duration;

/// A larger file is not a configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;
const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";
const DEFAULT_NAME: &str = "default-scheduler";

/// What a scheduler is told by its file, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    pub profiles: Vec<ConfiguredProfile>,
    pub backoff: Backoff,
    pub leader_election: LeaderElection,
    /// What was read and changes nothing, with its path.
    pub warnings: Vec<String>,
}

/// A profile, and the programs that are asked beside its rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfiguredProfile {
    pub profile: Profile,
    pub added: Vec<AddedPlugin>,
}

/// How long a pod that fits nowhere waits before it is tried again: from the first to the last, doubled in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub last: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff {
            first: Duration::from_secs(1),
            last: Duration::from_secs(10),
        }
    }
}

/// What of the leadership is configured; `None` for what is not, where the command line or the default counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderElection {
    pub lease_duration: Option<Duration>,
}

/// Why a file cannot be used, in kube-scheduler's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigurationError(pub String);

impl Configuration {
    /// One profile with the default rules.
    pub fn of_name(scheduler_name: &str) -> Configuration {
        Configuration {
            profiles: vec![ConfiguredProfile {
                profile: Profile::named(scheduler_name),
                added: Vec::new(),
            }],
            backoff: Backoff::default(),
            leader_election: LeaderElection::default(),
            warnings: Vec::new(),
        }
    }

    pub fn load(path: &FilePath) -> anyhow::Result<Configuration> {
        use anyhow::Context as _;
        let read = || {
            let bytes = std::fs::metadata(path)?.len();
            anyhow::ensure!(
                bytes <= MAX_FILE_BYTES,
                "{bytes} bytes are too many: at most {MAX_FILE_BYTES}"
            );
            Ok(Configuration::parse(&std::fs::read_to_string(path)?)?)
        };
        read().with_context(|| format!("reading the scheduler's configuration {}", path.display()))
    }

    /// Reads YAML or JSON.
    pub fn parse(text: &str) -> Result<Configuration, ConfigurationError> {
        let (document, mut problems) = Document::read(text)?;
        let configuration = document.complete(&mut problems)?;
        problems.into_result()?;
        Ok(configuration)
    }
}

impl Document {
    fn complete(self, problems: &mut Problems) -> Result<Configuration, ConfigurationError> {
        let root = Path::root();
        let mut warnings = Vec::new();
        let leader_election =
            self.leader_election
                .check(&root.child("leaderElection"), problems, &mut warnings);
        self.warn(&mut warnings);
        if self.parallelism.unwrap_or(16) <= 0 {
            let parallelism = self.parallelism.unwrap_or_default();
            problems.invalid(
                &root.child("parallelism"),
                parallelism,
                "should be an integer value greater than zero",
            );
        }
        let written = match self.profiles.is_empty() {
            true => vec![WrittenProfile::default()],
            false => self.profiles,
        };
        check_percentage(
            &root.child("percentageOfNodesToScore"),
            self.percentage_of_nodes_to_score,
            problems,
        );
        let alone = written.len() == 1;
        let mut profiles: Vec<ConfiguredProfile> = Vec::new();
        for (number, mut written) in written.into_iter().enumerate() {
            let path = root.child("profiles").index(number);
            if alone && written.scheduler_name.is_none() {
                written.scheduler_name = Some(DEFAULT_NAME.into());
            }
            let name = written.scheduler_name.clone().unwrap_or_default();
            if name.is_empty() {
                problems.required(&path.child("schedulerName"), "");
            }
            if let Some(first) = profiles.iter().position(|p| p.profile.scheduler_name == name) {
                let first = root.child("profiles").index(first).child("schedulerName");
                problems.duplicate(&path.child("schedulerName"), &first.to_string());
            }
            check_percentage(
                &path.child("percentageOfNodesToScore"),
                written.percentage_of_nodes_to_score,
                problems,
            );
            if written.percentage_of_nodes_to_score.is_none() {
                written.percentage_of_nodes_to_score = self.percentage_of_nodes_to_score;
            }
            profiles.push(plugins::profile(written, &path, problems, &mut warnings)?);
        }
        let (first, last) = (
            self.pod_initial_backoff_seconds.unwrap_or(1),
            self.pod_max_backoff_seconds.unwrap_or(10),
        );
        if first <= 0 {
            problems.invalid(
                &root.child("podInitialBackoffSeconds"),
                first,
                "must be greater than 0",
            );
        }
        if last < first {
            problems.invalid(
                &root.child("podMaxBackoffSeconds"),
                last,
                "must be greater than or equal to PodInitialBackoffSeconds",
            );
        }
        if !self.extenders.is_empty() {
            problems.forbidden(
                &root.child("extenders"),
                "extenders over HTTP are not served; a program can add rules over gRPC, see pluginConfig",
            );
        }
        let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok(Configuration {
            profiles,
            backoff: Backoff {
                first: seconds(first),
                last: seconds(last),
            },
            leader_election,
            warnings,
        })
    }

    fn warn(&self, warnings: &mut Vec<String>) {
        let mut ignored = |path: &str, is_there: bool, why: &str| {
            if is_there {
                warnings.push(format!("{path}: {why}"));
            }
        };
        ignored(
            "parallelism",
            self.parallelism.is_some(),
            "one thread decides; the field changes nothing",
        );
        ignored(
            "clientConnection",
            self.client_connection.is_some(),
            "the connection is told by --kubeconfig; the field changes nothing",
        );
        let profiling = self.enable_profiling.is_some() || self.enable_contention_profiling.is_some();
        ignored(
            "enableProfiling",
            profiling,
            "there is no profiler; the field changes nothing",
        );
        ignored(
            "delayCacheUntilActive",
            self.delay_cache_until_active == Some(true),
            "caches are filled by the leader only in any case",
        );
    }
}

fn check_percentage(path: &Path, percentage: Option<i32>, problems: &mut Problems) {
    if let Some(percentage) = percentage.filter(|percentage| !(0..=100).contains(percentage)) {
        problems.invalid(path, i64::from(percentage), "not in valid range [0-100]");
    }
}

impl WrittenLeaderElection {
    fn check(&self, path: &Path, problems: &mut Problems, warnings: &mut Vec<String>) -> LeaderElection {
        if self.leader_elect == Some(false) {
            warnings.push(format!(
                "{}: schedulers always compete for the lead; the field changes nothing",
                path.child("leaderElect")
            ));
        }
        if let Some(lock) = self
            .resource_lock
            .as_deref()
            .filter(|lock| !matches!(*lock, "" | "leases"))
        {
            problems.invalid_text(
                &path.child("resourceLock"),
                lock,
                "resourceLock value must be \"leases\"",
            );
        }
        let duration = |name: &str, text: Option<&str>, problems: &mut Problems| {
            let text = text.filter(|text| !text.is_empty())?;
            match document::duration(text) {
                Some(duration) if !duration.is_zero() => Some(duration),
                Some(_) => {
                    problems.invalid_text(&path.child(name), "0s", "must be greater than zero");
                    None
                }
                None => {
                    problems.invalid_text(
                        &path.child(name),
                        text,
                        "must be a duration such as 15s, not negative",
                    );
                    None
                }
            }
        };
        let lease = duration("leaseDuration", self.lease_duration.as_deref(), problems);
        if let Some(lease) = lease.filter(|lease| lease.subsec_nanos() != 0) {
            let text = format!("{lease:?}");
            problems.invalid_text(&path.child("leaseDuration"), &text, "must be whole seconds");
        }
        let renew = duration("renewDeadline", self.renew_deadline.as_deref(), problems);
        let retry = duration("retryPeriod", self.retry_period.as_deref(), problems);
        let is_said = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let renewal = "how often a Lease is renewed follows from leaseDuration; the field changes nothing";
        let lock = "schedulers compete for the Lease kube-system/gantry-scheduler; the field changes nothing";
        for (name, is_there, why) in [
            ("renewDeadline", renew.is_some(), renewal),
            ("retryPeriod", retry.is_some(), renewal),
            ("resourceName", is_said(&self.resource_name), lock),
            ("resourceNamespace", is_said(&self.resource_namespace), lock),
        ] {
            if is_there {
                warnings.push(format!("{}: {why}", path.child(name)));
            }
        }
        LeaderElection {
            lease_duration: lease,
        }
    }
}

#[cfg(test)]
mod tests;
