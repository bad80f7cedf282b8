//! Spans of time as options: `90s`, `1h30m`, `500ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    /// Go's notation. A bare 0 has no unit.
    fn from_str(text: &str) -> Result<Span, String> {
        let invalid =
            || format!("invalid duration \"{text}\": a number with a unit, such as 30s, 5m or 1h30m");
        if text == "0" {
            return Ok(Span(Duration::ZERO));
        }
        let mut rest = text;
        let mut seconds = 0.0;
        if rest.is_empty() {
            return Err(invalid());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(invalid)?;
            let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
            let after = &rest[digits..];
            let unit_length = after
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(after.len());
            let unit = match &after[..unit_length] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(invalid()),
            };
            seconds += number * unit;
            rest = &after[unit_length..];
        }
        Duration::try_from_secs_f64(seconds)
            .map(Span)
            .map_err(|_| invalid())
    }
}

impl fmt::Display for Span {
    /// As Go prints a duration: `1h30m0s`, `1m30s`, `500ms`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (total, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if total == 0 && millis > 0 {
            return write!(f, "{millis}ms");
        }
        let (hours, minutes) = (total / 3600, total / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match millis {
            0 => write!(f, "{}s", total % 60),
            _ => write!(
                f,
                "{}.{}s",
                total % 60,
                format!("{millis:03}").trim_end_matches('0')
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_go_reads_them() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(
                text.parse::<Span>().ok(),
                millis.map(|millis| Span(Duration::from_millis(millis))),
                "{text}"
            );
        };
        check("0", Some(0));
        check("0s", Some(0));
        check("90s", Some(90_000));
        check("1h30m", Some(5_400_000));
        check("1.5m", Some(90_000));
        check("500ms", Some(500));
        check("", None);
        check("5", None);
        check("s", None);
        check("5d", None);
        check("-1s", None);
    }

    #[test]
    fn spans_are_printed_as_go_prints_them() {
        for text in ["0s", "30s", "1m30s", "1h0m0s", "500ms", "1.5s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
