//! What a template's nodes find in a value.

use super::Found;
use super::parse::{End, Node, Slice};
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Where an evaluation stands: how many ranges it is in, and where the innermost one that ended has its `{end}`.
#[derive(Default)]
pub struct Evaluation {
    ranges_begun: usize,
    ranges: usize,
    ends: usize,
    /// Nodes that were left after the last `{end}`: which one it was, whatever list it was reached from.
    left_after_end: Option<usize>,
}

impl Evaluation {
    /// What each of the nodes finds, up to the `{end}` of the range that they are in.
    pub fn find<'a>(&mut self, nodes: &[Node], value: Cow<'a, Value>) -> Result<Vec<Found<'a>>, String> {
        self.find_from(nodes, Some(value))
    }

    fn find_from<'a>(
        &mut self,
        nodes: &[Node],
        value: Option<Cow<'a, Value>>,
    ) -> Result<Vec<Found<'a>>, String> {
        let start: Found = value.into_iter().collect();
        let mut all = Vec::new();
        let mut index = 0;
        while index < nodes.len() {
            let results = self.walk(start.clone(), &nodes[index])?;
            let rest = &nodes[index + 1..];
            index += 1;
            if self.ends > 0 && self.ends <= self.ranges {
                self.ends -= 1;
                self.left_after_end = Some(rest.len());
                break;
            }
            if self.ranges_begun == 0 {
                all.push(results);
                continue;
            }
            self.ranges_begun -= 1;
            self.ranges += 1;
            if results.is_empty() {
                // The nodes of a range over nothing are passed through, to find its end.
                self.find_from(rest, None)?;
            }
            for result in results {
                all.extend(self.find_from(rest, Some(result))?);
            }
            self.ranges -= 1;
            if let Some(left) = self.left_after_end.filter(|left| *left < rest.len()) {
                index = nodes.len() - left;
            }
        }
        Ok(all)
    }

    fn walk_list<'a>(&mut self, input: Found<'a>, nodes: &[Node]) -> Result<Found<'a>, String> {
        nodes
            .iter()
            .try_fold(input, |values, node| self.walk(values, node))
    }

    fn walk<'a>(&mut self, input: Found<'a>, node: &Node) -> Result<Found<'a>, String> {
        let each = |input: Found<'a>, value: Value| -> Found<'a> {
            input.iter().map(|_| Cow::Owned(value.clone())).collect()
        };
        match node {
            Node::List(nodes) => self.walk_list(input, nodes),
            Node::Text(text) => Ok(vec![Cow::Owned(text.as_str().into())]),
            Node::Integer(integer) => Ok(each(input, (*integer).into())),
            Node::Float(float) => Ok(each(input, (*float).into())),
            Node::Bool(truth) => Ok(each(input, (*truth).into())),
            Node::Field(name) => Ok(input.into_iter().filter_map(|value| field(value, name)).collect()),
            Node::Wildcard => Ok(input.into_iter().flat_map(members).collect()),
            Node::Recursive => Ok(descendants(input)),
            Node::Array(slice) => elements(input, *slice),
            Node::Union(members) => {
                let mut found = Vec::new();
                for member in members {
                    found.extend(self.walk_list(input.clone(), member)?);
                }
                Ok(found)
            }
            Node::Filter {
                left,
                operator,
                right,
            } => self.filter(input, left, operator, right),
            Node::Word(word) => match word.as_str() {
                "range" => {
                    self.ranges_begun += 1;
                    Ok(input)
                }
                "end" if self.ranges > 0 => {
                    self.ends += 1;
                    Ok(Vec::new())
                }
                "end" => Err("not in range, nothing to end".into()),
                other => Err(format!("unrecognized identifier {other}")),
            },
        }
    }

    fn filter<'a>(
        &mut self,
        input: Found<'a>,
        left: &[Node],
        operator: &str,
        right: &[Node],
    ) -> Result<Found<'a>, String> {
        let mut passed = Vec::new();
        for value in input {
            if !value.is_array() {
                let shown = crate::go_text::sprint(&value);
                return Err(format!("{shown} is not array or slice and cannot be filtered"));
            }
            for element in members(value) {
                let lefts = self.walk_list(vec![element.clone()], left);
                if operator == "exists" {
                    if lefts.is_ok_and(|lefts| !lefts.is_empty()) {
                        passed.push(element);
                    }
                    continue;
                }
                let lefts = lefts?;
                let rights = self.walk_list(vec![element.clone()], right)?;
                let passes = match (&lefts[..], &rights[..]) {
                    ([], _) | (_, []) => false,
                    ([left], [right]) => compare(left, operator, right)?,
                    _ => return Err("can only compare one element at a time".into()),
                };
                if passes {
                    passed.push(element);
                }
            }
        }
        Ok(passed)
    }
}

fn field<'a>(value: Cow<'a, Value>, name: &str) -> Option<Cow<'a, Value>> {
    match value {
        Cow::Borrowed(value) => value.as_object()?.get(name).map(Cow::Borrowed),
        Cow::Owned(Value::Object(mut map)) => map.remove(name).map(Cow::Owned),
        Cow::Owned(_) => None,
    }
}

/// The values of an object and the elements of a list.
fn members(value: Cow<Value>) -> Found {
    match value {
        Cow::Borrowed(Value::Object(map)) => map.values().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Array(list)) => list.iter().map(Cow::Borrowed).collect(),
        Cow::Owned(Value::Object(map)) => map.into_iter().map(|(_, value)| Cow::Owned(value)).collect(),
        Cow::Owned(Value::Array(list)) => list.into_iter().map(Cow::Owned).collect(),
        _ => Vec::new(),
    }
}

/// Every value that has members, each before those in it.
fn descendants(input: Found) -> Found {
    let mut found = Vec::new();
    for value in input {
        let inner = members(value.clone());
        if !inner.is_empty() {
            found.push(value);
            found.extend(descendants(inner));
        }
    }
    found
}

fn elements(input: Found, slice: Slice) -> Result<Found, String> {
    let mut found = Vec::new();
    for value in input {
        if value.is_null() {
            continue;
        }
        if !value.is_array() {
            return Err(format!("{} is not array or slice", go_type(&value)));
        }
        let mut all = members(value);
        let length = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let (start, end) = bounds(slice, length);
        if start == end {
            return Ok(found);
        }
        let out_of_bounds = |index: i64| {
            Err(format!(
                "array index out of bounds: index {index}, length {length}"
            ))
        };
        if start >= length || start < 0 {
            return out_of_bounds(start);
        }
        if end > length || end < 0 {
            return out_of_bounds(end - 1);
        }
        if start > end {
            return Err(format!(
                "starting index {start} is greater than ending index {end}"
            ));
        }
        let step = match slice.step {
            None => 1,
            Some(step) => usize::try_from(step)
                .ok()
                .filter(|step| *step > 0)
                .ok_or("step must be > 0")?,
        };
        // Both lie between nothing and the length.
        let (start, end) = (
            usize::try_from(start).unwrap_or_default(),
            usize::try_from(end).unwrap_or_default(),
        );
        found.extend(all.drain(start..end).step_by(step));
    }
    Ok(found)
}

/// Where a slice begins and ends in a list of this length. Negative numbers count from the end.
fn bounds(slice: Slice, length: i64) -> (i64, i64) {
    let from_end = |index: i64| if index < 0 { index + length } else { index };
    let given = slice.start.unwrap_or(0);
    let start = from_end(given);
    let end = match slice.end {
        End::Last => length,
        End::At(end) => from_end(end),
        // After -1 there is 0, which means the end.
        End::AfterStart if given == -1 => length,
        End::AfterStart => from_end(given.saturating_add(1)),
    };
    (start, end)
}

fn compare(left: &Value, operator: &str, right: &Value) -> Result<bool, String> {
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            (None, None) => left.as_f64().partial_cmp(&right.as_f64()),
            _ => return Err("incompatible types for comparison".into()),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => match operator {
            "==" | "!=" => Some(left.cmp(right)),
            _ => return Err("invalid type for comparison".into()),
        },
        (Value::Null | Value::Object(_) | Value::Array(_), _)
        | (_, Value::Null | Value::Object(_) | Value::Array(_)) => {
            return Err("invalid type for comparison".into());
        }
        _ => return Err("incompatible types for comparison".into()),
    };
    Ok(match operator {
        "==" => order == Some(Ordering::Equal),
        "!=" => order != Some(Ordering::Equal),
        "<" => order == Some(Ordering::Less),
        ">" => order == Some(Ordering::Greater),
        "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        ">=" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        other => return Err(format!("unrecognized filter operator {other}")),
    })
}

/// Go's name for the type that it decodes the value to.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
