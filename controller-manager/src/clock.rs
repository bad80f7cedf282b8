//! The one place where this process asks for the time. Decisions get it as an argument.

use std::time::SystemTime;

#[allow(clippy::disallowed_methods)]
pub fn now() -> SystemTime {
    SystemTime::now()
}
