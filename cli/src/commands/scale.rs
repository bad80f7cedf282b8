//! `gantry scale`: another number of replicas.

use crate::cluster::shown;
use crate::failure::Failure;
use crate::hints;
use crate::output::line;
use crate::resource;
use crate::session::{Connected, Session};
use anyhow::Result;
use gantry_proto::api::v1::PatchType;
use gantry_proto::kinds::Subresource;
use gantry_proto::{Key, KindInfo};
use serde_json::json;

/// Change the number of replicas
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE/NAME..., or TYPE NAME...
    #[arg(required = true)]
    objects: Vec<String>,
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
    let mut failed = false;
    for target in resource::targets(&arguments.objects)? {
        let Some(name) = target.name else {
            return Err(Failure::message("resource(s) were provided, but no name was specified").into());
        };
        let key = Key::new(connected.namespace_of(target.kind), name);
        match scale(target.kind, &key, &arguments, &connected).await {
            Ok(()) => line(format_args!("{} scaled", shown(target.kind, &key.name))),
            Err(failure) => {
                failed = true;
                hints::tell(&failure, &connected).await;
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

async fn scale(
    kind: &'static KindInfo,
    key: &Key,
    arguments: &Arguments,
    connected: &Connected,
) -> Result<(), Failure> {
    if !kind.has(Subresource::Scale) {
        return Err(Failure::message(format!(
            "cannot scale a {}: it has no replicas",
            kind.kind
        )));
    }
    let mut patch = json!({"spec": {"replicas": arguments.replicas}});
    if let Some(version) = &arguments.resource_version {
        patch["metadata"]["resourceVersion"] = version.as_str().into();
    }
    if arguments.current_replicas >= 0 {
        let current = connected.cluster.get(kind, key).await?;
        let replicas = current.json()?["spec"]["replicas"].as_i64().unwrap_or(1);
        if replicas != i64::from(arguments.current_replicas) {
            let expected = arguments.current_replicas;
            return Err(Failure::message(format!(
                "Expected replicas to be {expected}, was {replicas}"
            )));
        }
        patch["metadata"]["resourceVersion"] = current.metadata.resource_version.into();
    }
    let patched = connected
        .cluster
        .patch(kind, key, PatchType::Merge, &patch, false);
    patched.await.map(drop)
}
