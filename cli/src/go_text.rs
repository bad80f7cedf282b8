//! Values as Go's packages write them, where kubectl's output is theirs: `encoding/json` and `fmt`.

use serde_json::Value;
use std::fmt::Write as _;

/// JSON as Go's encoder writes it: sorted keys, and what could end a script element escaped.
pub fn json(value: &Value) -> String {
    let mut text = String::new();
    write_json(value, &mut text);
    text
}

fn write_json(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            text.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(key, text);
                text.push(':');
                write_json(&map[key], text);
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_json(item, text);
            }
            text.push(']');
        }
        Value::String(string) => write_string(string, text),
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\x08' => text.push_str("\\b"),
            '\x0c' => text.push_str("\\f"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

/// A value as `fmt.Sprint` writes it: `map[a:1 b:2]`, `[a b]`, `<nil>`, and scalars bare.
pub fn sprint(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(string) => string.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(sprint).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let pairs: Vec<String> = keys
                .into_iter()
                .map(|key| format!("{key}:{}", sprint(&map[key])))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        scalar => scalar.to_string(),
    }
}

/// A value as `%#v` writes it: as a Go program would have it.
pub fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::String(string) => quoted(string),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let pairs: Vec<String> = keys
                .into_iter()
                .map(|key| format!("{}:{}", quoted(key), syntax(&map[key])))
                .collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// A text in quotes as `%q` writes it.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other if other.is_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(other));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_go_writes_them() {
        let value = json!({"b": [1, "x", null], "a": {"t": true}, "h": "<&>"});
        assert_eq!(
            json(&value),
            "{\"a\":{\"t\":true},\"b\":[1,\"x\",null],\"h\":\"\\u003c\\u0026\\u003e\"}"
        );
        assert_eq!(sprint(&value), "map[a:map[t:true] b:[1 x <nil>] h:<&>]");
        assert_eq!(
            syntax(&json!({"a": [1, null]})),
            "map[string]interface {}{\"a\":[]interface {}{1, interface {}(nil)}}"
        );
        assert_eq!(quoted("a\"b\nc"), "\"a\\\"b\\nc\"");
    }
}
