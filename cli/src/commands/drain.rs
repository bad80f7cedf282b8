//! `gantry drain`: keeps new pods off nodes and has the pods that are there leave, as their disruption budgets allow.

use super::cordon::{self, Nodes};
use crate::cluster::{Object, Selection, shown};
use crate::drain::{self, Allowed, DaemonSet, Fate};
use crate::dry_run::{DryRun, DryRunOption};
use crate::failure::Failure;
use crate::follow;
use crate::go_text;
use crate::output::line;
use crate::session::{Connected, Session};
use crate::span::Span;
use anyhow::Result;
use futures::StreamExt as _;
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::DeleteOptions;
use gantry_proto::selector::Selector;
use gantry_proto::status::Reason;
use gantry_proto::{Key, Kind as _, KindInfo};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// kubectl's EvictErrorRetryDelay: a budget allows the next eviction when a pod has become ready elsewhere.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// Pods that are seen off at once. Each holds a watch open until its pod is gone; nodes have up to 110 pods.
const AT_ONCE: usize = 128;
/// The cause in a refusal to create anything in a namespace that is going away.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// Keep new pods off nodes, and have the pods that are there leave
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    nodes: Nodes,
    /// Also pods that no controller makes anew
    #[arg(long)]
    force: bool,
    /// Leave pods of DaemonSets where they are
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Also pods with emptyDir volumes, whose content is lost
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Seconds that each pod has to end; below 0 for its own choice
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// The longest to take for a node, such as 5m; 0 for no limit
    #[arg(long, default_value = "0s")]
    timeout: Span,
    /// Only pods whose labels match
    #[arg(long, value_name = "LABELS", default_value = "")]
    pod_selector: String,
    /// Delete pods whatever their disruption budgets say
    #[arg(long)]
    disable_eviction: bool,
    /// Do not wait for pods that have been ending for more seconds than this; 0 to wait for all
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    skip_wait_for_delete_timeout: u64,
    /// Objects to a list call; 0 for all in one
    #[arg(long, default_value_t = 500)]
    chunk_size: i64,
    #[command(flatten)]
    dry_run: DryRunOption,
}

impl Arguments {
    fn allowed(&self) -> Allowed {
        let skip = self.skip_wait_for_delete_timeout;
        Allowed {
            unmanaged: self.force,
            daemon_sets: self.ignore_daemonsets,
            empty_dirs: self.delete_emptydir_data,
            skip_ending_for: (skip > 0).then(|| Duration::from_secs(skip)),
        }
    }

    fn delete_options(&self) -> DeleteOptions {
        DeleteOptions {
            grace_period_seconds: (self.grace_period >= 0).then_some(self.grace_period),
            dry_run: match self.dry_run.dry_run.is_server() {
                true => vec!["All".into()],
                false => Vec::new(),
            },
            ..DeleteOptions::default()
        }
    }
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    if Selector::parse(&arguments.pod_selector).is_err() {
        return Err(Failure::message("--pod-selector=<pod_selector> must be a valid label selector").into());
    }
    let connected = session.connect()?;
    let (nodes, mut failed) = arguments.nodes.read("drain", &connected).await?;
    let dry_run = arguments.dry_run.dry_run;
    cordon::set(&nodes, true, dry_run, &connected, &mut failed).await?;
    let mut pending = Vec::new();
    let mut problems = Vec::new();
    for node in &nodes {
        let name = &node.metadata.name;
        match drain(node, &arguments, &connected).await {
            Ok(()) => line(format_args!("{} drained{}", node.shown(), dry_run.note())),
            Err(problem) => {
                eprintln!(
                    "error: unable to drain node {} due to error: {}, continuing command...",
                    go_text::quoted(name),
                    problem.text()
                );
                pending.push(name);
                problems.push(problem);
            }
        }
    }
    if !pending.is_empty() {
        eprintln!("There are pending nodes to be drained:");
        pending.iter().for_each(|name| eprintln!(" {name}"));
    }
    let texts: Vec<String> = problems.iter().map(Failure::text).collect();
    match (&texts[..], problems.into_iter().next()) {
        ([], _) if failed => Err(Failure::Said.into()),
        ([], _) | (_, None) => Ok(()),
        ([_], Some(problem)) => Err(problem.into()),
        (many, Some(_)) => Err(Failure::message(format!("[{}]", many.join(", "))).into()),
    }
}

async fn drain(node: &Object, arguments: &Arguments, connected: &Connected) -> Result<(), Failure> {
    let name = &node.metadata.name;
    let fates = fates(name, arguments, connected).await?;
    let (warnings, forbidden) = drain::told(&fates);
    if let Some(why) = forbidden {
        return Err(Failure::message(why));
    }
    if !warnings.is_empty() {
        eprintln!("Warning: {warnings}");
    }
    let pods = drain::leaving(fates);
    if arguments.dry_run.dry_run.is_client() {
        for pod in &pods {
            line(format_args!("evicting pod {} (dry run)", pod.key()));
        }
        return Ok(());
    }
    let Err(problem) = see_off(pods, arguments, connected).await else {
        return Ok(());
    };
    let left = fates_left(name, arguments, connected).await;
    if !left.is_empty() {
        eprintln!(
            "There are pending pods in node {} when an error occurred: {}",
            go_text::quoted(name),
            problem.text()
        );
        left.iter()
            .for_each(|pod| eprintln!("pod/{}", pod.metadata().name));
    }
    Err(problem)
}

async fn fates_left(node: &str, arguments: &Arguments, connected: &Connected) -> Vec<Pod> {
    match fates(node, arguments, connected).await {
        Ok(fates) => drain::leaving(fates),
        Err(failure) => {
            eprintln!(
                "Following errors occurred while getting the list of pods to delete:\n{}",
                failure.text()
            );
            Vec::new()
        }
    }
}

/// The node's pods, and what is to become of each.
async fn fates(
    node: &str,
    arguments: &Arguments,
    connected: &Connected,
) -> Result<Vec<(Pod, Fate)>, Failure> {
    let selection = Selection {
        namespace: String::new(),
        labels: arguments.pod_selector.clone(),
        fields: format!("spec.nodeName={node}"),
    };
    let cluster = &connected.cluster;
    let (objects, _) = cluster
        .list_in_chunks(Pod::INFO, &selection, arguments.chunk_size.max(0))
        .await?;
    #[allow(clippy::disallowed_methods, reason = "a command runs at one time: now")]
    let now = SystemTime::now();
    let mut fates = Vec::new();
    for object in &objects {
        let pod: Pod = object.decode()?;
        let daemon_set = look_for_daemon_set(&pod, connected).await;
        let fate = drain::fate(&pod, &daemon_set, arguments.allowed(), now);
        fates.push((pod, fate));
    }
    Ok(fates)
}

/// Whether the DaemonSet that a pod names is there. Where the server has no such kind, the pod's word is taken.
async fn look_for_daemon_set(pod: &Pod, connected: &Connected) -> DaemonSet {
    let Some(owner) = drain::daemon_set(pod) else {
        return DaemonSet::NotOne;
    };
    let Some(kind) = KindInfo::of_object(&owner.api_version, &owner.kind) else {
        return DaemonSet::There;
    };
    let key = Key::new(&pod.metadata().namespace, &owner.name);
    match connected.cluster.get(kind, &key).await {
        Ok(_) => DaemonSet::There,
        Err(failure) if failure.is_not_found() => DaemonSet::Missing(failure.text()),
        Err(failure) => DaemonSet::Unknown(failure.text()),
    }
}

/// Has all pods leave at once, each as soon as it may, and waits until they are gone.
async fn see_off(pods: Vec<Pod>, arguments: &Arguments, connected: &Connected) -> Result<(), Failure> {
    let deadline = match arguments.timeout.0 {
        Duration::ZERO => None,
        limit => Some(Instant::now() + limit),
    };
    let departure = |pod: Pod| async move { depart(pod, arguments, deadline, connected).await };
    let problems: Vec<Failure> = futures::stream::iter(pods)
        .map(departure)
        .buffer_unordered(AT_ONCE)
        .filter_map(async |result: Result<(), Failure>| result.err())
        .collect()
        .await;
    let texts: Vec<String> = problems.iter().map(Failure::text).collect();
    match problems.into_iter().next() {
        None => Ok(()),
        Some(problem) if texts.len() == 1 => Err(problem),
        Some(Failure::TimedOut(_)) => Err(Failure::TimedOut(format!("[{}]", texts.join(", ")))),
        Some(_) => Err(Failure::message(format!("[{}]", texts.join(", ")))),
    }
}

async fn depart(
    pod: Pod,
    arguments: &Arguments,
    deadline: Option<Instant>,
    connected: &Connected,
) -> Result<(), Failure> {
    let key = pod.key();
    let name = format!(
        "pods/{} -n {}",
        go_text::quoted(&key.name),
        go_text::quoted(&key.namespace)
    );
    let limit = Span(arguments.timeout.0);
    let uid = match arguments.disable_eviction {
        true => match connected
            .cluster
            .delete(Pod::INFO, &key, arguments.delete_options())
            .await
        {
            Ok(_) => pod.metadata().uid.clone(),
            Err(failure) if failure.is_not_found() => return Ok(()),
            Err(failure) => return Err(failure),
        },
        false => match evict(&pod, &name, arguments, deadline, connected).await? {
            Some(uid) => uid,
            None => return Ok(()),
        },
    };
    if arguments.dry_run.dry_run == DryRun::Server {
        return Ok(());
    }
    let operation = if arguments.disable_eviction {
        "deleted"
    } else {
        "evicted"
    };
    let allowed = arguments.allowed();
    let mut skipped = false;
    let gone = follow::until(&connected.cluster, Pod::INFO, &key, |object| {
        let Some(object) = object.filter(|object| object.metadata.uid == uid) else {
            return Ok(true);
        };
        #[allow(clippy::disallowed_methods, reason = "a command runs at one time: now")]
        let now = SystemTime::now();
        skipped = drain::is_skipped(&object.decode()?, allowed, now);
        Ok(skipped)
    });
    let left = deadline.map_or(Duration::ZERO, |deadline| {
        // A limit of nothing would be none.
        deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    });
    follow::within(left, gone, || {
        format!(
            "error when waiting for pod {} in namespace {} to terminate: global timeout reached: {limit}",
            go_text::quoted(&key.name),
            go_text::quoted(&key.namespace)
        )
    })
    .await?;
    match skipped {
        true => line(format_args!(
            "pod {} has DeletionTimestamp older than {} seconds, skipping",
            go_text::quoted(&key.name),
            arguments.skip_wait_for_delete_timeout
        )),
        false => line(format_args!("{} {operation}", shown(Pod::INFO, &key.name))),
    }
    Ok(())
}

/// Asks until the eviction is granted. Returns the uid of the pod that goes; none where it is gone already.
async fn evict(
    pod: &Pod,
    name: &str,
    arguments: &Arguments,
    deadline: Option<Instant>,
    connected: &Connected,
) -> Result<Option<String>, Failure> {
    let key = pod.key();
    let mut metadata = pod.metadata().clone();
    loop {
        let note = arguments.dry_run.dry_run.note();
        line(format_args!("evicting pod {key}{note}"));
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Failure::TimedOut(format!(
                "error when evicting {name}: global timeout reached: {}",
                arguments.timeout
            )));
        }
        let failure = match connected.cluster.evict(&key, arguments.delete_options()).await {
            Ok(()) => return Ok(Some(metadata.uid)),
            Err(failure) if failure.is_not_found() => return Ok(None),
            Err(failure) => failure,
        };
        if failure.reason() == Reason::TooManyRequests {
            eprintln!(
                "error when evicting {name} (will retry after 5s): {}",
                failure.text()
            );
        } else if failure.reason() == Reason::Forbidden && failure.has_cause(NAMESPACE_TERMINATING) {
            // No eviction is granted in a namespace that is going away; its pods are deleted with it.
            if metadata.deletion_timestamp.is_some() {
                return Ok(Some(metadata.uid));
            }
            eprintln!(
                "error when evicting pod {} from terminating namespace {} (will retry after 5s): {}",
                go_text::quoted(&key.name),
                go_text::quoted(&key.namespace),
                failure.text()
            );
        } else {
            return Err(failure.renamed(|text| format!("error when evicting {name}: {text}")));
        }
        tokio::time::sleep(RETRY_DELAY).await;
        if let Ok(fresh) = connected.cluster.get(Pod::INFO, &key).await {
            metadata = fresh.metadata;
        }
    }
}
