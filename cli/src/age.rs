//! Spans of time as kubectl prints them (apimachinery's duration.HumanDuration).

use gantry_proto::meta::v1::{MicroTime, Time};
use std::time::{Duration, SystemTime};

/// How long ago `time` was, such as `5m30s`; `<unknown>` where there is none.
pub fn since(time: Option<&Time>, now: SystemTime) -> String {
    between(time.filter(|time| time.seconds != 0).map(Time::to_system), now)
}

pub fn since_micro(time: Option<&MicroTime>, now: SystemTime) -> String {
    between(
        time.filter(|time| time.seconds != 0).map(MicroTime::to_system),
        now,
    )
}

fn between(time: Option<SystemTime>, now: SystemTime) -> String {
    match time.map(|time| now.duration_since(time)) {
        None => "<unknown>".into(),
        Some(Ok(elapsed)) => human(elapsed),
        // Clocks differ a little; a time that is about to come is now.
        Some(Err(ahead)) if ahead.duration() < Duration::from_secs(2) => "0s".into(),
        Some(Err(_)) => "<invalid>".into(),
    }
}

/// Two units at most, and fewer as the span grows.
pub fn human(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / (24 * 365));
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit}{small}{small_unit}"),
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 8 * 24 {
        two(days, "d", hours % 24, "h")
    } else if years < 2 {
        format!("{days}d")
    } else if years < 8 {
        two(years, "y", days % 365, "d")
    } else {
        format!("{years}y")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_shortened_as_kubectl_does() {
        let check = |seconds: u64, expected: &str| assert_eq!(human(Duration::from_secs(seconds)), expected);
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(599, "9m59s");
        check(600, "10m");
        check(3 * 3600 - 1, "179m");
        check(3 * 3600, "3h");
        check(3 * 3600 + 60, "3h1m");
        check(8 * 3600, "8h");
        check(47 * 3600 + 3599, "47h");
        check(48 * 3600, "2d");
        check(49 * 3600, "2d1h");
        check(8 * 24 * 3600, "8d");
        check(729 * 24 * 3600, "729d");
        check(730 * 24 * 3600, "2y");
        check(731 * 24 * 3600, "2y1d");
        check(8 * 365 * 24 * 3600, "8y");
    }

    #[test]
    fn a_time_that_is_missing_or_to_come_is_said() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let at = |seconds| Time { seconds, nanos: 0 };
        assert_eq!(since(None, now), "<unknown>");
        assert_eq!(since(Some(&at(970)), now), "30s");
        assert_eq!(since(Some(&at(1001)), now), "0s");
        assert_eq!(since(Some(&at(1010)), now), "<invalid>");
    }
}
