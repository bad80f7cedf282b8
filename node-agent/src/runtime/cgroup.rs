//! The pods' cgroups: one per pod below the node's, in every hierarchy of cgroup v1 or in the one of v2.

use crate::pod::resources::{self, CPU_PERIOD, cpu_quota, cpu_shares};
use gantry_proto::core::v1::PodSpec;
use std::io;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Where the hierarchies are mounted.
#[derive(Clone, Debug)]
pub enum Hierarchies {
    /// A folder for each controller.
    V1(Vec<PathBuf>),
    V2(PathBuf),
}

impl Hierarchies {
    pub fn detect() -> Hierarchies {
        let root = Path::new(ROOT);
        if root.join("cgroup.controllers").exists() {
            return Hierarchies::V2(root.to_path_buf());
        }
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mounted = |path: &PathBuf| {
            path.join("cgroup.procs").exists() && path.symlink_metadata().is_ok_and(|m| m.is_dir())
        };
        Hierarchies::V1(entries.map(|entry| entry.path()).filter(mounted).collect())
    }

    fn folders(&self, cgroup: &str) -> Vec<PathBuf> {
        let below = cgroup.trim_start_matches('/');
        match self {
            Hierarchies::V1(roots) => roots.iter().map(|root| root.join(below)).collect(),
            Hierarchies::V2(root) => vec![root.join(below)],
        }
    }

    /// Makes a pod's cgroup with the sum of its containers' requests, and of their limits where each has one.
    pub fn make(&self, cgroup: &str, spec: &PodSpec) -> io::Result<()> {
        if let Hierarchies::V2(root) = self {
            delegate(root, cgroup)?;
        }
        for folder in self.folders(cgroup) {
            std::fs::create_dir_all(&folder)?;
            let is_cpuset = folder.starts_with(Path::new(ROOT).join("cpuset"));
            if is_cpuset {
                inherit_cpuset(&folder)?;
            }
        }
        let requests = resources::pod_sum(spec, resources::requests, false);
        let limits = resources::pod_sum(spec, resources::limits, true);
        match self {
            Hierarchies::V1(_) => {
                self.set(cgroup, "cpu.shares", cpu_shares(requests.cpu).to_string());
                if let Some(cpu) = limits.cpu {
                    self.set(cgroup, "cpu.cfs_period_us", CPU_PERIOD.to_string());
                    self.set(cgroup, "cpu.cfs_quota_us", cpu_quota(Some(cpu)).to_string());
                }
                if let Some(memory) = limits.memory {
                    self.set(cgroup, "memory.limit_in_bytes", memory.to_string());
                }
            }
            Hierarchies::V2(_) => {
                // The kubelet's linear map of 2..262144 shares to 1..10000 weight.
                let weight = 1 + (cpu_shares(requests.cpu) - 2) * 9999 / 262_142;
                self.set(cgroup, "cpu.weight", weight.to_string());
                if let Some(cpu) = limits.cpu {
                    self.set(
                        cgroup,
                        "cpu.max",
                        format!("{} {CPU_PERIOD}", cpu_quota(Some(cpu))),
                    );
                }
                if let Some(memory) = limits.memory {
                    self.set(cgroup, "memory.max", memory.to_string());
                }
            }
        }
        Ok(())
    }

    /// Writes a value where its file exists. A machine without the controller runs pods without the limit.
    fn set(&self, cgroup: &str, file: &str, value: String) {
        for path in self
            .folders(cgroup)
            .into_iter()
            .map(|folder| folder.join(file))
            .filter(|path| path.exists())
        {
            if let Err(error) = std::fs::write(&path, &value) {
                tracing::debug!(%error, path = %path.display(), value, "a cgroup value was not taken");
            }
        }
    }

    /// Removes a cgroup and those below it. Processes in it keep it; then it stays.
    pub fn remove(&self, cgroup: &str) {
        for folder in self.folders(cgroup) {
            remove_tree(&folder);
        }
    }

    /// Removes a cgroup itself, where nothing is below it any more.
    pub fn remove_empty(&self, cgroup: &str) {
        for folder in self.folders(cgroup) {
            let _ = std::fs::remove_dir(folder);
        }
    }

    /// The names of the cgroups directly below one.
    pub fn children(&self, cgroup: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .folders(cgroup)
            .into_iter()
            .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

fn remove_tree(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(folder);
}

/// A new v1 cpuset is empty, and a process cannot enter an empty one.
fn inherit_cpuset(folder: &Path) -> io::Result<()> {
    let Some(parent) = folder
        .parent()
        .filter(|parent| parent.starts_with(Path::new(ROOT).join("cpuset")))
    else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let Ok(own) = std::fs::read_to_string(folder.join(file)) else {
            continue;
        };
        if own.trim().is_empty() {
            inherit_cpuset(parent)?;
            let value = std::fs::read_to_string(parent.join(file))?;
            std::fs::write(folder.join(file), value.trim())?;
        }
    }
    Ok(())
}

/// Hands the controllers down to every cgroup above the pod's.
fn delegate(root: &Path, cgroup: &str) -> io::Result<()> {
    let mut folder = root.to_path_buf();
    for name in cgroup.trim_start_matches('/').split('/') {
        for controller in ["cpu", "memory", "pids", "cpuset", "io"] {
            // A controller that the machine has not is done without.
            let _ = std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        folder.push(name);
        std::fs::create_dir_all(&folder)?;
    }
    Ok(())
}
