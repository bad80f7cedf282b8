//! Objects as YAML, JSON or names.

use crate::cluster::Object;
use crate::failure::Failure;
use crate::output::write;
use crate::yaml;
use serde_json::{Value, json};

/// How an object is printed where it is not a row.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Json,
    Name,
}

/// One object alone, or a List of all.
pub fn objects(objects: &[Object], format: Format, single: bool) -> Result<(), Failure> {
    if format == Format::Name {
        objects
            .iter()
            .for_each(|object| write(format_args!("{}\n", object.shown())));
        return Ok(());
    }
    match (single, objects) {
        (true, [object]) => write(format_args!("{}", text(&clean(object)?, format))),
        _ => {
            let items = objects.iter().map(clean).collect::<Result<Vec<_>, _>>()?;
            let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items});
            write(format_args!("{}", text(&list, format)));
        }
    }
    Ok(())
}

pub fn text(value: &Value, format: Format) -> String {
    match format {
        Format::Yaml => yaml::print(value),
        // Four spaces, as kubectl prints JSON.
        _ => indented(value),
    }
}

/// Without managedFields, which nobody wants to see.
fn clean(object: &Object) -> Result<Value, Failure> {
    let mut value = object.json()?;
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    Ok(value)
}

fn indented(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a value into memory does not fail.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    text.push('\n');
    text
}
