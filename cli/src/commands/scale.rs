//! `gantry scale`: another number of replicas.

use crate::chosen::{self, Choice, Meant, Selectors};
use crate::cluster::Object;
use crate::dry_run::DryRunOption;
use crate::failure::Failure;
use crate::hints;
use crate::manifest::Files;
use crate::present::{OutputOptions, Results};
use crate::session::{Connected, Session};
use anyhow::Result;
use gantry_proto::api::v1::PatchType;
use gantry_proto::kinds::Subresource;
use serde_json::json;

/// Change the number of replicas
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE/NAME..., TYPE NAME..., or TYPE with a selector or --all
    objects: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// All objects of the type in the namespace
    #[arg(long)]
    all: bool,
    /// How many there are to be
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    replicas: i32,
    /// Only if there are this many now
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    current_replicas: i32,
    /// Only if the object is at this version
    #[arg(long)]
    resource_version: Option<String>,
    #[command(flatten)]
    dry_run: DryRunOption,
    #[command(flatten)]
    output: OutputOptions,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let choice = Choice {
        arguments: &arguments.objects,
        files: &arguments.files,
        selectors: &arguments.selectors,
        all: arguments.all,
        all_namespaces: false,
    };
    let chosen = chosen::choose(&choice, &connected).await?;
    let mut failed = chosen.failed;
    if chosen.meant.is_empty() && !failed {
        return Err(Failure::message("no objects passed to scale").into());
    }
    let mut results = Results::new(&arguments.output, arguments.dry_run.dry_run);
    for meant in &chosen.meant {
        match scale(meant, &arguments, &connected).await {
            Ok(object) => results.print(&object, "scaled")?,
            Err(failure) => {
                failed = true;
                hints::tell(&failure, &connected).await;
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

async fn scale(meant: &Meant, arguments: &Arguments, connected: &Connected) -> Result<Object, Failure> {
    let kind = meant.kind;
    if !kind.has(Subresource::Scale) {
        return Err(Failure::message(format!(
            "cannot scale a {}: it has no replicas",
            kind.kind
        )));
    }
    let dry_run = arguments.dry_run.dry_run;
    let mut patch = json!({"spec": {"replicas": arguments.replicas}});
    if let Some(version) = &arguments.resource_version {
        patch["metadata"]["resourceVersion"] = version.as_str().into();
    }
    if arguments.current_replicas >= 0 || dry_run.is_client() {
        let current = meant.read(connected).await?;
        let replicas = current.json()?["spec"]["replicas"].as_i64().unwrap_or(1);
        let expected = arguments.current_replicas;
        if expected >= 0 && replicas != i64::from(expected) {
            return Err(Failure::message(format!(
                "Expected replicas to be {expected}, was {replicas}"
            )));
        }
        if dry_run.is_client() {
            return Ok(current);
        }
        patch["metadata"]["resourceVersion"] = current.metadata.resource_version.into();
    }
    let cluster = &connected.cluster;
    cluster
        .patch(kind, &meant.key, PatchType::Merge, &patch, dry_run.is_server())
        .await
}
