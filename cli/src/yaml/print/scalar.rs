//! How a string has to be written so that it is read as that string again.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Plain,
    Single,
    Double,
    Literal,
}

pub fn layout(text: &str, key: bool) -> Layout {
    let shape = Shape::of(text);
    if text.contains('\n') {
        return if key || !shape.literal_allowed() {
            Layout::Double
        } else {
            Layout::Literal
        };
    }
    if is_other_type(text) {
        return Layout::Double;
    }
    match (
        shape.plain_allowed() && !(key && text.is_empty()),
        shape.single_allowed(),
    ) {
        (true, _) => Layout::Plain,
        (false, true) => Layout::Single,
        (false, false) => Layout::Double,
    }
}

/// What is written as it is. The two separators are line breaks to YAML, and escaped to be safe.
pub fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && !matches!(character, '\u{feff}' | '\u{2028}' | '\u{2029}')
}

/// What the characters of a text, and their neighbours, rule out.
#[derive(Default)]
struct Shape {
    indicator: bool,
    special: bool,
    edge_space: bool,
    trailing_space: bool,
    space_after_break: bool,
    space_before_break: bool,
    breaks: bool,
}

impl Shape {
    fn of(text: &str) -> Shape {
        let mut shape = Shape {
            indicator: text.starts_with("---") || text.starts_with("..."),
            ..Shape::default()
        };
        let chars: Vec<char> = text.chars().collect();
        let mut previous: Option<char> = None;
        for (i, &character) in chars.iter().enumerate() {
            let next = chars.get(i + 1).copied();
            let blank_before = previous.is_none_or(is_blank);
            let blank_after = next.is_none_or(is_blank);
            shape.indicator |= match character {
                '#' => i == 0 || blank_before,
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                    i == 0
                }
                ':' => blank_after,
                '?' | '-' => i == 0 && blank_after,
                _ => false,
            };
            shape.special |= !is_printable(character);
            match character {
                ' ' => {
                    shape.edge_space |= i == 0 || next.is_none();
                    shape.trailing_space |= next.is_none();
                    shape.space_after_break |= previous == Some('\n');
                }
                '\n' => {
                    shape.breaks = true;
                    shape.space_before_break |= previous == Some(' ');
                }
                _ => {}
            }
            previous = Some(character);
        }
        shape
    }

    fn plain_allowed(&self) -> bool {
        !(self.indicator || self.special || self.edge_space || self.breaks)
    }

    fn single_allowed(&self) -> bool {
        !(self.special || self.space_after_break || self.space_before_break)
    }

    fn literal_allowed(&self) -> bool {
        !(self.special || self.space_before_break || self.trailing_space)
    }
}

fn is_blank(character: char) -> bool {
    matches!(
        character,
        ' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// True of text that would be read as null, a boolean, a number or a time.
fn is_other_type(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On",
        "ON", "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN",
        ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
    ];
    WORDS.contains(&text) || is_number(text) || is_base60(text) || is_time(text)
}

fn is_number(text: &str) -> bool {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return false;
    }
    let digits = text.replace('_', "");
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let radix = |prefix: [&str; 2], radix| {
        let rest = prefix.iter().find_map(|prefix| unsigned.strip_prefix(prefix));
        rest.is_some_and(|rest| !rest.starts_with(['+', '-']) && u64::from_str_radix(rest, radix).is_ok())
    };
    radix(["0x", "0X"], 16) || radix(["0o", "0O"], 8) || radix(["0b", "0B"], 2) || is_decimal(unsigned)
}

/// An integer or a float: digits, at most one point, an exponent.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let mantissa_is_number = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_is_number = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_is_number && exponent_is_number
}

/// YAML 1.1's sexagesimal numbers, such as 12:30, which old readers take for 750.
fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    if rest.is_empty() || !first.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let sixtieth = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    let last = rest.len() - 1;
    first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        && rest.iter().enumerate().all(|(i, part)| {
            let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
            sixtieth(whole)
                && (!part.contains('.')
                    || i == last && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_'))
        })
}

/// A date, or a date and a time of day.
fn is_time(text: &str) -> bool {
    let mut date_length = 0;
    let mut dashes = 0;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {}
            b'-' if dashes < 2 => dashes += 1,
            _ => break,
        }
        date_length += 1;
    }
    let (date, rest) = text.split_at(date_length);
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    let in_range = |part: &str, low, high| {
        (1..=2).contains(&part.len()) && part.parse::<u32>().is_ok_and(|n| (low..=high).contains(&n))
    };
    let is_date = year.len() == 4 && in_range(month, 1, 12) && in_range(day, 1, 31);
    is_date && (rest.is_empty() || rest.starts_with(['T', 't', ' ']) && is_time_of_day(&rest[1..]))
}

fn is_time_of_day(text: &str) -> bool {
    let clock_length = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || matches!(b, b':' | b'.'))
        .count();
    let (clock, zone) = text.split_at(clock_length);
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = parts[..] else {
        return false;
    };
    let in_range = |part: &str, limit| {
        (1..=2).contains(&part.len()) && part.parse::<u32>().is_ok_and(|number| number < limit)
    };
    let whole_second = second.split('.').next().unwrap_or_default();
    in_range(hour, 24)
        && in_range(minute, 60)
        && in_range(whole_second, 60)
        && (zone.is_empty() || is_zone(zone))
}

fn is_zone(text: &str) -> bool {
    text == "Z"
        || text.len() == 6
            && text.starts_with(['+', '-'])
            && text[1..]
                .split(':')
                .all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
}
