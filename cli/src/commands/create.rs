//! `gantry create -f`: creates the objects in files; one that exists already is an error.

use super::apply::DryRun;
use crate::cluster::shown;
use crate::failure::Failure;
use crate::last_applied;
use crate::manifest::{self, Files, Manifest, Validate};
use crate::output::line;
use crate::present::{self, Format};
use crate::session::{Connected, Session};
use crate::trace;
use anyhow::Result;

/// Create the objects in files
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    /// What to do about fields that are not in the schema
    #[arg(long, value_enum, default_value = "warn", num_args = 0..=1, default_missing_value = "strict")]
    #[arg(require_equals = true)]
    validate: Validate,
    /// Change nothing: "client" only reads, "server" has the server check the request
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
    #[arg(require_equals = true)]
    dry_run: DryRun,
    /// Remember the object as `apply` does, so that it can be applied to later
    #[arg(long)]
    save_config: bool,
    /// Print the resulting objects
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    if arguments.files.filenames.is_empty() {
        return Err(Failure::message("must specify -f").into());
    }
    let connected = session.connect()?;
    let (manifests, failures) = manifest::read(&arguments.files, arguments.validate, &connected, "create")?;
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    let mut failed = !failures.is_empty();
    let mut created = Vec::new();
    for manifest in &manifests {
        let name = shown(manifest.kind, manifest.name());
        match trace::object("create object", &name, create(manifest, &arguments, &connected)).await {
            Ok(object) if arguments.output.is_none() => {
                line(format_args!(
                    "{} created{}",
                    object.shown(),
                    arguments.dry_run.note()
                ));
            }
            Ok(object) => created.push(object),
            Err(failure) => {
                failed = true;
                eprintln!("{failure}");
            }
        }
    }
    if let Some(format) = arguments.output {
        present::objects(&created, format, manifests.len() == 1)?;
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

async fn create(
    manifest: &Manifest,
    arguments: &Arguments,
    connected: &Connected,
) -> Result<crate::cluster::Object, Failure> {
    let mut object = manifest.encode(&manifest.value, arguments.validate)?;
    if arguments.save_config {
        object = manifest.encode(&last_applied::annotated(&manifest.value), Validate::Ignore)?;
    }
    if arguments.dry_run == DryRun::Client {
        return Ok(object);
    }
    let created = connected
        .cluster
        .create(&object, arguments.dry_run == DryRun::Server)
        .await;
    created.map_err(|failure| failure.while_doing("creating", &manifest.source))
}
