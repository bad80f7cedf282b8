//! kubectl's JSONPath (client-go's util/jsonpath): a template of text and of `{...}` actions that find values in an
//! object. It is not RFC 9535: `{range}`, `{end}`, quoted text and the tolerance for missing fields are its own.

mod parse;
mod evaluate;

use crate::go_text;
use evaluate::Evaluation;
use parse::Node;
use serde_json::Value;
use std::borrow::Cow;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    nodes: Vec<Node>,
}

/// The values that one node of a template found.
pub type Found<'a> = Vec<Cow<'a, Value>>;

impl JsonPath {
    /// Parses a template such as `{.metadata.name}`. The error is client-go's.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        parse::template(text).map(|nodes| JsonPath { nodes })
    }

    /// Parses one expression in any of the forms that kubectl takes for a column or a sort key: `metadata.name`,
    /// `.metadata.name`, `{metadata.name}`, `{.metadata.name}`.
    pub fn parse_relaxed(text: &str) -> Result<JsonPath, String> {
        JsonPath::parse(&relaxed(text)?)
    }

    /// What each node of the template finds, missing fields being nothing.
    pub fn find<'a>(&self, value: &'a Value) -> Result<Vec<Found<'a>>, String> {
        Evaluation::default().find(&self.nodes, Cow::Borrowed(value))
    }

    /// The template with the values in it. Several values of one node are parted by blanks.
    pub fn text(&self, value: &Value) -> Result<String, String> {
        let mut text = String::new();
        for found in self.find(value)? {
            let shown: Vec<String> = found.iter().map(|value| shown(value)).collect();
            text.push_str(&shown.join(" "));
        }
        Ok(text)
    }

    /// Each node's values as a JSON array (`-o jsonpath-as-json`).
    pub fn json(&self, value: &Value) -> Result<Vec<Value>, String> {
        let arrays = self.find(value)?;
        let array = |found: Found| Value::Array(found.into_iter().map(Cow::into_owned).collect());
        Ok(arrays.into_iter().map(array).collect())
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => go_text::json(value),
        Value::Null => "null".into(),
        scalar => go_text::sprint(scalar),
    }
}

/// kubectl's RelaxedJSONPathExpression.
pub fn relaxed(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let inner = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(text);
    let field = inner.strip_prefix('.').unwrap_or(inner);
    if field.is_empty() || field.contains(['{', '}']) {
        return Err(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'"
                .into(),
        );
    }
    Ok(format!("{{.{field}}}"))
}

#[cfg(test)]
mod tests;
