//! The objects that a command line means, for commands that act on objects that are there: by file, by name, by
//! selector, or all of a type. The rules and their words are those of cli-runtime's resource builder.

use crate::cluster::{Object, Selection};
use crate::failure::Failure;
use crate::hints;
use crate::manifest::{self, Files, Manifest, Validate};
use crate::resource::{self, Target};
use crate::session::Connected;
use gantry_proto::selector::Selector;
use gantry_proto::{Key, KindInfo};
use serde_json::Value;
use std::collections::BTreeMap;

/// Which objects are meant, where they are not named.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Selectors {
    /// Those whose labels match, such as app=web,tier!=front
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    pub labels: Option<String>,
    /// Those whose fields match, such as spec.nodeName=n1
    #[arg(long = "field-selector", value_name = "FIELDS")]
    pub fields: Option<String>,
}

impl Selectors {
    /// Nothing is selected: neither option was given, or both are empty.
    pub fn is_empty(&self) -> bool {
        self.labels.as_deref().unwrap_or_default().is_empty()
            && self.fields.as_deref().unwrap_or_default().is_empty()
    }

    pub fn in_namespace(&self, namespace: String) -> Selection {
        Selection {
            namespace,
            labels: self.labels.clone().unwrap_or_default(),
            fields: self.fields.clone().unwrap_or_default(),
        }
    }
}

/// What a command line says about the objects that it means.
pub struct Choice<'a> {
    /// TYPE NAME..., TYPE/NAME..., TYPE[,TYPE...]
    pub arguments: &'a [String],
    pub files: &'a Files,
    pub selectors: &'a Selectors,
    pub all: bool,
    pub all_namespaces: bool,
}

/// One object that is meant. It may not be there.
#[derive(Clone, Debug)]
pub struct Meant {
    pub kind: &'static KindInfo,
    pub key: Key,
    /// The file that names it, and how it is written there.
    pub manifest: Option<Manifest>,
    /// As the server listed it.
    pub object: Option<Object>,
}

/// The objects that are meant.
#[derive(Debug, Default)]
pub struct Chosen {
    pub meant: Vec<Meant>,
    /// One object was named, rather than some that happen to be one.
    pub single: bool,
    /// Something could not be read, and that has been said.
    pub failed: bool,
}

/// What the arguments ask for, before anything is read.
#[derive(Debug, PartialEq)]
enum Plan {
    Files,
    Named(Vec<Target>),
    Listed(Vec<Target>),
}

/// Finds out which objects are meant. Those that were selected are listed; those that were named are not read.
pub async fn choose(choice: &Choice<'_>, connected: &Connected) -> Result<Chosen, Failure> {
    match plan(choice)? {
        Plan::Files => of_files(choice, connected),
        Plan::Named(targets) => Ok(Chosen {
            single: targets.len() == 1,
            failed: false,
            meant: targets
                .into_iter()
                .map(|target| Meant {
                    kind: target.kind,
                    key: Key::new(
                        connected.namespace_of(target.kind),
                        target.name.unwrap_or_default(),
                    ),
                    manifest: None,
                    object: None,
                })
                .collect(),
        }),
        Plan::Listed(targets) => listed(&targets, choice, connected).await,
    }
}

fn plan(choice: &Choice) -> Result<Plan, Failure> {
    let selected = !choice.selectors.is_empty();
    if !choice.files.filenames.is_empty() {
        manifest::only_files(choice.arguments)?;
        return Ok(Plan::Files);
    }
    if choice.arguments.is_empty() {
        return Err(Failure::message(match selected || choice.all {
            true => "at least one resource must be specified to use a selector",
            false => {
                "You must provide one or more resources by argument or filename.\nExample resource specifications \
                 include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'"
            }
        }));
    }
    let targets = resource::targets(choice.arguments)?;
    let named = targets.iter().any(|target| target.name.is_some());
    match (named, selected || choice.all) {
        (true, true) if choice.arguments[0].contains('/') => Err(Failure::message(
            "selectors and the all flag cannot be used when passing resource/name arguments",
        )),
        (true, true) => Err(Failure::message(
            "name cannot be provided when a selector is specified",
        )),
        (true, false) if choice.all_namespaces && targets.iter().any(|target| target.kind.namespaced) => Err(
            Failure::message("a resource cannot be retrieved by name across all namespaces"),
        ),
        (true, false) => Ok(Plan::Named(targets)),
        (false, true) => Ok(Plan::Listed(targets)),
        (false, false) => Err(Failure::message(
            "resource(s) were provided, but no name was specified",
        )),
    }
}

fn of_files(choice: &Choice, connected: &Connected) -> Result<Chosen, Failure> {
    let (mut manifests, failures) = manifest::read(choice.files, Validate::Ignore, connected, "visit")?;
    failures.iter().for_each(|failure| eprintln!("{failure}"));
    if let Some(labels) = choice.selectors.labels.as_deref().filter(|text| !text.is_empty()) {
        let selector = Selector::parse(labels).map_err(|error| Failure::message(error.to_string()))?;
        manifests.retain(|manifest| selector.matches(&labels_of(&manifest.value)));
    }
    Ok(Chosen {
        single: manifests.len() == 1,
        failed: !failures.is_empty(),
        meant: manifests
            .into_iter()
            .map(|manifest| Meant {
                kind: manifest.kind,
                key: Key::new(manifest.namespace(), manifest.name()),
                manifest: Some(manifest),
                object: None,
            })
            .collect(),
    })
}

fn labels_of(value: &Value) -> BTreeMap<String, String> {
    let labels = value["metadata"]["labels"].as_object();
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_string()));
    labels.into_iter().flatten().filter_map(text).collect()
}

async fn listed(targets: &[Target], choice: &Choice<'_>, connected: &Connected) -> Result<Chosen, Failure> {
    let mut chosen = Chosen::default();
    for target in targets {
        let namespace = match choice.all_namespaces {
            true => String::new(),
            false => connected.namespace_of(target.kind),
        };
        let selection = choice.selectors.in_namespace(namespace);
        match connected.cluster.list(target.kind, &selection).await {
            Ok((objects, _)) => chosen.meant.extend(objects.into_iter().map(Meant::listed)),
            Err(failure @ Failure::Status(_)) => {
                chosen.failed = true;
                eprintln!("{failure}");
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(chosen)
}

impl Meant {
    fn listed(object: Object) -> Meant {
        Meant {
            kind: object.kind,
            key: object.key(),
            manifest: None,
            object: Some(object),
        }
    }

    /// Where it is written down, for messages.
    pub fn source(&self) -> Option<&str> {
        self.manifest.as_ref().map(|manifest| manifest.source.as_str())
    }

    /// The object as it is on the server: as it was listed, or read now.
    pub async fn read(&self, connected: &Connected) -> Result<Object, Failure> {
        match &self.object {
            Some(object) => Ok(object.clone()),
            None => connected.cluster.get(self.kind, &self.key).await,
        }
    }
}

impl Chosen {
    /// Reads what has not been listed. What is not there is said and left out.
    pub async fn read(self, connected: &Connected) -> Result<(Vec<Object>, bool), Failure> {
        let mut failed = self.failed;
        let mut objects = Vec::new();
        for meant in &self.meant {
            match meant.read(connected).await {
                Ok(object) => objects.push(object),
                Err(failure @ Failure::Status(_)) => {
                    failed = true;
                    hints::tell(&failure, connected).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok((objects, failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(arguments: &str, selectors: &Selectors, all: bool, all_namespaces: bool) -> String {
        let arguments: Vec<String> = arguments.split_whitespace().map(String::from).collect();
        let files = Files {
            filenames: Vec::new(),
            recursive: false,
        };
        let choice = Choice {
            arguments: &arguments,
            files: &files,
            selectors,
            all,
            all_namespaces,
        };
        match plan(&choice) {
            Ok(Plan::Files) => "files".into(),
            Ok(Plan::Named(targets)) => format!("{} named", targets.len()),
            Ok(Plan::Listed(targets)) => format!("{} listed", targets.len()),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn names_selectors_and_all_exclude_each_other_as_for_kubectl() {
        let none = Selectors::default();
        let labels = Selectors {
            labels: Some("app=web".into()),
            fields: None,
        };
        let check = |arguments: &str, selectors: &Selectors, all: bool, expected: &str| {
            assert_eq!(planned(arguments, selectors, all, false), expected, "{arguments}");
        };
        check("pod a b", &none, false, "2 named");
        check("pods,svc a", &none, false, "2 named");
        check("pods,svc", &labels, false, "2 listed");
        check("pods", &none, true, "1 listed");
        check(
            "pods",
            &none,
            false,
            "error: resource(s) were provided, but no name was specified",
        );
        check(
            "pods a",
            &labels,
            false,
            "error: name cannot be provided when a selector is specified",
        );
        check(
            "pod/a",
            &none,
            true,
            "error: selectors and the all flag cannot be used when passing resource/name arguments",
        );
        check(
            "",
            &labels,
            false,
            "error: at least one resource must be specified to use a selector",
        );
        assert!(
            planned("", &none, false, false).starts_with("error: You must provide one or more resources")
        );
        assert_eq!(
            planned("pod a", &none, false, true),
            "error: a resource cannot be retrieved by name across all namespaces"
        );
        assert_eq!(planned("node a", &none, false, true), "1 named");
    }
}
