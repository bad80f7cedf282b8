//! The schema's facts beside Kubernetes' own: `kubernetes.txt` holds what the OpenAPI document of Kubernetes 1.36.2 says
//! of each field of each of our messages. Its type is written as `kubectl explain` prints it. What follows is whether it
//! is required, how strategic merge patches it, and what its list or map is to server-side apply.

use gantry_proto::schema::{self, FieldInfo};
use std::collections::BTreeMap;

const FACTS: &str = include_str!("kubernetes.txt");

/// A line's words, apart from the field's name.
fn facts(field: &FieldInfo) -> String {
    let options = &field.options;
    let mut words = vec![field.type_name.clone()];
    if options.required {
        words.push("required".into());
    }
    for (name, value) in [
        ("strategy", &options.patch_strategy),
        ("key", &options.patch_merge_key),
        ("list", &options.list_type),
        ("keys", &options.list_map_keys.join(",")),
    ] {
        if !value.is_empty() {
            words.push(format!("{name}={value}"));
        }
    }
    words.join(" ")
}

#[test]
fn every_field_has_the_type_and_the_facts_that_it_has_in_kubernetes() {
    let mut theirs_by_message: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for line in FACTS.lines() {
        let (path, facts) = line.split_once(' ').expect("a line's facts");
        let (message, field) = path.rsplit_once('.').expect("a field's message");
        theirs_by_message.entry(message).or_default().insert(field, facts);
    }
    let mut differences = Vec::new();
    for (message, theirs) in &theirs_by_message {
        let ours: BTreeMap<String, String> = schema::fields(&format!("gantry.{message}"))
            .iter()
            .map(|field| (field.name.clone(), facts(field)))
            .collect();
        let added = ours.keys().filter(|name| !theirs.contains_key(name.as_str()));
        for name in theirs.keys().copied().chain(added.map(String::as_str)) {
            let (theirs, ours) = (theirs.get(name).copied(), ours.get(name).map(String::as_str));
            if theirs != ours {
                differences.push(format!("{message}.{name}: {theirs:?} and {ours:?}"));
            }
        }
    }
    assert!(
        theirs_by_message.len() > 150,
        "the messages of {} lines",
        FACTS.lines().count()
    );
    assert!(
        differences.is_empty(),
        "theirs and ours:\n{}",
        differences.join("\n")
    );
}
