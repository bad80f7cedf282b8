//! Registers the node, renews its Lease and keeps its status up to date.

use crate::clock::now;
use crate::config::Config;
use crate::node::machine::Machine;
use crate::node::object::{self, Facts};
use crate::runtime::Runtime;
use gantry_client::{Cache, Client, Error, PatchType};
use gantry_proto::coordination::v1::{Lease, LeaseSpec};
use gantry_proto::core::v1::{Node, NodeStatus};
use gantry_proto::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use gantry_proto::{Key, Kind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Kubernetes' own: the node controller gives up a node whose Lease is older than 40 seconds.
const LEASE_SECONDS: i32 = 40;
const RENEW_EVERY: Duration = Duration::from_secs(10);
const RENEW_AGAIN: Duration = Duration::from_secs(2);
/// A renewal that hangs is given up while there is still time for another.
const RENEW_LIMIT: Duration = Duration::from_secs(10);
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The status is looked at this often, and faster until the node is ready for the first time.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_UNTIL_READY: Duration = Duration::from_millis(250);
/// Afterwards, while something is wrong.
const LOOK_WHILE_WRONG: Duration = Duration::from_secs(2);
/// And written at least this often.
const WRITE_EVERY: Duration = Duration::from_secs(300);

pub struct Heartbeat {
    pub client: Client,
    pub runtime: Runtime,
    pub config: Arc<Config>,
    pub machine: Arc<Machine>,
    /// Why the network cannot be used, as far as the agent itself is concerned.
    pub network_problem: Arc<Mutex<Option<String>>>,
    /// The node controller writes this node's status too, when its Lease was not renewed in time.
    pub nodes: Cache<Node>,
    /// Notified when this node's object has changed.
    pub changed: Arc<Notify>,
}

/// The status that the apiserver has, at which revision, and when it was written.
struct Written {
    status: NodeStatus,
    revision: i64,
    at: SystemTime,
}

impl Heartbeat {
    /// Registers and then keeps the status, until shutdown.
    pub async fn keep_status(&self, shutdown: CancellationToken) {
        let mut written: Option<Written> = None;
        let mut was_settled = false;
        let mut told = None;
        loop {
            let (runtime_version, problem) = self.health().await;
            let outcome = self
                .write(&mut written, &runtime_version, problem.as_deref())
                .await;
            let error = outcome.err().map(|error| error.to_string());
            if error.is_some() {
                written = None;
            }
            if told != error {
                if let Some(error) = &error {
                    tracing::warn!(error, "the node's status was not written");
                }
                told = error.clone();
            }
            let is_settled = problem.is_none() && error.is_none();
            was_settled |= is_settled;
            let pause = match (is_settled, was_settled) {
                (true, _) => LOOK_EVERY,
                (false, false) => LOOK_UNTIL_READY,
                (false, true) => LOOK_WHILE_WRONG,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn write(
        &self,
        written: &mut Option<Written>,
        runtime_version: &str,
        problem: Option<&str>,
    ) -> Result<(), Error> {
        let now = now();
        let facts = Facts {
            name: &self.config.node_name,
            ip: self.config.node_ip,
            port: self.config.listen.port(),
            machine: &self.machine,
            max_pods: self.config.max_pods,
            runtime_version,
            not_ready: problem,
            now,
        };
        let key = Key::cluster(&self.config.node_name);
        let before = match written {
            Some(written) => match self.nodes.get(&key) {
                Some(node) if node.revision > written.revision => node.status().clone(),
                _ => written.status.clone(),
            },
            None => self.register(&facts).await?,
        };
        let status = object::status(&facts, &before);
        let is_due = written
            .as_ref()
            .is_none_or(|written| now.duration_since(written.at).unwrap_or_default() >= WRITE_EVERY);
        if is_due || object::is_news(&before, &status) {
            let patch = object::status_patch(&before, &status);
            let node: Node = self
                .client
                .patch(&key, Some("status"), PatchType::StrategicMerge, &patch)
                .await?;
            *written = Some(Written {
                status: node.status().clone(),
                revision: node.metadata().resource_version.parse().unwrap_or(0),
                at: now,
            });
        }
        Ok(())
    }

    /// Makes the Node, or gives an existing one our labels. Returns the status that it has.
    async fn register(&self, facts: &Facts<'_>) -> Result<NodeStatus, Error> {
        match self.client.create(&object::node(facts)).await {
            Ok(node) => {
                tracing::info!(object = format_args!("nodes/{}", facts.name), "registered");
                Ok(node.status().clone())
            }
            Err(error) if error.is_already_exists() => {
                let key = Key::cluster(facts.name);
                let patch = serde_json::json!({"metadata": {"labels": object::labels(facts)}});
                let node: Node = self.client.patch(&key, None, PatchType::Merge, &patch).await?;
                Ok(node.status().clone())
            }
            Err(error) => Err(error),
        }
    }

    /// The runtime's version, and why it cannot run pods.
    async fn health(&self) -> (String, Option<String>) {
        let version = match self.runtime.version().await {
            Ok(version) => format!("{}://{}", version.runtime_name, version.runtime_version),
            Err(error) => return (String::new(), Some(format!("container runtime is down: {error}"))),
        };
        let status = match self.runtime.status().await {
            Ok(status) => status,
            Err(error) => return (version, Some(format!("container runtime is down: {error}"))),
        };
        let problem = status
            .conditions
            .iter()
            .filter(|condition| !condition.status)
            .map(|condition| {
                let what = if condition.r#type == "NetworkReady" {
                    "container runtime network"
                } else {
                    "container runtime"
                };
                format!(
                    "{what} not ready: {}=false reason:{} message:{}",
                    condition.r#type, condition.reason, condition.message
                )
            });
        let own = self
            .network_problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let problems: Vec<String> = problem.chain(own).collect();
        (version, Some(problems.join(", ")).filter(|text| !text.is_empty()))
    }

    /// Renews the Lease until shutdown: what tells the cluster that this node lives.
    pub async fn keep_lease(&self, shutdown: CancellationToken) {
        let mut held: Option<Lease> = None;
        loop {
            let renewal = tokio::time::timeout(RENEW_LIMIT, self.renew(held.take())).await;
            let outcome = renewal.unwrap_or_else(|_| Err(Error::Unavailable("no reply in time".into())));
            let pause = if outcome.is_ok() { RENEW_EVERY } else { RENEW_AGAIN };
            match outcome {
                Ok(lease) => held = Some(lease),
                Err(error) => tracing::warn!(%error, "the node's lease was not renewed"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn renew(&self, held: Option<Lease>) -> Result<Lease, Error> {
        let key = Key::new(LEASE_NAMESPACE, &self.config.node_name);
        let held = match held {
            Some(lease) => Some(lease),
            None => match self.client.get::<Lease>(&key).await {
                Ok(lease) => Some(lease),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            },
        };
        match held {
            Some(mut lease) => {
                *lease.spec_mut() = self.lease_spec();
                self.client.update(&lease).await
            }
            None => {
                let node: Node = self.client.get(&Key::cluster(&self.config.node_name)).await?;
                // The Lease goes when its node goes.
                let owner = OwnerReference {
                    api_version: Node::API_VERSION.into(),
                    kind: Node::KIND.into(),
                    name: node.metadata().name.clone(),
                    uid: node.metadata().uid.clone(),
                    ..OwnerReference::default()
                };
                let metadata = ObjectMeta {
                    name: key.name.clone(),
                    namespace: key.namespace.clone(),
                    owner_references: vec![owner],
                    ..ObjectMeta::default()
                };
                self.client
                    .create(&Lease {
                        metadata: Some(metadata),
                        spec: Some(self.lease_spec()),
                    })
                    .await
            }
        }
    }

    fn lease_spec(&self) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.config.node_name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime::from_system(now())),
            ..LeaseSpec::default()
        }
    }
}
