//! Who may do what. Until roles can be written (RBAC), a fixed table: what a user's groups may do, and for
//! nodes what Kubernetes' node authorizer and its NodeRestriction admission say.
//!
//! Deciding is pure. Where the decision depends on a pod, it is a [`Condition`] that the caller looks up.

use gantry_proto::meta::v1::Status;

use crate::audit::Trail;
use crate::authentication::{self, User};
use crate::request::{Attributes, Verb};

mod table;
mod node;
mod references;
mod restriction;

pub use references::{Referent, refers_to};
pub use restriction::admit;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Allowed if the condition holds.
    OnlyIf(Condition),
    Deny(Denial),
}

/// What must be true of the cluster for a node's request to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The pod that the request names is bound to the node.
    PodOnNode { node: String },
    /// A pod bound to the node refers to the object that the request names.
    ReferredByPodOnNode {
        node: String,
        referent: Referent,
        name: String,
    },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No rule allows it; the text, if any, says more.
    NoRule(String),
    /// A rule forbids it, in its own words.
    Restricted(String),
}

/// Decides without looking at the cluster.
pub fn authorize(user: &User, request: &Attributes<'_>) -> Decision {
    if user.is_in(authentication::MASTERS) {
        return Decision::Allow;
    }
    if user.is_in(node::GROUP) {
        return node::authorize(user, request);
    }
    if table::allows(user, request) {
        Decision::Allow
    } else {
        Decision::Deny(Denial::NoRule(String::new()))
    }
}

/// Whether a user may see what the process tells of itself beyond its health: metrics and single checks.
pub fn may_inspect(user: &User) -> bool {
    user.is_in(authentication::MASTERS) || user.is_in("system:monitoring")
}

/// Like [`may_inspect`], with the answer told to the audit log.
pub fn inspect(user: &User, trail: &Trail) -> Option<Denial> {
    let denial = (!may_inspect(user)).then(|| Denial::NoRule(String::new()));
    trail.authorized(denial.is_none(), || reason(user, denial.as_ref()));
    denial
}

/// Why a request is allowed, or is denied, for the audit log.
pub fn reason(user: &User, denial: Option<&Denial>) -> String {
    match denial {
        Some(Denial::NoRule(more)) if more.is_empty() => "no rule allows it".to_owned(),
        Some(Denial::NoRule(why) | Denial::Restricted(why)) => why.clone(),
        None if user.is_in(authentication::MASTERS) => {
            format!("allowed to Group \"{}\": everything", authentication::MASTERS)
        }
        None if user.is_in(node::GROUP) => {
            format!("allowed to Group \"{}\" by the node authorizer", node::GROUP)
        }
        None => table::subject_of(user),
    }
}

/// The denial of a condition that does not hold.
pub fn unmet(condition: &Condition, verb: Verb, subresource: &str) -> Denial {
    match condition {
        Condition::PodOnNode { node } if verb == Verb::Delete => Denial::Restricted(format!(
            "node \"{node}\" can only delete pods with spec.nodeName set to itself"
        )),
        Condition::PodOnNode { node } if subresource == "status" => Denial::Restricted(format!(
            "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
        )),
        Condition::PodOnNode { node } | Condition::ReferredByPodOnNode { node, .. } => Denial::NoRule(
            format!("no relationship found between node '{node}' and this object"),
        ),
    }
}

/// The failure that the user gets, in Kubernetes' words.
pub fn forbidden(user: &User, request: &Attributes<'_>, denial: &Denial) -> Status {
    let why = match denial {
        Denial::Restricted(why) => why.clone(),
        Denial::NoRule(more) => {
            let scope = match request.namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace \"{namespace}\""),
            };
            let rule = format!(
                "User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {scope}",
                user.name,
                request.verb,
                request.resource(),
                request.kind.group
            );
            if more.is_empty() {
                rule
            } else {
                format!("{rule}: {more}")
            }
        }
    };
    // Kubernetes authorizes a creation before it has read the object's name.
    let named = request.verb != Verb::Create
        || matches!(denial, Denial::Restricted(_))
        || !request.subresource.is_empty();
    Status::forbidden(request.kind, if named { request.name } else { "" }, &why)
}

#[cfg(test)]
mod tests;
