//! The one place that reads the clock; everything that decides gets the time as an argument.

use std::time::SystemTime;

#[allow(clippy::disallowed_methods)]
pub fn now() -> SystemTime {
    SystemTime::now()
}
