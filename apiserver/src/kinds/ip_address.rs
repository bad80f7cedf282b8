//! IPAddresses (pkg/apis/networking): the record that an address is taken, and by what.

use super::field::{Errors, IMMUTABLE, Json, Path, quoted};
use super::{Rules, Target, ip, metadata, names};
use gantry_proto::meta::v1::StatusCause;
use gantry_proto::networking::v1::{IpAddress, ParentReference};

pub struct IpAddresses;

impl Rules for IpAddresses {
    type Object = IpAddress;

    fn validate(&self, address: &IpAddress) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(address, &mut errors);
        errors.into_causes()
    }

    fn validate_update(&self, new: &IpAddress, old: &IpAddress, _target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update(new.metadata(), old.metadata(), &mut errors);
        validate(new, &mut errors);
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        let parent = &new.spec().parent_ref;
        if *parent != old.spec().parent_ref {
            errors.invalid(&Path::new("spec.parentRef"), shown(parent.as_ref()), IMMUTABLE);
        }
        errors.into_causes()
    }
}

fn validate(address: &IpAddress, errors: &mut Errors) {
    metadata::validate_strictly(address.metadata(), false, ip::canonical, errors);
    let path = Path::new("spec.parentRef");
    let Some(parent) = &address.spec().parent_ref else {
        errors.required(&path, "");
        return;
    };
    if !parent.group.is_empty() {
        let messages = names::dns_subdomain(&parent.group);
        errors.invalid_each(&path.child("group"), &parent.group, messages);
    }
    for (field, value, required) in [
        ("resource", &parent.resource, true),
        ("name", &parent.name, true),
        ("namespace", &parent.namespace, false),
    ] {
        if !value.is_empty() {
            errors.invalid_each(&path.child(field), value, names::path_segment(value));
        } else if required {
            errors.required(&path.child(field), "");
        }
    }
}

/// The names are those of Go's internal type.
fn shown(parent: Option<&ParentReference>) -> Json {
    Json::text(parent.map_or("null".to_string(), |parent| {
        format!(
            "{{\"Group\":{},\"Resource\":{},\"Namespace\":{},\"Name\":{}}}",
            quoted(&parent.group),
            quoted(&parent.resource),
            quoted(&parent.namespace),
            quoted(&parent.name)
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn address(name: &str, parent: serde_json::Value) -> IpAddress {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"parentRef": parent}}))
            .expect("address")
    }

    #[test]
    fn the_name_is_the_address_in_canonical_form_and_it_has_a_parent() {
        let service = || json!({"resource": "services", "namespace": "default", "name": "web"});
        let check = |object: &IpAddress, expected: &[&str]| {
            assert_eq!(lines(IpAddresses.validate(object)), expected);
        };
        check(&address("10.96.0.1", service()), &[]);
        check(&address("2001:db8::1", service()), &[]);
        check(
            &address("2001:db8:0::1", service()),
            &["metadata.name: Invalid value: \"2001:db8:0::1\": must be in canonical form (\"2001:db8::1\")"],
        );
        check(
            &address("web", json!(null)),
            &[
                "metadata.name: Invalid value: \"web\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.parentRef: Required value",
            ],
        );
        check(
            &address("10.96.0.1", json!({"group": "A", "resource": "a/b"})),
            &[
                "spec.parentRef.group: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case \
                 alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
                 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'",
                "spec.parentRef.name: Required value",
            ],
        );
    }

    #[test]
    fn the_parent_never_changes() {
        let old = address("10.96.0.1", json!({"resource": "services", "name": "a"}));
        let new = address("10.96.0.1", json!({"resource": "services", "name": "b"}));
        assert_eq!(
            lines(IpAddresses.validate_update(&new, &old, Target::Main)),
            [
                "spec.parentRef: Invalid value: {\"Group\":\"\",\"Resource\":\"services\",\"Namespace\":\"\",\
                 \"Name\":\"b\"}: field is immutable"
            ]
        );
    }
}
