//! The one place that reads the clock; everything that decides gets the time as an argument.

use std::time::{Instant, SystemTime};

#[allow(clippy::disallowed_methods)]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// How long things took, whatever happens to the clock meanwhile.
#[allow(clippy::disallowed_methods)]
pub fn monotonic() -> Instant {
    Instant::now()
}
