//! The rules of every kind beside Kubernetes' own: `kubernetes.jsonl` holds objects, and what Kubernetes 1.36's
//! strategies (defaulting, preparation, validation, warnings) made of each. `oracle/` is the program that asked them.
//!
//! `GANTRY_RULES_CASES` names a further file of such cases, for a search that is too long to keep.

use gantry_apiserver::kinds::{self, Rules, Target, Visitor, unsupported::NOT_ACTED_ON};
use gantry_proto::{Kind, json};
use serde::Deserialize;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// What was asked, and what Kubernetes answered.
#[derive(Deserialize)]
struct Case {
    name: String,
    new: Value,
    /// What an update finds; a create has none.
    old: Option<Value>,
    /// Whether the update goes to the status endpoint.
    #[serde(default)]
    status: bool,
    /// Why it could not be read at all, in words that are not compared.
    error: Option<String>,
    /// What is wrong with it, each with its field.
    #[serde(default)]
    causes: Vec<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    /// What would be stored, if nothing is wrong.
    object: Option<Value>,
}

#[derive(Default)]
struct Answer {
    error: Option<String>,
    causes: Vec<String>,
    warnings: Vec<String>,
    object: Option<Value>,
}

/// Asks the rules of the case's kind.
struct Question<'a> {
    case: &'a Case,
    answer: Option<Answer>,
}

impl Visitor for Question<'_> {
    fn kind<R: Rules>(&mut self, rules: R) {
        let (kind, version) = (&self.case.new["kind"], &self.case.new["apiVersion"]);
        if *kind == R::Object::KIND && *version == R::Object::API_VERSION {
            let answer = ask(&rules, self.case);
            self.answer = Some(answer.unwrap_or_else(|error| Answer {
                error: Some(error),
                ..Answer::default()
            }));
        }
    }
}

/// The registry's steps (registry/create.rs and registry/update.rs) that need no store.
fn ask<R: Rules>(rules: &R, case: &Case) -> Result<Answer, String> {
    let read = |value: &Value| {
        let decoded = json::decode_value::<R::Object>(value).map_err(|error| error.to_string())?;
        let mut object = decoded.object;
        rules.set_defaults(&mut object);
        Ok::<_, String>(object)
    };
    let mut new = read(&case.new)?;
    let old = case.old.as_ref().map(read).transpose()?;
    let target = if case.status { Target::Status } else { Target::Main };
    let causes = if let Some(old) = &old {
        new.metadata_mut().managed_fields.clear();
        rules.prepare_for_update(&mut new, old, target);
        new.metadata_mut().generation = old.metadata().generation;
        if target != Target::Status && rules.generation_changes(&new, old) {
            new.metadata_mut().generation += 1;
        }
        rules.validate_update(&new, old, target)
    } else {
        new.metadata_mut().uid = "u".into();
        new.metadata_mut().managed_fields.clear();
        rules.prepare_for_create(&mut new);
        rules.validate(&new)
    };
    if !causes.is_empty() {
        let causes = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message));
        return Ok(Answer {
            causes: causes.collect(),
            ..Answer::default()
        });
    }
    let mut warnings = rules.warnings(&new, old.as_ref());
    warnings.retain(|warning| !warning.contains(NOT_ACTED_ON));
    Ok(Answer {
        warnings,
        object: Some(json::to_value(&new)),
        ..Answer::default()
    })
}

/// How our answer differs from Kubernetes', if it does.
fn difference(case: &Case) -> Option<String> {
    let mut question = Question { case, answer: None };
    kinds::visit(&mut question);
    let ours = question.answer.expect("a kind that is stored");
    if case.error.is_some() || ours.error.is_some() {
        let both = case.error.is_some() && (ours.error.is_some() || !ours.causes.is_empty());
        return (!both).then(|| format!("unreadable: {:?} and {:?}", case.error, ours.error));
    }
    let warnings = case.warnings.clone().unwrap_or_default();
    if case.causes != ours.causes {
        Some(lists("causes", &case.causes, &ours.causes))
    } else if case.causes.is_empty() && warnings != ours.warnings {
        Some(lists("warnings", &warnings, &ours.warnings))
    } else if case.object != ours.object {
        let mut paths = Vec::new();
        differ("", case.object.as_ref(), ours.object.as_ref(), &mut paths);
        Some(format!("object:\n  {}", paths.join("\n  ")))
    } else {
        None
    }
}

/// Only the lines that one of them has alone; where there are none, the order is what differs.
fn lists(what: &str, theirs: &[String], ours: &[String]) -> String {
    let only = |mark: &str, these: &[String], those: &[String]| {
        let alone = these.iter().filter(|line| !those.contains(line));
        alone.map(|line| format!("\n  {mark} {line}")).collect::<String>()
    };
    let (missing, added) = (only("-", theirs, ours), only("+", ours, theirs));
    if missing.is_empty() && added.is_empty() {
        return format!(
            "order of {what}:\n  - {}\n  + {}",
            theirs.join("\n  - "),
            ours.join("\n  + ")
        );
    }
    format!("{what}:{missing}{added}")
}

fn differ(path: &str, theirs: Option<&Value>, ours: Option<&Value>, paths: &mut Vec<String>) {
    match (theirs, ours) {
        (Some(Value::Object(theirs)), Some(Value::Object(ours))) => {
            let added = ours.keys().filter(|key| !theirs.contains_key(*key));
            for key in theirs.keys().chain(added) {
                differ(&format!("{path}.{key}"), theirs.get(key), ours.get(key), paths);
            }
        }
        (Some(Value::Array(theirs)), Some(Value::Array(ours))) if theirs.len() == ours.len() => {
            for (i, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                differ(&format!("{path}[{i}]"), Some(theirs), Some(ours), paths);
            }
        }
        (theirs, ours) if theirs != ours => paths.push(format!("{path}: {theirs:?} and {ours:?}")),
        _ => {}
    }
}

fn check(file: &Path) {
    let lines = BufReader::new(std::fs::File::open(file).expect("cases")).lines();
    let (mut count, mut differences) = (0, Vec::new());
    for line in lines {
        let case: Case = serde_json::from_str(&line.expect("text")).expect("a case");
        count += 1;
        if let Some(difference) = difference(&case) {
            differences.push(format!("{}: {difference}", case.name));
        }
    }
    assert!(count > 0, "no case in {}", file.display());
    assert!(
        differences.is_empty(),
        "{} of {count} cases differ, - being Kubernetes' and + ours:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn every_object_is_taken_as_kubernetes_takes_it() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/kubernetes.jsonl"));
    if let Some(file) = std::env::var_os("GANTRY_RULES_CASES") {
        check(&PathBuf::from(file));
    }
}
