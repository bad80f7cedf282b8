//! Field selectors, such as `spec.nodeName=n1,status.phase!=Running`.

use super::ParseError;
use std::fmt;
use std::str::FromStr;

/// All of its requirements must hold. An empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// Such as `metadata.name`.
    pub field: String,
    pub operator: FieldOperator,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldOperator {
    Equals,
    NotEquals,
}

/// Which of them is written here decides how a term is split; `==` stands before `=` so that no `=` is left over.
const OPERATORS: [(&str, FieldOperator); 3] = [
    ("!=", FieldOperator::NotEquals),
    ("==", FieldOperator::Equals),
    ("=", FieldOperator::Equals),
];

impl FieldSelector {
    /// In values, `\`, `,` and `=` are escaped by `\`. Which fields there are is the caller's business.
    pub fn parse(text: &str) -> Result<FieldSelector, ParseError> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let Some((field, operator, value)) = split_term(term) else {
                return Err(ParseError(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                )));
            };
            let (field, value) = (field.to_string(), unescape(value)?);
            if !field.is_empty() || !value.is_empty() {
                requirements.push(FieldRequirement {
                    field,
                    operator,
                    value,
                });
            }
        }
        Ok(FieldSelector { requirements })
    }

    /// `value_of` gives a field's value; a field without one reads as empty.
    pub fn matches<V: AsRef<str>>(&self, value_of: impl Fn(&str) -> Option<V>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = value_of(&requirement.field);
            let equal = value.as_ref().map_or("", |v| v.as_ref()) == requirement.value;
            equal == (requirement.operator == FieldOperator::Equals)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// The one value that the selector asks of a field, where it does.
    pub fn required_value(&self, field: &str) -> Option<&str> {
        let mut equal = self
            .requirements
            .iter()
            .filter(|r| r.operator == FieldOperator::Equals);
        equal.find(|r| r.field == field).map(|r| r.value.as_str())
    }
}

impl FromStr for FieldSelector {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<FieldSelector, ParseError> {
        FieldSelector::parse(text)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for FieldRequirement {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let operator = match self.operator {
            FieldOperator::Equals => "=",
            FieldOperator::NotEquals => "!=",
        };
        let value = self
            .value
            .replace('\\', "\\\\")
            .replace(',', "\\,")
            .replace('=', "\\=");
        write!(f, "{}{operator}{value}", self.field)
    }
}

/// Splits at commas that are not escaped. The escapes stay.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, FieldOperator, &str)> {
    term.char_indices().find_map(|(i, _)| {
        let (field, rest) = term.split_at(i);
        OPERATORS
            .iter()
            .find_map(|(sign, operator)| Some((field, *operator, rest.strip_prefix(sign)?)))
    })
}

fn unescape(value: &str) -> Result<String, ParseError> {
    let invalid = |sequence: String| {
        ParseError(format!(
            "invalid field selector: invalid escape sequence: {sequence}"
        ))
    };
    let (mut plain, mut chars) = (String::with_capacity(value.len()), value.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                Some(c) => return Err(invalid(format!("\\{c}"))),
                None => return Err(invalid("\\".to_string())),
            },
            // Kubernetes prints the character's number here.
            ',' | '=' => {
                let number = u32::from(c);
                return Err(ParseError(format!(
                    "invalid field selector: unescaped character in value: {number}"
                )));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}
