//! `gantry scale`: another number of replicas.

use crate::cluster::shown;
use crate::failure::Failure;
use crate::output::line;
use crate::resource;
use crate::session::Session;
use anyhow::Result;
use gantry_proto::Key;
use gantry_proto::api::v1::PatchType;
use gantry_proto::kinds::Subresource;
use serde_json::json;

/// Change the number of replicas
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE/NAME, or TYPE NAME
    #[arg(required = true)]
    object: Vec<String>,
    /// How many there are to be
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    replicas: i32,
    /// Only if there are this many now
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    current_replicas: i32,
    /// Only if the object is at this version
    #[arg(long)]
    resource_version: Option<String>,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let (kind, name) = resource::object(&arguments.object, None)?;
    if !kind.has(Subresource::Scale) {
        return Err(Failure::message(format!("cannot scale a {}: it has no replicas", kind.kind)).into());
    }
    let key = Key::new(connected.namespace_of(kind), name);
    let mut patch = json!({"spec": {"replicas": arguments.replicas}});
    if let Some(version) = &arguments.resource_version {
        patch["metadata"]["resourceVersion"] = version.as_str().into();
    }
    if arguments.current_replicas >= 0 {
        let current = connected.cluster.get(kind, &key).await?;
        let replicas = current.json()?["spec"]["replicas"].as_i64().unwrap_or(1);
        if replicas != i64::from(arguments.current_replicas) {
            let expected = arguments.current_replicas;
            return Err(
                Failure::message(format!("Expected replicas to be {expected}, was {replicas}")).into(),
            );
        }
        patch["metadata"]["resourceVersion"] = current.metadata.resource_version.into();
    }
    connected
        .cluster
        .patch(kind, &key, PatchType::Merge, &patch, false)
        .await?;
    line(format_args!("{} scaled", shown(kind, &key.name)));
    Ok(())
}
