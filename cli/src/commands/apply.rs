//! `gantry apply`: makes the cluster's objects as files say, and leaves alone what others have set.

use crate::cluster::{Cluster, Object, shown};
use crate::dry_run::{DryRun, DryRunOption};
use crate::failure::Failure;
use crate::last_applied::{self, Decision, Remembered};
use crate::manifest::{self, Files, Manifest, Validate};
use crate::output::line;
use crate::present::{self, OutputOptions};
use crate::session::{Connected, Session};
use crate::trace;
use anyhow::Result;
use gantry_proto::Key;
use gantry_proto::api::v1::PatchType;
use gantry_proto::status::Reason;
use std::time::Duration;

/// As kubectl's maxPatchRetry.
const MOST_RETRIES: u32 = 5;
/// The first retry is at once, the others wait, as kubectl's do.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Apply the objects in files: create what is missing, change what differs
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    /// What to do about fields that are not in the schema
    #[arg(long, value_enum, default_value = "warn", num_args = 0..=1, default_missing_value = "strict")]
    #[arg(require_equals = true)]
    validate: Validate,
    #[command(flatten)]
    dry_run: DryRunOption,
    #[command(flatten)]
    output: OutputOptions,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    if arguments.files.filenames.is_empty() {
        return Err(Failure::message("must specify -f").into());
    }
    let connected = session.connect()?;
    let (manifests, failures) = manifest::read(&arguments.files, arguments.validate, &connected, "apply")?;
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    let mut failed = !failures.is_empty();
    let dry_run = arguments.dry_run.dry_run;
    let mut applied = Vec::new();
    for manifest in &manifests {
        let name = shown(manifest.kind, manifest.name());
        let work = apply(manifest, &arguments, &connected);
        match trace::object("apply object", &name, work).await {
            Ok((object, outcome)) if arguments.output.output.is_none() => {
                line(format_args!("{} {outcome}{}", object.shown(), dry_run.note()));
            }
            Ok((object, _)) => applied.push(object),
            Err(failure) => {
                failed = true;
                eprintln!("{failure}");
            }
        }
    }
    if let Some(format) = &arguments.output.output {
        let managed_fields = arguments.output.show_managed_fields;
        present::objects(&applied, format, manifests.len() == 1, managed_fields)?;
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

/// Applies one object. Returns it as it is then, and what happened, in kubectl's words.
async fn apply(
    manifest: &Manifest,
    arguments: &Arguments,
    connected: &Connected,
) -> Result<(Object, &'static str), Failure> {
    let source = &manifest.source;
    // Complaints are about the file, so they are made once, however often the patch is retried.
    manifest.encode(&manifest.value, arguments.validate)?;
    if manifest.name().is_empty() {
        let generated = manifest.value["metadata"]["generateName"]
            .as_str()
            .unwrap_or_default();
        return Err(Failure::message(match generated {
            "" => format!(
                "error when retrieving current configuration of {source}: resource name may not be empty"
            ),
            prefix => format!("from {prefix}: cannot use generate name with apply"),
        }));
    }
    let cluster = &connected.cluster;
    let key = Key::new(manifest.namespace(), manifest.name());
    let mut warned = false;
    for attempt in 0.. {
        let current = match cluster.get(manifest.kind, &key).await {
            Ok(current) => Some(current),
            Err(failure) if failure.is_not_found() => None,
            Err(failure) => return Err(failure.while_doing("retrieving current configuration of", source)),
        };
        if let Some(current) = &current
            && !warned
        {
            warned = true;
            warn_about(current)?;
        }
        let dry_run = arguments.dry_run.dry_run;
        match write(manifest, dry_run, Remembered::Yes, cluster, &key, current).await {
            Err(failure) if failure.reason() == Reason::Conflict && attempt < MOST_RETRIES => {
                if attempt > 0 {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
            result => return result,
        }
    }
    Err(Failure::message("gave up"))
}

fn warn_about(current: &Object) -> Result<(), Failure> {
    if last_applied::is_missing(&current.json()?) {
        eprintln!(
            "Warning: resource {} is missing the {} annotation which is required by gantry apply. gantry apply should \
             only be used on resources created declaratively by either gantry create --save-config or gantry apply. \
             The missing annotation will be patched automatically.",
            format_args!("{}/{}", current.kind.resource, current.metadata.name),
            last_applied::ANNOTATION
        );
    }
    Ok(())
}

/// Does what makes `current` as the manifest says. Returns the object as it is then, and what happened.
pub(super) async fn write(
    manifest: &Manifest,
    dry_run: DryRun,
    remembered: Remembered,
    cluster: &Cluster,
    key: &Key,
    current: Option<Object>,
) -> Result<(Object, &'static str), Failure> {
    let source = &manifest.source;
    let current_value = current.as_ref().map(Object::json).transpose()?;
    let decision = last_applied::decide(
        manifest.kind.message,
        &manifest.value,
        current_value.as_ref(),
        remembered,
    )
    .map_err(|error| Failure::message(format!("error when applying \"{source}\": {error}")))?;
    match (decision, current) {
        (Decision::Create(value), _) => {
            let object = manifest.encode(&value, Validate::Ignore)?;
            let created = match dry_run {
                DryRun::Client => object,
                _ => cluster
                    .create(&object, dry_run == DryRun::Server)
                    .await
                    .map_err(|failure| failure.while_doing("creating", source))?,
            };
            Ok((created, "created"))
        }
        (Decision::Unchanged, Some(current)) => Ok((current, "unchanged")),
        (Decision::Patch(patch), Some(current)) => {
            if current.metadata.deletion_timestamp.is_some() {
                eprintln!(
                    "Warning: Detected changes to resource {} which is currently being deleted.",
                    current.metadata.name
                );
            }
            tracing::debug!(%patch, "patching");
            let before = current.metadata.resource_version.clone();
            let patched = match dry_run {
                DryRun::Client => return Ok((current, "configured")),
                _ => cluster
                    .patch(
                        manifest.kind,
                        key,
                        PatchType::StrategicMerge,
                        &patch,
                        dry_run == DryRun::Server,
                    )
                    .await
                    .map_err(|failure| failure.while_doing("patching", source))?,
            };
            // A patch that only restates defaults changes nothing.
            let outcome = if patched.metadata.resource_version == before {
                "unchanged"
            } else {
                "configured"
            };
            Ok((patched, outcome))
        }
        (_, None) => Err(Failure::message(format!("{source}: nothing to patch"))),
    }
}
