//! Which old runs of containers and old sandboxes may go.

use crate::pod::observed::{Observed, State};

/// The latest run, and the one before for `logs --previous` and `lastState`.
const KEPT_RUNS: usize = 2;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Garbage {
    pub container_ids: Vec<String>,
    /// Log files of those containers.
    pub log_paths: Vec<String>,
    /// Names and attempts of those containers, by which their other files are known.
    pub runs: Vec<(String, u32)>,
    pub sandbox_ids: Vec<String>,
}

impl Garbage {
    pub fn is_empty(&self) -> bool {
        self.container_ids.is_empty() && self.sandbox_ids.is_empty()
    }
}

pub fn garbage(observed: &Observed) -> Garbage {
    let mut garbage = Garbage::default();
    let mut kept_sandboxes: Vec<&str> = observed.sandboxes.iter().take(1).map(|s| s.id.as_str()).collect();
    for runs in observed.containers.values() {
        for (position, run) in runs.iter().enumerate() {
            if position < KEPT_RUNS || !matches!(run.state, State::Exited(_)) {
                kept_sandboxes.push(&run.sandbox_id);
            } else {
                garbage.container_ids.push(run.id.clone());
                garbage.log_paths.push(run.log_path.clone());
                garbage.runs.push((run.name.clone(), run.attempt));
            }
        }
    }
    garbage.sandbox_ids = observed
        .sandboxes
        .iter()
        .filter(|sandbox| !sandbox.ready && !kept_sandboxes.contains(&sandbox.id.as_str()))
        .map(|sandbox| sandbox.id.clone())
        .collect();
    garbage
}
