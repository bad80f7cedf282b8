//! The audit log: who asked for what, and what came of it, as Kubernetes' events of audit.k8s.io/v1, one per line.
//! Off unless there are a policy and a place for the log.
//!
//! A request's [`Trail`] gathers what is known of it: `serve` what HTTP says, the services what the message says, the
//! registry whether it is allowed. At each stage that the policy wants, an entry goes into a bounded [`queue`], from
//! which one thread renders and writes. No request ever waits for the log: what does not fit into the queue is
//! dropped, counted and told.

use std::path::PathBuf;
use std::sync::Arc;

use gantry_telemetry::metrics::Registry as MetricsRegistry;

pub mod policy;
pub mod policy_file;
mod trail;
pub mod serve;
mod event;
mod queue;
mod log_file;
mod metrics;

pub use event::Body;
pub use trail::{Asked, Trail};

use log_file::{Output, RotatingFile};
use metrics::Metrics;
use policy::Policy;
use queue::Queue;

/// What is recorded, and where; by default nothing.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// A file with a Policy of audit.k8s.io/v1.
    pub policy_file: Option<PathBuf>,
    pub log: Option<Log>,
}

/// Where the events go.
#[derive(Clone, Debug)]
pub enum Log {
    Stdout,
    /// A file that is put aside when it has its size. So many of those are kept.
    File {
        path: PathBuf,
        max_megabytes: u64,
        max_backups: usize,
    },
}

/// Kubernetes' --audit-log-maxsize and --audit-log-maxbackup: 10 GB in all.
pub const DEFAULT_MAX_MEGABYTES: u64 = 100;
pub const DEFAULT_MAX_BACKUPS: usize = 100;

/// Decides what is recorded, and takes it on.
#[derive(Debug)]
pub struct Auditor {
    policy: Policy,
    queue: Queue,
    metrics: Metrics,
}

impl Config {
    /// The policy, if there is one. Fails where its file is not correct.
    pub fn load_policy(&self) -> anyhow::Result<Option<Policy>> {
        self.policy_file.as_deref().map(policy_file::load).transpose()
    }
}

/// Begins to record, if the configuration wants it. Fails where the policy is not correct or the log cannot be
/// written.
pub fn start(config: &Config, metrics: &MetricsRegistry) -> anyhow::Result<Option<Arc<Auditor>>> {
    let metrics = Metrics::new(metrics);
    let (policy, log) = match (config.load_policy()?, &config.log) {
        (Some(policy), Some(log)) => (policy, log),
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            tracing::warn!("no --audit-policy-file is given: no audit events are recorded");
            return Ok(None);
        }
        (Some(_), None) => {
            tracing::warn!("no --audit-log-path is given: no audit events are recorded");
            return Ok(None);
        }
    };
    let output = match log {
        Log::Stdout => Output::Stdout,
        Log::File {
            path,
            max_megabytes,
            max_backups,
        } => Output::File(RotatingFile::open(
            path.clone(),
            max_megabytes.saturating_mul(1 << 20),
            *max_backups,
        )?),
    };
    Ok(Some(Arc::new(Auditor {
        policy,
        queue: Queue::start(output, metrics.clone())?,
        metrics,
    })))
}

impl Auditor {
    /// Waits until what was recorded so far is written, but not for long.
    pub async fn flush(&self) {
        self.queue.flush().await;
    }
}
