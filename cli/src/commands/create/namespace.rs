use super::Name;
use serde_json::{Value, json};

/// Create a namespace
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
}

pub fn describe(arguments: Arguments) -> Result<Value, String> {
    Ok(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": arguments.name.name}}))
}
