//! What each message of `gantry.api.v1.Resources` is about, in one place: it is counted by this, and audited.

use gantry_proto::api::v1 as api;
use gantry_proto::api::v1::object::Form;
use gantry_proto::core::v1::{Binding, Pod};
use gantry_proto::policy::v1::Eviction;
use gantry_proto::{Kind as _, KindInfo};
use prost_types::{Struct, value};

use crate::request::Verb;

/// Where a request points.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// `None` for a resource that is not ours. A create and an update may leave it to their object.
    pub kind: Option<&'static KindInfo>,
    /// As the request has it.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

pub trait Addressed {
    const VERB: Verb;

    fn address(&self) -> Address<'_>;

    /// Whether it changes nothing.
    fn is_dry(&self) -> bool {
        false
    }
}

impl Addressed for api::GetRequest {
    const VERB: Verb = Verb::Get;

    fn address(&self) -> Address<'_> {
        at(&self.resource, &self.subresource, &self.namespace, &self.name)
    }
}

impl Addressed for api::ListRequest {
    const VERB: Verb = Verb::List;

    fn address(&self) -> Address<'_> {
        at(&self.resource, "", &self.namespace, "")
    }
}

impl Addressed for api::WatchRequest {
    const VERB: Verb = Verb::Watch;

    fn address(&self) -> Address<'_> {
        at(&self.resource, "", &self.namespace, "")
    }
}

impl Addressed for api::CreateRequest {
    const VERB: Verb = Verb::Create;

    fn address(&self) -> Address<'_> {
        let at = at(&self.resource, &self.subresource, &self.namespace, &self.name);
        at.or_of(self.object.as_ref())
    }

    fn is_dry(&self) -> bool {
        self.dry_run
    }
}

impl Addressed for api::UpdateRequest {
    const VERB: Verb = Verb::Update;

    fn address(&self) -> Address<'_> {
        let at = at(&self.resource, &self.subresource, &self.namespace, &self.name);
        at.or_of(self.object.as_ref())
    }

    fn is_dry(&self) -> bool {
        self.dry_run
    }
}

impl Addressed for api::PatchRequest {
    const VERB: Verb = Verb::Patch;

    fn address(&self) -> Address<'_> {
        at(&self.resource, &self.subresource, &self.namespace, &self.name)
    }

    fn is_dry(&self) -> bool {
        self.dry_run
    }
}

impl Addressed for api::DeleteRequest {
    const VERB: Verb = Verb::Delete;

    fn address(&self) -> Address<'_> {
        at(&self.resource, "", &self.namespace, &self.name)
    }

    fn is_dry(&self) -> bool {
        let options = self.options.as_ref();
        options.is_some_and(|options| !options.dry_run.is_empty())
    }
}

impl Addressed for api::DeleteCollectionRequest {
    const VERB: Verb = Verb::DeleteCollection;

    fn address(&self) -> Address<'_> {
        at(&self.resource, "", &self.namespace, "")
    }

    fn is_dry(&self) -> bool {
        let options = self.options.as_ref();
        options.is_some_and(|options| !options.dry_run.is_empty())
    }
}

impl<'a> Address<'a> {
    /// The same for a request that may leave it to its object what it is about.
    fn or_of(self, object: Option<&api::Object>) -> Address<'a> {
        let kind = match self.resource {
            "" => object.and_then(kind_of),
            _ => self.kind,
        };
        // These are what is written to a pod's subresource.
        let of_pod = |subresource| Address {
            kind: Some(Pod::INFO),
            subresource,
            ..self
        };
        match kind {
            Some(info) if info.message == Binding::INFO.message => of_pod("binding"),
            Some(info) if info.message == Eviction::INFO.message => of_pod("eviction"),
            _ => Address { kind, ..self },
        }
    }
}

/// What a request's own fields say.
pub fn at<'a>(resource: &'a str, subresource: &'a str, namespace: &'a str, name: &'a str) -> Address<'a> {
    Address {
        kind: KindInfo::of_resource(resource),
        resource,
        subresource,
        namespace,
        name,
    }
}

fn kind_of(object: &api::Object) -> Option<&'static KindInfo> {
    match object.form.as_ref()? {
        Form::Any(any) => KindInfo::of_message(any.message()),
        Form::Json(object) => KindInfo::of_object(text(object, "apiVersion")?, text(object, "kind")?),
    }
}

fn text<'a>(object: &'a Struct, field: &str) -> Option<&'a str> {
    match object.fields.get(field)?.kind.as_ref()? {
        value::Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use gantry_proto::any::Any;
    use gantry_proto::json;

    use super::*;

    #[test]
    fn a_creation_is_about_what_its_object_is_unless_it_says_so_itself() {
        let json = |text: &str| Form::Json(json::value_to_struct(serde_json::from_str(text).unwrap()));
        let deployment = || json(r#"{"apiVersion": "apps/v1", "kind": "Deployment"}"#);
        let wire = |message: &str| Form::Any(Any::new(message, Default::default()));
        for (resource, form, expected) in [
            ("", deployment(), Some(("deployments", ""))),
            ("", wire("gantry.apps.v1.Deployment"), Some(("deployments", ""))),
            ("pods", deployment(), Some(("pods", ""))),
            ("", wire("gantry.core.v1.Binding"), Some(("pods", "binding"))),
            ("bindings", json("{}"), Some(("pods", "binding"))),
            ("", wire("gantry.policy.v1.Eviction"), Some(("pods", "eviction"))),
            ("", json("{}"), None),
            ("widgets", deployment(), None),
        ] {
            let request = api::CreateRequest {
                resource: resource.into(),
                object: Some(api::Object { form: Some(form) }),
                ..Default::default()
            };
            let at = request.address();
            let found = at.kind.map(|info| (info.resource, at.subresource));
            assert_eq!(found, expected, "{request:?}");
        }
    }
}
