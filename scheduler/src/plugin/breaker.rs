//! Whether a program that has failed is asked again.
//!
//! ```text
//! closed --failures in a row--> open --pause over: one call--> open (the call is under way)
//!    ^                                                              |        |
//!    `--------------------------- it succeeded ---------------------'        |
//!                                 open, for twice the pause <-- it failed ---'
//! ```

use std::time::{Duration, Instant};

/// A reply that is lost once is no reason not to ask.
const FAILURES: u32 = 3;
/// How long a program that fails is left alone: long beside its deadline, short beside a restart of it.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LAST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Breaker {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Whether a call may be made now. While it is open one is let through after each pause, to see.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self {
            Breaker::Closed { .. } => true,
            Breaker::Open { until, .. } if now < *until => false,
            Breaker::Open { until, pause } => {
                *until = now + *pause;
                true
            }
        }
    }

    pub(super) fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// Returns true when it has just opened.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let (next, opened) = match self {
            Breaker::Closed { failures } if *failures + 1 < FAILURES => (
                Breaker::Closed {
                    failures: *failures + 1,
                },
                false,
            ),
            Breaker::Closed { .. } => (opened(now, FIRST_PAUSE), true),
            Breaker::Open { pause, .. } => (opened(now, (*pause * 2).min(LAST_PAUSE)), false),
        };
        *self = next;
        opened
    }
}

fn opened(now: Instant, pause: Duration) -> Breaker {
    Breaker::Open {
        until: now + pause,
        pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_left_alone_for_longer_and_longer() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        assert!(
            !breaker.failed(now) && !breaker.failed(now),
            "twice may be chance"
        );
        assert!(breaker.admits(now));
        assert!(breaker.failed(now), "the third opens it");
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let start = now;
            while !breaker.admits(now) {
                now += Duration::from_secs(1);
            }
            assert!(!breaker.admits(now), "one call at a time tries it");
            pauses.push((now - start).as_secs());
            breaker.failed(now);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        breaker.succeeded();
        assert!(breaker.admits(now) && breaker.admits(now));
        assert!(!breaker.failed(now));
    }
}
