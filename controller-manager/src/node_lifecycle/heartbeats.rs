//! Signs of life, timed by this process's own clock: the node's clock may be wrong, and a renewal counts from
//! when we could have seen it. The clock is monotonic: when somebody sets the time, no node falls silent.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One entry for each node.
#[derive(Debug, Default)]
pub struct Heartbeats {
    by_node: Mutex<HashMap<String, Heartbeat>>,
}

#[derive(Clone, Debug, Default)]
struct Heartbeat {
    /// The lease's renewTime and the node's lastHeartbeatTime, in nanoseconds: only changes matter.
    lease: i128,
    status: i128,
    seen: Option<Instant>,
    /// No sign of it could be seen when it was last tried.
    blind: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Lease(i128),
    Status(i128),
}

impl Heartbeats {
    /// Takes note of a sign, which counts if it is another than the last of its sort. Returns whether the node
    /// had been silent for longer than `quiet`.
    pub fn note(&self, node: &str, sign: Sign, now: Instant, quiet: Duration) -> bool {
        let mut by_node = self.lock();
        let heartbeat = by_node.entry(node.into()).or_default();
        let last = match sign {
            Sign::Lease(_) => &mut heartbeat.lease,
            Sign::Status(_) => &mut heartbeat.status,
        };
        let (Sign::Lease(value) | Sign::Status(value)) = sign;
        if *last == value {
            return false;
        }
        *last = value;
        heartbeat.blind = false;
        let since = heartbeat.seen.replace(now);
        since.is_some_and(|since| now.saturating_duration_since(since) > quiet)
    }

    /// For how long there has been no sign. A node that is met for the first time has been heard just now.
    pub fn silence(&self, node: &str, now: Instant) -> Duration {
        let mut by_node = self.lock();
        let seen = *by_node.entry(node.into()).or_default().seen.get_or_insert(now);
        now.saturating_duration_since(seen)
    }

    /// We could not have seen a sign until now: the silence begins anew.
    pub fn was_blind(&self, node: &str, now: Instant) {
        let mut by_node = self.lock();
        let heartbeat = by_node.entry(node.into()).or_default();
        heartbeat.seen = Some(now);
        heartbeat.blind = true;
    }

    /// A sign would have been seen.
    pub fn can_see(&self, node: &str) {
        self.lock().entry(node.into()).or_default().blind = false;
    }

    pub fn is_blind(&self, node: &str) -> bool {
        self.lock().get(node).is_some_and(|heartbeat| heartbeat.blind)
    }

    pub fn forget(&self, node: &str) {
        self.lock().remove(node);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Heartbeat>> {
        // No code that holds the lock can panic half way through a change.
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_sign_ends_the_silence() {
        let start = crate::clock::monotonic();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let quiet = Duration::from_secs(40);
        let heartbeats = Heartbeats::default();
        assert_eq!(heartbeats.silence("n", at(0)), Duration::ZERO);
        assert_eq!(heartbeats.silence("n", at(10)), Duration::from_secs(10));
        assert!(!heartbeats.note("n", Sign::Lease(1), at(20), quiet));
        assert!(!heartbeats.note("n", Sign::Lease(1), at(30), quiet));
        assert_eq!(heartbeats.silence("n", at(50)), Duration::from_secs(30));
        heartbeats.was_blind("n", at(50));
        assert!(heartbeats.is_blind("n"));
        assert_eq!(heartbeats.silence("n", at(55)), Duration::from_secs(5));
        heartbeats.can_see("n");
        assert!(
            !heartbeats.is_blind("n"),
            "a look that finds nothing new is a look"
        );
        assert_eq!(heartbeats.silence("n", at(55)), Duration::from_secs(5));
        heartbeats.was_blind("n", at(50));
        assert!(heartbeats.note("n", Sign::Status(1), at(100), quiet));
        assert!(!heartbeats.is_blind("n"));
        assert_eq!(heartbeats.silence("n", at(100)), Duration::ZERO);
    }
}
