//! Label and field selectors: kubectl's syntax, Kubernetes' meaning and words (apimachinery's labels and
//! fields packages).
//!
//! A selector that is absent matches nothing and an empty one everything: absence is the caller's `Option`.

pub mod label;
mod field;
mod parse;

pub use field::{FieldOperator, FieldRequirement, FieldSelector};

use crate::meta::v1::{LabelSelector, LabelSelectorRequirement};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// All of its requirements must hold. An empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// Text or a LabelSelector that is no selector. The words are Kubernetes'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

impl Selector {
    /// Parses kubectl's syntax, such as `app=web,tier in (front,back),!canary,weight>3`.
    pub fn parse(text: &str) -> Result<Selector, ParseError> {
        parse::selector(text).map(Selector::of)
    }

    pub fn from_label_selector(selector: &LabelSelector) -> Result<Selector, ParseError> {
        let equal = selector
            .match_labels
            .iter()
            .map(|(key, value)| Requirement::new(key.clone(), Operator::Equals, vec![value.clone()]));
        let expressions = selector.match_expressions.iter().map(requirement_of_expression);
        equal
            .chain(expressions)
            .collect::<Result<_, _>>()
            .map(Selector::of)
    }

    /// Every entry must be a label of its own. Nothing is validated: a label that could not exist is not
    /// matched either.
    pub fn from_map(labels: &BTreeMap<String, String>) -> Selector {
        let requirements = labels.iter().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        });
        Selector {
            requirements: requirements.collect(),
        }
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    fn of(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { requirements }
    }
}

fn requirement_of_expression(expression: &LabelSelectorRequirement) -> Result<Requirement, ParseError> {
    let operator = match expression.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            return Err(ParseError(format!(
                "{other:?} is not a valid label selector operator"
            )));
        }
    };
    Requirement::new(expression.key.clone(), operator, expression.values.clone())
}

impl Requirement {
    /// Fails, with all that is wrong, for a key or values that no label can have, and for a number of values
    /// that the operator does not take.
    pub fn new(key: String, operator: Operator, values: Vec<String>) -> Result<Requirement, ParseError> {
        let mut errors = Vec::new();
        if let Some(complaints) = some(label::key_complaints(&key)) {
            errors.push(format!("key: Invalid value: {key:?}: {complaints}"));
        }
        let shown = || match &values[..] {
            [] => "null".to_string(),
            values => format!(
                "[{}]",
                values
                    .iter()
                    .map(|v| format!("{v:?}"))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
        };
        let mut refuse = |why: &str| errors.push(format!("values: Invalid value: {}: {why}", shown()));
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                refuse("for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                refuse("exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                refuse("values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    refuse("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (i, value) in values
                    .iter()
                    .enumerate()
                    .filter(|(_, v)| v.parse::<i64>().is_err())
                {
                    errors.push(format!(
                        "values[{i}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                    ));
                }
            }
            _ => {}
        }
        for (i, value) in values.iter().enumerate() {
            if let Some(complaints) = some(label::value_complaints(value)) {
                errors.push(format!(
                    "values[{i}][{key}]: Invalid value: {value:?}: {complaints}"
                ));
            }
        }
        match &errors[..] {
            [] => Ok(Requirement {
                key,
                operator,
                values,
            }),
            [one] => Err(ParseError(one.clone())),
            many => Err(ParseError(format!("[{}]", many.join(", ")))),
        }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    pub fn values(&self) -> &[String] {
        &self.values
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = |value: &String| self.values.contains(value);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compares(value, |label, bound| label > bound),
            Operator::LessThan => self.compares(value, |label, bound| label < bound),
        }
    }

    /// A label that is no integer is neither greater nor less.
    fn compares(&self, label: Option<&String>, holds: impl Fn(i64, i64) -> bool) -> bool {
        let integer = |text: Option<&String>| text.and_then(|t| t.parse::<i64>().ok());
        match (integer(label), integer(self.values.first())) {
            (Some(label), Some(bound)) => holds(label, bound),
            _ => false,
        }
    }
}

fn some(complaints: Vec<String>) -> Option<String> {
    (!complaints.is_empty()).then(|| complaints.join("; "))
}

impl FromStr for Selector {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Selector, ParseError> {
        Selector::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut values = self.values.clone();
        values.sort();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
        }
    }
}

#[cfg(test)]
mod tests;
