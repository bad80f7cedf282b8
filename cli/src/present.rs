//! Objects as YAML, JSON, names or what a JSONPath template makes of them.

use crate::cluster::Object;
use crate::dry_run::DryRun;
use crate::failure::Failure;
use crate::go_template::GoTemplate;
use crate::go_text;
use crate::jsonpath::JsonPath;
use crate::output::{line, write};
use crate::suggest;
use crate::yaml;
use serde_json::{Value, json};
use std::str::FromStr;

/// How an object is printed where it is not a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    Yaml,
    Json,
    Name,
    JsonPath { source: String, template: JsonPath },
    JsonPathAsJson { source: String, template: JsonPath },
    GoTemplate(GoTemplate),
}

/// The names of the formats, as messages list them.
pub const FORMATS: &[&str] = &[
    "go-template",
    "go-template-file",
    "json",
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
    "name",
    "yaml",
];

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let (name, template) = text.split_once('=').unwrap_or((text, ""));
        match (name, template) {
            ("yaml", "") => Ok(Format::Yaml),
            ("json", "") => Ok(Format::Json),
            ("name", "") => Ok(Format::Name),
            ("jsonpath" | "jsonpath-as-json" | "jsonpath-file" | "go-template" | "go-template-file", "") => {
                Err("template format specified but no template given".into())
            }
            ("jsonpath", _) => {
                parsed(template).map(|(source, template)| Format::JsonPath { source, template })
            }
            ("jsonpath-as-json", _) => {
                parsed(template).map(|(source, template)| Format::JsonPathAsJson { source, template })
            }
            ("jsonpath-file", path) => {
                parsed(&read(path)?).map(|(source, template)| Format::JsonPath { source, template })
            }
            ("go-template", _) => go_template(template),
            ("go-template-file", path) => go_template(&read(path)?),
            _ => Err(no_such_format(text, FORMATS)),
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("error reading --template {path}, {error}"))
}

fn go_template(template: &str) -> Result<Format, String> {
    match GoTemplate::parse(template) {
        Ok(template) => Ok(Format::GoTemplate(template)),
        Err(error) => Err(format!("error parsing template {template}, {error}")),
    }
}

fn parsed(template: &str) -> Result<(String, JsonPath), String> {
    match JsonPath::parse(template) {
        Ok(path) => Ok((template.into(), path)),
        Err(error) => Err(format!("error parsing jsonpath {template}, {error}")),
    }
}

/// kubectl's words for a format that is not there, and the one that was probably meant.
pub fn no_such_format(given: &str, formats: &[&str]) -> String {
    let name = given.split('=').next().unwrap_or_default();
    let hint = match suggest::nearest(name, formats.iter().copied()) {
        Some(near) => format!(". Did you mean \"{near}\"?"),
        None => String::new(),
    };
    format!(
        "unable to match a printer suitable for the output format {}, allowed formats are: {}{hint}",
        go_text::quoted(given),
        formats.join(",")
    )
}

/// The options of every command that can print the objects that it has changed.
#[derive(clap::Args, Clone, Debug)]
pub struct OutputOptions {
    /// Print the resulting objects: json, yaml, name, jsonpath=TEMPLATE, jsonpath-as-json=TEMPLATE, jsonpath-file=FILE,
    /// go-template=TEMPLATE or go-template-file=FILE
    #[arg(short, long, value_name = "FORMAT", global = true)]
    pub output: Option<Format>,
    /// With managedFields
    #[arg(long, global = true)]
    pub show_managed_fields: bool,
}

/// Says of one object after the other what was done to it, or prints it where that was asked for.
pub struct Results<'a> {
    options: &'a OutputOptions,
    dry_run: DryRun,
    printed: usize,
}

impl<'a> Results<'a> {
    pub fn new(options: &'a OutputOptions, dry_run: DryRun) -> Results<'a> {
        Results {
            options,
            dry_run,
            printed: 0,
        }
    }

    /// `operation` is what was done, such as `labeled`.
    pub fn print(&mut self, object: &Object, operation: &str) -> Result<(), Failure> {
        let Some(format) = &self.options.output else {
            self.say(&object.shown(), operation);
            return Ok(());
        };
        if *format == Format::Yaml && self.printed > 0 {
            write(format_args!("---\n"));
        }
        self.printed += 1;
        if *format == Format::Name {
            line(format_args!("{}", object.shown()));
            return Ok(());
        }
        let value = value(object, self.options.show_managed_fields)?;
        write(format_args!("{}", text(&value, format)?));
        Ok(())
    }

    /// As `print` for what is not there any more or has no object, such as `deployment.apps/web`.
    pub fn say(&self, shown: &str, operation: &str) {
        line(format_args!("{shown} {operation}{}", self.dry_run.note()));
    }
}

/// One object alone, or a List of all.
pub fn objects(
    objects: &[Object],
    format: &Format,
    single: bool,
    managed_fields: bool,
) -> Result<(), Failure> {
    if *format == Format::Name {
        objects
            .iter()
            .for_each(|object| write(format_args!("{}\n", object.shown())));
        return Ok(());
    }
    let shown = match (single, objects) {
        (true, [object]) => value(object, managed_fields)?,
        _ => {
            let items = objects
                .iter()
                .map(|object| value(object, managed_fields))
                .collect::<Result<Vec<_>, _>>()?;
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
        }
    };
    write(format_args!("{}", text(&shown, format)?));
    Ok(())
}

/// A value in a format other than that of names.
pub fn text(value: &Value, format: &Format) -> Result<String, Failure> {
    let failed = |source: &str, error: String| {
        Failure::message(format!(
            "error executing jsonpath {}: Error executing template: {error}. Printing more information for debugging \
             the template:\n\ttemplate was:\n\t\t{source}\n\tobject given to jsonpath engine was:\n\t\t{}\n\n",
            go_text::quoted(source),
            go_text::syntax(value)
        ))
    };
    match format {
        Format::Yaml => Ok(yaml::print(value)),
        Format::Json | Format::Name => Ok(indented(value)),
        Format::JsonPath { source, template } => template.text(value).map_err(|error| failed(source, error)),
        Format::GoTemplate(template) => template.text(value).map_err(Failure::message),
        Format::JsonPathAsJson { source, template } => {
            let arrays = template.json(value).map_err(|error| failed(source, error))?;
            Ok(arrays.iter().map(indented).collect())
        }
    }
}

/// An object's JSON. managedFields are left out where nobody asked for them.
pub fn value(object: &Object, managed_fields: bool) -> Result<Value, Failure> {
    let mut value = object.json()?;
    if let Some(metadata) = value["metadata"].as_object_mut().filter(|_| !managed_fields) {
        metadata.remove("managedFields");
    }
    Ok(value)
}

/// Four spaces, as kubectl prints JSON.
fn indented(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a value into memory does not fail.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_by_its_name_and_a_mistyped_one_is_answered_with_the_right_one() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<Format>().unwrap_err();
            assert_eq!(error, expected, "{text}");
        };
        for good in ["yaml", "json", "name", "jsonpath={.a}", "jsonpath-as-json={.a}"] {
            assert!(good.parse::<Format>().is_ok(), "{good}");
        }
        check(
            "yml",
            "unable to match a printer suitable for the output format \"yml\", allowed formats are: \
             go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,yaml. Did you mean \"yaml\"?",
        );
        check("jsonpath", "template format specified but no template given");
        check("jsonpath={.a", "error parsing jsonpath {.a, unclosed action");
        check(
            "jsonpath-file=/nonexistent",
            "error reading --template /nonexistent, No such file or directory (os error 2)",
        );
    }

    #[test]
    fn a_template_that_does_not_fit_is_told_with_the_object_as_kubectl_tells_it() {
        let format: Format = "jsonpath={.a[3]}".parse().unwrap();
        let error = text(&json!({"a": [1]}), &format).unwrap_err().to_string();
        assert_eq!(
            error,
            "error: error executing jsonpath \"{.a[3]}\": Error executing template: array index out of bounds: index 3, \
             length 1. Printing more information for debugging the template:\n\ttemplate was:\n\t\t{.a[3]}\n\tobject \
             given to jsonpath engine was:\n\t\tmap[string]interface {}{\"a\":[]interface {}{1}}\n\n"
        );
    }
}
