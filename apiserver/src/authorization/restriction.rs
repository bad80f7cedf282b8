//! What a node may not write into the objects that it may write: what would draw other workloads to it, or let it
//! speak for others. After Kubernetes' NodeRestriction (plugin/pkg/admission/noderestriction), with its words.

use std::collections::{BTreeMap, BTreeSet};

use gantry_proto::core::v1::{Node, Pod};
use gantry_proto::meta::v1::Status;

use super::{User, node};
use crate::strategy::{Object, typed};

type Labels = BTreeMap<String, String>;

/// Labels of Kubernetes' own domains that a node may give itself (k8s.io/kubelet/pkg/apis/well_known_labels.go).
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// Domains of which a node may give itself every label.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Labels of this domain are for administrators alone, to keep nodes apart.
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";

/// Lets a write pass that its user may make, or says why not. `old` is absent for a new object.
pub fn admit(user: &User, new: &dyn Object, old: Option<&dyn Object>) -> Result<(), Status> {
    let Some(node) = node::restricted_as(user) else {
        return Ok(());
    };
    let verdict = if let Some(new) = typed::<Node>(new) {
        admit_node(node, new, old.and_then(typed::<Node>))
    } else if let (Some(new), Some(old)) = (typed::<Pod>(new), old.and_then(typed::<Pod>)) {
        admit_pod_status(node, new, old)
    } else {
        Ok(())
    };
    verdict.map_err(|why| Status::forbidden(new.info(), &new.metadata().name, &why))
}

fn admit_node(name: &str, new: &Node, old: Option<&Node>) -> Result<(), String> {
    let Some(old) = old else {
        let forbidden = forbidden_labels(&new.metadata().labels, &Labels::new());
        if forbidden.is_empty() {
            return Ok(());
        }
        return Err(format!(
            "node \"{name}\" is not allowed to set the following labels: {forbidden}"
        ));
    };
    if new.spec().config_source.is_some() && new.spec().config_source != old.spec().config_source {
        return Err(format!(
            "node \"{name}\" is not allowed to update configSource to a new non-nil configSource"
        ));
    }
    if new.spec().taints != old.spec().taints {
        return Err(format!("node \"{name}\" is not allowed to modify taints"));
    }
    // Its garbage collector would delete a node whose owner is gone.
    if new.metadata().owner_references != old.metadata().owner_references {
        return Err(format!(
            "node \"{name}\" is not allowed to modify ownerReferences"
        ));
    }
    let forbidden = forbidden_labels(&new.metadata().labels, &old.metadata().labels);
    if forbidden.is_empty() {
        Ok(())
    } else {
        Err(format!("is not allowed to modify labels: {forbidden}"))
    }
}

fn admit_pod_status(name: &str, new: &Pod, old: &Pod) -> Result<(), String> {
    if new.metadata().labels != old.metadata().labels {
        return Err(format!("node \"{name}\" cannot update labels through pod status"));
    }
    if new.status().resource_claim_statuses != old.status().resource_claim_statuses {
        return Err(format!("node \"{name}\" cannot update resource claim statues"));
    }
    Ok(())
}

/// The labels that differ and that a node may not touch, in order, joined by commas.
fn forbidden_labels(new: &Labels, old: &Labels) -> String {
    let keys: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    let changed = keys.into_iter().filter(|key| new.get(*key) != old.get(*key));
    let forbidden: Vec<&str> = changed
        .map(String::as_str)
        .filter(|key| is_forbidden(key))
        .collect();
    forbidden.join(", ")
}

fn is_forbidden(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let is_in = |parent: &str| {
        domain
            .strip_suffix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let reserved = is_in("kubernetes.io") || is_in("k8s.io");
    let own = OWN_LABELS.contains(&key) || OWN_DOMAINS.into_iter().any(is_in);
    is_in(RESTRICTED_DOMAIN) || (reserved && !own)
}

#[cfg(test)]
mod tests {
    use gantry_proto::json;

    use super::*;

    fn user(name: &str, group: &str) -> User {
        User {
            name: name.into(),
            groups: vec![group.into()],
        }
    }

    fn node(labels: &str, rest: &str) -> Node {
        let text = format!(r#"{{"metadata": {{"name": "n1", "labels": {{{labels}}}{rest}}}"#);
        json::decode(text.as_bytes()).unwrap().object
    }

    #[test]
    fn a_node_gives_itself_only_labels_that_steer_no_workload() {
        let check = |key: &str, allowed: bool| assert_eq!(is_forbidden(key), !allowed, "{key}");
        for key in OWN_LABELS {
            check(key, true);
        }
        check("team", true);
        check("example.com/pool", true);
        check("notkubernetes.io/pool", true);
        check("kubelet.kubernetes.io/pool", true);
        check("feature.node.kubernetes.io/cpu", true);
        check("node-role.kubernetes.io/control-plane", false);
        check("kubernetes.io/pool", false);
        check("k8s.io/pool", false);
        check("x.k8s.io/pool", false);
        check("node-restriction.kubernetes.io/pool", false);
        check("a.node-restriction.kubernetes.io/pool", false);
    }

    #[test]
    fn a_node_changes_neither_its_taints_nor_its_owners_nor_foreign_labels() {
        let check = |new: &Node, old: Option<&Node>, expected: &str| {
            let found = admit(
                &user("system:node:n1", "system:nodes"),
                new,
                old.map(|old| old as _),
            );
            let found = found.map_or_else(|status| status.message, |()| String::new());
            assert_eq!(found, expected);
            let manager = user("system:kube-controller-manager", "system:authenticated");
            assert!(admit(&manager, new, old.map(|old| old as _)).is_ok());
        };
        let plain = node(r#""kubernetes.io/os": "linux""#, "}");
        let role = node(r#""node-role.kubernetes.io/x": "", "k8s.io/a": """#, "}");
        let tainted = node(
            r#""kubernetes.io/os": "linux""#,
            r#"}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}"#,
        );
        let owned = node(
            r#""kubernetes.io/os": "linux""#,
            r#", "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "m", "uid": "u"}]}"#,
        );
        check(&plain, None, "");
        check(&tainted, None, "");
        check(&plain, Some(&plain), "");
        check(
            &role,
            None,
            "nodes \"n1\" is forbidden: node \"n1\" is not allowed to set the following labels: k8s.io/a, \
             node-role.kubernetes.io/x",
        );
        check(
            &role,
            Some(&plain),
            "nodes \"n1\" is forbidden: is not allowed to modify labels: k8s.io/a, node-role.kubernetes.io/x",
        );
        check(
            &plain,
            Some(&role),
            "nodes \"n1\" is forbidden: is not allowed to modify labels: k8s.io/a, node-role.kubernetes.io/x",
        );
        for (new, old) in [(&plain, &tainted), (&tainted, &plain)] {
            check(
                new,
                Some(old),
                "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify taints",
            );
        }
        check(
            &owned,
            Some(&plain),
            "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify ownerReferences",
        );
    }
}
