//! `--sort-by`: objects in the order of a field (kubectl's cmd/get sorter).

use crate::go_text;
use crate::jsonpath::{self, JsonPath};
use gantry_proto::meta::v1::Quantity;
use serde_json::Value;
use std::cmp::Ordering;

#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    shown: String,
    path: JsonPath,
}

impl std::str::FromStr for SortKey {
    type Err = String;

    fn from_str(text: &str) -> Result<SortKey, String> {
        let shown = jsonpath::relaxed(text)?;
        let path = JsonPath::parse(&shown).map_err(|error| format!("sorting error: {error}"))?;
        Ok(SortKey { shown, path })
    }
}

impl SortKey {
    /// Puts items into order by the values that they have. Those without the field come first. At least one must have it.
    pub fn sort<T>(&self, items: Vec<(T, Value)>) -> Result<Vec<T>, String> {
        let mut keyed = Vec::with_capacity(items.len());
        for (item, value) in items {
            let found = self.path.find(&value)?;
            let key = found
                .into_iter()
                .next()
                .and_then(|values| values.into_iter().next());
            keyed.push((key.map(std::borrow::Cow::into_owned), item));
        }
        if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
            return Err(format!(
                "couldn't find any field with path {} in the list of objects",
                go_text::quoted(&self.shown)
            ));
        }
        keyed.sort_by(|(a, _), (b, _)| order(a.as_ref(), b.as_ref()));
        Ok(keyed.into_iter().map(|(_, item)| item).collect())
    }
}

fn order(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (None, None) | (Some(Value::Null), Some(Value::Null)) => Ordering::Equal,
        (None | Some(Value::Null), _) => Ordering::Less,
        (_, None | Some(Value::Null)) => Ordering::Greater,
        (Some(Value::Number(a)), Some(Value::Number(b))) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        },
        // 2 is before 10, and 500m before 1.
        (Some(Value::String(a)), Some(Value::String(b))) => match (Quantity::parse(a), Quantity::parse(b)) {
            (Ok(a), Ok(b)) => a.compare(&b),
            _ => a.cmp(b),
        },
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (Some(a), Some(b)) => go_text::json(a).cmp(&go_text::json(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_put_into_the_order_of_a_field() {
        let check = |key: &str, values: Vec<Value>, expected: Result<Vec<usize>, &str>| {
            let key: SortKey = key.parse().unwrap();
            let items = values
                .into_iter()
                .enumerate()
                .map(|(index, value)| (index, json!({"a": value})));
            assert_eq!(
                key.sort(items.collect()),
                expected.map_err(String::from),
                "{key:?}"
            );
        };
        check(".a", vec![json!("b"), json!("a")], Ok(vec![1, 0]));
        check("{.a}", vec![json!(10), json!(9)], Ok(vec![1, 0]));
        check("a", vec![json!("1Gi"), json!("500Mi")], Ok(vec![1, 0]));
        check("a.b", vec![json!({"b": 1}), json!({})], Ok(vec![1, 0]));
        check(".a", vec![json!("x"), json!("x")], Ok(vec![0, 1]));
        check(
            ".missing",
            vec![json!(1)],
            Err("couldn't find any field with path \"{.missing}\" in the list of objects"),
        );
        check(".missing", vec![], Ok(vec![]));
    }
}
