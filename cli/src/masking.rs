//! Values of Secrets that are not to be seen, while it is to be seen which of them differ (kubectl's diff masker).

use serde_json::Value;

const SAME: &str = "***";
const BEFORE: &str = "*** (before)";
const AFTER: &str = "*** (after)";

/// Replaces the values under `data` in an object as it is and as it would be.
pub fn mask(from: Option<&mut Value>, to: &mut Value) {
    let mut nothing = Value::Null;
    let from = from.unwrap_or(&mut nothing);
    let old = from["data"].as_object().cloned().unwrap_or_default();
    let new = to["data"].as_object().cloned().unwrap_or_default();
    let differ = |key: &String| old.contains_key(key) && new.contains_key(key) && old[key] != new[key];
    for (key, value) in from["data"].as_object_mut().into_iter().flatten() {
        *value = if differ(key) { BEFORE } else { SAME }.into();
    }
    for (key, value) in to["data"].as_object_mut().into_iter().flatten() {
        *value = if differ(key) { AFTER } else { SAME }.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_hidden_and_differences_are_not() {
        let mut from = json!({"data": {"a": "MQ==", "b": "MQ==", "gone": "MQ=="}});
        let mut to = json!({"data": {"a": "MQ==", "b": "Mg==", "new": "Mg=="}});
        mask(Some(&mut from), &mut to);
        assert_eq!(from, json!({"data": {"a": SAME, "b": BEFORE, "gone": SAME}}));
        assert_eq!(to, json!({"data": {"a": SAME, "b": AFTER, "new": SAME}}));
        let mut created = json!({"data": {"a": "MQ=="}});
        mask(None, &mut created);
        assert_eq!(created, json!({"data": {"a": SAME}}));
    }
}
