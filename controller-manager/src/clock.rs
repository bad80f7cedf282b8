//! The one place where this process asks for the time. Decisions get it as an argument.

use std::time::{Instant, SystemTime};

/// What people call the time, for what is written into objects.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// For durations: it neither jumps when somebody sets the clock nor goes on while the machine sleeps.
pub fn monotonic() -> Instant {
    Instant::now()
}
