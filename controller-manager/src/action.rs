//! What a decision asks for. The driver carries actions out in order and stops at the first that fails, so a
//! controller that must report a failure puts its status first when the last attempt failed.

use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use gantry_proto::core::v1::{Endpoints, Namespace, Node, ObjectReference, Pod, ServiceAccount};
use gantry_proto::discovery::v1::EndpointSlice;
use gantry_proto::meta::v1::ObjectMeta;
use gantry_proto::networking::v1::ServiceCidr;
use gantry_proto::policy::v1::PodDisruptionBudget;
use gantry_proto::{Key, Kind, KindInfo};
use serde_json::Value;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// What the decision does is nobody's wish but something that happened, of this name: a trace begins here. Links
    /// remain to what woke the key.
    Begin { what: &'static str },
    /// Consecutive creations are sent in batches that double from one on: a refusal that would hit all of them
    /// (a quota, say) then costs one or two calls, not five hundred.
    Create { object: Object, says: Option<Says> },
    /// Replaces the status subresource. The object's resourceVersion makes it conditional.
    UpdateStatus { object: Object },
    /// A JSON merge patch (RFC 7386). A resourceVersion in it makes it conditional.
    Patch {
        target: Target,
        subresource: Option<&'static str>,
        patch: Value,
        says: Option<Says>,
    },
    /// A merge patch that makes `owner` the target's controller; sent only when a live read shows that the
    /// owner is still there and is not being deleted.
    Adopt {
        target: Target,
        owner: Target,
        patch: Value,
    },
    /// Consecutive deletions are sent together. Without `grace_seconds` the object's own grace period counts.
    Delete {
        target: Target,
        /// Where the decision depends on more than who it is: only as it was read.
        resource_version: Option<String>,
        grace_seconds: Option<i64>,
        propagation: Option<Propagation>,
        says: Option<Says>,
    },
    /// Ends a namespace: takes `kubernetes` from its spec.finalizers.
    Finalize { namespace: Namespace },
    /// Tells people something without writing anything else.
    Tell { says: Says },
    /// Goes on with the same work after this time, and with its trace.
    WakeAfter(Duration),
    /// Looks at the key again after this time, for its own sake: the trace ends here.
    CheckAfter(Duration),
}

/// The events that go with a write, by its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Says {
    pub about: ObjectReference,
    pub warning: bool,
    /// Empty where only a failure is worth telling.
    pub reason: &'static str,
    pub message: String,
    /// The reason of the Warning when the write fails, and what stands before the error's text.
    pub on_failure: Option<(&'static str, String)>,
}

impl Says {
    /// `reason` is that of the Warning, and `prefix` stands before the error's text.
    pub fn only_on_failure(about: ObjectReference, reason: &'static str, prefix: String) -> Says {
        Says {
            about,
            warning: true,
            reason: "",
            message: String::new(),
            on_failure: Some((reason, prefix)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// One incarnation of an object: the uid is a precondition of whatever is done to it.
#[derive(Clone, Debug)]
pub struct Target {
    pub kind: &'static KindInfo,
    pub key: Key,
    pub uid: String,
}

impl Target {
    pub fn of<K: Kind>(object: &K) -> Target {
        Target {
            kind: K::INFO,
            key: object.key(),
            uid: object.metadata().uid.clone(),
        }
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        self.kind.resource == other.kind.resource
            && self.kind.group == other.kind.group
            && self.key == other.key
            && self.uid == other.uid
    }
}

/// The objects that controllers create, or whose status they write.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Pod(Box<Pod>),
    ReplicaSet(Box<ReplicaSet>),
    Deployment(Box<Deployment>),
    EndpointSlice(Box<EndpointSlice>),
    ServiceAccount(Box<ServiceAccount>),
    Namespace(Box<Namespace>),
    Node(Box<Node>),
    Endpoints(Box<Endpoints>),
    PodDisruptionBudget(Box<PodDisruptionBudget>),
    ServiceCidr(Box<ServiceCidr>),
}

/// Calls `$body` with `$object` bound to the typed object inside.
macro_rules! with_object {
    ($value:expr, $object:ident => $body:expr) => {
        match $value {
            $crate::action::Object::Pod($object) => $body,
            $crate::action::Object::ReplicaSet($object) => $body,
            $crate::action::Object::Deployment($object) => $body,
            $crate::action::Object::EndpointSlice($object) => $body,
            $crate::action::Object::ServiceAccount($object) => $body,
            $crate::action::Object::Namespace($object) => $body,
            $crate::action::Object::Node($object) => $body,
            $crate::action::Object::Endpoints($object) => $body,
            $crate::action::Object::PodDisruptionBudget($object) => $body,
            $crate::action::Object::ServiceCidr($object) => $body,
        }
    };
}
pub(crate) use with_object;

impl Object {
    pub fn metadata(&self) -> &ObjectMeta {
        with_object!(self, object => object.metadata())
    }

    pub fn target(&self) -> Target {
        with_object!(self, object => Target::of(object.as_ref()))
    }
}

macro_rules! from_kind {
    ($($kind:ident)*) => {
        $(impl From<$kind> for Object {
            fn from(object: $kind) -> Object {
                Object::$kind(Box::new(object))
            }
        })*
    };
}
from_kind!(Pod ReplicaSet Deployment EndpointSlice ServiceAccount Namespace Node Endpoints PodDisruptionBudget
    ServiceCidr);

/// How the last attempt at a key failed; an argument of the next decision, which may have to report it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub of: Attempt,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Create,
    Delete,
    Write,
    /// Any of them, of an object that had changed in the meantime.
    Outdated,
    /// Any of them, that no apiserver could take: an outage, which says nothing about the object.
    Unreached,
}

impl Action {
    pub fn attempt(&self) -> Attempt {
        match self {
            Action::Create { .. } => Attempt::Create,
            Action::Delete { .. } => Attempt::Delete,
            _ => Attempt::Write,
        }
    }

    pub fn says(&self) -> Option<&Says> {
        match self {
            Action::Create { says, .. } | Action::Patch { says, .. } | Action::Delete { says, .. } => {
                says.as_ref()
            }
            _ => None,
        }
    }
}

/// What an Event says it is about.
pub fn reference_to<K: Kind>(object: &K) -> ObjectReference {
    let metadata = object.metadata();
    ObjectReference {
        kind: K::KIND.into(),
        api_version: K::API_VERSION.into(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}
