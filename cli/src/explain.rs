//! What `explain` says about a kind or a field of it, from the schema and in the layout of kubectl's plain text.

use crate::suggest;
use gantry_proto::KindInfo;
use gantry_proto::schema::{self, FieldInfo};
use std::fmt::Write as _;

/// How wide a text may be before its indentation.
const WIDTH: usize = 78;
/// Values of a field that a list of fields shows.
const LISTED_VALUES: usize = 4;

/// What stands where the schema is followed to.
struct Place {
    /// The field that was followed last.
    field: Option<FieldInfo>,
    /// The message there, where there is one.
    message: Option<String>,
}

/// The whole answer. `path` are the fields that lead from the kind to what is asked about.
pub fn explain(kind: &KindInfo, path: &[&str], recursive: bool) -> Result<String, String> {
    let mut text = String::new();
    if !kind.group.is_empty() {
        let _ = writeln!(text, "GROUP:      {}", kind.group);
    }
    let _ = write!(
        text,
        "KIND:       {}\nVERSION:    {}\n\n",
        kind.kind, kind.version
    );
    let place = follow(kind, path)?;
    let mut said = Vec::new();
    if let Some(field) = &place.field {
        let _ = writeln!(text, "FIELD: {} <{}>", field.name, field.type_name);
        if !field.options.enum_values.is_empty() {
            let values = values(field).into_iter().map(|value| format!("\n    {value}"));
            let _ = write!(text, "ENUM:{}", values.collect::<String>());
        }
        text.push_str("\n\n");
        said.push(field.comment);
    }
    said.extend(place.message.as_deref().map(schema::about));
    let said: String = said
        .into_iter()
        .filter(|comment| !comment.is_empty())
        .flat_map(|comment| [comment, "\n"])
        .collect();
    let said = if said.is_empty() { "<empty>" } else { &said };
    let _ = write!(text, "DESCRIPTION:\n{}\n", indented(&wrapped(said, WIDTH - 2), 4));
    if let Some(message) = &place.message {
        let top = place.field.is_none();
        let mut fields = schema::fields(message);
        if top {
            fields.extend(type_fields());
            fields.sort_by(|a, b| a.name.cmp(&b.name));
        }
        text.push_str("FIELDS:\n");
        let mut above = vec![message.clone()];
        list(&fields, 1, recursive, &mut above, &mut text);
    }
    text.push('\n');
    Ok(text)
}

/// Goes from the kind along the fields.
fn follow(kind: &KindInfo, path: &[&str]) -> Result<Place, String> {
    let mut place = Place {
        field: None,
        message: Some(kind.message.into()),
    };
    for (depth, name) in path.iter().enumerate() {
        let mut fields = place.message.as_deref().map(schema::fields).unwrap_or_default();
        if depth == 0 {
            fields.extend(type_fields());
        }
        let Some(found) = fields.iter().find(|field| field.name == *name) else {
            let near = suggest::nearest(name, fields.iter().map(|field| field.name.as_str()));
            let hint = near
                .map(|near| format!(". Did you mean \"{near}\"?"))
                .unwrap_or_default();
            return Err(format!("field \"{name}\" does not exist{hint}"));
        };
        place = Place {
            message: found.message.clone(),
            field: Some(found.clone()),
        };
    }
    Ok(place)
}

/// What every kind's JSON has and no message.
fn type_fields() -> [FieldInfo; 2] {
    let field = |name: &str, comment: &'static str| FieldInfo {
        name: name.into(),
        type_name: "string".into(),
        message: None,
        comment,
        options: schema::FieldOptions::default(),
    };
    [
        field(
            "apiVersion",
            "The group and the version of the schema that the object is written in, such as apps/v1.",
        ),
        field("kind", "Which kind of object it is. It never changes."),
    ]
}

fn list(fields: &[FieldInfo], level: usize, recursive: bool, above: &mut Vec<String>, text: &mut String) {
    let indent = 2 * level;
    let blanks = " ".repeat(indent);
    for field in fields {
        let required = if field.options.required { " -required-" } else { "" };
        let _ = write!(text, "{blanks}{}\t<{}>{required}", field.name, field.type_name);
        let values = values(field);
        if !values.is_empty() {
            let more = if values.len() > LISTED_VALUES {
                ", ...."
            } else {
                ""
            };
            let shown = values[..values.len().min(LISTED_VALUES)].join(", ");
            let _ = write!(text, "\n{blanks}enum: {shown}{more}");
        }
        text.push('\n');
        if !recursive {
            let said = if field.comment.is_empty() {
                "<no description>"
            } else {
                field.comment
            };
            let _ = write!(
                text,
                "{}\n\n",
                indented(&wrapped(said, WIDTH - indent), indent + 2)
            );
        }
        if recursive
            && let Some(message) = &field.message
            && !above.contains(message)
        {
            above.push(message.clone());
            list(&schema::fields(message), level + 1, recursive, above, text);
            above.pop();
        }
    }
}

/// The values that a field may have, in order.
fn values(field: &FieldInfo) -> Vec<String> {
    let quoted = |value: &String| {
        if value.is_empty() {
            "\"\"".into()
        } else {
            value.clone()
        }
    };
    let mut values: Vec<String> = field.options.enum_values.iter().map(quoted).collect();
    values.sort();
    values
}

/// Breaks lines between words so that none is longer, where that can be.
fn wrapped(text: &str, width: usize) -> String {
    let wrap = |line: &str| {
        let (mut lines, mut length) = (String::new(), 0);
        for word in line.split(' ') {
            let word_length = word.chars().count();
            if length > 0 && length + 1 + word_length > width {
                lines.push('\n');
                length = 0;
            } else if length > 0 {
                lines.push(' ');
                length += 1;
            }
            lines.push_str(word);
            length += word_length;
        }
        lines
    };
    text.split('\n').map(wrap).collect::<Vec<_>>().join("\n")
}

fn indented(text: &str, amount: usize) -> String {
    let blanks = " ".repeat(amount);
    format!("{blanks}{}", text.replace('\n', &format!("\n{blanks}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::Kind as _;
    use gantry_proto::core::v1::{Namespace, Pod};
    use gantry_proto::policy::v1::PodDisruptionBudget;

    fn explained(kind: &KindInfo, path: &str, recursive: bool) -> Result<String, String> {
        let path: Vec<&str> = path.split('.').filter(|name| !name.is_empty()).collect();
        explain(kind, &path, recursive)
    }

    #[test]
    fn a_kind_and_its_fields_are_laid_out_as_kubectl_does() {
        let text = explained(PodDisruptionBudget::INFO, "", false).unwrap();
        let expected =
            "GROUP:      policy\nKIND:       PodDisruptionBudget\nVERSION:    v1\n\nDESCRIPTION:\n    ";
        assert!(text.starts_with(expected), "{text}");
        let fields: Vec<&str> = text.lines().filter(|line| line.contains('\t')).collect();
        assert_eq!(
            fields,
            [
                "  apiVersion\t<string>",
                "  kind\t<string>",
                "  metadata\t<ObjectMeta>",
                "  spec\t<PodDisruptionBudgetSpec>",
                "  status\t<PodDisruptionBudgetStatus>",
            ]
        );
        assert!(text.ends_with("\n\n\n"), "{text}");
        assert!(!explained(Namespace::INFO, "", false).unwrap().contains("GROUP"));
    }

    #[test]
    fn a_field_is_explained_with_its_type_and_values() {
        let text = explained(Pod::INFO, "spec.restartPolicy", false).unwrap();
        let expected = "FIELD: restartPolicy <string>\nENUM:\n    Always\n    Never\n    OnFailure\n\nDESCRIPTION:\n    ";
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("FIELDS:"), "{text}");
        let text = explained(Pod::INFO, "spec.containers", false).unwrap();
        assert!(
            text.contains("FIELD: containers <[]Container>\n\n\nDESCRIPTION:\n"),
            "{text}"
        );
        assert!(text.contains("\n  name\t<string> -required-\n"), "{text}");
        assert!(
            text.contains("\n  imagePullPolicy\t<string>\n  enum: Always, IfNotPresent, Never\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 82), "{text}");
    }

    #[test]
    fn all_fields_are_listed_below_each_other_and_a_cycle_ends() {
        let text = explained(Pod::INFO, "spec", true).unwrap();
        assert!(
            text.contains("\n  containers\t<[]Container> -required-\n    args\t<[]string>\n"),
            "{text}"
        );
        assert!(!text.contains("<no description>"));
    }

    #[test]
    fn a_field_that_is_not_there_is_answered_with_the_one_that_was_meant() {
        assert_eq!(
            explained(Pod::INFO, "spec.container", false),
            Err("field \"container\" does not exist. Did you mean \"containers\"?".into())
        );
        assert_eq!(
            explained(Pod::INFO, "spec.nodeName.x", false),
            Err("field \"x\" does not exist".into())
        );
    }
}
