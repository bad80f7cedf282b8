//! Events of the core group (pkg/apis/core/validation/events.go).

use super::field::{Errors, Path};
use super::{Rules, Target, metadata, names};
use gantry_proto::core::v1::Event;
use gantry_proto::meta::v1::StatusCause;

const FIELD_MAX: usize = 128;
const MESSAGE_MAX: usize = 1024;

pub struct Events;

impl Rules for Events {
    type Object = Event;

    fn validate(&self, event: &Event) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        validate(event, &mut errors);
        // An event's name need only fit a URL: recorders make it of the object's name and a number.
        if errors.is_empty() {
            metadata::validate(event.metadata(), true, names::path_segment, &mut errors);
        }
        errors.into_causes()
    }

    fn validate_update(&self, new: &Event, old: &Event, _target: Target) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update(new.metadata(), old.metadata(), &mut errors);
        validate(new, &mut errors);
        errors.into_causes()
    }

    fn fields(&self, event: &Event) -> Vec<(&'static str, String)> {
        let object = event.involved_object();
        let component = &event.source().component;
        let source = if component.is_empty() {
            &event.reporting_component
        } else {
            component
        };
        vec![
            ("involvedObject.kind", object.kind.clone()),
            ("involvedObject.namespace", object.namespace.clone()),
            ("involvedObject.name", object.name.clone()),
            ("involvedObject.uid", object.uid.clone()),
            ("involvedObject.apiVersion", object.api_version.clone()),
            ("involvedObject.resourceVersion", object.resource_version.clone()),
            ("involvedObject.fieldPath", object.field_path.clone()),
            ("reason", event.reason.clone()),
            ("reportingComponent", event.reporting_component.clone()),
            ("source", source.clone()),
            ("type", event.r#type.clone()),
        ]
    }
}

fn validate(event: &Event, errors: &mut Errors) {
    let namespace = event.metadata().namespace.as_str();
    let involved = event.involved_object().namespace.as_str();
    let has_event_time = event.event_time.is_some_and(|time| time != Default::default());
    // Events of objects without a namespace are kept in one of these.
    let at_home = match (has_event_time, involved) {
        (false, "") => ["", "default"].contains(&namespace),
        (false, involved) => namespace == involved,
        (true, "") => ["default", "kube-system"].contains(&namespace),
        (true, _) => true,
    };
    if !at_home {
        errors.invalid(
            &Path::new("involvedObject.namespace"),
            involved,
            "does not match event.namespace",
        );
    }
    if has_event_time {
        validate_structured(event, errors);
    }
    errors.invalid_each(
        &Path::new("namespace"),
        namespace,
        names::dns_subdomain(namespace),
    );
}

/// What a recorder of the newer kind must fill in.
fn validate_structured(event: &Event, errors: &mut Errors) {
    let component = Path::new("reportingComponent");
    if event.reporting_component.is_empty() {
        errors.required(&component, "");
    }
    errors.invalid_each(
        &component,
        &event.reporting_component,
        names::qualified(&event.reporting_component),
    );
    for (field, value) in [
        ("reportingInstance", &event.reporting_instance),
        ("action", &event.action),
        ("reason", &event.reason),
    ] {
        if value.is_empty() {
            errors.required(&Path::new(field), "");
        }
        if value.len() > FIELD_MAX {
            errors.invalid(
                &Path::new(field),
                "",
                format!("can have at most {FIELD_MAX} characters"),
            );
        }
    }
    if event.message.len() > MESSAGE_MAX {
        errors.invalid(
            &Path::new("message"),
            "",
            format!("can have at most {MESSAGE_MAX} characters"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::lines;
    use super::*;
    use serde_json::json;

    fn check(value: serde_json::Value, expected: &[&str]) {
        let event: Event = serde_json::from_value(value).expect("event");
        assert_eq!(lines(Events.validate(&event)), expected);
    }

    #[test]
    fn an_event_is_in_the_namespace_of_what_it_is_about() {
        let metadata = json!({"name": "web.17a", "namespace": "prod"});
        check(
            json!({"metadata": metadata, "involvedObject": {"kind": "Pod", "namespace": "prod"}}),
            &[],
        );
        check(
            json!({"metadata": metadata, "involvedObject": {"kind": "Pod", "namespace": "test"}}),
            &["involvedObject.namespace: Invalid value: \"test\": does not match event.namespace"],
        );
        check(
            json!({"metadata": metadata, "involvedObject": {"kind": "Node"}}),
            &["involvedObject.namespace: Invalid value: \"\": does not match event.namespace"],
        );
        check(
            json!({"metadata": {"name": "n.1", "namespace": "default"}, "involvedObject": {"kind": "Node"}}),
            &[],
        );
    }

    #[test]
    fn an_event_with_an_event_time_says_who_did_what() {
        check(
            json!({
                "metadata": {"name": "a", "namespace": "default"},
                "eventTime": "2026-01-02T03:04:05.000006Z",
                "reportingComponent": "gantry.dev/scheduler",
                "reason": "r".repeat(129),
            }),
            &[
                "reportingInstance: Required value",
                "action: Required value",
                "reason: Invalid value: \"\": can have at most 128 characters",
            ],
        );
    }

    #[test]
    fn the_source_is_the_reporter_where_it_is_not_set() {
        let event: Event = serde_json::from_value(json!({"reportingComponent": "kubelet"})).expect("event");
        assert!(Events.fields(&event).contains(&("source", "kubelet".to_string())));
    }
}
