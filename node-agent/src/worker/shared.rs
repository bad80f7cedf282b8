//! What all workers share, and how they are woken.

use crate::config::Config;
use crate::metrics::PodMetrics;
use crate::network::cni_spans::CniSpans;
use crate::node::machine::Machine;
use crate::pod::identity::field_path;
use crate::pod::observed::Observed;
use crate::references::References;
use crate::runtime::Runtime;
use crate::runtime::cgroup::Hierarchies;
use crate::runtime::sandbox_config::NodeFacts;
use gantry_client::{Cache, Client, EventType, Recorder};
use gantry_proto::Kind as _;
use gantry_proto::core::v1::{ObjectReference, Pod, Service};
use k8s_cri::v1 as cri;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub struct Shared {
    pub config: Arc<Config>,
    pub client: Client,
    pub runtime: Runtime,
    pub recorder: Recorder,
    pub references: References,
    pub pods: Cache<Pod>,
    pub services: Cache<Service>,
    pub metrics: PodMetrics,
    pub machine: Arc<Machine>,
    pub cgroups: Hierarchies,
    pub host_dns: cri::DnsConfig,
    pub host_ip: String,
    /// Sandboxes and containers being started at once: more would only wait for the same CPUs.
    pub starts: Semaphore,
    pub shutdown: CancellationToken,
    pub cni: CniSpans,
    /// Which pod a container or sandbox belongs to, by its id. Bounded by what the runtime has.
    pub uids: Mutex<HashMap<String, String>>,
    /// Ids that ended before a worker had seen them, the newest last.
    pub unclaimed: Mutex<VecDeque<String>>,
}

/// Ends that nobody has claimed: far more containers than can be starting at once.
const UNCLAIMED: usize = 1_000;

impl Shared {
    pub fn node_facts(&self, pod: &Pod) -> NodeFacts {
        let metadata = pod.metadata();
        let logs = self
            .config
            .log_dir(&metadata.namespace, &metadata.name, &metadata.uid);
        NodeFacts {
            node_name: self.config.node_name.clone(),
            log_directory: logs.to_string_lossy().into_owned(),
            cgroup_parent: self.config.cgroup_parent(),
            cluster_dns: self.config.cluster_dns.to_string(),
            cluster_domain: self.config.cluster_domain.clone(),
            host_dns: self.host_dns.clone(),
        }
    }

    /// Notes whose the ids are. Returns those that were said to have ended before this was known.
    pub fn index(&self, uid: &str, observed: &Observed) -> Vec<String> {
        let mut uids = lock(&self.uids);
        let ids = observed.instances().map(|instance| &instance.id);
        let ids = ids.chain(observed.sandboxes.iter().map(|sandbox| &sandbox.id));
        let new: Vec<&String> = ids.filter(|id| !uids.contains_key(*id)).collect();
        if !new.is_empty() {
            // What was removed since goes when something new comes, or the ids of restarts would pile up.
            uids.retain(|id, owner| owner != uid || observed.has(id));
        }
        uids.extend(new.iter().map(|id| (id.to_string(), uid.to_string())));
        let mut unclaimed = lock(&self.unclaimed);
        let ended: Vec<String> = new
            .into_iter()
            .filter(|id| unclaimed.contains(*id))
            .cloned()
            .collect();
        unclaimed.retain(|id| !ended.contains(id));
        ended
    }

    pub fn uid_of(&self, id: &str) -> Option<String> {
        lock(&self.uids).get(id).cloned()
    }

    /// Which pod a container or sandbox belongs to. One that no worker has seen yet is remembered to have
    /// ended, because a short container can end before its worker looks.
    pub fn uid_of_ended(&self, id: &str) -> Option<String> {
        // The lock is held for both, so that the id cannot become known in between.
        let uids = lock(&self.uids);
        let uid = uids.get(id).cloned();
        if uid.is_none() {
            let mut unclaimed = lock(&self.unclaimed);
            if unclaimed.len() >= UNCLAIMED {
                unclaimed.pop_front();
            }
            unclaimed.push_back(id.to_string());
        }
        uid
    }

    pub fn forget(&self, uid: &str) {
        lock(&self.uids).retain(|_, owner| owner != uid);
        self.cni.forget(uid);
    }

    pub fn tell_pod(&self, pod: &Pod, kind: EventType, reason: &str, message: String) {
        self.recorder
            .about_reference(reference(pod), kind, reason, message);
    }

    pub fn tell_container(&self, pod: &Pod, container: &str, kind: EventType, reason: &str, message: String) {
        let about = ObjectReference {
            field_path: field_path(pod.spec(), container),
            ..reference(pod)
        };
        self.recorder.about_reference(about, kind, reason, message);
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    let metadata = pod.metadata();
    ObjectReference {
        kind: Pod::KIND.into(),
        api_version: Pod::API_VERSION.into(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What wakes a worker, and the ids of what was said to have ended.
#[derive(Default)]
pub struct Ends {
    woken: Notify,
    ended: Mutex<BTreeSet<String>>,
    /// Containers whose end, if it was seen, must be read again.
    doubtful: Mutex<BTreeSet<String>>,
    /// What was seen of the runtime may not be so any more.
    stale: AtomicBool,
}

impl Ends {
    /// For what concerns the API: the runtime is not asked because of it.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// The runtime is to be asked anew.
    pub fn doubt_all(&self) {
        self.stale.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::AcqRel)
    }

    pub fn ended(&self, id: String) {
        lock(&self.ended).insert(id);
        self.wake();
    }

    pub fn doubt(&self, id: String) {
        lock(&self.doubtful).insert(id);
        self.wake();
    }

    pub(super) fn take_doubtful(&self) -> BTreeSet<String> {
        std::mem::take(&mut *lock(&self.doubtful))
    }

    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    pub(super) fn take_ended(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.ended)).into_iter().collect()
    }

    pub(super) fn put_back(&self, ids: Vec<String>) {
        lock(&self.ended).extend(ids);
    }
}
