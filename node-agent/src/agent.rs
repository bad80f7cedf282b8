//! The agent as a whole: what runs side by side, and which pod gets which task.

use crate::clock::now;
use crate::config::Config;
use crate::image;
use crate::leftovers;
use crate::metrics::PodMetrics;
use crate::network::cni_spans::{self, CniSpans};
use crate::network::{self, Range, cni, masquerade, routes};
use crate::node::heartbeat::Heartbeat;
use crate::node::machine::Machine;
use crate::references::References;
use crate::runtime::cgroup::Hierarchies;
use crate::runtime::events::{self, RuntimeEvent};
use crate::runtime::sandbox_config::parse_resolv_conf;
use crate::runtime::{self, Runtime, labels};
use crate::server::{self, log_rotation};
use crate::worker::{Ends, Shared, Worker};
use anyhow::Context as _;
use futures::FutureExt as _;
use gantry_client::{Cache, Client, Entry, Recorder, WorkQueue};
use gantry_proto::Key;
use gantry_proto::core::v1::{Node, Pod, Service};
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;
use gantry_telemetry::trace;
use k8s_cri::v1 as cri;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Routes and the CNI configuration are checked this often, and at once when a Node changes.
const NETWORK_EVERY: Duration = Duration::from_secs(60);
const NETWORK_AGAIN: Duration = Duration::from_secs(1);
/// Starts at once per CPU: runc and CNI plugins wait for the kernel as often as they compute.
const STARTS_PER_CPU: usize = 4;
/// The runtime is waited for this long at the start before the wait is logged.
const RUNTIME_AGAIN: Duration = Duration::from_millis(500);
/// Tasks that still write a status when the process is told to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// A pod's task that panicked begins anew after this.
const AFTER_PANIC: Duration = Duration::from_secs(10);

type Tasks = Mutex<HashMap<String, Task>>;

struct Task {
    key: Key,
    signals: Arc<Ends>,
}

/// Runs until `shutdown`. Containers keep running afterwards; the next agent finds them.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    anyhow::ensure!(!config.node_name.is_empty(), "--node-name is needed");
    let config = Arc::new(config);
    std::fs::create_dir_all(&config.root_dir)
        .with_context(|| format!("making {}", config.root_dir.display()))?;
    let kubeconfig = config.kubeconfig.as_deref().context("--kubeconfig is required")?;
    let client_config = gantry_client::Config::load(kubeconfig)
        .with_context(|| format!("loading --kubeconfig {}", kubeconfig.display()))?;
    leftovers::remove_imports(&config.root_dir).context("removing what interrupted imports left")?;
    let registry = Registry::new();
    let client_config = client_config
        .with_trace(trace::current_traceparent)
        .with_observer(gantry_telemetry::metrics::rest_client::observer(&registry));
    let client = Client::new(client_config)?;
    let runtime = Runtime::connect(&config.containerd)?;
    let Some(()) = shutdown
        .run_until_cancelled(prepare(&config, &runtime))
        .await
        .transpose()?
    else {
        return Ok(());
    };

    let machine = Arc::new(Machine::read(&config.root_dir));
    let queue: WorkQueue<Key> = WorkQueue::new();
    let node_changed = Arc::new(Notify::new());
    let own_node_changed = Arc::new(Notify::new());
    let (woken, changed) = (queue.clone(), node_changed.clone());
    let (own_name, own_changed) = (config.node_name.clone(), own_node_changed.clone());
    let pods = Cache::<Pod>::builder(client.clone())
        .field_selector(format!("spec.nodeName={}", config.node_name))
        .on_change(move |change| woken.add(change.key.clone()))
        .spawn(shutdown.clone());
    let services = Cache::<Service>::builder(client.clone()).spawn(shutdown.clone());
    let nodes = Cache::<Node>::builder(client.clone())
        .on_change(move |change| {
            changed.notify_one();
            if change.key.name == own_name {
                own_changed.notify_one();
            }
        })
        .spawn(shutdown.clone());
    let shared = Arc::new(Shared {
        recorder: Recorder::spawn(client.clone(), "kubelet", Some(config.node_name.clone())),
        references: References::new(client.clone()),
        cgroups: Hierarchies::detect(),
        host_dns: parse_resolv_conf(&std::fs::read_to_string(&config.resolv_conf).unwrap_or_default()),
        host_ip: config.node_ip.to_string(),
        starts: Semaphore::new(STARTS_PER_CPU * usize::try_from(machine.cpus).unwrap_or(1)),
        cni: CniSpans::default(),
        uids: Mutex::default(),
        unclaimed: Mutex::default(),
        shutdown: shutdown.clone(),
        metrics: PodMetrics::default(),
        machine: machine.clone(),
        config: config.clone(),
        client: client.clone(),
        runtime: runtime.clone(),
        pods: pods.clone(),
        services: services.clone(),
    });

    let running = TaskTracker::new();
    let network_problem = Arc::new(Mutex::new(Some("the node has no pod CIDR yet".to_string())));
    let heartbeat = Arc::new(Heartbeat {
        client,
        runtime: runtime.clone(),
        config: config.clone(),
        machine,
        network_problem: network_problem.clone(),
        nodes: nodes.clone(),
        changed: own_node_changed,
    });
    let (status, lease) = (heartbeat.clone(), heartbeat);
    let token = shutdown.clone();
    running.spawn(async move { status.keep_status(token).await });
    let token = shutdown.clone();
    running.spawn(async move { lease.keep_lease(token).await });
    running.spawn(keep_network(
        config.clone(),
        nodes,
        node_changed,
        network_problem,
        shutdown.clone(),
    ));
    running.spawn(shared.cni.clone().listen(shutdown.clone()));
    running.spawn(log_rotation::keep_logs_small(shared.clone()));
    let health = Health::new();
    shared.metrics.register(&registry, &shared.config.node_name);
    runtime.metrics().register(&registry);
    let cache = pods.clone();
    health.check("pods", move || {
        if cache.is_synced() {
            Ok(())
        } else {
            Err("pods are not listed yet".into())
        }
    });
    let serving = server::serve(shared.clone(), registry, health);
    let failed = shutdown.clone();
    let server = running.spawn(async move {
        let outcome = serving.await;
        failed.cancel();
        outcome
    });

    supervise(&shared, &queue, &running).await;
    running.close();
    // Whoever still waits for the apiserver is cut off: the status is written again by the next agent.
    let _ = tokio::time::timeout(DRAIN_LIMIT, running.wait()).await;
    if server.is_finished() {
        server.await?
    } else {
        Ok(())
    }
}

/// Waits for the runtime, and gives it our sandbox image.
async fn prepare(config: &Config, runtime: &Runtime) -> anyhow::Result<()> {
    let mut is_told = false;
    while let Err(error) = runtime.version().await {
        if !is_told {
            tracing::warn!(path = %config.containerd.display(), %error, "waiting for the container runtime");
            is_told = true;
        }
        tokio::time::sleep(RUNTIME_AGAIN).await;
    }
    let missing = cni::missing_plugins(&config.cni_bin_dir);
    anyhow::ensure!(
        missing.is_empty(),
        "{} has no CNI plugin {}: install Debian's package containernetworking-plugins, or name their folder with --cni-bin-dir",
        config.cni_bin_dir.display(),
        missing.join(", ")
    );
    cni_spans::install(&config.cni_bin_dir);
    if let Some(archive) = &config.pause_image {
        #[allow(clippy::disallowed_methods, reason = "a name that no other import has")]
        let name = format!("gantry-pause-{:016x}", rand::random::<u64>());
        let names = image::import::import(runtime, archive, &name, now()).await;
        let names = names.with_context(|| format!("importing --pause-image {}", archive.display()))?;
        tracing::info!(images = ?names, "the sandbox image is in place");
    }
    Ok(())
}

/// Gives each pod a task, and wakes it when something happened, until shutdown.
async fn supervise(shared: &Arc<Shared>, queue: &WorkQueue<Key>, running: &TaskTracker) {
    let shutdown = shared.shutdown.clone();
    if shutdown
        .run_until_cancelled(async { tokio::join!(shared.pods.synced(), shared.services.synced()) })
        .await
        .is_none()
    {
        return;
    }
    let tasks: Arc<Tasks> = Arc::default();
    // A pod whose task was missed would never start: each is looked at once.
    shared
        .pods
        .snapshot()
        .keys()
        .for_each(|key| queue.add(key.clone()));
    if let Some(orphans) = shutdown.run_until_cancelled(orphans(shared)).await {
        for orphan in orphans {
            let metadata = orphan.metadata();
            let object = format_args!("pods/{}/{}", metadata.namespace, metadata.name);
            tracing::info!(object, "the pod is gone from the API; ending it");
            begin(shared, queue, &tasks, running, orphan, true);
        }
    }
    let (woken, all) = (shared.clone(), tasks.clone());
    let wake = move |event: RuntimeEvent| {
        let tasks = all.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            RuntimeEvent::Exited(id) => {
                if let Some(task) = woken.uid_of_ended(&id).and_then(|uid| tasks.get(&uid)) {
                    task.signals.ended(id);
                }
            }
            RuntimeEvent::OutOfMemory(id) => {
                if let Some(task) = woken.uid_of(&id).and_then(|uid| tasks.get(&uid)) {
                    task.signals.doubt(id);
                }
            }
            RuntimeEvent::Resynced => tasks.values().for_each(|task| task.signals.doubt_all()),
        }
    };
    running.spawn(events::follow(shared.runtime.clone(), shutdown.clone(), wake));
    while let Some(Some(key)) = shutdown.run_until_cancelled(queue.next()).await {
        queue.done(&key);
        if let Some(pod) = shared.pods.get(&key) {
            begin(shared, queue, &tasks, running, pod, false);
        }
        let tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks
            .values()
            .filter(|task| task.key == key)
            .for_each(|task| task.signals.wake());
    }
}

fn begin(
    shared: &Arc<Shared>,
    queue: &WorkQueue<Key>,
    tasks: &Arc<Tasks>,
    running: &TaskTracker,
    pod: Arc<Entry<Pod>>,
    is_gone: bool,
) {
    let (uid, metadata) = (pod.metadata().uid.clone(), pod.metadata());
    let key = Key::new(&metadata.namespace, &metadata.name);
    let signals = Arc::new(Ends::default());
    {
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.contains_key(&uid) {
            return;
        }
        tasks.insert(
            uid.clone(),
            Task {
                key: key.clone(),
                signals: signals.clone(),
            },
        );
    }
    let worker = Worker::new(shared.clone(), pod, signals, is_gone);
    let (tasks, queue) = (tasks.clone(), queue.clone());
    running.spawn(async move {
        let outcome = AssertUnwindSafe(worker.run()).catch_unwind().await;
        if outcome.is_err() {
            // A mistake that one pod brought to light must not leave that pod without an agent.
            tracing::error!(
                object = format_args!("pods/{key}"),
                "the pod's task panicked; it begins anew"
            );
            tokio::time::sleep(AFTER_PANIC).await;
        }
        tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        if outcome.is_err() {
            queue.add(key);
        }
    });
}

/// Pods that this node has something of and the API has not: containers, or files that an agent which was
/// killed, or a machine that was switched off, left behind.
async fn orphans(shared: &Shared) -> Vec<Arc<Entry<Pod>>> {
    let sandboxes = loop {
        match own_sandboxes(shared).await {
            Ok(sandboxes) => break sandboxes,
            Err(error) => {
                tracing::warn!(%error, "listing the sandboxes failed");
                tokio::time::sleep(RUNTIME_AGAIN).await;
            }
        }
    };
    let left = sandboxes.into_iter().map(of_sandbox);
    let left = left.chain(leftovers::pods(&shared.config.root_dir));
    let known = shared.pods.snapshot();
    let mut orphans: HashMap<String, Arc<Entry<Pod>>> = HashMap::new();
    for pod in left.filter(|pod| {
        known
            .values()
            .all(|other| other.metadata().uid != pod.metadata().uid)
    }) {
        let entry = Entry {
            object: pod,
            revision: 0,
            cause: None,
        };
        orphans
            .entry(entry.metadata().uid.clone())
            .or_insert_with(|| Arc::new(entry));
    }
    orphans.into_values().collect()
}

async fn own_sandboxes(shared: &Shared) -> runtime::Result<Vec<cri::PodSandbox>> {
    let ours: HashMap<String, String> =
        [(labels::NODE_NAME.to_string(), shared.config.node_name.clone())].into();
    let filter = cri::PodSandboxFilter {
        label_selector: ours,
        ..cri::PodSandboxFilter::default()
    };
    shared.runtime.sandboxes(Some(filter)).await
}

/// All that is known of such a pod is on its sandbox.
fn of_sandbox(sandbox: cri::PodSandbox) -> Pod {
    let metadata = sandbox.metadata.unwrap_or_default();
    let mut pod = Pod::default();
    (pod.metadata_mut().namespace, pod.metadata_mut().name) = (metadata.namespace, metadata.name);
    pod.metadata_mut().uid = metadata.uid;
    let grace = sandbox
        .annotations
        .get(labels::GRACE_PERIOD)
        .and_then(|text| text.parse().ok());
    pod.spec_mut().termination_grace_period_seconds = grace;
    pod
}

async fn keep_network(
    config: Arc<Config>,
    nodes: Cache<Node>,
    changed: Arc<Notify>,
    problem: Arc<Mutex<Option<String>>>,
    shutdown: CancellationToken,
) {
    let mut masqueraded = None;
    loop {
        let outcome = make_network(&config, &nodes, &mut masqueraded).await;
        let now_wrong = outcome.as_ref().err().map(|error| format!("{error:#}"));
        {
            let mut problem = problem.lock().unwrap_or_else(PoisonError::into_inner);
            if now_wrong.is_some() && *problem != now_wrong {
                tracing::warn!(reason = now_wrong, "the network is not ready");
            }
            *problem = now_wrong;
        }
        let pause = if outcome.is_ok() {
            NETWORK_EVERY
        } else {
            NETWORK_AGAIN
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = changed.notified() => {}
            () = tokio::time::sleep(pause) => {
                // Whoever reloads a firewall flushes our rules with theirs.
                masqueraded = None;
            }
        }
    }
}

async fn make_network(
    config: &Config,
    nodes: &Cache<Node>,
    masqueraded: &mut Option<Range>,
) -> anyhow::Result<()> {
    let all = nodes.snapshot();
    let own = all
        .get(&Key::cluster(&config.node_name))
        .context("the node is not registered yet")?;
    let range = Range::parse(&own.spec().pod_cidr).context("the node has no pod CIDR yet")?;
    let cluster = Range::parse(&config.cluster_cidr).context("--cluster-cidr is not an IPv4 range")?;
    network::set_kernel_switches().context("switching forwarding on")?;
    if *masqueraded != Some(range) {
        masquerade::apply(&masquerade::ruleset(range, cluster)).await?;
        *masqueraded = Some(range);
    }
    let named = |plugin: &str| cni_spans::plugin_name(&config.cni_bin_dir, plugin);
    let conflist = cni::conflist(
        &config.bridge,
        config.mtu,
        range,
        &config.root_dir.join("cni"),
        named,
    );
    cni::write(&config.cni_conf_dir, &conflist).context("writing the CNI configuration")?;
    let own_ip = network::v4(config.node_ip).context("--node-ip is not an IPv4 address")?;
    let wanted = routes::wanted(&config.node_name, own_ip, all.values().map(|entry| &entry.object));
    if routes::Table::open()?.make(&wanted).await? {
        tracing::info!(count = wanted.len(), "routes to other nodes' pods changed");
    }
    Ok(())
}
