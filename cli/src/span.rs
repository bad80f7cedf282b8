//! Spans of time as options: `90s`, `1h30m`, `500ms`.

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
}
