//! `metadata`: what is true of every object's (apimachinery's api/validation/objectmeta.go, apiserver's
//! registry/rest/{create,update}.go).

use super::field::{Errors, IMMUTABLE, Json, Path, not_negative};
use super::names::{self, Rule};
use super::selector::validate_labels;
use super::semantic;
use gantry_proto::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use std::collections::{BTreeMap, BTreeSet};

/// 256 KiB, keys included.
const ANNOTATIONS_MAX_BYTES: usize = 256 << 10;
const MANAGER_MAX_BYTES: usize = 128;
const SUBRESOURCE_MAX_BYTES: usize = 256;

const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];

const PATH: Path = Path::new("metadata");

/// Clears what the server owns. `generation` is 1 for kinds that count generations, and 0 for others, in which it means
/// nothing: there a writer's stays, as in Kubernetes.
pub fn clear_for_create(metadata: &mut ObjectMeta, generation: i64) {
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.self_link.clear();
    if generation != 0 {
        metadata.generation = generation;
    }
}

/// Restores what no update may change, where Kubernetes restores instead of refusing.
pub fn keep_for_update(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.generation = old.generation;
    new.self_link.clear();
    if new.uid.is_empty() {
        new.uid.clone_from(&old.uid);
    }
    new.creation_timestamp = old.creation_timestamp;
    if old.deletion_timestamp.is_some() {
        new.deletion_timestamp = old.deletion_timestamp;
    }
    if old.deletion_grace_period_seconds.is_some() && new.deletion_grace_period_seconds.is_none() {
        new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    }
}

/// Restores what the status endpoint may not change.
pub fn keep_for_status(new: &mut ObjectMeta, old: &ObjectMeta) {
    keep_for_update(new, old);
    new.deletion_timestamp = old.deletion_timestamp;
}

/// Restores all that a status endpoint of a newer kind leaves alone: everything but the status's own fields
/// (ResetObjectMetaForStatus).
pub fn reset_for_status(new: &mut ObjectMeta, old: &ObjectMeta) {
    keep_for_status(new, old);
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

/// What is wrong with a new object's metadata.
pub fn validate(metadata: &ObjectMeta, namespaced: bool, name_rule: Rule, errors: &mut Errors) {
    if !metadata.generate_name.is_empty() {
        let messages = name_rule(&mask_trailing_dash(&metadata.generate_name));
        errors.invalid_each(&PATH.child("generateName"), &metadata.generate_name, messages);
    }
    if metadata.name.is_empty() {
        errors.required(&PATH.child("name"), "name or generateName is required");
    } else {
        errors.invalid_each(&PATH.child("name"), &metadata.name, name_rule(&metadata.name));
    }
    let namespace = PATH.child("namespace");
    match (namespaced, metadata.namespace.is_empty()) {
        (true, true) => errors.required(&namespace, ""),
        (true, false) => errors.invalid_each(
            &namespace,
            &metadata.namespace,
            names::dns_label(&metadata.namespace),
        ),
        (false, true) => {}
        (false, false) => errors.forbidden(&namespace, "not allowed on this type"),
    }
    not_negative(metadata.generation, &PATH.child("generation"), errors);
    validate_labels(&metadata.labels, &PATH.child("labels"), errors);
    validate_annotations(&metadata.annotations, &PATH.child("annotations"), errors);
    validate_owners(&metadata.owner_references, errors);
    validate_finalizers(&metadata.finalizers, errors);
    validate_managed_fields(&metadata.managed_fields, errors);
}

/// [`validate`], and finalizers besides that are either known or qualified: what all but the coordination group
/// ask for.
pub fn validate_strictly(metadata: &ObjectMeta, namespaced: bool, name_rule: Rule, errors: &mut Errors) {
    validate(metadata, namespaced, name_rule, errors);
    let list = PATH.child("finalizers");
    for (i, finalizer) in metadata.finalizers.iter().enumerate() {
        validate_known_finalizer(finalizer, &list.index(i), errors);
    }
}

/// [`validate_update`], and the finalizers as [`validate_strictly`] has them.
pub fn validate_update_strictly(new: &ObjectMeta, old: &ObjectMeta, errors: &mut Errors) {
    validate_update(new, old, errors);
    let list = PATH.child("finalizers");
    for (i, finalizer) in new.finalizers.iter().enumerate() {
        validate_known_finalizer(finalizer, &list.index(i), errors);
    }
}

pub fn validate_known_finalizer(finalizer: &str, path: &Path, errors: &mut Errors) {
    if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.invalid(path, finalizer, detail);
    }
}

/// What is wrong with an updated object's metadata, before anything that a kind looks at. The resourceVersion is
/// the caller's to compare. A name that is there already need only fit a URL.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta, errors: &mut Errors) {
    validate(new, !old.namespace.is_empty(), names::path_segment, errors);
    if old.deletion_timestamp.is_some() {
        let known: BTreeSet<&String> = old.finalizers.iter().collect();
        let added: BTreeSet<&String> = new
            .finalizers
            .iter()
            .filter(|name| !known.contains(name))
            .collect();
        if !added.is_empty() {
            let list: Vec<String> = added.into_iter().map(|name| super::field::quoted(name)).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            errors.forbidden(&PATH.child("finalizers"), detail);
        }
    }
    if new.generation < old.generation {
        errors.invalid(
            &PATH.child("generation"),
            new.generation,
            "must not be decremented",
        );
    }
    for (field, new, old) in [
        ("name", &new.name, &old.name),
        ("namespace", &new.namespace, &old.namespace),
        ("uid", &new.uid, &old.uid),
    ] {
        if new != old {
            errors.invalid(&PATH.child(field), new, IMMUTABLE);
        }
    }
    immutable(
        &new.creation_timestamp,
        &old.creation_timestamp,
        &PATH.child("creationTimestamp"),
        errors,
    );
    immutable(
        &new.deletion_timestamp,
        &old.deletion_timestamp,
        &PATH.child("deletionTimestamp"),
        errors,
    );
    let grace = PATH.child("deletionGracePeriodSeconds");
    immutable(
        &new.deletion_grace_period_seconds,
        &old.deletion_grace_period_seconds,
        &grace,
        errors,
    );
}

/// Refuses a change of a field that cannot change.
pub fn immutable<T: PartialEq + serde::Serialize>(new: &T, old: &T, path: &Path, errors: &mut Errors) {
    if !semantic::equal(new, old) {
        errors.invalid(path, Json::of(new), IMMUTABLE);
    }
}

pub fn validate_annotations(annotations: &BTreeMap<String, String>, path: &Path, errors: &mut Errors) {
    for key in annotations.keys() {
        errors.invalid_each(path, key, names::qualified(&key.to_lowercase()));
    }
    let total: usize = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if total > ANNOTATIONS_MAX_BYTES {
        errors.too_long(path, ANNOTATIONS_MAX_BYTES);
    }
}

/// A name is made from a prefix by adding letters, so a dash at its end is as good as a letter.
fn mask_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut masked: String = rest.to_string();
            masked.pop();
            masked.push('a');
            masked
        }
        _ => prefix.to_string(),
    }
}

fn validate_owners(owners: &[OwnerReference], errors: &mut Errors) {
    let path = PATH.child("ownerReferences");
    let mut controller: Option<String> = None;
    for owner in owners {
        validate_owner(owner, &path, errors);
        if owner.controller != Some(true) {
            continue;
        }
        let name = format!("{}/{}", owner.kind, owner.name);
        match &controller {
            None => controller = Some(name),
            Some(first) => errors.invalid(
                &path,
                Json::of(owners),
                format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and \
                     {name}"
                ),
            ),
        }
    }
}

fn validate_owner(owner: &OwnerReference, path: &Path, errors: &mut Errors) {
    // `group/version`, or `version` alone; more slashes are no version at all.
    let version = match owner.api_version.matches('/').count() {
        0 => owner.api_version.as_str(),
        1 => owner.api_version.rsplit('/').next().unwrap_or_default(),
        _ => "",
    };
    if version.is_empty() {
        errors.invalid(
            &path.child("apiVersion"),
            &owner.api_version,
            "version must not be empty",
        );
    }
    for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
        if value.is_empty() {
            errors.invalid(&path.child(field), value, "must not be empty");
        }
    }
    if owner.api_version == "v1" && owner.kind == "Event" {
        errors.invalid(
            path,
            Json::of(owner),
            "/v1, Kind=Event is disallowed from being an owner",
        );
    }
}

fn validate_finalizers(finalizers: &[String], errors: &mut Errors) {
    let path = PATH.child("finalizers");
    for finalizer in finalizers {
        errors.invalid_each(&path, finalizer, names::qualified(finalizer));
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        errors.invalid(
            &path,
            Json::of(finalizers),
            "finalizer orphan and foregroundDeletion cannot be both set",
        );
    }
}

fn validate_managed_fields(entries: &[ManagedFieldsEntry], errors: &mut Errors) {
    let list = PATH.child("managedFields");
    for (i, entry) in entries.iter().enumerate() {
        let path = list.index(i);
        if entry.operation != "Apply" && entry.operation != "Update" {
            errors.invalid(
                &path.child("operation"),
                &entry.operation,
                "must be `Apply` or `Update`",
            );
        }
        if !entry.fields_type.is_empty() && entry.fields_type != "FieldsV1" {
            errors.invalid(
                &path.child("fieldsType"),
                &entry.fields_type,
                "must be `FieldsV1`",
            );
        }
        if entry.manager.len() > MANAGER_MAX_BYTES {
            errors.too_long(&path.child("manager"), MANAGER_MAX_BYTES);
        }
        if entry.subresource.len() > SUBRESOURCE_MAX_BYTES {
            errors.too_long(&path.child("subresource"), SUBRESOURCE_MAX_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use gantry_proto::meta::v1::Time;
    use serde_json::json;

    fn metadata(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).expect("metadata")
    }

    fn check(value: serde_json::Value, expected: &[&str]) {
        let mut errors = Errors::new();
        validate(&metadata(value), true, names::dns_subdomain, &mut errors);
        let got = lines(errors.into_causes());
        assert_eq!(got.len(), expected.len(), "{got:?}");
        for (got, expected) in got.iter().zip(expected) {
            assert!(
                got.starts_with(expected),
                "{got:?} does not start with {expected:?}"
            );
        }
    }

    #[test]
    fn names_namespaces_labels_and_annotations_are_checked() {
        check(json!({"name": "a", "namespace": "b"}), &[]);
        check(
            json!({}),
            &[
                "metadata.name: Required value: name or generateName is required",
                "metadata.namespace: Required value",
            ],
        );
        check(
            json!({"name": "A_b", "namespace": "x.y", "labels": {"k": "bad value"}, "annotations": {"a b": ""}}),
            &[
                "metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain",
                "metadata.namespace: Invalid value: \"x.y\": must not contain dots",
                "metadata.labels: Invalid value: \"bad value\": a valid label must be an empty string",
                "metadata.annotations: Invalid value: \"a b\": name part must consist of",
            ],
        );
        check(
            json!({"name": "a-x", "generateName": "a-", "namespace": "b"}),
            &[],
        );
        check(
            json!({"name": "a", "namespace": "b", "annotations": {"k": "v".repeat(256 << 10)}}),
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        );
    }

    #[test]
    fn owners_and_finalizers_are_checked() {
        check(
            json!({"name": "a", "namespace": "b", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1", "controller": true},
                {"apiVersion": "", "kind": "", "name": "s", "uid": "", "controller": true},
            ], "finalizers": ["orphan", "foregroundDeletion", "a b"]}),
            &[
                "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
                "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences: Invalid value: [{",
                "metadata.finalizers: Invalid value: \"a b\": name part",
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\",\"a b\"]: finalizer orphan and \
                 foregroundDeletion cannot be both set",
            ],
        );
    }

    #[test]
    fn an_update_changes_neither_identity_nor_a_dying_objects_finalizers() {
        let old = ObjectMeta {
            name: "a".into(),
            uid: "1".into(),
            deletion_timestamp: Some(Time { seconds: 5, nanos: 0 }),
            finalizers: vec!["x/y".into()],
            ..Default::default()
        };
        let new = ObjectMeta {
            name: "b".into(),
            uid: "2".into(),
            finalizers: vec!["x/z".into()],
            ..old.clone()
        };
        let mut errors = Errors::new();
        validate_update(&new, &old, &mut errors);
        assert_eq!(
            lines(errors.into_causes()),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found \
                 new finalizers []string{\"x/z\"}",
                "metadata.name: Invalid value: \"b\": field is immutable",
                "metadata.uid: Invalid value: \"2\": field is immutable",
            ]
        );
    }

    #[test]
    fn server_owned_metadata_survives_an_update() {
        let old = ObjectMeta {
            uid: "1".into(),
            generation: 3,
            creation_timestamp: Some(Time { seconds: 5, nanos: 0 }),
            deletion_timestamp: Some(Time { seconds: 9, nanos: 0 }),
            deletion_grace_period_seconds: Some(30),
            ..Default::default()
        };
        let mut new = ObjectMeta::default();
        keep_for_update(&mut new, &old);
        assert_eq!(new, old);
    }
}
