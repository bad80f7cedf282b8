//! What `wait --for` waits for, and whether it has come (kubectl's cmd/wait).

use crate::go_text;
use crate::jsonpath::JsonPath;
use serde_json::Value;
use std::str::FromStr;

/// One `--for`.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    Created,
    Deleted,
    /// A status condition of this type has this status; both whatever their case.
    Condition {
        name: String,
        status: String,
    },
    /// A template finds one value, which is this one where one is given.
    Found {
        path: JsonPath,
        value: Option<String>,
    },
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Goal, String> {
        match text.to_lowercase().as_str() {
            "delete" => return Ok(Goal::Deleted),
            "create" => return Ok(Goal::Created),
            _ => {}
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (name, status) = condition.split_once('=').unwrap_or((condition, "true"));
            return Ok(Goal::Condition {
                name: name.into(),
                status: status.into(),
            });
        }
        match text.strip_prefix("jsonpath=") {
            Some(input) => found(input),
            None => Err(format!("unrecognized condition: {}", go_text::quoted(text))),
        }
    }
}

fn found(input: &str) -> Result<Goal, String> {
    let parts = split_on_single_equals(input);
    let (expression, value) = match &parts[..] {
        [expression] => (expression, None),
        [expression, value] => (expression, Some(value.trim_matches(['\'', '"']).to_string())),
        _ => {
            return Err(
                "jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3 or \
                 --for=jsonpath='{.status.readyReplicas}'"
                    .into(),
            );
        }
    };
    let relaxed = crate::jsonpath::relaxed(expression)?;
    if value.as_deref() == Some("") {
        return Err(
            "jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.readyReplicas}'=3"
                .into(),
        );
    }
    if relaxed.is_empty() {
        return Err("jsonpath expression cannot be empty".into());
    }
    Ok(Goal::Found {
        path: JsonPath::parse(&relaxed)?,
        value,
    })
}

/// Two equal signs together belong to the expression: `a==b=c` is `a==b` and `c`.
fn split_on_single_equals(input: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = input.chars().peekable();
    while let Some(character) = rest.next() {
        let last = parts.len() - 1;
        match character {
            '=' if rest.next_if_eq(&'=').is_some() => parts[last].push_str("=="),
            '=' => parts.push(String::new()),
            other => parts[last].push(other),
        }
    }
    parts
}

impl Goal {
    /// Whether an object that is there meets it. The error is one that waiting does not help.
    pub fn is_met_by(&self, object: &Value) -> Result<bool, String> {
        match self {
            Goal::Created => Ok(true),
            Goal::Deleted => Ok(false),
            Goal::Condition { name, status } => Ok(has_condition(object, name, status)),
            Goal::Found { path, value } => has_value(object, path, value.as_deref()),
        }
    }
}

/// A condition that was found for an older generation says nothing about this one.
fn has_condition(object: &Value, name: &str, status: &str) -> bool {
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    let conditions = object["status"]["conditions"].as_array();
    let of_name = |condition: &&Value| {
        condition["type"].as_str().is_some_and(|given| same(given, name)) && condition["status"].is_string()
    };
    let Some(condition) = conditions.into_iter().flatten().find(of_name) else {
        return false;
    };
    let observed = condition["observedGeneration"]
        .as_i64()
        .or_else(|| object["status"]["observedGeneration"].as_i64());
    if let (Some(generation), Some(observed)) = (object["metadata"]["generation"].as_i64(), observed)
        && observed < generation
    {
        return false;
    }
    condition["status"]
        .as_str()
        .is_some_and(|given| same(given, status))
}

fn has_value(object: &Value, path: &JsonPath, expected: Option<&str>) -> Result<bool, String> {
    let found = path.find(object)?;
    let Some(values) = found.first().filter(|values| !values.is_empty()) else {
        return Ok(false);
    };
    if found.len() > 1 {
        return Err("given jsonpath expression matches more than one list".into());
    }
    if values.len() > 1 {
        return Err("given jsonpath expression matches more than one value".into());
    }
    let Some(expected) = expected else { return Ok(true) };
    match &*values[0] {
        Value::Object(_) | Value::Array(_) => {
            Err("jsonpath leads to a nested object or list which is not supported".into())
        }
        scalar => Ok(go_text::sprint(scalar).trim() == expected.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Value {
        json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 3, "readyReplicas": 2,
            "conditions": [{"type": "Available", "status": "True"},
                {"type": "Old", "status": "True", "observedGeneration": 2}]}})
    }

    #[test]
    fn a_goal_is_met_when_the_object_says_so() {
        let check = |goal: &str, expected: Result<bool, &str>| {
            let met = goal.parse::<Goal>().unwrap().is_met_by(&deployment());
            assert_eq!(met, expected.map_err(String::from), "{goal}");
        };
        check("condition=Available", Ok(true));
        check("condition=available=true", Ok(true));
        check("condition=Available=False", Ok(false));
        check("condition=Missing", Ok(false));
        check("condition=Old", Ok(false));
        check("create", Ok(true));
        check("DELETE", Ok(false));
        check("jsonpath={.status.readyReplicas}=2", Ok(true));
        check("jsonpath=.status.readyReplicas=3", Ok(false));
        check("jsonpath={.status.readyReplicas}", Ok(true));
        check("jsonpath={.status.missing}", Ok(false));
        check(
            "jsonpath={.status.conditions[?(@.type==\"Available\")].status}=True",
            Ok(true),
        );
        check(
            "jsonpath={.status.conditions[*].status}=True",
            Err("given jsonpath expression matches more than one value"),
        );
        check(
            "jsonpath={.status}=x",
            Err("jsonpath leads to a nested object or list which is not supported"),
        );
    }

    #[test]
    fn a_goal_that_is_none_is_refused_as_kubectl_refuses_it() {
        let check =
            |goal: &str, expected: &str| assert_eq!(goal.parse::<Goal>(), Err(expected.into()), "{goal}");
        check("ready", "unrecognized condition: \"ready\"");
        check("jsonpath=", "jsonpath expression cannot be empty");
        check(
            "jsonpath={.a}=",
            "jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.readyReplicas}'=3",
        );
        check(
            "jsonpath={.a}=b=c",
            "jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3 or \
            --for=jsonpath='{.status.readyReplicas}'",
        );
        check("jsonpath={.a[}", "unterminated array");
    }
}
