//! Labels and annotations from the command line: `app=web` sets, `app-` removes.

use crate::cluster::{Object, Selection};
use crate::commands::get::Selectors;
use crate::failure::Failure;
use crate::output::line;
use crate::resource;
use crate::session::Session;
use anyhow::Result;
use gantry_proto::Key;
use gantry_proto::api::v1::PatchType;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

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

    fn of(self, object: &Object) -> &BTreeMap<String, String> {
        match self {
            Marks::Labels => &object.metadata.labels,
            Marks::Annotations => &object.metadata.annotations,
        }
    }
}

/// What is asked for, in the order given. `None` removes.
type Changes = Vec<(String, Option<String>)>;

pub async fn change(
    marks: Marks,
    arguments: &[String],
    overwrite: bool,
    all: bool,
    selectors: &Selectors,
    session: &Session,
) -> Result<()> {
    let (targets, changes) = split(arguments)?;
    let connected = session.connect()?;
    let cluster = &connected.cluster;
    let mut objects = Vec::new();
    for target in resource::targets(&targets)? {
        let namespace = connected.namespace_of(target.kind);
        match target.name {
            Some(name) => objects.push(cluster.get(target.kind, &Key::new(namespace, name)).await?),
            None if all || selectors.labels.is_some() || selectors.fields.is_some() => {
                let labels = selectors.labels.clone().unwrap_or_default();
                let fields = selectors.fields.clone().unwrap_or_default();
                objects.extend(
                    cluster
                        .list(
                            target.kind,
                            &Selection {
                                namespace,
                                labels,
                                fields,
                            },
                        )
                        .await?
                        .0,
                );
            }
            None => {
                return Err(Failure::message(
                    "one or more resources must be specified as <resource> <name> or <resource>/<name>",
                )
                .into());
            }
        }
    }
    let mut failed = false;
    for object in &objects {
        let result = match decide(marks, marks.of(object), &changes, overwrite) {
            Ok((None, outcome)) => Ok(outcome),
            Ok((Some(patch), outcome)) => {
                let patch = json!({"metadata": {marks.field(): patch}});
                let patched = cluster
                    .patch(object.kind, &object.key(), PatchType::Merge, &patch, false)
                    .await;
                patched.map(|_| outcome)
            }
            Err(text) => Err(Failure::message(text)),
        };
        match result {
            Ok(outcome) => line(format_args!("{} {outcome}", object.shown())),
            Err(failure) => {
                failed = true;
                eprintln!("{failure}");
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

/// Tells what is changed from the objects it is changed on.
fn split(arguments: &[String]) -> Result<(Vec<String>, Changes), Failure> {
    let (mut targets, mut changes) = (Vec::new(), Changes::new());
    for argument in arguments {
        match (argument.split_once('='), argument.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => changes.push((key.into(), Some(value.into()))),
            (None, Some(key)) if !key.is_empty() => changes.push((key.into(), None)),
            _ if changes.is_empty() => targets.push(argument.clone()),
            _ => {
                return Err(Failure::message(format!(
                    "all resources must be specified before the changes: {argument}"
                )));
            }
        }
    }
    match changes.is_empty() {
        true => Err(Failure::message(
            "at least one change is required, as KEY=VALUE or KEY-",
        )),
        false => Ok((targets, changes)),
    }
}

/// What is sent, and what is said.
type Decided = (Option<Map<String, Value>>, &'static str);

/// The merge patch of the labels or annotations, and the outcome in kubectl's words.
fn decide(
    marks: Marks,
    present: &BTreeMap<String, String>,
    changes: &Changes,
    overwrite: bool,
) -> Result<Decided, String> {
    let mut patch = Map::new();
    let mut removes_only = true;
    for (key, value) in changes {
        match (present.get(key), value) {
            (Some(old), Some(new)) if old == new => removes_only = false,
            (Some(old), Some(_)) if !overwrite => {
                return Err(match marks {
                    Marks::Labels => format!("'{key}' already has a value ({old}), and --overwrite is false"),
                    Marks::Annotations => format!(
                        "--overwrite is false but found the following declared annotation(s): '{key}' already has a \
                         value ({old})"
                    ),
                });
            }
            (_, Some(new)) => {
                removes_only = false;
                patch.insert(key.clone(), new.as_str().into());
            }
            (Some(_), None) => {
                patch.insert(key.clone(), Value::Null);
            }
            (None, None) => eprintln!("{} \"{key}\" not found.", marks.field().trim_end_matches('s')),
        }
    }
    let outcome = match (marks, patch.is_empty(), removes_only) {
        (Marks::Labels, true, _) => "not labeled",
        (Marks::Labels, false, true) => "unlabeled",
        (Marks::Labels, false, false) => "labeled",
        (Marks::Annotations, ..) => "annotated",
    };
    Ok(((!patch.is_empty()).then_some(patch), outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_become_a_patch_and_an_outcome() {
        let present = BTreeMap::from([("app".to_string(), "web".to_string())]);
        let check = |arguments: &str, overwrite: bool, expected: Result<(Value, &str), &str>| {
            let arguments: Vec<String> = arguments.split(' ').map(String::from).collect();
            let (targets, changes) = split(&arguments).unwrap();
            assert_eq!(targets, ["pod", "a"]);
            let decided = decide(Marks::Labels, &present, &changes, overwrite);
            let decided = decided.map(|(patch, outcome)| (patch.map_or(Value::Null, Value::Object), outcome));
            assert_eq!(decided, expected.map_err(String::from), "{arguments:?}");
        };
        check(
            "pod a tier=front",
            false,
            Ok((json!({"tier": "front"}), "labeled")),
        );
        check("pod a app-", false, Ok((json!({"app": null}), "unlabeled")));
        check("pod a app=web", false, Ok((Value::Null, "not labeled")));
        check("pod a app=api", true, Ok((json!({"app": "api"}), "labeled")));
        check(
            "pod a app=api",
            false,
            Err("'app' already has a value (web), and --overwrite is false"),
        );
        check("pod a none-", false, Ok((Value::Null, "not labeled")));
        assert!(split(&["pod".into(), "a".into()]).is_err());
        assert!(split(&["pod".into(), "a=b".into(), "c".into()]).is_err());
    }
}
