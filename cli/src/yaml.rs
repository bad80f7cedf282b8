//! YAML as kubectl reads and prints it.
//!
//! Reading goes from text to JSON values, and to types only from there: straight to typed, the reader accepts a
//! number where the schema wants a string. Printing starts from values too, and lays lines out as the Go library
//! that kubectl uses does, so that output can be compared with kubectl's by eye and by diff.

mod print;

pub use print::print;

use anyhow::Result;
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Options};

/// The most nesting that a manifest may have: as deep as CustomResourceDefinitions' schemas get, and shallow
/// enough for a recursive reader's stack.
const MAX_DEPTH: usize = 256;
/// The most YAML events in one document: about what the apiserver's limit of 3 MiB for a request can hold.
const MAX_NODES: usize = 2_000_000;

/// What a file holds.
#[derive(Debug)]
pub struct Documents {
    /// Those that are empty or null are left out.
    pub values: Vec<Value>,
    /// What was said about a key that a mapping has twice. The last value counts, as for kubectl.
    pub duplicates: Option<String>,
}

/// All documents of a file.
pub fn documents(text: &str) -> Result<Documents> {
    let (values, duplicates) = match parse(text, DuplicateKeyPolicy::Error) {
        Ok(values) => (values, None),
        Err(first) => match parse(text, DuplicateKeyPolicy::LastWins) {
            Ok(values) => (values, Some(first.to_string())),
            Err(_) => return Err(first.into()),
        },
    };
    let values = values
        .into_iter()
        .filter(|value| !value.is_null())
        .map(whole_numbers)
        .collect();
    Ok(Documents { values, duplicates })
}

fn parse(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Vec<Value>, serde_saphyr::Error> {
    let mut options = Options::default();
    options.legacy_octal_numbers = true;
    options.strict_booleans = false;
    options.with_snippet = false;
    options.duplicate_keys = duplicate_keys;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = MAX_DEPTH;
        budget.max_nodes = MAX_NODES;
        budget.max_events = 4 * MAX_NODES;
    }
    serde_saphyr::from_multiple_with_options(text, options)
}

/// Turns floats that are whole, such as 1e3 and 3.0, into integers, as JSON in Go has them.
fn whole_numbers(value: Value) -> Value {
    /// 2^53: up to here every whole double is exact.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() <= MAX_EXACT => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(list) => Value::Array(list.into_iter().map(whole_numbers).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(k, v)| (k, whole_numbers(v))).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let check = |text: &str, expected: Value| {
            let documents = documents(&format!("k: {text}\n")).unwrap();
            assert_eq!(documents.values, [json!({ "k": expected })], "{text}");
        };
        check("yes", json!(true));
        check("on", json!(true));
        check("0777", json!(511));
        check("0o17", json!(15));
        check("1e3", json!(1000));
        check("y", json!(true));
        check("3.0", json!(3));
        check("12:30", json!("12:30"));
        check("2026-01-02", json!("2026-01-02"));
        check("0x1f", json!(31));
        check("~", json!(null));
        check("!!str 5", json!("5"));
        check("\"2\"", json!("2"));
        check("100m", json!("100m"));
    }

    #[test]
    fn empty_documents_are_left_out() {
        let documents = documents("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n").unwrap();
        assert_eq!(documents.values, [json!({"a": 1}), json!({"b": 2})]);
        assert!(super::documents("").unwrap().values.is_empty());
    }

    #[test]
    fn of_two_values_for_a_key_the_last_counts_and_it_is_said() {
        let documents = documents("a: 1\na: 2\n").unwrap();
        assert_eq!(documents.values, [json!({"a": 2})]);
        assert!(documents.duplicates.unwrap().contains("duplicate"));
    }

    #[test]
    fn a_file_that_is_no_yaml_is_refused_with_the_line() {
        let error = format!("{:#}", documents("a: 1\n b: 2\n").unwrap_err());
        assert!(error.contains("line 2"), "{error}");
    }
}
