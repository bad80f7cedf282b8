//! Labels and annotations from the command line: `app=web` sets, `app-` removes.

use crate::chosen::{self, Choice, Selectors};
use crate::cluster::Object;
use crate::dry_run::DryRunOption;
use crate::failure::Failure;
use crate::go_text;
use crate::manifest::{Files, Validate};
use crate::output::line;
use crate::present::{OutputOptions, Results};
use crate::session::{Connected, Session};
use anyhow::Result;
use gantry_proto::api::v1::PatchType;
use gantry_proto::selector::label::value_complaints;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An annotation that may be replaced without being asked.
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    Labels,
    Annotations,
}

impl Marks {
    fn field(self) -> &'static str {
        match self {
            Marks::Labels => "labels",
            Marks::Annotations => "annotations",
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Marks::Labels => "label",
            Marks::Annotations => "annotation",
        }
    }

    fn of(self, object: &Object) -> &BTreeMap<String, String> {
        match self {
            Marks::Labels => &object.metadata.labels,
            Marks::Annotations => &object.metadata.annotations,
        }
    }
}

/// The options of `label` and `annotate`.
#[derive(clap::Args, Debug)]
pub struct MarkOptions {
    /// TYPE NAME... KEY=VALUE... KEY-..., or TYPE/NAME
    arguments: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Replace values that are there
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true)]
    #[arg(action = clap::ArgAction::Set)]
    overwrite: bool,
    /// All objects of the type in the namespace
    #[arg(long)]
    all: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    selectors: Selectors,
    /// Show what is there
    #[arg(long)]
    list: bool,
    /// Change the objects of the files and print them; the server is not asked
    #[arg(long)]
    local: bool,
    /// Only if the object is at this version; for one object
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<String>,
    #[command(flatten)]
    dry_run: DryRunOption,
    #[command(flatten)]
    output: OutputOptions,
}

/// What is asked for. Of two values for a key the last counts.
#[derive(Debug, Default, PartialEq)]
struct Changes {
    set: BTreeMap<String, String>,
    removed: Vec<String>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

pub async fn change(marks: Marks, arguments: MarkOptions, session: &Session) -> Result<()> {
    let (targets, pairs) = split(marks, &arguments.arguments)?;
    let changes = parse(marks, &pairs)?;
    check(marks, &arguments, &targets, &changes)?;
    let connected = session.connect()?;
    let choice = Choice {
        arguments: &targets,
        files: &arguments.files,
        selectors: &arguments.selectors,
        all: arguments.all,
        all_namespaces: arguments.all_namespaces,
    };
    let chosen = chosen::choose(&choice, &connected).await?;
    let single = chosen.single;
    if arguments.resource_version.is_some() && !single {
        return Err(Failure::message("--resource-version may only be used with a single resource").into());
    }
    let (objects, mut failed) = match arguments.local {
        true => {
            let encode = |meant: &chosen::Meant| {
                let manifest = meant.manifest.as_ref()?;
                Some(manifest.encode(&manifest.value, Validate::Warn))
            };
            let objects = chosen.meant.iter().filter_map(encode).collect::<Result<_, _>>()?;
            (objects, chosen.failed)
        }
        false => chosen.read(&connected).await?,
    };
    let mut results = Results::new(&arguments.output, arguments.dry_run.dry_run);
    for object in &objects {
        let changed = one(marks, object, &changes, &arguments, &connected).await;
        match changed {
            Ok((object, _)) if arguments.list => list(marks, &object, single),
            Ok((object, outcome)) => results.print(&object, outcome)?,
            Err(failure) => {
                failed = true;
                eprintln!("{failure}");
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

fn check(
    marks: Marks,
    arguments: &MarkOptions,
    targets: &[String],
    changes: &Changes,
) -> Result<(), Failure> {
    let given = |option: &Option<String>| option.as_ref().is_some_and(|text| !text.is_empty());
    let files = !arguments.files.filenames.is_empty();
    let problem = if arguments.list && arguments.output.output.is_some() {
        "--list and --output may not be specified together"
    } else if arguments.all && given(&arguments.selectors.labels) {
        "cannot set --all and --selector at the same time"
    } else if arguments.all && given(&arguments.selectors.fields) {
        "cannot set --all and --field-selector at the same time"
    } else if arguments.local && arguments.dry_run.dry_run.is_server() {
        "cannot specify --local and --dry-run=server - did you mean --dry-run=client?"
    } else if arguments.local && !targets.is_empty() {
        "can only use local files by -f pod.yaml or --filename=pod.json when --local=true is set"
    } else if arguments.local && !files {
        "one or more files must be specified as -f pod.yaml or --filename=pod.json"
    } else if targets.is_empty() && !files {
        "one or more resources must be specified as <resource> <name> or <resource>/<name>"
    } else if changes.is_empty() && !arguments.list {
        return Err(Failure::message(format!(
            "at least one {} update is required",
            marks.singular()
        )));
    } else {
        return Ok(());
    };
    Err(Failure::message(problem))
}

/// Tells what is changed from the objects it is changed on (cmd/util GetResourcesAndPairs).
fn split(marks: Marks, arguments: &[String]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let is_pair = |argument: &String| match argument.find('=') {
        Some(at) if at > 0 => true,
        _ => argument.ends_with('-') && argument != "-",
    };
    let first = arguments.iter().position(is_pair).unwrap_or(arguments.len());
    let (targets, pairs) = arguments.split_at(first);
    match pairs.iter().find(|pair| !is_pair(pair)) {
        None => Ok((targets.to_vec(), pairs.to_vec())),
        Some(late) => Err(Failure::message(format!(
            "all resources must be specified before {} changes: {late}",
            marks.singular()
        ))),
    }
}

fn parse(marks: Marks, pairs: &[String]) -> Result<Changes, Failure> {
    let mut changes = Changes::default();
    let mut invalid = Vec::new();
    for pair in pairs {
        match (marks, pair.split_once('=')) {
            (Marks::Labels, Some((_, value))) if value.contains('=') => {
                return Err(Failure::message(format!("invalid label spec: {pair}")));
            }
            (Marks::Labels, Some((key, value))) => {
                let complaints = value_complaints(value);
                if !complaints.is_empty() {
                    return Err(Failure::message(format!(
                        "invalid label value: {}: {}",
                        go_text::quoted(pair),
                        complaints.join(";")
                    )));
                }
                changes.set.insert(key.into(), value.into());
            }
            (Marks::Annotations, Some((key, value))) => drop(changes.set.insert(key.into(), value.into())),
            (_, None) => match pair.strip_suffix('-') {
                Some(key) if !key.is_empty() => changes.removed.push(key.into()),
                _ => invalid.push(pair.clone()),
            },
        }
    }
    if !invalid.is_empty() {
        let format = format!("invalid {} format: {}", marks.singular(), invalid.join(", "));
        return Err(Failure::message(format));
    }
    let both: Vec<&str> = changes
        .removed
        .iter()
        .filter(|key| changes.set.contains_key(*key))
        .map(String::as_str)
        .collect();
    match (marks, both.is_empty()) {
        (_, true) => Ok(changes),
        (Marks::Labels, false) => Err(Failure::message(
            "can not both modify and remove a label in the same command",
        )),
        (Marks::Annotations, false) => Err(Failure::message(format!(
            "can not both modify and remove the following annotation(s) in the same command: {}",
            both.join(", ")
        ))),
    }
}

/// Changes one object. Returns it as it is then, and what happened.
async fn one(
    marks: Marks,
    object: &Object,
    changes: &Changes,
    arguments: &MarkOptions,
    connected: &Connected,
) -> Result<(Object, &'static str), Failure> {
    let decided = decide(marks, marks.of(object), changes, arguments.overwrite).map_err(Failure::message)?;
    let here = arguments.local || arguments.list || arguments.dry_run.dry_run.is_client();
    if marks == Marks::Labels && !here {
        for key in &decided.absent {
            line(format_args!("label {} not found.", go_text::quoted(key)));
        }
    }
    if decided.patch.is_empty() {
        return Ok((object.clone(), decided.outcome));
    }
    let mut patch = json!({"metadata": {marks.field(): decided.patch}});
    if let Some(version) = &arguments.resource_version {
        patch["metadata"]["resourceVersion"] = version.as_str().into();
    }
    let changed = if here {
        let value = gantry_proto::patch::merge(object.json()?, patch);
        let encoded = (object.kind.encode_json)(&value);
        let (raw, _) = encoded.map_err(|error| Failure::message(error.to_string()))?;
        Object::new(object.kind, raw)?
    } else {
        let dry_run = arguments.dry_run.dry_run.is_server();
        connected
            .cluster
            .patch(object.kind, &object.key(), PatchType::Merge, &patch, dry_run)
            .await?
    };
    Ok((changed, decided.outcome))
}

fn list(marks: Marks, object: &Object, single: bool) {
    let indent = if single { "" } else { " " };
    if !single {
        line(format_args!(
            "Listing {} for {}.{}/{}:",
            marks.field(),
            object.kind.kind,
            object.kind.group,
            object.metadata.name
        ));
    }
    for (key, value) in marks.of(object) {
        line(format_args!("{indent}{key}={value}"));
    }
}

/// What is sent, and what is said.
#[derive(Debug, PartialEq)]
struct Decided {
    /// Of the labels or annotations; null removes.
    patch: Map<String, Value>,
    outcome: &'static str,
    /// What was to be removed and is not there.
    absent: Vec<String>,
}

fn decide(
    marks: Marks,
    present: &BTreeMap<String, String>,
    changes: &Changes,
    overwrite: bool,
) -> Result<Decided, String> {
    let differs = |key: &str, value: &str| present.get(key).is_some_and(|old| old != value);
    if !overwrite {
        let kept: Vec<(&String, &String)> = changes
            .set
            .iter()
            .filter(|(key, value)| differs(key, value))
            .filter(|(key, _)| marks == Marks::Labels || *key != CHANGE_CAUSE)
            .map(|(key, _)| (key, &present[key]))
            .collect();
        if !kept.is_empty() {
            return Err(refusal(marks, &kept));
        }
    }
    let set: Map<String, Value> = changes
        .set
        .iter()
        .filter(|(key, value)| present.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.as_str().into()))
        .collect();
    let (there, absent): (Vec<&String>, Vec<&String>) =
        changes.removed.iter().partition(|key| present.contains_key(*key));
    let outcome = match (marks, set.is_empty(), there.is_empty()) {
        (Marks::Annotations, ..) => "annotated",
        (Marks::Labels, false, false) => "modified",
        (Marks::Labels, false, true) => "labeled",
        (Marks::Labels, true, false) => "unlabeled",
        (Marks::Labels, true, true) => "not labeled",
    };
    let mut patch = set;
    patch.extend(there.into_iter().map(|key| (key.clone(), Value::Null)));
    Ok(Decided {
        patch,
        outcome,
        absent: absent.into_iter().cloned().collect(),
    })
}

fn refusal(marks: Marks, kept: &[(&String, &String)]) -> String {
    match marks {
        Marks::Labels => {
            let texts: Vec<String> = kept
                .iter()
                .map(|(key, old)| format!("'{key}' already has a value ({old}), and --overwrite is false"))
                .collect();
            match &texts[..] {
                [one] => one.clone(),
                many => format!("[{}]", many.join(", ")),
            }
        }
        Marks::Annotations => {
            let texts: Vec<String> = kept
                .iter()
                .map(|(key, old)| format!("'{key}' already has a value ({old})"))
                .collect();
            format!(
                "--overwrite is false but found the following declared annotation(s): {}",
                texts.join("; ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    fn changed(marks: Marks, arguments: &str, overwrite: bool) -> Result<(Value, &'static str), String> {
        let present = BTreeMap::from([("app".to_string(), "web".to_string())]);
        let told = |failure: Failure| failure.to_string();
        let (targets, pairs) = split(marks, &words(arguments)).map_err(told)?;
        assert_eq!(targets, ["pod", "a"]);
        let changes = parse(marks, &pairs).map_err(told)?;
        decide(marks, &present, &changes, overwrite)
            .map(|decided| (Value::Object(decided.patch), decided.outcome))
    }

    #[test]
    fn labels_become_a_patch_and_an_outcome() {
        let check = |arguments: &str, overwrite: bool, expected: Result<(Value, &'static str), &str>| {
            let decided = changed(Marks::Labels, arguments, overwrite);
            assert_eq!(decided, expected.map_err(String::from), "{arguments:?}");
        };
        check(
            "pod a tier=front",
            false,
            Ok((json!({"tier": "front"}), "labeled")),
        );
        check("pod a app-", false, Ok((json!({"app": null}), "unlabeled")));
        check(
            "pod a app- tier=front",
            false,
            Ok((json!({"app": null, "tier": "front"}), "modified")),
        );
        check("pod a app=web", false, Ok((json!({}), "not labeled")));
        check("pod a app=api", true, Ok((json!({"app": "api"}), "labeled")));
        check("pod a none-", false, Ok((json!({}), "not labeled")));
        check("pod a tier=", false, Ok((json!({"tier": ""}), "labeled")));
        check(
            "pod a app=api",
            false,
            Err("'app' already has a value (web), and --overwrite is false"),
        );
        check("pod a x=y=z", false, Err("error: invalid label spec: x=y=z"));
        check(
            "pod a x=y x-",
            false,
            Err("error: can not both modify and remove a label in the same command"),
        );
        check(
            "pod a x=y late",
            false,
            Err("error: all resources must be specified before label changes: late"),
        );
        let error = changed(Marks::Labels, "pod a x=-y", false).unwrap_err();
        assert!(
            error.starts_with("error: invalid label value: \"x=-y\": a valid label must be"),
            "{error}"
        );
    }

    #[test]
    fn annotations_may_hold_what_labels_may_not() {
        let check = |arguments: &str, overwrite: bool, expected: Result<(Value, &'static str), &str>| {
            let decided = changed(Marks::Annotations, arguments, overwrite);
            assert_eq!(decided, expected.map_err(String::from), "{arguments:?}");
        };
        check("pod a note=a=b", false, Ok((json!({"note": "a=b"}), "annotated")));
        check("pod a app=web", false, Ok((json!({}), "annotated")));
        check(
            "pod a app=api",
            false,
            Err(
                "--overwrite is false but found the following declared annotation(s): 'app' already has a value (web)",
            ),
        );
        check(
            "pod a x=y x-",
            false,
            Err("error: can not both modify and remove the following annotation(s) in the same command: x"),
        );
    }
}
