//! What a node may do: read what its own pods need, and write about itself and them. After Kubernetes' node
//! authorizer (plugin/pkg/auth/authorizer/node). What it may write into them is said in `restriction`.

use super::{Attributes, Condition, Decision, Denial, Referent, User};
use crate::authentication;
use crate::request::Verb;

pub(super) const GROUP: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The node that a user speaks for.
fn node_of(user: &User) -> Option<&str> {
    let node = user.name.strip_prefix(USER_PREFIX)?;
    Some(node).filter(|node| !node.is_empty())
}

/// The node whose restrictions hold for a user; none where the user is not a node, or may do everything.
pub(super) fn restricted_as(user: &User) -> Option<&str> {
    if user.is_in(authentication::MASTERS) || !user.is_in(GROUP) {
        return None;
    }
    node_of(user)
}

pub(super) fn authorize(user: &User, request: &Attributes<'_>) -> Decision {
    let Some(node) = node_of(user) else {
        return restricted(format!("could not determine node from user \"{}\"", user.name));
    };
    match (request.kind.group_resource().as_str(), request.subresource) {
        ("nodes", "" | "status") => nodes(node, request),
        ("pods", "" | "status") => pods(node, request),
        ("secrets", "") => referred(node, Referent::Secret, request),
        ("configmaps", "") => referred(node, Referent::ConfigMap, request),
        ("leases.coordination.k8s.io", "") => leases(node, request),
        ("services" | "endpointslices.discovery.k8s.io", "") if request.verb.reads() => Decision::Allow,
        ("events", "") if matches!(request.verb, Verb::Create | Verb::Update | Verb::Patch) => {
            Decision::Allow
        }
        _ => no_rule(""),
    }
}

/// Every node is readable, because the routes to its pods must be; only one's own is writable.
fn nodes(node: &str, request: &Attributes<'_>) -> Decision {
    match request.verb {
        verb if verb.reads() => Decision::Allow,
        Verb::Delete | Verb::DeleteCollection => no_rule(""),
        _ if request.name == node => Decision::Allow,
        _ => restricted(format!(
            "node \"{node}\" is not allowed to modify node \"{}\"",
            request.name
        )),
    }
}

fn pods(node: &str, request: &Attributes<'_>) -> Decision {
    let on_node = || {
        Decision::OnlyIf(Condition::PodOnNode {
            node: node.to_owned(),
        })
    };
    match (request.verb, request.subresource) {
        (Verb::List | Verb::Watch, "") => {
            let own = request
                .fixed_fields
                .iter()
                .any(|(field, value)| field == "spec.nodeName" && value == node);
            if own {
                Decision::Allow
            } else {
                no_rule("can only list/watch pods with spec.nodeName field selector")
            }
        }
        (Verb::Get | Verb::Delete, "") | (Verb::Get | Verb::Update | Verb::Patch, "status") => on_node(),
        _ => no_rule(""),
    }
}

/// A secret or config map is read by name, and only where a pod on the node uses it.
fn referred(node: &str, referent: Referent, request: &Attributes<'_>) -> Decision {
    let fixed_name = || {
        let mut fields = request.fixed_fields.iter();
        fields
            .find(|(field, _)| field == "metadata.name")
            .map(|(_, value)| value.clone())
    };
    let name = match request.verb {
        Verb::Get => Some(request.name.to_owned()),
        Verb::List | Verb::Watch => fixed_name(),
        _ => return no_rule(""),
    };
    match name {
        Some(name) if !name.is_empty() && !request.namespace.is_empty() => {
            Decision::OnlyIf(Condition::ReferredByPodOnNode {
                node: node.to_owned(),
                referent,
                name,
            })
        }
        _ => no_rule(&format!(
            "can only read resources of this type if they are referenced by a pod on node '{node}'"
        )),
    }
}

fn leases(node: &str, request: &Attributes<'_>) -> Decision {
    if request.namespace != LEASE_NAMESPACE {
        return restricted(format!(
            "can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"
        ));
    }
    if request.name != node {
        return restricted("can only access node lease with the same name as the requesting node".into());
    }
    match request.verb {
        Verb::List | Verb::Watch => no_rule(""),
        _ => Decision::Allow,
    }
}

fn no_rule(more: &str) -> Decision {
    Decision::Deny(Denial::NoRule(more.to_owned()))
}

fn restricted(why: String) -> Decision {
    Decision::Deny(Denial::Restricted(why))
}
