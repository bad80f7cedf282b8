//! What the agent remembers of a pod and the runtime does not know. Lost when the agent restarts, which
//! costs nothing but shorter waits.

use crate::pod::back_off::BackOff;
use crate::pod::identity::container_hash;
use crate::pod::probe::Probes;
use gantry_proto::core::v1::PodSpec;
use std::collections::BTreeMap;
use std::time::SystemTime;

#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub volumes: Volumes,
    pub sandbox_failure: Option<Failure>,
    pub containers: BTreeMap<String, ContainerMemory>,
    /// When the deletion was first seen: the grace period is counted from here, by this machine's clock.
    pub deleting_since: Option<SystemTime>,
    /// Why the agent ended the pod, where it did.
    pub ended: Option<Ended>,
    /// Sandboxes, volumes and cgroups are gone.
    pub clean: bool,
    /// The API was told to delete the pod. A finalizer may still hold it.
    pub deleted: bool,
    /// Volumes of a finished pod are gone, its containers are kept for their logs.
    pub released: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Volumes {
    #[default]
    Pending,
    Ready,
    Failed(Failure),
}

/// A step that failed and when to try it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub message: String,
    pub failures: u32,
    pub retry_at: SystemTime,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Debug, Default)]
pub struct ContainerMemory {
    /// Of the definition that the rest is about.
    pub hash: String,
    pub restarts: BackOff,
    pub pulls: BackOff,
    pub start_failure: Option<StartFailure>,
    pub probes: Option<Probes>,
    /// The run that the agent stopped itself.
    pub stopped: Option<String>,
    /// The run whose end nobody asked for was noted.
    pub died: Option<String>,
}

/// Why a container could not be started, in the words of a waiting state.
#[derive(Clone, Debug, PartialEq)]
pub struct StartFailure {
    pub reason: &'static str,
    pub message: String,
    pub failed_at: SystemTime,
    pub retry_at: SystemTime,
}

impl Memory {
    /// Forgets the failures of containers whose definition has changed: the new one has not failed yet.
    pub fn follow(&mut self, spec: &PodSpec) {
        for container in spec.init_containers.iter().chain(&spec.containers) {
            let (memory, hash) = (self.container_mut(&container.name), container_hash(container));
            if memory.hash != hash {
                *memory = ContainerMemory {
                    hash,
                    probes: memory.probes.take(),
                    stopped: memory.stopped.take(),
                    died: memory.died.take(),
                    ..ContainerMemory::NEW
                };
            }
        }
    }

    pub fn container(&self, name: &str) -> &ContainerMemory {
        static NOTHING: ContainerMemory = ContainerMemory::NEW;
        self.containers.get(name).unwrap_or(&NOTHING)
    }

    pub fn container_mut(&mut self, name: &str) -> &mut ContainerMemory {
        self.containers.entry(name.to_string()).or_default()
    }
}

impl ContainerMemory {
    const NEW: ContainerMemory = ContainerMemory {
        hash: String::new(),
        restarts: BackOff::NEW,
        pulls: BackOff::NEW,
        start_failure: None,
        probes: None,
        stopped: None,
        died: None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::core::v1::Container;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_new_image_does_not_wait_for_the_old_ones_failures() {
        let spec = |image: &str| PodSpec {
            containers: vec![Container {
                name: "c".into(),
                image: image.into(),
                ..Container::default()
            }],
            ..PodSpec::default()
        };
        let mut memory = Memory::default();
        memory.follow(&spec("a:1"));
        memory.container_mut("c").start_failure = Some(StartFailure {
            reason: "ErrImagePull",
            message: String::new(),
            failed_at: UNIX_EPOCH,
            retry_at: UNIX_EPOCH,
        });
        memory.follow(&spec("a:1"));
        assert!(memory.container("c").start_failure.is_some());
        memory.follow(&spec("a:2"));
        assert!(memory.container("c").start_failure.is_none());
    }
}
