//! What each message of `gantry.api.v1.Resources` is about, in one place: it is counted by this, and audited.

use gantry_proto::api::v1 as api;

use crate::request::Verb;

/// Where a request's own fields point. A create and an update may leave it to their object.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
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
        at(&self.resource, &self.subresource, &self.namespace, &self.name)
    }

    fn is_dry(&self) -> bool {
        self.dry_run
    }
}

impl Addressed for api::UpdateRequest {
    const VERB: Verb = Verb::Update;

    fn address(&self) -> Address<'_> {
        at(&self.resource, &self.subresource, &self.namespace, &self.name)
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

fn at<'a>(resource: &'a str, subresource: &'a str, namespace: &'a str, name: &'a str) -> Address<'a> {
    Address {
        resource,
        subresource,
        namespace,
        name,
    }
}
