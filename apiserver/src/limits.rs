//! How much each client may ask of the server at once, so that one that floods does not starve another.
//!
//! Every request belongs to a lane by its user, and takes a seat while it is carried out. Each lane has seats that
//! nobody else gets: the administrator can always act, and the nodes and the control plane go on whatever users do.
//! The other seats are for whoever comes. Within a lane a free seat goes to the user who has fewest; requests that
//! wait are bounded in number and in time, and what is beyond is answered 429 TooManyRequests with the time after
//! which to ask again. Watches and other calls that last are counted for each user by themselves.
//!
//! The lanes have the names of Kubernetes' priority levels and flow schemas (KEP-1040, apiserver/pkg/apis/flowcontrol/
//! bootstrap/default.go), but they are fixed.

mod lane;
mod seats;
mod metrics;
mod gate;
mod layer;

pub use gate::Gate;
pub use layer::limit;

use std::time::Duration;

/// What a server allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Requests that are carried out at a time.
    pub seats: usize,
    /// Watches and other calls that last which one user may have open.
    pub lasting_calls: usize,
    /// Requests of one user that may wait.
    pub waiting: usize,
    /// How long a request may wait.
    pub patience: Duration,
    /// How long a request may keep its seat: until it is read and answered, and until a long reply is taken.
    pub request: Duration,
}

/// Kubernetes' --max-requests-inflight and --max-mutating-requests-inflight, whose sum is what priority and fairness
/// divides. On two cores etcd takes about 10,000 writes a second, so 600 at once wait a sixteenth of a second.
pub const DEFAULT_READS: usize = 400;
pub const DEFAULT_WRITES: usize = 200;
/// A component has a watch for each kind that it follows, fewer than 50. A thousand are 20 replicas of the busiest.
pub const DEFAULT_LASTING_CALLS: usize = 1000;
/// The fewest seats with which every lane has one.
pub const LEAST_SEATS: usize = lane::Lane::ALL.len();

impl Default for Config {
    fn default() -> Config {
        Config {
            seats: DEFAULT_READS + DEFAULT_WRITES,
            lasting_calls: DEFAULT_LASTING_CALLS,
            // As many as one connection carries, so that a burst of the controller-manager waits and is not refused.
            waiting: 1000,
            // A quarter of Kubernetes' request timeout, as there.
            patience: Duration::from_secs(15),
            // Kubernetes' --request-timeout.
            request: Duration::from_secs(60),
        }
    }
}
