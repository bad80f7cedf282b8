//! `gantry diff`: how objects would differ if files were applied, by the server's dry run.

use super::apply;
use crate::cluster::Object;
use crate::dry_run::DryRun;
use crate::failure::Failure;
use crate::last_applied::Remembered;
use crate::manifest::{self, Files, Manifest, Validate};
use crate::masking;
use crate::present;
use crate::scratch::Folder;
use crate::session::{Connected, Session};
use crate::yaml;
use anyhow::Result;
use gantry_proto::Key;
use gantry_proto::Kind as _;
use gantry_proto::core::v1::Secret;
use gantry_proto::selector::Selector;
use gantry_proto::status::Reason;
use std::process::Command;

/// As kubectl's maxRetries: another may write between the reading and the dry run.
const MOST_RETRIES: u32 = 4;
/// What the process ends with where something failed: 1 is for a difference.
const FAILED: u8 = 2;

/// Show how objects would differ if files were applied
///
/// Ends with 0 where nothing differs, with 1 where something does, and with more where something failed.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Only objects of the files whose labels match
    #[arg(short = 'l', long, value_name = "LABELS", default_value = "")]
    selector: String,
    /// With managedFields
    #[arg(long)]
    show_managed_fields: bool,
    /// With the values of Secrets
    #[arg(long)]
    show_secrets: bool,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    match diff(&arguments, session).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Exit(1).into()),
        Err(error) => {
            match error.downcast_ref::<Failure>() {
                Some(failure) => eprintln!("{failure}"),
                None => eprintln!("error: {error:#}"),
            }
            Err(Failure::Exit(FAILED).into())
        }
    }
}

/// Whether something differs.
async fn diff(arguments: &Arguments, session: &Session) -> Result<bool> {
    if arguments.files.filenames.is_empty() {
        return Err(Failure::message("must specify one of -f and -k").into());
    }
    let selector =
        Selector::parse(&arguments.selector).map_err(|error| Failure::message(error.to_string()))?;
    let connected = session.connect()?;
    let (manifests, failures) = manifest::read(&arguments.files, Validate::Warn, &connected, "diff")?;
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure.into());
    }
    let (live, merged) = (Folder::new("LIVE")?, Folder::new("MERGED")?);
    for manifest in &manifests {
        let would_be = manifest.encode(&manifest.value, Validate::Warn)?;
        if !selector.matches(&would_be.metadata.labels) {
            continue;
        }
        let (current, applied) = versions(manifest, &connected).await?;
        let is_secret = manifest.kind.message == Secret::INFO.message;
        let mut values = (
            current
                .as_ref()
                .map(|object| present::value(object, arguments.show_managed_fields))
                .transpose()?,
            present::value(&applied, arguments.show_managed_fields)?,
        );
        if is_secret && !arguments.show_secrets {
            masking::mask(values.0.as_mut(), &mut values.1);
        }
        let name = file_name(manifest);
        live.write(&name, &values.0.as_ref().map(yaml::print).unwrap_or_default())?;
        merged.write(&name, &yaml::print(&values.1))?;
    }
    compare(&live, &merged)
}

/// The object as it is, where it is, and as it would be.
async fn versions(manifest: &Manifest, connected: &Connected) -> Result<(Option<Object>, Object), Failure> {
    let cluster = &connected.cluster;
    let key = Key::new(manifest.namespace(), manifest.name());
    for attempt in 0.. {
        let current = match cluster.get(manifest.kind, &key).await {
            Ok(object) => Some(object),
            Err(failure) if failure.is_not_found() => None,
            Err(failure) => return Err(failure),
        };
        let applied = apply::write(
            manifest,
            DryRun::Server,
            Remembered::Not,
            cluster,
            &key,
            current.clone(),
        );
        match applied.await {
            Err(failure) if failure.reason() == Reason::Conflict && attempt < MOST_RETRIES => {}
            Err(failure) => return Err(failure),
            Ok((applied, _)) => return Ok((current, applied)),
        }
    }
    Err(Failure::message("gave up"))
}

/// As kubectl names it: `apps.v1.Deployment.default.web`.
fn file_name(manifest: &Manifest) -> String {
    let kind = manifest.kind;
    let group = match kind.group {
        "" => String::new(),
        group => format!("{group}."),
    };
    // A name is a part of a path here.
    let name = manifest.name().replace('/', "_");
    format!(
        "{group}{}.{}.{}.{name}",
        kind.version,
        kind.kind,
        manifest.namespace()
    )
}

/// Runs the program that shows differences. Whether there are some.
fn compare(live: &Folder, merged: &Folder) -> Result<bool> {
    let external = std::env::var("KUBECTL_EXTERNAL_DIFF").unwrap_or_default();
    let mut words = external.split(' ').filter(|word| !word.is_empty());
    let (program, options): (&str, Vec<&str>) = match words.next() {
        Some(program) => (program, words.filter(|word| is_plain_option(word)).collect()),
        None => ("diff", vec!["-u", "-N"]),
    };
    let status = Command::new(program)
        .args(options)
        .arg(live.path())
        .arg(merged.path())
        .status()
        .map_err(|error| Failure::message(format!("failed to run \"{program}\": {error}")))?;
    match status.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(Failure::message(format!("failed to run \"{program}\": {status}")).into()),
    }
}

/// As kubectl, which passes on letters, digits, dashes and equal signs.
fn is_plain_option(word: &str) -> bool {
    word.chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '=')
}
