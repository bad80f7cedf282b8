//! The functions of text/template that are about data, and kubectl's own.

use super::evaluate::{is_true, shown};
use super::format::printf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::cmp::Ordering;

const NAMES: &[&str] = &[
    "and",
    "or",
    "not",
    "len",
    "index",
    "print",
    "printf",
    "println",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "exists",
    "base64decode",
];

pub fn is_one(name: &str) -> bool {
    NAMES.contains(&name)
}

type Arguments<'a> = &'a [Option<Value>];

pub fn call(name: &str, arguments: Arguments) -> Result<Option<Value>, String> {
    let least = match name {
        "not" | "len" | "index" | "base64decode" | "exists" | "eq" | "printf" => 1,
        "ne" | "lt" | "le" | "gt" | "ge" => 2,
        _ => 0,
    };
    if arguments.len() < least {
        return Err(format!(
            "wrong number of args for {name}: want at least {least} got {}",
            arguments.len()
        ));
    }
    let truth = |truth: Result<bool, String>| truth.map(|truth| Some(truth.into()));
    match name {
        "not" => Ok(Some((!is_true(arguments[0].as_ref())).into())),
        "len" => length(arguments[0].as_ref()).map(|length| Some(length.into())),
        "index" => index(arguments[0].as_ref(), &arguments[1..]),
        "exists" => Ok(Some(
            index(arguments[0].as_ref(), &arguments[1..])
                .is_ok_and(|found| found.is_some())
                .into(),
        )),
        "print" => Ok(Some(print(arguments).into())),
        "println" => {
            let all: Vec<String> = arguments.iter().map(|value| shown(value.as_ref())).collect();
            Ok(Some((all.join(" ") + "\n").into()))
        }
        "printf" => Ok(Some(
            printf(&shown(arguments[0].as_ref()), &arguments[1..]).into(),
        )),
        "eq" => truth(equal(arguments)),
        "ne" => truth(equal(&arguments[..2]).map(|equal| !equal)),
        "lt" => truth(order(arguments).map(Ordering::is_lt)),
        "le" => truth(order(arguments).map(Ordering::is_le)),
        "gt" => truth(order(arguments).map(Ordering::is_gt)),
        "ge" => truth(order(arguments).map(Ordering::is_ge)),
        "base64decode" => {
            let text = shown(arguments[0].as_ref());
            let bytes = STANDARD
                .decode(&text)
                .map_err(|error| format!("base64 decode failed: {error}"))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned().into()))
        }
        other => Err(format!("function {other:?} not defined")),
    }
}

fn length(value: Option<&Value>) -> Result<usize, String> {
    match value {
        Some(Value::String(text)) => Ok(text.len()),
        Some(Value::Array(list)) => Ok(list.len()),
        Some(Value::Object(map)) => Ok(map.len()),
        None | Some(Value::Null) => Err("len of nil pointer".into()),
        Some(Value::Bool(_)) => Err("len of type bool".into()),
        Some(Value::Number(_)) => Err("len of type int64".into()),
    }
}

fn index(value: Option<&Value>, keys: Arguments) -> Result<Option<Value>, String> {
    let mut here = value;
    for key in keys {
        here = match (here, key) {
            (None | Some(Value::Null), _) => return Err("index of untyped nil".into()),
            (Some(Value::Array(list)), Some(Value::Number(number))) => {
                let position = number.as_u64().and_then(|number| usize::try_from(number).ok());
                match position.and_then(|position| list.get(position)) {
                    Some(found) => Some(found),
                    None => return Err(format!("index out of range: {number}")),
                }
            }
            (Some(Value::Object(map)), Some(Value::String(name))) => map.get(name),
            (Some(Value::Array(_)), _) => return Err("cannot index slice/array with type string".into()),
            (Some(Value::Object(_)), _) => return Err("value has type int; should be string".into()),
            (Some(_), _) => return Err("can't index item of type string".into()),
        };
    }
    Ok(here.cloned())
}

/// Go's Sprint: blanks only between two values that are no strings.
fn print(arguments: Arguments) -> String {
    let mut text = String::new();
    let mut after_string = true;
    for value in arguments {
        let is_string = matches!(value, Some(Value::String(_)));
        if !text.is_empty() && !is_string && !after_string {
            text.push(' ');
        }
        text.push_str(&shown(value.as_ref()));
        after_string = is_string;
    }
    text
}

/// Whether the first is one of the others.
fn equal(arguments: Arguments) -> Result<bool, String> {
    let Some((first, others)) = arguments.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err("missing argument for comparison".into());
    };
    for other in others {
        let same = match (first, other) {
            (None | Some(Value::Null), None | Some(Value::Null)) => true,
            (None | Some(Value::Null), _) | (_, None | Some(Value::Null)) => false,
            (Some(Value::Array(_) | Value::Object(_)), _) | (_, Some(Value::Array(_) | Value::Object(_))) => {
                return Err("non-comparable type".into());
            }
            (Some(first), Some(other)) => compare(first, other)?.is_eq(),
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn order(arguments: Arguments) -> Result<Ordering, String> {
    match arguments {
        [Some(Value::Bool(_)), Some(Value::Bool(_)), ..] => Err("invalid type for comparison".into()),
        [Some(first), Some(second), ..] => compare(first, second),
        _ => Err("invalid type for comparison".into()),
    }
}

fn compare(first: &Value, second: &Value) -> Result<Ordering, String> {
    let incompatible = || Err("incompatible types for comparison".into());
    match (first, second) {
        (Value::String(first), Value::String(second)) => Ok(first.cmp(second)),
        (Value::Bool(first), Value::Bool(second)) => Ok(first.cmp(second)),
        (Value::Number(first), Value::Number(second)) => match (first.as_i64(), second.as_i64()) {
            (Some(first), Some(second)) => Ok(first.cmp(&second)),
            (None, None) => match first.as_f64().partial_cmp(&second.as_f64()) {
                Some(order) => Ok(order),
                None => incompatible(),
            },
            _ => incompatible(),
        },
        _ => incompatible(),
    }
}
