//! What `apply` decides: create, patch or leave alone, by kubectl's three-way merge. The annotation is kubectl's
//! own, byte for byte, so that both programs can apply to the same object in turn.

use crate::go_text;
use gantry_proto::patch::{self, PatchError};
use serde_json::{Value, json};

/// Holds the object as it was last applied.
pub const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The object, with the annotation.
    Create(Value),
    Patch(Value),
    Unchanged,
}

/// Whether the object remembers what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    Yes,
    /// Where nobody is to see a difference that is only of the annotation.
    Not,
}

/// What to do so that `current` becomes as the file says. `desired` is the object of the file; `message` its
/// kind's message.
pub fn decide(
    message: &str,
    desired: &Value,
    current: Option<&Value>,
    remembered: Remembered,
) -> Result<Decision, PatchError> {
    let modified = match remembered {
        Remembered::Yes => annotated(desired),
        Remembered::Not => bare(desired),
    };
    let Some(current) = current else {
        return Ok(Decision::Create(modified));
    };
    let original = original(current).unwrap_or(Value::Null);
    let patch = patch::three_way(message, &original, &modified, current)?;
    match patch.as_object() {
        Some(fields) if fields.is_empty() => Ok(Decision::Unchanged),
        _ => Ok(Decision::Patch(patch)),
    }
}

/// True of an object that was made without `apply`: what is removed from the file cannot be told from what
/// others have set.
pub fn is_missing(current: &Value) -> bool {
    !current["metadata"]["annotations"][ANNOTATION].is_string()
}

/// The object as it was last applied. A text that does not parse counts as none.
fn original(current: &Value) -> Option<Value> {
    serde_json::from_str(current["metadata"]["annotations"][ANNOTATION].as_str()?).ok()
}

/// The object with itself in the annotation.
pub fn annotated(desired: &Value) -> Value {
    let mut bare = bare(desired);
    let text = go_text::json(&bare) + "\n";
    bare["metadata"]["annotations"][ANNOTATION] = text.into();
    bare
}

/// The object without the annotation, and with a place for it.
fn bare(desired: &Value) -> Value {
    let mut bare = desired.clone();
    if let Some(metadata) = bare["metadata"].as_object_mut() {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if annotations.is_null() {
            *annotations = json!({});
        }
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.remove(ANNOTATION);
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::Kind as _;
    use gantry_proto::apps::v1::Deployment;

    fn deployment(replicas: Option<i64>, image: &str) -> Value {
        let mut value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            }},
        });
        if let Some(replicas) = replicas {
            value["spec"]["replicas"] = replicas.into();
        }
        value
    }

    fn decided(desired: &Value, current: Option<&Value>) -> Decision {
        decide(Deployment::INFO.message, desired, current, Remembered::Yes).unwrap()
    }

    /// What the server has after `value` was applied: defaults and status included.
    fn applied(value: &Value) -> Value {
        let mut current = annotated(value);
        current["metadata"]["resourceVersion"] = "7".into();
        current["spec"]["strategy"] = json!({"type": "RollingUpdate"});
        current["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent".into();
        current["status"] = json!({"replicas": 3});
        current
    }

    #[test]
    fn the_annotation_is_what_kubectl_writes() {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "default",
            "annotations": {ANNOTATION: "old", "note": "<b> & \"c\""}}});
        let expected = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"annotations\":{\"note\":\
                        \"\\u003cb\\u003e \\u0026 \\\"c\\\"\"},\"name\":\"a\",\"namespace\":\"default\"}}\n";
        assert_eq!(annotated(&pod)["metadata"]["annotations"][ANNOTATION], expected);
        let bare = json!({"metadata": {"name": "a"}});
        let expected = "{\"metadata\":{\"annotations\":{},\"name\":\"a\"}}\n";
        assert_eq!(annotated(&bare)["metadata"]["annotations"][ANNOTATION], expected);
    }

    #[test]
    fn an_object_that_is_not_there_is_created_with_the_annotation() {
        let desired = deployment(Some(3), "web:1");
        assert_eq!(decided(&desired, None), Decision::Create(annotated(&desired)));
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let desired = deployment(Some(3), "web:1");
        assert_eq!(decided(&desired, Some(&applied(&desired))), Decision::Unchanged);
    }

    #[test]
    fn only_what_differs_is_patched() {
        let current = applied(&deployment(Some(3), "web:1"));
        let Decision::Patch(patch) = decided(&deployment(Some(3), "web:2"), Some(&current)) else {
            panic!("nothing to patch")
        };
        let containers = &patch["spec"]["template"]["spec"]["containers"];
        assert_eq!(containers, &json!([{"name": "web", "image": "web:2"}]));
        assert!(
            patch["spec"].get("replicas").is_none() && patch.get("status").is_none(),
            "{patch}"
        );
        assert!(
            patch["metadata"]["annotations"][ANNOTATION]
                .as_str()
                .unwrap()
                .contains("web:2")
        );
    }

    #[test]
    fn a_field_that_was_taken_out_of_the_file_is_removed_and_one_that_another_set_stays() {
        let mut current = applied(&deployment(Some(3), "web:1"));
        current["spec"]["paused"] = true.into();
        let Decision::Patch(patch) = decided(&deployment(None, "web:1"), Some(&current)) else {
            panic!("nothing to patch")
        };
        assert_eq!(patch["spec"], json!({"replicas": null}));
        current["metadata"]["annotations"] = json!({});
        assert!(is_missing(&current));
        let Decision::Patch(patch) = decided(&deployment(None, "web:1"), Some(&current)) else {
            panic!("nothing to patch")
        };
        assert!(patch.get("spec").is_none(), "{patch}");
    }
}
