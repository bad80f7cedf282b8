//! What every request is: who asks, what they want to do, and to which object.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gantry_proto::KindInfo;

use crate::audit::Trail;
use crate::authentication::User;

/// What a request does. The names are Kubernetes'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }

    pub fn reads(self) -> bool {
        matches!(self, Verb::Get | Verb::List | Verb::Watch)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Who sent a request, as the connection tells; every request carries it.
#[derive(Clone, Debug)]
pub struct Sender {
    pub user: Arc<User>,
    pub trail: Trail,
}

/// How long a request waited until it was let in; it carries this where it waited at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waited(pub Duration);

/// Who asks, and when.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: Arc<User>,
    pub now: SystemTime,
    /// How long the request waited until it was let in.
    pub waited: Duration,
    /// Where the audit log is told what the request is about.
    pub trail: Trail,
}

/// What is authorized and audited: a verb on a resource.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    pub verb: Verb,
    pub kind: &'static KindInfo,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Empty for all namespaces, and for kinds without.
    pub namespace: &'a str,
    /// Empty where the verb names no object.
    pub name: &'a str,
    /// The fields that a list or watch fixes to one value.
    pub fixed_fields: &'a [(String, String)],
}

impl Attributes<'_> {
    /// The resource as Kubernetes' messages name it: `pods` or `pods/status`.
    pub fn resource(&self) -> String {
        match self.subresource {
            "" => self.kind.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.kind.resource),
        }
    }
}
