//! How long to wait before the next try: the kubelet's arithmetic (client-go's flowcontrol.Backoff).

use std::time::{Duration, SystemTime};

/// The first wait after a failure, and the longest. Waits double in between.
pub const FIRST: Duration = Duration::from_secs(10);
pub const LONGEST: Duration = Duration::from_secs(300);
/// Something that worked for this long starts from the first wait again: twice the longest.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BackOff {
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Last {
    delay: Duration,
    /// When the try was, and what it followed.
    at: SystemTime,
    ended: SystemTime,
}

impl BackOff {
    pub const NEW: BackOff = BackOff { last: None };

    /// Until when to wait after something that ended at `ended`; `None` when there is no need.
    pub fn waits_until(&self, ended: SystemTime, now: SystemTime) -> Option<SystemTime> {
        // What has been followed by a try already is not waited for again.
        let last = self
            .last
            .filter(|last| last.ended != ended && !is_forgiven(last.at, ended))?;
        Some(ended + last.delay).filter(|until| *until > now)
    }

    /// The wait that is in force.
    pub fn delay(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| last.delay)
    }

    /// Notes a try at `now` after something that ended at `ended`: the next failure waits longer.
    pub fn advance(&mut self, ended: SystemTime, now: SystemTime) {
        if self.last.is_some_and(|last| last.ended == ended) {
            return;
        }
        let delay = match self.last {
            Some(last) if !is_forgiven(last.at, ended) => (last.delay * 2).min(LONGEST),
            _ => FIRST,
        };
        self.last = Some(Last {
            delay,
            at: now,
            ended,
        });
    }
}

fn is_forgiven(last: SystemTime, ended: SystemTime) -> bool {
    ended.duration_since(last).unwrap_or_default() > FORGIVEN_AFTER
}

/// As Go prints a duration of whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_container_that_exits_at_once_waits_ten_seconds_then_twice_as_long_up_to_five_minutes() {
        let mut back_off = BackOff::default();
        let mut time = 1000;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let until = back_off.waits_until(at(time), at(time)).unwrap_or(at(time));
            waits.push(until.duration_since(at(time)).unwrap().as_secs());
            time += waits.last().unwrap();
            let ended = time - waits.last().unwrap();
            back_off.advance(at(ended), at(time));
            assert_eq!(
                back_off.waits_until(at(ended), at(time)),
                None,
                "the try that is under way"
            );
            time += 1;
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_work_are_forgiven() {
        let mut back_off = BackOff::default();
        back_off.advance(at(0), at(0));
        back_off.advance(at(20), at(20));
        assert_eq!(back_off.waits_until(at(620), at(620)), Some(at(640)));
        assert_eq!(back_off.waits_until(at(621), at(621)), None);
        back_off.advance(at(621), at(621));
        assert_eq!(back_off.delay(), FIRST);
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (seconds, text) in [
            (10, "10s"),
            (60, "1m0s"),
            (80, "1m20s"),
            (300, "5m0s"),
            (3600, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_secs(seconds)), text);
        }
    }
}
