//! `gantry patch`: changes some fields of objects.

use crate::chosen::{self, Choice, Meant, Selectors};
use crate::cluster::Object;
use crate::dry_run::DryRunOption;
use crate::failure::Failure;
use crate::go_text;
use crate::hints;
use crate::manifest::{Files, Validate};
use crate::output::line;
use crate::present::{OutputOptions, Results};
use crate::session::{Connected, Session};
use crate::yaml;
use anyhow::Result;
use gantry_proto::api::v1::PatchType;
use gantry_proto::kinds::Subresource;
use gantry_proto::patch;
use serde_json::Value;
use std::path::PathBuf;

/// Change some fields of objects
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE NAME..., or TYPE/NAME...
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// The patch, in JSON or YAML
    #[arg(short, long)]
    patch: Option<String>,
    /// A file that holds the patch
    #[arg(long, value_name = "FILE")]
    patch_file: Option<PathBuf>,
    /// What kind of patch it is
    #[arg(long = "type", value_enum, default_value = "strategic", ignore_case = true)]
    patch_type: Type,
    /// Patch what this subresource stands for: status, scale
    #[arg(long)]
    subresource: Option<String>,
    /// Patch the object of the file and print it; the server is not asked
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    dry_run: DryRunOption,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    /// RFC 6902: a list of operations
    Json,
    /// RFC 7386: fields replace fields, null removes
    Merge,
    /// Kubernetes' own: lists are merged by their keys
    Strategic,
}

impl Type {
    fn on_the_wire(self) -> PatchType {
        match self {
            Type::Json => PatchType::Json,
            Type::Merge => PatchType::Merge,
            Type::Strategic => PatchType::StrategicMerge,
        }
    }
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let patch = read_patch(&arguments)?;
    check(&arguments)?;
    let connected = session.connect()?;
    let choice = Choice {
        arguments: &arguments.targets,
        files: &arguments.files,
        selectors: &Selectors::default(),
        all: false,
        all_namespaces: false,
    };
    let chosen = chosen::choose(&choice, &connected).await?;
    let mut failed = chosen.failed;
    let dry_run = arguments.dry_run.dry_run;
    let mut results = Results::new(&arguments.output, dry_run);
    for meant in &chosen.meant {
        let patched = if arguments.local || dry_run.is_client() {
            here(meant, &arguments, &patch, &connected).await
        } else {
            on_the_server(meant, &arguments, &patch, &connected).await
        };
        match patched {
            Ok(Some((object, changed))) => {
                results.print(&object, if changed { "patched" } else { "patched (no change)" })?;
            }
            // The scale subresource has an object of another kind.
            Ok(None) => line(format_args!(
                "scale.autoscaling/{} patched{}",
                meant.key.name,
                dry_run.note()
            )),
            Err(failure) => {
                failed = true;
                hints::tell(&failure, &connected).await;
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

fn check(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.local && !arguments.targets.is_empty() {
        return Err(Failure::message("cannot specify --local and server resources"));
    }
    if arguments.local && arguments.files.filenames.is_empty() {
        return Err(Failure::message(
            "error: you must specify resources by --filename when --local is set.\nExample resource specifications \
             include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'",
        ));
    }
    if arguments.local && arguments.dry_run.dry_run.is_server() {
        return Err(Failure::message(
            "cannot specify --local and --dry-run=server - did you mean --dry-run=client?",
        ));
    }
    let known = [Subresource::Status.name(), Subresource::Scale.name()];
    match arguments.subresource.as_deref() {
        Some(other) if !known.contains(&other) => Err(Failure::message(format!(
            "invalid subresource value: {}. Must be one of [status scale]",
            go_text::quoted(other)
        ))),
        _ => Ok(()),
    }
}

fn read_patch(arguments: &Arguments) -> Result<Value, Failure> {
    let given = arguments.patch.as_deref().filter(|text| !text.is_empty());
    let text = match (given, &arguments.patch_file) {
        (Some(_), Some(_)) => {
            return Err(Failure::message(
                "cannot specify --patch and --patch-file together",
            ));
        }
        (None, None) => {
            return Err(Failure::message(
                "must specify --patch or --patch-file containing the contents of the patch",
            ));
        }
        (Some(text), None) => text.to_string(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| Failure::message(format!("unable to read patch file: {error}")))?,
    };
    let shown = go_text::quoted(arguments.patch.as_deref().unwrap_or_default());
    let unparsable =
        |error: &dyn std::fmt::Display| Failure::message(format!("unable to parse {shown}: {error}"));
    // A text that is JSON is not read as YAML, whose reader has its own idea of large numbers.
    if let Ok(value) = serde_json::from_str(&text) {
        return Ok(value);
    }
    let documents = yaml::documents(&text).map_err(|error| unparsable(&format!("{error:#}")))?;
    match &documents.values[..] {
        [one] => Ok(one.clone()),
        [] => Ok(Value::Null),
        _ => Err(unparsable(&"a patch is one document")),
    }
}

/// What the server makes of the patch, and whether that changed anything.
async fn on_the_server(
    meant: &Meant,
    arguments: &Arguments,
    patch: &Value,
    connected: &Connected,
) -> Result<Option<(Object, bool)>, Failure> {
    let before = meant.read(connected).await?;
    let subresource = arguments.subresource.as_deref().unwrap_or_default();
    let patched = connected
        .cluster
        .patch_subresource(
            meant.kind,
            &meant.key,
            subresource,
            arguments.patch_type.on_the_wire(),
            patch,
            arguments.dry_run.dry_run.is_server(),
        )
        .await?;
    Ok(patched.map(|object| {
        let changed = object.raw != before.raw;
        (object, changed)
    }))
}

/// The patch applied here, to the file's object or to the server's.
async fn here(
    meant: &Meant,
    arguments: &Arguments,
    patch: &Value,
    connected: &Connected,
) -> Result<Option<(Object, bool)>, Failure> {
    let before = match (&meant.manifest, arguments.local) {
        (Some(manifest), true) => manifest.encode(&manifest.value, Validate::Warn)?,
        _ => meant.read(connected).await?,
    };
    let value = before.json()?;
    let patched = match arguments.patch_type {
        Type::Merge => Ok(patch::merge(value.clone(), patch.clone())),
        Type::Strategic => patch::strategic_merge(meant.kind.message, value.clone(), patch.clone())
            .map_err(|error| error.to_string()),
        Type::Json => patch::json(value.clone(), patch).map_err(|error| error.to_string()),
    };
    let patched = patched.map_err(Failure::message)?;
    let (raw, _) = (meant.kind.encode_json)(&patched).map_err(|error| Failure::message(error.to_string()))?;
    let object = Object::new(meant.kind, raw)?;
    let changed = object.json()? != value;
    Ok(Some((object, changed)))
}
