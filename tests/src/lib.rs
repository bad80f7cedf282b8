//! Whole clusters for tests: real etcd, real containerd, our own binaries as separate processes, in network
//! namespaces that the test makes.

pub mod cluster;
pub mod docker;
pub mod network;
pub mod process;
pub mod load;
pub mod traces;

use std::time::{Duration, Instant};

/// Waits until `check` gives a value, looking again every so often, and fails with what it waited for and
/// the last thing that was in the way.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut check: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match check() {
            Ok(value) => return value,
            Err(why) if start.elapsed() > within => panic!("{what}: not within {within:?}: {why}"),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// How often a condition is looked at: short beside any wait, long beside a look's cost.
const LOOK_EVERY: Duration = Duration::from_millis(100);
