//! What a template's nodes make of a value.

use super::functions;
use super::parse::{Branch, Command, Node, Operand, Pipe};
use crate::go_text;
use serde_json::Value;

/// What a template may write: more is a mistake in it.
const MAX_OUTPUT: usize = 256 << 20;

/// Whether a loop goes on.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Evaluation {
    output: String,
    variables: Vec<(String, Option<Value>)>,
}

pub fn run(nodes: &[Node], value: &Value) -> Result<String, String> {
    let mut evaluation = Evaluation {
        output: String::new(),
        variables: vec![("$".into(), Some(value.clone()))],
    };
    evaluation.nodes(nodes, Some(value))?;
    Ok(evaluation.output)
}

/// As Go prints a value in a template.
pub fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "<no value>".into(),
        Some(value) => go_text::sprint(value),
    }
}

pub fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(truth)) => *truth,
        Some(Value::Number(number)) => number.as_f64().is_some_and(|number| number != 0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
    }
}

impl Evaluation {
    fn nodes(&mut self, nodes: &[Node], dot: Option<&Value>) -> Result<Flow, String> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.output.push_str(text);
                    Flow::On
                }
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.output.push_str(&shown(value.as_ref()));
                    }
                    Flow::On
                }
                Node::If(branch) => self.scoped(|this| {
                    let value = this.pipe(&branch.pipe, dot)?;
                    let chosen = if is_true(value.as_ref()) {
                        &branch.then
                    } else {
                        &branch.otherwise
                    };
                    this.nodes(chosen, dot)
                })?,
                Node::With(branch) => self.scoped(|this| {
                    let value = this.pipe(&branch.pipe, dot)?;
                    match is_true(value.as_ref()) {
                        true => this.nodes(&branch.then, value.as_ref()),
                        false => this.nodes(&branch.otherwise, dot),
                    }
                })?,
                Node::Range(branch) => self.scoped(|this| this.range(branch, dot))?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
            if self.output.len() > MAX_OUTPUT {
                return Err("the template writes too much".into());
            }
        }
        Ok(Flow::On)
    }

    /// Variables that are declared within are gone afterwards.
    fn scoped<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        let before = self.variables.len();
        let result = work(self);
        self.variables.truncate(before);
        result
    }

    fn range(&mut self, branch: &Branch, dot: Option<&Value>) -> Result<Flow, String> {
        // The variables get the elements, not what is ranged over.
        let pipe = Pipe {
            variables: Vec::new(),
            ..branch.pipe.clone()
        };
        let elements: Vec<(Value, Value)> = match self.pipe(&pipe, dot)? {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => {
                let numbered = list.into_iter().enumerate();
                numbered.map(|(index, value)| (index.into(), value)).collect()
            }
            Some(Value::Object(map)) => {
                let mut pairs: Vec<(String, Value)> = map.into_iter().collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                pairs
                    .into_iter()
                    .map(|(key, value)| (key.into(), value))
                    .collect()
            }
            Some(other) => {
                let command = pipe.commands.first();
                let error = format!("range can't iterate over {}", go_text::sprint(&other));
                return Err(command.map_or(error.clone(), |command| at(command, &error)));
            }
        };
        if elements.is_empty() {
            return self.nodes(&branch.otherwise, dot);
        }
        for (key, value) in elements {
            let flow = self.scoped(|this| {
                match &branch.pipe.variables[..] {
                    [] => {}
                    [one] => this.set(one, Some(value.clone()), branch.pipe.declares),
                    [first, second, ..] => {
                        this.set(first, Some(key), branch.pipe.declares);
                        this.set(second, Some(value.clone()), branch.pipe.declares);
                    }
                }
                this.nodes(&branch.then, Some(&value))
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, name: &str, value: Option<Value>, declares: bool) {
        match self.variables.iter_mut().rev().find(|(other, _)| other == name) {
            Some((_, old)) if !declares => *old = value,
            _ => self.variables.push((name.into(), value)),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: Option<&Value>) -> Result<Option<Value>, String> {
        let mut last: Option<Option<Value>> = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        let value = last.flatten();
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.declares);
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &Command,
        dot: Option<&Value>,
        last: Option<Option<Value>>,
    ) -> Result<Option<Value>, String> {
        let Some((first, rest)) = command.operands.split_first() else {
            return Ok(None);
        };
        let Operand::Function(name) = first else {
            if !rest.is_empty() || last.is_some() {
                let what = format!("can't give argument to non-function {}", command.source);
                return Err(at(command, &what));
            }
            return self.operand(command, first, dot);
        };
        // These ask no more than they must.
        if let "and" | "or" = name.as_str() {
            let mut value = None;
            for operand in rest {
                value = self.operand(command, operand, dot)?;
                if is_true(value.as_ref()) == (name == "or") {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let mut arguments = Vec::new();
        for operand in rest {
            arguments.push(self.operand(command, operand, dot)?);
        }
        arguments.extend(last);
        let called = functions::call(name, &arguments);
        called.map_err(|error| at(command, &format!("error calling {name}: {error}")))
    }

    fn operand(
        &mut self,
        command: &Command,
        operand: &Operand,
        dot: Option<&Value>,
    ) -> Result<Option<Value>, String> {
        match operand {
            Operand::Literal(value) => Ok(Some(value.clone())),
            Operand::Nil => Ok(None),
            Operand::Dot(names) => fields(command, dot, names),
            Operand::Variable(name, names) => {
                let found = self.variables.iter().rev().find(|(other, _)| other == name);
                match found {
                    Some((_, value)) => fields(command, value.as_ref(), names),
                    None => Err(at(command, &format!("undefined variable: {name}"))),
                }
            }
            Operand::Function(name) => {
                let called = functions::call(name, &[]);
                called.map_err(|error| at(command, &format!("error calling {name}: {error}")))
            }
            Operand::Pipe(pipe, names) => {
                let value = self.pipe(pipe, dot)?;
                fields(command, value.as_ref(), names)
            }
        }
    }
}

fn fields(command: &Command, value: Option<&Value>, names: &[String]) -> Result<Option<Value>, String> {
    let mut here = value;
    for name in names {
        here = match here {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => map.get(name),
            Some(other) => {
                let kind = match other {
                    Value::String(_) => "string",
                    Value::Array(_) => "[]interface {}",
                    Value::Bool(_) => "bool",
                    _ => "int64",
                };
                return Err(at(
                    command,
                    &format!("can't evaluate field {name} in type {kind}"),
                ));
            }
        };
    }
    Ok(here.cloned())
}

fn at(command: &Command, error: &str) -> String {
    format!(
        "template: output:{}: executing \"output\" at <{}>: {error}",
        command.place, command.source
    )
}
