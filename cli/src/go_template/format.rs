//! Go's printf, as far as the values of objects go.

use super::evaluate::shown;
use crate::go_text;
use serde_json::Value;

/// The widest that a value is padded to.
const MAX_WIDTH: usize = 1000;

pub fn printf(format: &str, arguments: &[Option<Value>]) -> String {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let mut directive = Directive::default();
        while let Some(flag) = rest.next_if(|c| matches!(c, '-' | '+' | '#' | ' ' | '0')) {
            directive.left |= flag == '-';
            directive.zeros |= flag == '0';
            directive.plus |= flag == '+';
        }
        directive.width = number(&mut rest).unwrap_or(0).min(MAX_WIDTH);
        if rest.next_if_eq(&'.').is_some() {
            directive.precision = Some(number(&mut rest).unwrap_or(0).min(MAX_WIDTH));
        }
        match rest.next() {
            None => text.push_str("%!(NOVERB)"),
            Some('%') => text.push('%'),
            Some(verb) => match arguments.next() {
                Some(value) => text.push_str(&directive.write(verb, value.as_ref())),
                None => text.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    let extra: Vec<String> = arguments
        .map(|value| format!("{}={}", type_name(value.as_ref()), shown(value.as_ref())))
        .collect();
    if !extra.is_empty() {
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text
}

fn number(rest: &mut std::iter::Peekable<std::str::Chars>) -> Option<usize> {
    let mut digits = String::new();
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse().ok()
}

#[derive(Default)]
struct Directive {
    left: bool,
    zeros: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

impl Directive {
    fn write(&self, verb: char, value: Option<&Value>) -> String {
        let wrong = || format!("%!{verb}({}={})", type_name(value), shown(value));
        let is_number = matches!(value, Some(Value::Number(_)));
        let text = match (verb, value) {
            ('v', None | Some(Value::Null)) => "<nil>".into(),
            ('v', _) => shown(value),
            ('s', Some(Value::String(text))) => match self.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text.clone(),
            },
            ('q', Some(Value::String(text))) => go_text::quoted(text),
            ('t', Some(Value::Bool(truth))) => truth.to_string(),
            ('d', Some(Value::Number(number))) if number.is_i64() || number.is_u64() => number.to_string(),
            ('x', Some(Value::Number(number))) if number.is_u64() => {
                format!("{:x}", number.as_u64().unwrap_or_default())
            }
            ('x', Some(Value::String(text))) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('f', Some(Value::Number(number))) if number.is_f64() => {
                format!(
                    "{:.*}",
                    self.precision.unwrap_or(6),
                    number.as_f64().unwrap_or_default()
                )
            }
            _ => wrong(),
        };
        let text = if self.plus && is_number && !text.starts_with('-') {
            format!("+{text}")
        } else {
            text
        };
        let missing = self.width.saturating_sub(text.chars().count());
        match (self.left, self.zeros && is_number) {
            (true, _) => text + &" ".repeat(missing),
            (false, true) => "0".repeat(missing) + &text,
            (false, false) => " ".repeat(missing) + &text,
        }
    }
}

fn type_name(value: Option<&Value>) -> &'static str {
    match value {
        None | Some(Value::Null) => "<nil>",
        Some(Value::Bool(_)) => "bool",
        Some(Value::Number(number)) if number.is_f64() => "float64",
        Some(Value::Number(_)) => "int64",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "[]interface {}",
        Some(Value::Object(_)) => "map[string]interface {}",
    }
}
