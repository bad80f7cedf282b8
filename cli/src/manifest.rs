//! Objects from files: which files, the documents in them, and what each document is.

use crate::cluster::{Object, warn};
use crate::failure::Failure;
use crate::resource::Target;
use crate::session::Connected;
use crate::suggest;
use crate::yaml;
use gantry_proto::KindInfo;
use gantry_proto::kinds::KINDS;
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The options of every command that reads files.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Files {
    /// A file or folder of manifests, or - for standard input (repeatable)
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        value_delimiter = ','
    )]
    pub filenames: Vec<String>,
    /// Read folders and all that is in them
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// What is done about unknown and duplicate fields.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validate {
    /// Refuse the object
    #[value(alias = "true")]
    Strict,
    /// Say so, and go on without the field
    Warn,
    /// Go on without the field
    #[value(alias = "false")]
    Ignore,
}

/// One object as it was written.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file, as the user named it.
    pub source: String,
    pub kind: &'static KindInfo,
    /// With the namespace that it goes to.
    pub value: Value,
}

impl Manifest {
    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    /// The object in wire form. Fields that are not in the schema are refused, warned of or dropped.
    pub fn encode(&self, value: &Value, validate: Validate) -> Result<Object, Failure> {
        let (raw, complaints) = (self.kind.encode_json)(value).map_err(|error| {
            Failure::message(format!(
                "error validating \"{}\": error validating data: {error}",
                self.source
            ))
        })?;
        self.complain(&complaints, validate)?;
        Object::new(self.kind, raw)
    }

    fn complain(&self, complaints: &[String], validate: Validate) -> Result<(), Failure> {
        match validate {
            Validate::Strict if !complaints.is_empty() => Err(Failure::message(format!(
                "error validating \"{}\": {} in version \"{}\" cannot be handled as a {}: strict decoding error: {}; if \
                 you choose to ignore these errors, turn validation off with --validate=false",
                self.source,
                self.kind.kind,
                self.kind.version,
                self.kind.kind,
                complaints.join(", ")
            ))),
            Validate::Warn => {
                warn(complaints);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Every object in the files, in order, and what could not be read: as for kubectl, one document that is wrong keeps
/// the others from nothing. Fails where a file is not there, or where the files hold nothing at all.
pub fn read(
    files: &Files,
    validate: Validate,
    session: &Connected,
    doing: &str,
) -> Result<(Vec<Manifest>, Vec<Failure>), Failure> {
    let mut texts = Vec::new();
    for name in &files.filenames {
        texts.extend(self::texts(name, files.recursive)?);
    }
    let (mut manifests, mut failures) = (Vec::new(), Vec::new());
    for (source, text) in texts {
        let parsed = parse(
            &source,
            &text,
            validate,
            &session.namespace,
            session.namespace_given,
        );
        for manifest in parsed {
            match manifest {
                Ok(manifest) => manifests.push(manifest),
                Err(failure) => failures.push(failure),
            }
        }
    }
    if manifests.is_empty() && failures.is_empty() {
        return Err(Failure::message(format!("no objects passed to {doing}")));
    }
    Ok((manifests, failures))
}

/// The objects that files name, for commands that only look at them. `arguments` are those beside the files: none.
pub fn targets(files: &Files, arguments: &[String], session: &Connected) -> Result<Vec<Target>, Failure> {
    only_files(arguments)?;
    let (manifests, failures) = read(files, Validate::Ignore, session, "get")?;
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure);
    }
    let target = |manifest: Manifest| Target {
        kind: manifest.kind,
        name: Some(manifest.name().into()),
        namespace: Some(manifest.namespace().into()),
    };
    Ok(manifests.into_iter().map(target).collect())
}

/// Refuses objects that are named beside files.
pub fn only_files(arguments: &[String]) -> Result<(), Failure> {
    match arguments.is_empty() {
        true => Ok(()),
        false => Err(Failure::message(
            "when paths, URLs, or stdin is provided as resource input, you may not specify resource arguments as well",
        )),
    }
}

/// The objects of one file. `namespace` is for those that name none; one that names another is refused when the
/// user has given the namespace.
pub fn parse(
    source: &str,
    text: &str,
    validate: Validate,
    namespace: &str,
    namespace_given: bool,
) -> Vec<Result<Manifest, Failure>> {
    let documents = match yaml::documents(text) {
        Ok(documents) => documents,
        Err(error) => {
            let failure = format!("error parsing {source}: error converting YAML to JSON: {error:#}");
            return vec![Err(Failure::message(failure))];
        }
    };
    if let Some(duplicate) = documents.duplicates {
        match validate {
            Validate::Strict => {
                return vec![Err(Failure::message(format!(
                    "error parsing {source}: {duplicate}"
                )))];
            }
            Validate::Warn => warn(&[format!("{source}: {duplicate}")]),
            Validate::Ignore => {}
        }
    }
    let values = documents.values.into_iter().flat_map(flatten);
    values
        .map(|value| identify(source, value, namespace, namespace_given))
        .collect()
}

/// The members of a List, each for itself.
fn flatten(value: Value) -> Vec<Value> {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value {
        Value::Object(mut map) if is_list && map.get("items").is_some_and(Value::is_array) => {
            match map.remove("items") {
                Some(Value::Array(items)) => items.into_iter().flat_map(flatten).collect(),
                _ => Vec::new(),
            }
        }
        other => vec![other],
    }
}

fn identify(
    source: &str,
    mut value: Value,
    namespace: &str,
    namespace_given: bool,
) -> Result<Manifest, Failure> {
    if !value.is_object() {
        return Err(Failure::message(format!(
            "unable to decode \"{source}\": a document must be an object with apiVersion and kind, not {value}"
        )));
    }
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_string();
    let (api_version, kind_name) = (text("apiVersion"), text("kind"));
    for (field, given) in [("Kind", &kind_name), ("apiVersion", &api_version)] {
        if given.is_empty() {
            return Err(Failure::message(format!(
                "unable to decode \"{source}\": Object '{field}' is missing in '{value}'"
            )));
        }
    }
    let Some(kind) = KindInfo::of_object(&api_version, &kind_name).filter(|kind| kind.stored) else {
        return Err(no_such_kind(source, &value, &api_version, &kind_name));
    };
    if value["metadata"].is_null() {
        value["metadata"] = Value::Object(serde_json::Map::new());
    }
    let Some(metadata) = value["metadata"].as_object_mut() else {
        return Err(Failure::message(format!(
            "unable to decode \"{source}\": metadata must be an object, not {}",
            value["metadata"]
        )));
    };
    if kind.namespaced {
        match metadata.get("namespace") {
            Some(Value::String(named)) if !named.is_empty() && namespace_given && named != namespace => {
                return Err(Failure::message(format!(
                    "the namespace from the provided object \"{named}\" does not match the namespace \
                     \"{namespace}\". You must pass '--namespace={named}' to perform this operation."
                )));
            }
            None | Some(Value::Null) => drop(metadata.insert("namespace".into(), namespace.into())),
            Some(Value::String(named)) if named.is_empty() => {
                metadata.insert("namespace".into(), namespace.into());
            }
            // One of another type is told when the object is read whole.
            Some(_) => {}
        }
    }
    Ok(Manifest {
        source: source.into(),
        kind,
        value,
    })
}

fn no_such_kind(source: &str, value: &Value, api_version: &str, kind: &str) -> Failure {
    let stored = || KINDS.iter().filter(|info| info.stored);
    let same_kind = stored().find(|info| info.kind == kind);
    let hint = match (same_kind, suggest::nearest(kind, stored().map(|info| info.kind))) {
        (Some(info), _) => format!("the apiVersion of {kind} is {}", info.api_version()),
        (None, Some(near)) => format!("did you mean \"{near}\"?"),
        (None, None) => "see `gantry api-resources` for the kinds there are".into(),
    };
    let metadata = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
    Failure::message(format!(
        "resource mapping not found for name: \"{}\" namespace: \"{}\" from \"{source}\": no matches for kind \"{kind}\" \
         in version \"{api_version}\"\n{hint}",
        metadata("name"),
        metadata("namespace"),
    ))
}

/// The texts behind one `-f`, each with the name that messages give it.
fn texts(name: &str, recursive: bool) -> Result<Vec<(String, String)>, Failure> {
    if name == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Failure::message(format!("error reading STDIN: {error}")))?;
        return Ok(vec![("STDIN".into(), text)]);
    }
    if name.starts_with("http://") || name.starts_with("https://") {
        return Err(Failure::message(format!(
            "unable to read URL \"{name}\": URLs are not supported; fetch it first, as in `curl -fsS {name} | gantry \
             apply -f -`"
        )));
    }
    let path = Path::new(name);
    if !path.exists() {
        return Err(Failure::message(format!("the path \"{name}\" does not exist")));
    }
    let mut files = Vec::new();
    collect(path, recursive, true, &mut files)
        .map_err(|error| Failure::message(format!("error reading [{name}]: {error}")))?;
    if files.is_empty() {
        return Err(Failure::message(format!(
            "error reading [{name}]: recognized file extensions are [.json .yaml .yml]"
        )));
    }
    let read = |file: &PathBuf| {
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::message(format!("unable to read \"{shown}\": {error}")))?;
        Ok((shown, text))
    };
    files.iter().map(read).collect()
}

/// Files in lexical order. A file that was named is taken whatever its extension.
fn collect(path: &Path, recursive: bool, top: bool, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_dir() {
        if top || recursive {
            let mut entries = std::fs::read_dir(path)?
                .map(|entry| Ok(entry?.path()))
                .collect::<std::io::Result<Vec<_>>>()?;
            entries.sort();
            for entry in entries {
                collect(&entry, recursive, false, files)?;
            }
        }
        return Ok(());
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    if top || matches!(extension, Some("json" | "yaml" | "yml")) {
        files.push(path.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Manifest>, Failure> {
        parse("x.yaml", text, Validate::Warn, "default", false)
            .into_iter()
            .collect()
    }

    #[test]
    fn documents_and_lists_become_objects_with_a_namespace() {
        let text = "kind: List\napiVersion: v1\nitems:\n- {kind: Pod, apiVersion: v1, metadata: {name: a}}\n\
                    - {kind: Pod, apiVersion: v1, metadata: {name: b, namespace: other}}\n---\n\
                    kind: Namespace\napiVersion: v1\nmetadata: {name: c}\n";
        let manifests = parsed(text).unwrap();
        let shown: Vec<String> = manifests
            .iter()
            .map(|m| format!("{} {}/{}", m.kind.resource, m.namespace(), m.name()))
            .collect();
        assert_eq!(shown, ["pods default/a", "pods other/b", "namespaces /c"]);
    }

    #[test]
    fn what_is_no_object_of_a_known_kind_is_refused_with_what_to_do() {
        let check = |text: &str, expected: &str| {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(
            "apiVersion: v1\n",
            "unable to decode \"x.yaml\": Object 'Kind' is missing in '{\"apiVersion\":\"v1\"}'",
        );
        check("kind: Pod\n", "Object 'apiVersion' is missing");
        check("foo\n", "a document must be an object");
        check(
            "apiVersion: v1\nkind: Deployment\n",
            "the apiVersion of Deployment is apps/v1",
        );
        check(
            "apiVersion: apps/v1\nkind: Deploymnet\n",
            "did you mean \"Deployment\"?",
        );
        check(
            "apiVersion: v1\nkind: Binding\n",
            "no matches for kind \"Binding\" in version \"v1\"",
        );
        check(
            "apiVersion: v1\nkind: Pod\nmetadata: [a]\n",
            "metadata must be an object, not [\"a\"]",
        );
        check(
            "a: b\n c: d\n",
            "error parsing x.yaml: error converting YAML to JSON",
        );
    }

    #[test]
    fn a_document_that_is_wrong_keeps_the_others_from_nothing() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Pdo\n---\n\
                    apiVersion: v1\nkind: Pod\nmetadata: {name: b}\n";
        let parsed = parse("x", text, Validate::Warn, "default", false);
        let names: Vec<&str> = parsed.iter().flatten().map(Manifest::name).collect();
        assert_eq!((names, parsed.len()), (vec!["a", "b"], 3));
    }

    #[test]
    fn a_namespace_that_contradicts_the_flag_is_refused() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: one}\n";
        let parsed = |given| parse("x", text, Validate::Warn, "two", given).remove(0);
        let error = parsed(true).unwrap_err().to_string();
        assert!(error.contains("does not match the namespace \"two\""), "{error}");
        assert!(parsed(false).is_ok());
    }

    #[test]
    fn an_unknown_field_is_refused_when_strict_and_dropped_otherwise() {
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replica: 1}\n";
        let manifest = &parsed(text).unwrap()[0];
        let error = manifest
            .encode(&manifest.value, Validate::Strict)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("strict decoding error: unknown field \"spec.replica\""),
            "{error}"
        );
        let object = manifest.encode(&manifest.value, Validate::Ignore).unwrap();
        assert_eq!(object.metadata.name, "a");
    }

    #[test]
    fn a_wrong_type_is_refused_with_the_field() {
        let check = |rest: &str, field: &str| {
            let text = format!("apiVersion: apps/v1\nkind: Deployment\n{rest}\n");
            let manifest = &parsed(&text).unwrap()[0];
            let error = manifest.encode(&manifest.value, Validate::Ignore).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("error validating \"x.yaml\"") && error.contains(field),
                "{error}"
            );
        };
        check("metadata: {name: a}\nspec: {replicas: many}", "spec.replicas");
        check("metadata: {name: 1}", "metadata.name");
        check("metadata: {name: a, namespace: 1}", "metadata.namespace");
        check("metadata: {name: a, annotations: x}", "metadata.annotations");
    }
}
