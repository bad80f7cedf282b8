//! How old a trace is, told by its id.
//!
//! A cause stays with an object for as long as the object is not written again. A container that fails hours after
//! the `apply` that made its pod must not lengthen that trace: it would never end. A `traceparent` has no room for a
//! time, so our trace ids begin with one, in this layout:
//!
//! ```text
//! bytes 0-3   seconds since the Unix epoch, until 2106
//! bytes 4-5   a digest of the others, by which such an id is told from another program's
//! bytes 6-15  random; the last eight decide about sampling
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

/// Work for a cause that is older begins a trace of its own.
const CONTINUED_FOR: Duration = Duration::from_secs(600);

/// Makes trace ids that tell when they were made.
#[derive(Debug, Default)]
pub(crate) struct TimedIds {
    random: RandomIdGenerator,
}

impl IdGenerator for TimedIds {
    #[allow(clippy::disallowed_methods, reason = "a trace begins now")]
    fn new_trace_id(&self) -> TraceId {
        timed(self.random.new_trace_id(), SystemTime::now())
    }

    fn new_span_id(&self) -> SpanId {
        self.random.new_span_id()
    }
}

/// Whether a trace is too old to be continued. Of another program's trace nobody knows, so it never is.
pub(crate) fn is_over(trace: TraceId, now: SystemTime) -> bool {
    let age = began(trace).and_then(|began| now.duration_since(began).ok());
    age.is_some_and(|age| age > CONTINUED_FOR)
}

pub(crate) fn timed(random: TraceId, now: SystemTime) -> TraceId {
    let mut bytes = random.to_bytes();
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    bytes[..4].copy_from_slice(&(seconds as u32).to_be_bytes());
    let digest = digest(bytes);
    bytes[4..6].copy_from_slice(&digest);
    TraceId::from_bytes(bytes)
}

fn began(trace: TraceId) -> Option<SystemTime> {
    let bytes = trace.to_bytes();
    let [a, b, c, d, ..] = bytes;
    let seconds = u32::from_be_bytes([a, b, c, d]);
    (bytes[4..6] == digest(bytes)).then(|| UNIX_EPOCH + Duration::from_secs(seconds.into()))
}

/// FNV-1a of all bytes but the digest's own, folded to two.
fn digest(bytes: [u8; 16]) -> [u8; 2] {
    let others = bytes[..4].iter().chain(&bytes[6..]);
    let hash = others.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_be_bytes();
    [a ^ c, b ^ d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_of_ours_is_over_after_ten_minutes_and_another_programs_never() {
        let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let random = RandomIdGenerator::default().new_trace_id();
        let ours = timed(random, start);
        let check = |trace: TraceId, seconds: u64, over: bool| {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(is_over(trace, now), over, "{trace} after {seconds} s");
        };
        check(ours, 0, false);
        check(ours, 600, false);
        check(ours, 601, true);
        assert!(!is_over(ours, start - Duration::from_secs(5)), "clocks differ");
        let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
        check(TraceId::from_hex(theirs).unwrap(), 1_000_000_000, false);
        assert_eq!(
            ours.to_bytes()[6..],
            random.to_bytes()[6..],
            "sampling goes by these"
        );
    }
}
