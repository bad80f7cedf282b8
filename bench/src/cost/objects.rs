//! What is created and bound, and who sees that it is.

use super::{CALL_LIMIT, START_LIMIT};
use anyhow::Context as _;
use gantry_client::{Cache, Client};
use gantry_proto::Key;
use gantry_proto::core::v1::{
    Binding, ConfigMap, Container, Node, NodeSpec, NodeStatus, ObjectReference, Pod, PodSpec,
};
use gantry_proto::meta::v1::{ObjectMeta, Quantity};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// The size of each created object's data.
const BYTES: usize = 1_000;

pub(super) fn key(name: &str, number: usize) -> Key {
    Key::new("default", format!("{name}-{number}"))
}

fn metadata(name: &str, number: usize) -> Option<ObjectMeta> {
    let key = key(name, number);
    Some(ObjectMeta {
        name: key.name.to_string(),
        namespace: key.namespace.to_string(),
        ..ObjectMeta::default()
    })
}

pub(super) async fn create_config_map(client: &Client, name: &str, number: usize) -> anyhow::Result<()> {
    let data = [("data".to_string(), "x".repeat(BYTES))].into();
    client
        .create(&ConfigMap {
            metadata: metadata(name, number),
            data,
            ..ConfigMap::default()
        })
        .await?;
    Ok(())
}

/// A pod for the scheduler `scheduler`, which is in its name, too.
pub(super) async fn create_pod(client: &Client, scheduler: &str, number: usize) -> anyhow::Result<()> {
    let container = Container {
        name: "c".into(),
        image: "busybox:1".into(),
        ..Container::default()
    };
    client
        .create(&Pod {
            metadata: metadata(scheduler, number),
            spec: Some(PodSpec {
                containers: vec![container],
                scheduler_name: scheduler.into(),
                ..PodSpec::default()
            }),
            ..Pod::default()
        })
        .await?;
    Ok(())
}

pub(super) async fn bind(client: &Client, name: &str, number: usize) -> anyhow::Result<()> {
    let target = ObjectReference {
        kind: "Node".into(),
        name: NODE.into(),
        ..ObjectReference::default()
    };
    client
        .bind(&Binding {
            metadata: metadata(name, number),
            target: Some(target),
        })
        .await?;
    Ok(())
}

/// The name of the scheduler that runs, which its pods have in theirs.
pub(super) const SCHEDULER: &str = "default-scheduler";
const NODE: &str = "n1";

/// A node that nobody runs, and that all pods fit.
pub(super) async fn add_node(client: &Client) -> anyhow::Result<()> {
    let resources = ["cpu", "memory", "pods"].map(|resource| {
        (
            resource.to_string(),
            Quantity {
                string: "1000000".into(),
            },
        )
    });
    let mut node = Node {
        metadata: Some(ObjectMeta {
            name: NODE.into(),
            ..ObjectMeta::default()
        }),
        spec: Some(NodeSpec::default()),
        ..Node::default()
    };
    node = client.create(&node).await?;
    node.status = Some(NodeStatus {
        capacity: resources.clone().into(),
        allocatable: resources.into(),
        ..NodeStatus::default()
    });
    client.update_status(&node).await?;
    Ok(())
}

/// Which pods have a node, followed by watch.
pub(super) struct Bound {
    pods: Cache<Pod>,
    changed: tokio::sync::watch::Receiver<usize>,
    shutdown: CancellationToken,
}

impl Bound {
    pub(super) fn new(client: &Client, runtime: &Runtime) -> Bound {
        let _entered = runtime.enter();
        let shutdown = CancellationToken::new();
        let (sender, changed) = tokio::sync::watch::channel(0);
        let has_node = |pod: &std::sync::Arc<gantry_client::Entry<Pod>>| !pod.spec().node_name.is_empty();
        let pods = Cache::<Pod>::builder(client.clone())
            .on_change(move |change| {
                let came =
                    change.new.as_ref().is_some_and(has_node) && !change.old.as_ref().is_some_and(has_node);
                sender.send_modify(|bound| *bound += usize::from(came));
            })
            .spawn(shutdown.clone());
        Bound {
            pods,
            changed,
            shutdown,
        }
    }

    pub(super) fn now(&self) -> usize {
        *self.changed.borrow()
    }

    pub(super) async fn count(&self, pods: usize) -> anyhow::Result<()> {
        let mut changed = self.changed.clone();
        let all = changed.wait_for(|bound| *bound >= pods);
        tokio::time::timeout(START_LIMIT, all)
            .await
            .with_context(|| format!("{} of {pods} pods are bound", self.now()))??;
        Ok(())
    }

    pub(super) async fn one(&self, key: &Key) -> anyhow::Result<()> {
        let mut changed = self.changed.clone();
        let is_bound = || {
            self.pods
                .get(key)
                .is_some_and(|pod| !pod.spec().node_name.is_empty())
        };
        let bound = changed.wait_for(|_| is_bound());
        tokio::time::timeout(CALL_LIMIT, bound)
            .await
            .with_context(|| format!("{key} is not bound"))??;
        Ok(())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
