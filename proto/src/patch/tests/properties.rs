//! What applying must always give, whatever the three objects are.

use super::{POD, go_text, strategic_merge, three_way, two_way};
use proptest::collection::btree_map;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A pod with a labels map, a merged list of containers with a merged list of their own, a set and an atomic list.
fn pod() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![Just("1"), Just("2"), Just("3")].prop_map(str::to_string);
    let names = || prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")].prop_map(str::to_string);
    let env = btree_map(names(), text(), 0..4);
    let container = (
        proptest::option::of(text()),
        env,
        proptest::collection::vec(text(), 0..3),
    );
    let finalizers = proptest::collection::btree_set(names(), 0..4);
    (
        btree_map(names(), text(), 0..4),
        btree_map(names(), container, 0..4),
        finalizers,
        any::<bool>(),
    )
        .prop_map(|(labels, containers, finalizers, host_network)| {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, (image, env, args))| {
                    let env: Vec<Value> = env.iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
                    let mut container = json!({"name": name});
                    image
                        .into_iter()
                        .for_each(|image| container["image"] = json!(image));
                    if !env.is_empty() {
                        container["env"] = json!(env);
                    }
                    if !args.is_empty() {
                        container["args"] = json!(args);
                    }
                    container
                })
                .collect();
            let mut pod = json!({"metadata": {"labels": labels}, "spec": {"containers": containers}});
            if !finalizers.is_empty() {
                pod["metadata"]["finalizers"] = json!(finalizers);
            }
            if host_network {
                pod["spec"]["hostNetwork"] = json!(true);
            }
            pod
        })
}

/// Every leaf by its path, elements of merged lists by their names.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(path: String, value: &Value, leaves: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => map
                .iter()
                .for_each(|(k, v)| walk(format!("{path}.{k}"), v, leaves)),
            Value::Array(list) if path.ends_with(".args") => {
                leaves.insert(path, json!(list));
            }
            Value::Array(list) => list.iter().for_each(|element| match element.get("name") {
                Some(name) => walk(format!("{path}[{}]", go_text(name)), element, leaves),
                None => walk(format!("{path}[{}]", go_text(element)), element, leaves),
            }),
            scalar => {
                leaves.insert(path, scalar.clone());
            }
        }
    }
    let mut leaves = BTreeMap::new();
    walk(String::new(), value, &mut leaves);
    leaves
}

/// Whether the leaf lies in an element or a field that `last` had and `modified` no longer has at all: that
/// goes as a whole, others' additions to it too.
fn in_what_was_removed(
    path: &str,
    last: &BTreeMap<String, Value>,
    modified: &BTreeMap<String, Value>,
) -> bool {
    let ends = path
        .match_indices(['.', '[', ']'])
        .map(|(place, mark)| if mark == "]" { place + 1 } else { place });
    ends.filter(|end| *end > 0).any(|end| {
        let has = |leaves: &BTreeMap<String, Value>| leaves.keys().any(|key| key.starts_with(&path[..end]));
        has(last) && !has(modified)
    })
}

proptest! {
    #[test]
    fn after_an_apply_the_object_has_what_it_says(last in pod(), modified in pod(), current in pod()) {
        let patch = three_way(POD, &last, &modified, &current).unwrap();
        let result = strategic_merge(POD, current.clone(), patch).unwrap();
        let [last, modified, current, got] = [&last, &modified, &current, &result].map(leaves);
        for (path, value) in &modified {
            prop_assert_eq!(got.get(path), Some(value), "{} is said", path);
        }
        for path in last.keys().filter(|path| !modified.contains_key(*path)) {
            prop_assert!(!got.contains_key(path), "{} is no longer said", path);
        }
        for (path, value) in &current {
            let mine = last.contains_key(path) || modified.contains_key(path);
            if !mine && !in_what_was_removed(path, &last, &modified) {
                prop_assert_eq!(got.get(path), Some(value), "{} is another's", path);
            }
        }
        for path in got.keys() {
            prop_assert!(modified.contains_key(path) || current.contains_key(path), "{} comes from nowhere", path);
        }
        let again = three_way(POD, &result, &result, &result).unwrap();
        prop_assert_eq!(strategic_merge(POD, result.clone(), again).unwrap(), result, "the same again changes nothing");
    }

    #[test]
    fn a_two_way_patch_makes_one_object_of_the_other(original in pod(), modified in pod()) {
        let patch = two_way(POD, &original, &modified).unwrap();
        let result = strategic_merge(POD, original, patch).unwrap();
        prop_assert_eq!(leaves(&result), leaves(&modified));
    }
}
