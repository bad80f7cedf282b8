//! What the audit log is told of each message: what it asks for, and the object that it brings.
//!
//! None of this runs while there is no audit log.

use gantry_proto::any::Any;
use gantry_proto::api::v1::object::Form;
use gantry_proto::api::v1::{self as api};
use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::ObjectMeta;
use gantry_proto::selector::{FieldOperator, FieldSelector};
use gantry_proto::{Kind as _, json, wire};
use prost_types::value;

use super::addressed::{Address, Addressed, at};
use crate::audit::{Asked, Body};
use crate::request::Verb;

/// A request's message.
pub trait Audited {
    /// `None` for what is about no object.
    fn asked(&self) -> Option<Asked>;

    fn body(&self) -> Option<Body> {
        None
    }
}

/// A reply's message.
pub trait AuditedReply {
    /// Of the one object that the reply has.
    fn about(&self) -> Option<ObjectMeta> {
        None
    }

    fn body(&self) -> Option<Body> {
        None
    }
}

/// A resource that is not ours is told as it was written.
fn asked(verb: Verb, at: Address<'_>) -> Asked {
    let mut asked = match at.kind {
        Some(info) => Asked {
            namespace: if info.namespaced { at.namespace } else { "" }.to_owned(),
            ..Asked::of(verb, info)
        },
        None => {
            let (resource, group) = at.resource.split_once('.').unwrap_or((at.resource, ""));
            Asked {
                group: group.to_owned(),
                version: String::new(),
                resource: resource.to_owned(),
                namespace: at.namespace.to_owned(),
                ..Asked::of(verb, Pod::INFO)
            }
        }
    };
    at.subresource.clone_into(&mut asked.subresource);
    at.name.clone_into(&mut asked.name);
    asked
}

fn asked_at<R: Addressed>(request: &R) -> Asked {
    asked(R::VERB, request.address())
}

/// The same for a request whose object may say more.
fn asked_with<R: Addressed>(request: &R, object: Option<&api::Object>) -> Asked {
    let mut asked = asked_at(request);
    if let Some(metadata) = object.and_then(metadata_of) {
        asked.complete(&metadata);
    }
    asked
}

fn metadata_of(object: &api::Object) -> Option<ObjectMeta> {
    match object.form.as_ref()? {
        Form::Any(Any { value, .. }) => wire::metadata(value).ok(),
        Form::Json(object) => {
            let value::Kind::StructValue(metadata) = object.fields.get("metadata")?.kind.as_ref()? else {
                return None;
            };
            serde_json::from_value(json::struct_to_value(metadata.clone())).ok()
        }
    }
}

/// The name that a list's or a watch's selector fixes, as Kubernetes has it.
fn selected_name(fields: &str) -> String {
    let Ok(selector) = FieldSelector::parse(fields) else {
        return String::new();
    };
    let mut requirements = selector.requirements().iter();
    let name = requirements.find(|one| one.field == "metadata.name" && one.operator == FieldOperator::Equals);
    name.map(|one| one.value.clone()).unwrap_or_default()
}

impl Audited for api::GetRequest {
    fn asked(&self) -> Option<Asked> {
        Some(asked_at(self))
    }
}

impl Audited for api::ListRequest {
    fn asked(&self) -> Option<Asked> {
        let name = selected_name(&self.field_selector);
        Some(Asked {
            name,
            ..asked_at(self)
        })
    }
}

impl Audited for api::WatchRequest {
    fn asked(&self) -> Option<Asked> {
        let name = selected_name(&self.field_selector);
        Some(Asked {
            name,
            ..asked_at(self)
        })
    }
}

impl Audited for api::CreateRequest {
    fn asked(&self) -> Option<Asked> {
        Some(asked_with(self, self.object.as_ref()))
    }

    fn body(&self) -> Option<Body> {
        self.object.as_ref().map(Body::object)
    }
}

impl Audited for api::UpdateRequest {
    fn asked(&self) -> Option<Asked> {
        Some(asked_with(self, self.object.as_ref()))
    }

    fn body(&self) -> Option<Body> {
        self.object.as_ref().map(Body::object)
    }
}

impl Audited for api::PatchRequest {
    fn asked(&self) -> Option<Asked> {
        Some(asked_at(self))
    }

    fn body(&self) -> Option<Body> {
        Some(Body::patch(&self.patch))
    }
}

impl Audited for api::DeleteRequest {
    fn asked(&self) -> Option<Asked> {
        Some(asked_at(self))
    }

    fn body(&self) -> Option<Body> {
        self.options.as_ref().map(Body::delete_options)
    }
}

impl Audited for api::DeleteCollectionRequest {
    fn asked(&self) -> Option<Asked> {
        Some(asked_at(self))
    }

    fn body(&self) -> Option<Body> {
        self.options.as_ref().map(Body::delete_options)
    }
}

impl Audited for api::LogsRequest {
    fn asked(&self) -> Option<Asked> {
        let verb = Verb::Get;
        let at = at(Pod::INFO.resource, "log", &self.namespace, &self.pod);
        Some(asked(verb, at))
    }
}

impl Audited for api::WhyRequest {
    fn asked(&self) -> Option<Asked> {
        let verb = Verb::Get;
        let at = at(&self.resource, "", &self.namespace, &self.name);
        Some(asked(verb, at))
    }
}

impl Audited for api::ReadTraceRequest {
    fn asked(&self) -> Option<Asked> {
        let verb = Verb::Get;
        let by_object = self.trace_id.is_empty();
        by_object.then(|| asked(verb, at(&self.resource, "", &self.namespace, &self.name)))
    }
}

impl AuditedReply for api::ObjectReply {
    fn about(&self) -> Option<ObjectMeta> {
        self.object.as_ref().and_then(metadata_of)
    }

    fn body(&self) -> Option<Body> {
        self.object.as_ref().map(Body::object)
    }
}

impl AuditedReply for api::ListReply {
    fn body(&self) -> Option<Body> {
        Some(Body::list(self))
    }
}

/// A watch's events are recorded nowhere.
impl AuditedReply for super::resources::WatchStream {}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(resource: &str, text: &str) -> Asked {
        let value = serde_json::from_str(text).unwrap();
        let request = api::CreateRequest {
            resource: resource.into(),
            object: Some(api::Object {
                form: Some(Form::Json(json::value_to_struct(value))),
            }),
            ..Default::default()
        };
        request.asked().unwrap()
    }

    #[test]
    fn a_creation_is_about_what_its_object_says() {
        let asked = create(
            "",
            r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}}"#,
        );
        let told = (
            asked.group.as_str(),
            asked.resource.as_str(),
            asked.namespace.as_str(),
        );
        assert_eq!(told, ("apps", "deployments", "default"));
        assert_eq!((asked.name.as_str(), asked.version.as_str()), ("web", "v1"));
        let binding = create(
            "",
            r#"{"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", "namespace": "default"}}"#,
        );
        let told = (binding.resource.as_str(), binding.subresource.as_str());
        assert_eq!((told, binding.name.as_str()), (("pods", "binding"), "p"));
    }

    #[test]
    fn a_resource_that_is_not_ours_is_told_as_it_was_written() {
        let asked = create("widgets.example.com", "{}");
        let told = (
            asked.resource.as_str(),
            asked.group.as_str(),
            asked.version.as_str(),
        );
        assert_eq!(told, ("widgets", "example.com", ""));
    }

    #[test]
    fn a_list_of_one_name_is_about_that_name() {
        let request = api::ListRequest {
            resource: "secrets".into(),
            namespace: "default".into(),
            field_selector: "metadata.name=token".into(),
            ..Default::default()
        };
        assert_eq!(request.asked().unwrap().name, "token");
    }
}
