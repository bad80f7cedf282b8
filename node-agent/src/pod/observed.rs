//! What the runtime has of a pod.

use crate::metrics::Containers;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// A pod's sandboxes and containers, as they were listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// By container name; newest first.
    pub containers: BTreeMap<String, Vec<Instance>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created_at: SystemTime,
    pub ips: Vec<String>,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    pub id: String,
    pub name: String,
    pub sandbox_id: String,
    /// How often the container had been started before.
    pub attempt: u32,
    /// Of the container's spec when it was created.
    pub hash: String,
    pub image: String,
    pub image_id: String,
    pub created_at: SystemTime,
    pub state: State,
    pub log_path: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Created and not started: left over by an agent that ended in between, or about to start.
    Created,
    Running {
        started_at: SystemTime,
    },
    Exited(Exit),
    /// The runtime has lost track of it; it may still run.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    pub started_at: Option<SystemTime>,
    pub finished_at: SystemTime,
    pub code: i32,
    pub reason: String,
    pub message: String,
}

impl Observed {
    /// For the metrics.
    pub fn containers_by_state(&self) -> Containers {
        let mut containers = Containers::default();
        for instance in self.containers.values().flatten() {
            *match instance.state {
                State::Created => &mut containers.created,
                State::Running { .. } => &mut containers.running,
                State::Exited(_) => &mut containers.exited,
                State::Unknown => &mut containers.unknown,
            } += 1;
        }
        containers
    }

    /// The newest sandbox, where it is ready.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    pub fn latest(&self, container: &str) -> Option<&Instance> {
        self.containers.get(container)?.first()
    }

    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.containers.values().flatten()
    }

    /// Whether a container or sandbox has this id.
    pub fn has(&self, id: &str) -> bool {
        self.instances().any(|instance| instance.id == id)
            || self.sandboxes.iter().any(|sandbox| sandbox.id == id)
    }

    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }
}

impl Instance {
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Whether a process of it may exist.
    pub fn may_run(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Unknown)
    }

    pub fn succeeded(&self) -> bool {
        self.exit().is_some_and(|exit| exit.code == 0)
    }
}
