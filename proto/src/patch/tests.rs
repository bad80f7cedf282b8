use super::rules::{Rule, Schema, Strategy};
use super::*;
use serde::Deserialize;
use serde_json::json;

/// The type that Kubernetes' own test cases are about.
#[derive(Clone, Copy)]
enum MergeItem {
    Item,
    RetainKeysItem,
    Plain,
}

impl Schema for MergeItem {
    fn rule(self, field: &str) -> Rule<MergeItem> {
        let rule = |strategy, merge_key, inner| Rule {
            strategy: Strategy::parse(strategy),
            merge_key,
            inner,
        };
        match (self, field) {
            (MergeItem::Plain, _) => rule("", "", MergeItem::Plain),
            (_, "mergingList") => rule("merge", "name", MergeItem::Item),
            (_, "nonMergingList") => rule("", "", MergeItem::Item),
            (_, "mergingIntList") => rule("merge", "", MergeItem::Plain),
            (MergeItem::Item, "mergeItemPtr") => rule("merge", "name", MergeItem::Item),
            (MergeItem::Item, "replacingItem") => rule("replace", "", MergeItem::Plain),
            (MergeItem::Item, "retainKeysMap") => rule("retainKeys", "", MergeItem::RetainKeysItem),
            (MergeItem::Item, "retainKeysMergingList") => rule("merge,retainKeys", "name", MergeItem::Item),
            _ => rule("", "", MergeItem::Plain),
        }
    }
}

/// The meaning of the fields is that of StrategicMergePatchTestCaseData in apimachinery's
/// pkg/util/strategicpatch/patch_test.go, of which the file is an extract (v0.36.2, Apache-2.0).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Case {
    description: String,
    original: Value,
    modified: Value,
    current: Value,
    two_way: Value,
    three_way: Value,
    result: Value,
    two_way_result: Value,
    error: String,
    /// The case is about applying `two_way` to `original` only.
    apply_only: bool,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("tests/kubernetes.json")).unwrap()
}

fn apply(original: &Object, patch: &Object) -> Result<Value, PatchError> {
    apply::merge_object(
        original.clone(),
        patch.clone(),
        MergeItem::Item,
        apply::Onto::Object,
    )
    .map(Value::Object)
}

fn check(failures: &mut Vec<String>, about: &str, got: Result<Value, PatchError>, want: &Value, error: &str) {
    let passed = match &got {
        Ok(got) => error.is_empty() && got == want,
        Err(got) => !error.is_empty() && got.to_string().contains(error),
    };
    if !passed {
        failures.push(format!("{about}\n   got {got:?}\n  want {want} {error}"));
    }
}

#[test]
fn kubernetes_own_cases_pass() {
    let mut failures = Vec::new();
    for case in cases() {
        let about = |what: &str| format!("{}, {what}", case.description);
        let [original, modified, current] =
            [&case.original, &case.modified, &case.current].map(|v| fields(v).unwrap());
        let two_way_result = if case.two_way_result.is_null() {
            &case.modified
        } else {
            &case.two_way_result
        };
        let two_way = fields(&case.two_way).unwrap();
        check(
            &mut failures,
            &about("two way applied"),
            apply(&original, &two_way),
            two_way_result,
            &case.error,
        );
        if case.apply_only {
            continue;
        }
        let got = diff::objects(&original, &modified, MergeItem::Item, diff::Of::All).map(Value::Object);
        check(&mut failures, &about("two way"), got, &Value::Object(two_way), "");
        if case.result.is_null() {
            // A conflict that Kubernetes' test does not force.
            continue;
        }
        let got = three_way_of(&original, &modified, &current, MergeItem::Item);
        let three_way = fields(&case.three_way).unwrap();
        check(
            &mut failures,
            &about("three way"),
            got.map(Value::Object),
            &Value::Object(three_way.clone()),
            "",
        );
        check(
            &mut failures,
            &about("three way applied"),
            apply(&current, &three_way),
            &case.result,
            &case.error,
        );
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

const POD: &str = "gantry.core.v1.Pod";

#[test]
fn a_pod_is_merged_by_the_rules_in_its_descriptors() {
    fn check(original: Value, patch: Value, want: Value) {
        assert_eq!(
            strategic_merge(POD, original, patch.clone()).unwrap(),
            want,
            "{patch}"
        );
    }
    // Containers merge by name, and what is in their inlined and nested messages field by field.
    check(
        json!({"spec": {"containers": [{"name": "a", "image": "1", "livenessProbe": {"httpGet": {"port": 1}, "periodSeconds": 3}}, {"name": "b"}]}}),
        json!({"spec": {"containers": [{"name": "a", "image": "2", "livenessProbe": {"httpGet": {"path": "/"}}}]}}),
        json!({"spec": {"containers": [{"name": "a", "image": "2", "livenessProbe": {"httpGet": {"port": 1, "path": "/"}, "periodSeconds": 3}}, {"name": "b"}]}}),
    );
    // A volume's source is inlined, and its other source is taken away by the retained keys.
    check(
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
    );
    check(
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
        json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
        json!({"spec": {"containers": [{"name": "b"}]}}),
    );
    check(
        json!({"spec": {"nodeSelector": {"a": "1"}, "containers": [{"name": "a", "args": ["1", "2"]}]}}),
        json!({"spec": {"nodeSelector": {"$patch": "replace", "b": "2"}, "containers": [{"name": "a", "args": ["3"]}]}}),
        json!({"spec": {"nodeSelector": {"b": "2"}, "containers": [{"name": "a", "args": ["3"]}]}}),
    );
    // Finalizers are a set; labels a map; null deletes.
    check(
        json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1", "y": "2"}}}),
        json!({"metadata": {"finalizers": ["b", "c"], "labels": {"x": null, "z": "3"}}}),
        json!({"metadata": {"finalizers": ["a", "b", "c"], "labels": {"y": "2", "z": "3"}}}),
    );
    check(
        json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"]}}),
        json!({"metadata": {"finalizers": ["c", "a"]}}),
    );
    check(
        json!({"spec": {"containers": [{"name": "a"}, {"name": "server"}, {"name": "b"}]}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "1"}]}}),
        json!({"spec": {"containers": [{"name": "server"}, {"name": "b", "image": "1"}, {"name": "a"}]}}),
    );
    // What the schema does not know merges as plain JSON.
    check(
        json!({"spec": {"novel": {"a": 1, "list": [1, 2]}}}),
        json!({"spec": {"novel": {"b": {"c": 1}, "list": [3]}}}),
        json!({"spec": {"novel": {"a": 1, "b": {"c": 1}, "list": [3]}}}),
    );
}

#[test]
fn an_apply_keeps_what_others_set_and_takes_away_what_it_no_longer_says() {
    let last = json!({"spec": {"containers": [{"name": "web", "image": "1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}, {"name": "old"}]},
        "metadata": {"labels": {"a": "1", "b": "2"}}});
    let modified = json!({"spec": {"containers": [{"name": "web", "image": "2", "env": [{"name": "A", "value": "1"}]}]},
        "metadata": {"labels": {"a": "1"}}});
    let current = json!({"spec": {"nodeName": "n1", "containers": [{"name": "web", "image": "1", "imagePullPolicy": "Always",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "INJECTED", "value": "3"}]}, {"name": "old"}, {"name": "sidecar"}]},
        "metadata": {"uid": "u", "labels": {"a": "1", "b": "2", "c": "3"}}});
    let patch = three_way(POD, &last, &modified, &current).unwrap();
    assert_eq!(
        patch,
        json!({"metadata": {"labels": {"b": null}}, "spec": {
            "$setElementOrder/containers": [{"name": "web"}],
            "containers": [
                {"name": "web", "image": "2", "$setElementOrder/env": [{"name": "A"}], "env": [{"name": "B", "$patch": "delete"}]},
                {"name": "old", "$patch": "delete"}]}})
    );
    assert_eq!(
        strategic_merge(POD, current, patch).unwrap(),
        json!({"spec": {"nodeName": "n1", "containers": [{"name": "web", "image": "2", "imagePullPolicy": "Always",
                "env": [{"name": "A", "value": "1"}, {"name": "INJECTED", "value": "3"}]}, {"name": "sidecar"}]},
            "metadata": {"uid": "u", "labels": {"a": "1", "c": "3"}}})
    );
}

#[test]
fn a_changed_strategy_sends_its_retained_keys() {
    let deployment = "gantry.apps.v1.Deployment";
    let last = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let modified = json!({"spec": {"strategy": {"type": "Recreate"}}});
    let current = json!({"spec": {"replicas": 3, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}}}});
    let patch = three_way(deployment, &last, &modified, &current).unwrap();
    assert_eq!(
        patch,
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null}}})
    );
    let merged = strategic_merge(deployment, current, patch).unwrap();
    assert_eq!(
        merged,
        json!({"spec": {"replicas": 3, "strategy": {"type": "Recreate"}}})
    );
}

#[test]
fn a_patch_that_does_not_fit_is_refused_with_the_reason() {
    fn check(original: Value, patch: Value, want: &str) {
        assert_eq!(
            strategic_merge(POD, original, patch).unwrap_err().to_string(),
            want
        );
    }
    let pod = || json!({"spec": {"containers": [{"name": "a"}], "imagePullSecrets": []}, "metadata": {"finalizers": ["a"]}});
    for (patch, want) in [
        (json!([]), "invalid JSON document"),
        (
            json!({"$patch": "remove"}),
            "unknown patch type: remove in map: map[$patch:remove]",
        ),
        (
            json!({"spec": {"containers": [{"image": "b"}]}}),
            "map: map[image:b] does not contain declared merge key: name",
        ),
        (
            json!({"spec": {"containers": ["a"]}}),
            "list element types are not identical: [[map[name:a]] [a]]",
        ),
        (
            json!({"spec": {"containers": [["a"]]}}),
            "list element types are not identical: [[map[name:a]] [[a]]]",
        ),
        (
            json!({"spec": {"imagePullSecrets": [["a"]]}}),
            "lists of lists are not supported",
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "$patch": "merge"}]}}),
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"spec": {"$retainKeys": "containers"}}),
            "invalid patch format of retainKeys",
        ),
        (
            json!({"spec": {"$retainKeys": ["containers"], "nodeName": "n"}}),
            "invalid patch format of retainKeys",
        ),
        (
            json!({"metadata": {"$deleteFromPrimitiveList": ["a"]}}),
            "invalid patch format of primitive list",
        ),
        (
            json!({"metadata": {"$setElementOrder": ["a"]}}),
            "invalid patch format of setElementOrder list",
        ),
        (
            json!({"metadata": {"$setElementOrder/finalizers": ["b"], "finalizers": ["c"]}}),
            "The order in patch list:\n[c]\n doesn't match $setElementOrder list:\n[b]\n",
        ),
        (
            json!({"metadata": {"$setElementOrder/finalizers": "b"}}),
            "expected a []interface {}, but received a string",
        ),
    ] {
        check(pod(), patch, want);
    }
    let error = strategic_merge("gantry.core.v1.Pot", json!({}), json!({})).unwrap_err();
    assert_eq!(error.to_string(), "no message is called gantry.core.v1.Pot");
}

#[test]
fn a_merge_patch_is_that_of_rfc_7386() {
    // The RFC's appendix A.
    for (original, patch, want) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
    ] {
        assert_eq!(merge(original, patch), want);
    }
}

mod properties;
