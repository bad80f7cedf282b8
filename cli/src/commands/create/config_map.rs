use super::Name;
use super::data::{Refusals, Sources};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Create a config map from files, folders or values
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    sources: Sources,
}

const REFUSALS: Refusals = Refusals {
    invalid: |key, why| format!("\"{key}\" is not a valid key name for a ConfigMap: {why}"),
    duplicate: |key| {
        format!("cannot add key \"{key}\", another key by that name already exists in Data for ConfigMap")
    },
    env_file_is_folder: "env config file cannot be a directory",
};

pub fn describe(arguments: Arguments) -> Result<Value, String> {
    let values = arguments
        .sources
        .read(&REFUSALS, |name| std::env::var(name).ok())?;
    let (mut data, mut binary) = (Map::new(), Map::new());
    for (key, bytes) in values {
        match String::from_utf8(bytes) {
            Ok(text) => data.insert(key, text.into()),
            Err(error) => binary.insert(key, STANDARD.encode(error.as_bytes()).into()),
        };
    }
    let mut config_map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": arguments.name.name}});
    if !data.is_empty() {
        config_map["data"] = data.into();
    }
    if !binary.is_empty() {
        config_map["binaryData"] = binary.into();
    }
    Ok(config_map)
}
