//! ControllerRevisions (pkg/apis/apps).

use super::field::{Errors, IMMUTABLE, Json, Path, not_negative};
use super::{Rules, Target, metadata, names, semantic};
use gantry_proto::apps::v1::ControllerRevision;
use gantry_proto::meta::v1::StatusCause;

pub struct ControllerRevisions;

impl Rules for ControllerRevisions {
    type Object = ControllerRevision;

    fn validate(&self, revision: &ControllerRevision) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(revision, &mut errors);
        validate_data(&revision.data().raw, &Path::new("data"), &mut errors);
        errors.into_causes()
    }

    fn validate_update(
        &self,
        new: &ControllerRevision,
        old: &ControllerRevision,
        _target: Target,
    ) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        validate(new, &mut errors);
        if !semantic::equal(new.data(), old.data()) {
            errors.invalid(&Path::new("data"), Json::of(new.data()), IMMUTABLE);
        }
        errors.into_causes()
    }
}

fn validate(revision: &ControllerRevision, errors: &mut Errors) {
    metadata::validate_strictly(revision.metadata(), true, names::dns_subdomain, errors);
    not_negative(revision.revision, &Path::new("revision"), errors);
}

/// Its controller alone knows what is in it, but an object it is.
fn validate_data(raw: &[u8], path: &Path, errors: &mut Errors) {
    if raw.is_empty() {
        errors.required(path, "data is mandatory");
        return;
    }
    match serde_json::from_slice(raw) {
        Ok(serde_json::Value::Object(_)) => {}
        Ok(serde_json::Value::Null) => errors.required(path, "data is mandatory"),
        Ok(_) => errors.required(path, "data must be a valid JSON object"),
        Err(error) => errors.invalid(path, "<value omitted>", format!("error parsing data: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn revision(mut value: serde_json::Value) -> ControllerRevision {
        value["metadata"] = json!({"name": "web-1", "namespace": "default"});
        serde_json::from_value(value).expect("revision")
    }

    #[test]
    fn data_is_an_object() {
        let check = |value, expected: &[&str]| {
            assert_eq!(lines(ControllerRevisions.validate(&revision(value))), expected);
        };
        check(json!({"revision": 1, "data": {"spec": {}}}), &[]);
        check(
            json!({"revision": 1}),
            &["data: Required value: data is mandatory"],
        );
        check(
            json!({"revision": -1, "data": [1]}),
            &[
                "revision: Invalid value: -1: must be greater than or equal to 0",
                "data: Required value: data must be a valid JSON object",
            ],
        );
        let mut garbage = revision(json!({"revision": 1}));
        garbage.data_mut().raw = b"{".to_vec();
        let lines = lines(ControllerRevisions.validate(&garbage));
        assert!(
            lines[0].starts_with("data: Invalid value: \"<value omitted>\": error parsing data: "),
            "{lines:?}"
        );
    }

    #[test]
    fn data_never_changes_and_the_revision_may() {
        let old = revision(json!({"revision": 1, "data": {"a": 1, "b": 2}}));
        let same = revision(json!({"revision": 2, "data": {"b": 2, "a": 1}}));
        let other = revision(json!({"revision": 2, "data": {"a": 2}}));
        assert!(
            ControllerRevisions
                .validate_update(&same, &old, Target::Main)
                .is_empty()
        );
        assert_eq!(
            lines(ControllerRevisions.validate_update(&other, &old, Target::Main)),
            ["data: Invalid value: {\"a\":2}: field is immutable"]
        );
    }
}
