//! `gantry edit`: objects in an editor, and back.

use crate::chosen::{self, Choice, Selectors};
use crate::cluster::Object;
use crate::dry_run::DryRun;
use crate::editing::{self, Reason};
use crate::failure::Failure;
use crate::go_text;
use crate::manifest::Files;
use crate::output::line;
use crate::present::{self, Format, OutputOptions, Results};
use crate::scratch;
use crate::session::{Connected, Session};
use crate::yaml;
use anyhow::Result;
use gantry_proto::api::v1::PatchType;
use gantry_proto::status;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Edit objects in an editor: $KUBE_EDITOR, $EDITOR or vi
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE NAME..., or TYPE/NAME...
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// Print the patch
    #[arg(long)]
    output_patch: bool,
    #[command(flatten)]
    output: OutputOptions,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let choice = Choice {
        arguments: &arguments.targets,
        files: &arguments.files,
        selectors: &arguments.selectors,
        // As kubectl's, a type alone means all of it.
        all: arguments.files.filenames.is_empty() && is_type_alone(&arguments.targets),
        all_namespaces: false,
    };
    let chosen = chosen::choose(&choice, &connected).await?;
    let (objects, failed) = chosen.read(&connected).await?;
    if failed {
        return Err(Failure::Said.into());
    }
    if objects.is_empty() {
        return Err(Failure::message("edit cancelled, no objects found").into());
    }
    edit(objects, &arguments, &connected).await.map_err(Into::into)
}

fn is_type_alone(targets: &[String]) -> bool {
    matches!(targets, [one] if !one.contains('/'))
}

/// One pass after the other until what was edited is taken, or given up.
async fn edit(objects: Vec<Object>, arguments: &Arguments, connected: &Connected) -> Result<(), Failure> {
    let is_json = arguments.output.output == Some(Format::Json);
    let (format, extension) = match is_json {
        true => (Format::Json, ".json"),
        false => (Format::Yaml, ".yaml"),
    };
    let originals = objects
        .iter()
        .map(|object| present::value(object, false))
        .collect::<Result<Vec<Value>, Failure>>()?;
    let shown = match &originals[..] {
        [one] => one.clone(),
        many => json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": many}),
    };
    let original = present::text(&shown, &format)?;
    let mut reasons: Vec<Reason> = Vec::new();
    let mut text = original.clone();
    let mut last: Option<PathBuf> = None;
    loop {
        // An editor of JSON has no use for comments.
        let above = if is_json {
            String::new()
        } else {
            editing::header(&reasons)
        };
        let path = scratch::file("gantry-edit", extension, &format!("{above}{text}"))
            .map_err(|error| Failure::message(format!("unable to write a file to edit: {error}")))?;
        let edited = match launch(&path) {
            Ok(edited) => edited,
            Err(failure) => return Err(preserved(failure, last.as_deref())),
        };
        if let Some(before) = last.replace(path.clone()) {
            remove(&before);
        }
        if !reasons.is_empty() && editing::stripped(&edited) == editing::stripped(&text) {
            let failure = Failure::message("Edit cancelled, no valid changes were saved.");
            return Err(preserved(failure, Some(&path)));
        }
        if editing::stripped(&edited) == editing::stripped(&original) {
            remove(&path);
            eprintln!("Edit cancelled, no changes made.");
            return Ok(());
        }
        if !editing::has_lines(&edited) {
            remove(&path);
            eprintln!("Edit cancelled, saved file was empty.");
            return Ok(());
        }
        text = editing::stripped(&edited);
        reasons = match parse(&text) {
            Err(reason) => vec![reason],
            Ok(values) => {
                let saved = save(&objects, &originals, values, arguments, connected).await;
                saved
                    .map_err(|failure| preserved(failure, Some(&path)))?
                    .settle(&path)?
            }
        };
        if reasons.is_empty() {
            remove(&path);
            return Ok(());
        }
    }
}

/// Runs the editor on the file and reads it again.
fn launch(path: &Path) -> Result<String, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = variable("KUBE_EDITOR")
        .or_else(|| variable("EDITOR"))
        .unwrap_or_else(|| "vi".into());
    // By the shell, because an editor may come with options and quotes.
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$@\""))
        .arg("gantry")
        .arg(path)
        .status();
    let quoted = go_text::quoted(&editor);
    match status {
        Ok(status) if status.success() => std::fs::read_to_string(path)
            .map_err(|error| Failure::message(format!("the edited file cannot be read: {error}"))),
        Ok(status) if status.code() == Some(127) => {
            Err(Failure::message(format!("unable to launch the editor {quoted}")))
        }
        _ => Err(Failure::message(format!(
            "there was a problem with the editor {quoted}"
        ))),
    }
}

fn remove(path: &Path) {
    // What is left behind is the system's to clear.
    let _ = std::fs::remove_file(path);
}

fn preserved(failure: Failure, path: Option<&Path>) -> Failure {
    if let Some(path) = path.filter(|path| path.exists()) {
        let shown = go_text::quoted(&path.display().to_string());
        eprintln!("A copy of your changes has been stored to {shown}");
    }
    failure
}

fn parse(text: &str) -> Result<Vec<Value>, Reason> {
    let documents = yaml::documents(text)
        .map_err(|error| Reason::new(format!("The edited file had a syntax error: {error:#}")))?;
    let mut values = Vec::new();
    for value in documents.values {
        match (&value["kind"], &value["items"]) {
            (kind, Value::Array(items)) if kind == "List" => values.extend(items.clone()),
            _ => values.push(value),
        }
    }
    match values.iter().find(|value| !value.is_object()) {
        None => Ok(values),
        Some(other) => Err(Reason::new(format!(
            "The edited file had a syntax error: {other} is no object"
        ))),
    }
}

/// What became of a pass.
#[derive(Default)]
struct Saved {
    invalid: Vec<Reason>,
    not_found: bool,
    retryable: bool,
}

impl Saved {
    /// Why the text is to be edited again; a failure where that would not help.
    fn settle(self, path: &Path) -> Result<Vec<Reason>, Failure> {
        if self.retryable {
            eprintln!(
                "You can run `gantry apply -f {}` to try this update again.",
                path.display()
            );
            return Err(Failure::Said);
        }
        if self.not_found {
            let shown = go_text::quoted(&path.display().to_string());
            eprintln!("The edits you made on deleted resources have been saved to {shown}");
            return Err(Failure::Said);
        }
        Ok(self.invalid)
    }
}

async fn save(
    objects: &[Object],
    originals: &[Value],
    values: Vec<Value>,
    arguments: &Arguments,
    connected: &Connected,
) -> Result<Saved, Failure> {
    let mut saved = Saved::default();
    let mut results = Results::new(&arguments.output, DryRun::None);
    for edited in values {
        let uid = &edited["metadata"]["uid"];
        let found = originals
            .iter()
            .position(|original| original["metadata"]["uid"] == *uid);
        let Some(index) = found else {
            return Err(Failure::message(format!(
                "no original object found for {}",
                go_text::syntax(&edited)
            )));
        };
        let (object, kind) = (&objects[index], objects[index].kind);
        let Some(patch) = editing::patch(kind, &originals[index], &edited)? else {
            results.print(object, "skipped")?;
            continue;
        };
        if let Err(problem) = validate(object, &edited) {
            eprintln!(
                "error: {} \"{}\" is invalid",
                kind.group_resource(),
                object.metadata.name
            );
            saved.invalid.push(problem);
            continue;
        }
        if arguments.output_patch {
            line(format_args!("Patch: {patch}"));
        }
        let patched = connected
            .cluster
            .patch(kind, &object.key(), PatchType::StrategicMerge, &patch, false)
            .await;
        let (resource, name) = (kind.group_resource(), &object.metadata.name);
        match patched {
            Ok(object) => results.print(&object, "edited")?,
            Err(Failure::Status(status)) if status.reason_code() == status::Reason::Invalid => {
                eprintln!("error: {resource} \"{name}\" is invalid");
                saved.invalid.push(Reason::of_invalid(kind, name, &status));
            }
            Err(failure) if failure.is_not_found() => {
                eprintln!("error: {resource} \"{name}\" could not be found on the server");
                saved.not_found = true;
            }
            Err(failure) => {
                eprintln!(
                    "error: {resource} \"{name}\" could not be patched: {}",
                    failure.text()
                );
                saved.retryable = true;
            }
        }
    }
    Ok(saved)
}

/// Fields of the wrong type and fields that are not in the schema.
fn validate(object: &Object, edited: &Value) -> Result<(), Reason> {
    let complaints = match (object.kind.encode_json)(edited) {
        Ok((_, complaints)) => complaints,
        Err(error) => vec![error.to_string()],
    };
    match complaints.is_empty() {
        true => Ok(()),
        false => Err(Reason {
            head: format!(
                "{} \"{}\" was not valid",
                object.kind.group_resource(),
                object.metadata.name
            ),
            details: complaints
                .iter()
                .map(|complaint| {
                    format!("<nil>: Invalid value: \"The edited file failed validation\": {complaint}")
                })
                .collect(),
        }),
    }
}
