//! Printing values as the Go library yaml.v2 does, which kubectl prints with.

mod scalar;

use scalar::{Layout, layout};
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::fmt::Write as _;

/// Spaces per level.
const STEP: usize = 2;
/// A line that is longer than this is continued on the next at its next space.
const WIDTH: usize = 80;

/// One document, with a line end and without a separator.
pub fn print(value: &Value) -> String {
    let mut printer = Printer { text: String::new() };
    match value {
        Value::Object(map) if !map.is_empty() => printer.mapping(map, 0, false),
        Value::Array(list) if !list.is_empty() => printer.sequence(list, 0),
        other => {
            printer.scalar_or_empty(other, STEP);
        }
    }
    printer.text
}

struct Printer {
    text: String,
}

impl Printer {
    /// `started` when the first key continues a line, as after "- ".
    fn mapping(&mut self, map: &Map<String, Value>, indent: usize, mut started: bool) {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_by(|a, b| natural_order(a, b));
        for key in keys {
            if !started {
                self.spaces(indent);
            }
            started = false;
            self.key(key);
            match &map[key] {
                Value::Object(inner) if !inner.is_empty() => {
                    self.text.push_str(":\n");
                    self.mapping(inner, indent + STEP, false);
                }
                Value::Array(inner) if !inner.is_empty() => {
                    self.text.push_str(":\n");
                    self.sequence(inner, indent);
                }
                scalar => {
                    self.text.push_str(": ");
                    self.scalar_or_empty(scalar, indent + STEP);
                }
            }
        }
    }

    fn sequence(&mut self, list: &[Value], indent: usize) {
        for item in list {
            self.spaces(indent);
            self.text.push_str("- ");
            self.item(item, indent + STEP);
        }
    }

    fn item(&mut self, item: &Value, indent: usize) {
        match item {
            Value::Object(inner) if !inner.is_empty() => self.mapping(inner, indent, true),
            Value::Array(inner) if !inner.is_empty() => {
                for (index, nested) in inner.iter().enumerate() {
                    if index > 0 {
                        self.spaces(indent);
                    }
                    self.text.push_str("- ");
                    self.item(nested, indent + STEP);
                }
            }
            scalar => self.scalar_or_empty(scalar, indent),
        }
    }

    /// With the line's end. `indent` is that of the lines that continue it.
    fn scalar_or_empty(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(_) => self.text.push_str("{}"),
            Value::Array(_) => self.text.push_str("[]"),
            Value::Null => self.text.push_str("null"),
            Value::Bool(flag) => self.text.push_str(if *flag { "true" } else { "false" }),
            Value::Number(number) => {
                let _ = write!(self.text, "{number}");
            }
            Value::String(text) => match layout(text, false) {
                Layout::Plain => self.folded(text, "", indent),
                Layout::Single => self.folded(&text.replace('\'', "''"), "'", indent),
                Layout::Double => self.double(text, Some(indent)),
                Layout::Literal => return self.literal(text, indent),
            },
        }
        self.text.push('\n');
    }

    fn key(&mut self, key: &str) {
        match layout(key, true) {
            Layout::Plain => self.text.push_str(key),
            Layout::Single => {
                let _ = write!(self.text, "'{}'", key.replace('\'', "''"));
            }
            Layout::Double | Layout::Literal => self.double(key, None),
        }
    }

    /// Plain or single-quoted text, continued on further lines where it is long.
    fn folded(&mut self, text: &str, quote: &str, indent: usize) {
        self.text.push_str(quote);
        let mut column = self.column();
        let mut after_space = false;
        let mut chars = text.chars().peekable();
        let mut first = true;
        while let Some(character) = chars.next() {
            let at_edge = !quote.is_empty() && (first || chars.peek().is_none());
            first = false;
            if character == ' ' && !after_space && column > WIDTH && !at_edge && chars.peek() != Some(&' ') {
                self.text.push('\n');
                self.spaces(indent);
                column = indent;
            } else {
                self.text.push(character);
                column += 1;
            }
            after_space = character == ' ';
        }
        self.text.push_str(quote);
    }

    /// `indent` is absent for a key, which is never continued on another line.
    fn double(&mut self, text: &str, indent: Option<usize>) {
        self.text.push('"');
        let mut column = self.column();
        let mut after_space = false;
        let mut chars = text.chars().peekable();
        let mut first = true;
        while let Some(character) = chars.next() {
            let at_edge = first || chars.peek().is_none();
            first = false;
            if let (' ', false, false, Some(indent)) = (character, after_space, at_edge, indent)
                && column > WIDTH
            {
                self.text.push('\n');
                self.spaces(indent);
                column = indent;
                if chars.peek() == Some(&' ') {
                    self.text.push('\\');
                    column += 1;
                }
            } else {
                let before = self.text.len();
                escape(character, &mut self.text);
                column += self.text[before..].chars().count();
            }
            after_space = character == ' ';
        }
        self.text.push('"');
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.text.push('|');
        if text.starts_with([' ', '\n']) {
            let _ = write!(self.text, "{STEP}");
        }
        let body = match text.strip_suffix('\n') {
            None => {
                self.text.push('-');
                text
            }
            Some(rest) => {
                if rest.is_empty() || rest.ends_with('\n') {
                    self.text.push('+');
                }
                rest
            }
        };
        self.text.push('\n');
        for line in body.split('\n') {
            if !line.is_empty() {
                self.spaces(indent);
                self.text.push_str(line);
            }
            self.text.push('\n');
        }
    }

    fn spaces(&mut self, count: usize) {
        self.text.extend(std::iter::repeat_n(' ', count));
    }

    fn column(&self) -> usize {
        self.text.rsplit('\n').next().unwrap_or_default().chars().count()
    }
}

fn escape(character: char, text: &mut String) {
    let short = match character {
        '\0' => "\\0",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\x0b' => "\\v",
        '\x0c' => "\\f",
        '\r' => "\\r",
        '\x1b' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{a0}' => "\\_",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        other if scalar::is_printable(other) => return text.push(other),
        _ => "",
    };
    let _ = match (short, u32::from(character)) {
        ("", code) if code <= 0xff => write!(text, "\\x{code:02X}"),
        ("", code) if code <= 0xffff => write!(text, "\\u{code:04X}"),
        ("", code) => write!(text, "\\U{code:08X}"),
        (short, _) => write!(text, "{short}"),
    };
}

/// The order of keys: numbers within them count as numbers, and letters come after everything else.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(i) = a.iter().zip(&b).position(|(x, y)| x != y) else {
        return a.len().cmp(&b.len());
    };
    match (a[i].is_alphabetic(), b[i].is_alphabetic()) {
        (true, true) => return a[i].cmp(&b[i]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero inside a number that has begun before the difference counts as a digit, not as a leading zero.
    let inside_number = (a[i] == '0' || b[i] == '0')
        && a[..i]
            .iter()
            .rev()
            .take_while(|c| c.is_ascii_digit())
            .any(|c| *c != '0');
    let number = |chars: &[char]| {
        let digits = chars[i..].iter().take_while(|c| c.is_ascii_digit());
        let start = (if inside_number { 1i64 } else { 0 }, 0usize);
        digits.fold(start, |(value, length), digit| {
            let digit = i64::from(u32::from(*digit) - u32::from('0'));
            (value.wrapping_mul(10).wrapping_add(digit), length + 1)
        })
    };
    number(&a).cmp(&number(&b)).then(a[i].cmp(&b[i]))
}

#[cfg(test)]
mod tests;
