//! Nodes that nobody runs, pods for them, and who sees that the pods have a node.
//!
//! Sizes are those of kube-scheduler's own measurements (test/integration/scheduler_perf): nodes of 4 cpu, 32Gi and 110
//! pods in three zones, pods that ask for 100m and 500Mi. Nothing taints the nodes: no controller-manager runs.

use crate::cost::{CLIENTS, START_LIMIT};
use anyhow::Context as _;
use gantry_client::{Cache, Client};
use gantry_proto::core::v1::{Node, Pod};
use gantry_proto::{Key, json};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const ZONES: [&str; 3] = ["zone1", "zone2", "zone3"];
/// How long all pods may take to be bound, with programs that are not optimised on a machine that is busy.
const BIND_LIMIT: Duration = Duration::from_secs(900);
/// How often it is looked whether the scheduler has refused a pod.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a pending pod asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pending {
    /// What every node has.
    Anywhere,
    /// More than any node has.
    TooLarge,
    /// The same, and every rule has something to say.
    Demanding,
}

pub(super) fn pod_name(number: usize) -> String {
    format!("pending-{number}")
}

pub(super) async fn add_nodes(clients: &[Client], nodes: usize) -> anyhow::Result<()> {
    each(clients, nodes, |client, number| async move {
        let name = format!("node-{number}");
        let resources = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
        let status = json!({
            "capacity": resources,
            "allocatable": resources,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        });
        let node = json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": ZONES[number % ZONES.len()],
            }},
        });
        let mut node = client.create(&json::decode_value::<Node>(&node)?.object).await?;
        node.status = json::decode_value::<Node>(&json!({"status": status}))?
            .object
            .status;
        client.update_status(&node).await?;
        Ok(())
    })
    .await
}

pub(super) async fn add_pods(clients: &[Client], pods: usize, pending: Pending) -> anyhow::Result<()> {
    each(clients, pods, move |client, number| async move {
        add_pod(&client, number, pending).await
    })
    .await
}

pub(super) async fn add_pod(client: &Client, number: usize, pending: Pending) -> anyhow::Result<()> {
    client
        .create(&json::decode_value::<Pod>(&pod(number, pending))?.object)
        .await?;
    Ok(())
}

fn pod(number: usize, pending: Pending) -> Value {
    let requests = match pending {
        Pending::Anywhere => json!({"cpu": "100m", "memory": "500Mi"}),
        Pending::TooLarge | Pending::Demanding => json!({"cpu": "64", "memory": "500Mi"}),
    };
    let mut pod = json!({
        "metadata": {"name": pod_name(number), "namespace": "default", "labels": {"app": "pending"}},
        "spec": {"containers": [{
            "name": "pause",
            "image": "registry.k8s.io/pause:3.10",
            "ports": [{"containerPort": 80}],
            "resources": {"requests": requests},
        }]},
    });
    if matches!(pending, Pending::Demanding) {
        let selector = json!({"matchLabels": {"app": "pending"}});
        pod["spec"]["nodeSelector"] = json!({"disk": "ssd"});
        pod["spec"]["affinity"] = json!({
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "absent"}}, "topologyKey": "topology.kubernetes.io/zone"},
            ]},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"},
            ]},
        });
        pod["spec"]["topologySpreadConstraints"] = json!([{
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": selector,
        }]);
    }
    pod
}

/// Does something for each number, as many at once as there are clients in the measurement.
async fn each<F>(
    clients: &[Client],
    count: usize,
    once: impl Fn(Client, usize) -> F + Clone + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CLIENTS {
        let (client, once) = (clients[caller % clients.len()].clone(), once.clone());
        callers.spawn(async move {
            for number in (caller..count).step_by(CLIENTS) {
                once(client.clone(), number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(())
}

/// Waits until the scheduler has said that a pod fits nowhere.
pub(super) async fn refused(client: &Client, name: &str) -> anyhow::Result<()> {
    let key = Key::new("default", name);
    let look = async {
        loop {
            let pod = client.get::<Pod>(&key).await?;
            let conditions = &pod.status().conditions;
            if conditions
                .iter()
                .any(|c| c.r#type == "PodScheduled" && c.status == "False")
            {
                return anyhow::Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(START_LIMIT, look)
        .await
        .with_context(|| format!("the scheduler has not refused {name}"))?
}

/// How many pods have a node, followed by watch: an event comes when etcd has the write.
pub(super) struct Placed {
    pods: Cache<Pod>,
    changed: watch::Receiver<usize>,
    shutdown: CancellationToken,
}

impl Placed {
    pub(super) fn follow(client: &Client, runtime: &Runtime) -> Placed {
        let _entered = runtime.enter();
        let shutdown = CancellationToken::new();
        let (sender, changed) = watch::channel(0);
        let has_node = |pod: &Arc<gantry_client::Entry<Pod>>| !pod.spec().node_name.is_empty();
        let pods = Cache::<Pod>::builder(client.clone())
            .on_change(move |change| {
                let came =
                    change.new.as_ref().is_some_and(has_node) && !change.old.as_ref().is_some_and(has_node);
                sender.send_modify(|placed| *placed += usize::from(came));
            })
            .spawn(shutdown.clone());
        Placed {
            pods,
            changed,
            shutdown,
        }
    }

    /// Waits until the watch has begun, so that no binding waits behind its list.
    pub(super) async fn listed(&self, pods: usize) -> anyhow::Result<()> {
        tokio::time::timeout(START_LIMIT, self.pods.synced())
            .await
            .context("the pods are not listed")?;
        let listed = self.pods.snapshot().len();
        anyhow::ensure!(listed == pods, "{listed} of {pods} pods are listed");
        Ok(())
    }

    pub(super) fn now(&self) -> usize {
        *self.changed.borrow()
    }

    pub(super) async fn count(&self, pods: usize) -> anyhow::Result<()> {
        let mut changed = self.changed.clone();
        tokio::time::timeout(BIND_LIMIT, changed.wait_for(|placed| *placed >= pods))
            .await
            .with_context(|| format!("{} of {pods} pods are bound", self.now()))??;
        Ok(())
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
