use super::Related;
use super::text::Text;
use crate::cluster::Object;
use crate::failure::Failure;
use serde_json::Value;
use std::time::SystemTime;

/// Every field of an object that has no describer of its own.
pub fn describe(object: &Object, _: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    text.head(&object.metadata);
    text.line(0, format_args!("API Version:\t{}", object.kind.api_version()));
    text.line(0, format_args!("Kind:\t{}", object.kind.kind));
    let value = object.json()?;
    for (key, field) in value.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            named(0, key, field, text);
        }
    }
    Ok(())
}

fn named(level: usize, key: &str, value: &Value, text: &mut Text) {
    let title = title(key);
    match value {
        Value::Object(map) if map.is_empty() => {}
        Value::Object(map) => {
            text.line(level, format_args!("{title}:"));
            map.iter()
                .for_each(|(key, value)| named(level + 1, key, value, text));
        }
        Value::Array(list) => {
            text.line(level, format_args!("{title}:"));
            for item in list {
                match item {
                    Value::Object(map) => {
                        map.iter()
                            .for_each(|(key, value)| named(level + 1, key, value, text));
                    }
                    scalar => text.line(level + 1, format_args!("{}", plain(scalar))),
                }
            }
        }
        scalar => text.line(level, format_args!("{title}:\t{}", plain(scalar))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(['\t', '\n'], " "),
        other => other.to_string(),
    }
}

/// `leaseDurationSeconds` becomes `Lease Duration Seconds`, `podIP` becomes `Pod IP`.
fn title(key: &str) -> String {
    let mut title = String::new();
    let mut previous_lower = false;
    for (index, character) in key.chars().enumerate() {
        if index == 0 {
            title.extend(character.to_uppercase());
        } else {
            if character.is_uppercase() && previous_lower {
                title.push(' ');
            }
            title.push(character);
        }
        previous_lower = character.is_lowercase();
    }
    title
}
