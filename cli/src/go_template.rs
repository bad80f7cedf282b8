//! Go's templates, as far as kubectl's users write them: `-o go-template='{{range .items}}{{.metadata.name}}{{"\n"}}{{end}}'`.
//! Actions, variables, pipelines, if, with, range and the functions that text/template and kubectl have for data; no
//! templates within templates, and no methods.

mod parse;
mod evaluate;
mod functions;
mod format;

use parse::Node;
use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct GoTemplate {
    source: String,
    nodes: Vec<Node>,
}

impl GoTemplate {
    /// The error is text/template's.
    pub fn parse(source: &str) -> Result<GoTemplate, String> {
        let nodes = parse::template(source)?;
        Ok(GoTemplate {
            source: source.into(),
            nodes,
        })
    }

    /// What the template makes of a value.
    pub fn text(&self, value: &Value) -> Result<String, String> {
        evaluate::run(&self.nodes, value).map_err(|error| {
            let shown = crate::go_text::quoted(&self.source);
            format!("error executing template {shown}: {error}")
        })
    }
}

#[cfg(test)]
mod tests;
