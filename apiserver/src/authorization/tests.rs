use gantry_proto::KindInfo;
use gantry_proto::core::v1::Pod;
use gantry_proto::json;

use super::*;

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}

/// The outcome in short: `yes`, `if`, or the message that the user would get.
fn outcome(
    user: &User,
    verb: Verb,
    resource: &str,
    namespace: &str,
    name: &str,
    fields: &[(&str, &str)],
) -> String {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let fixed: Vec<_> = fields
        .iter()
        .map(|(field, value)| ((*field).to_owned(), (*value).to_owned()))
        .collect();
    let request = Attributes {
        verb,
        kind: KindInfo::of_resource(resource).unwrap(),
        subresource,
        namespace,
        name,
        fixed_fields: &fixed,
    };
    match authorize(user, &request) {
        Decision::Allow => "yes".into(),
        Decision::OnlyIf(_) => "if".into(),
        Decision::Deny(denial) => forbidden(user, &request, &denial).message,
    }
}

#[test]
fn components_may_do_their_work_and_nothing_else() {
    let scheduler = user("system:kube-scheduler", &[]);
    let manager = user("system:kube-controller-manager", &[]);
    let proxy = user("system:kube-proxy", &["system:node-proxier"]);
    let admin = user("kubernetes-admin", &["system:masters"]);
    let check = |user: &User, verb, resource, expected: bool| {
        let found = outcome(user, verb, resource, "default", "x", &[]);
        assert_eq!(
            found == "yes",
            expected,
            "{} {verb} {resource}: {found}",
            user.name
        );
    };
    check(&scheduler, Verb::Watch, "pods", true);
    check(&scheduler, Verb::Create, "pods/binding", true);
    check(&scheduler, Verb::Patch, "pods/status", true);
    check(&scheduler, Verb::Update, "leases.coordination.k8s.io", true);
    check(&scheduler, Verb::Create, "pods", false);
    check(&scheduler, Verb::Delete, "pods", true);
    check(&scheduler, Verb::Watch, "poddisruptionbudgets.policy", true);
    check(&scheduler, Verb::Get, "secrets", false);
    check(&manager, Verb::Delete, "secrets", true);
    check(&manager, Verb::DeleteCollection, "secrets", true);
    check(&scheduler, Verb::DeleteCollection, "pods", false);
    check(&manager, Verb::Create, "secrets", false);
    check(&manager, Verb::Create, "replicasets.apps", true);
    check(&manager, Verb::Update, "namespaces/finalize", true);
    check(&manager, Verb::Create, "pods/binding", false);
    check(&proxy, Verb::Watch, "endpointslices.discovery.k8s.io", true);
    check(&proxy, Verb::Get, "secrets", false);
    check(&admin, Verb::Create, "secrets", true);
    check(&User::anonymous(), Verb::List, "pods", false);
}

#[test]
fn a_denial_reads_as_in_kubernetes() {
    let jane = user("jane", &["system:authenticated"]);
    assert_eq!(
        outcome(&jane, Verb::List, "pods", "default", "", &[]),
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(
        outcome(&jane, Verb::Create, "pods", "default", "web", &[]),
        "pods is forbidden: User \"jane\" cannot create resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(
        outcome(&jane, Verb::Get, "nodes", "", "n1", &[]),
        "nodes \"n1\" is forbidden: User \"jane\" cannot get resource \"nodes\" in API group \"\" at the cluster scope"
    );
    assert_eq!(
        outcome(
            &jane,
            Verb::Update,
            "deployments.apps/scale",
            "default",
            "web",
            &[]
        ),
        "deployments.apps \"web\" is forbidden: User \"jane\" cannot update resource \"deployments/scale\" in API group \"apps\" in the namespace \"default\""
    );
}

#[test]
fn a_node_sees_and_writes_only_what_is_its_own() {
    let node = user("system:node:n1", &["system:nodes"]);
    let check = |verb, resource, namespace, name, fields: &[(&str, &str)], expected: &str| {
        let found = outcome(&node, verb, resource, namespace, name, fields);
        assert!(found.contains(expected), "{verb} {resource} {name}: {found}");
    };
    check(Verb::List, "nodes", "", "", &[], "yes");
    check(Verb::Create, "nodes", "", "n1", &[], "yes");
    check(Verb::Patch, "nodes/status", "", "n1", &[], "yes");
    check(
        Verb::Patch,
        "nodes/status",
        "",
        "n2",
        &[],
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"",
    );
    check(Verb::Watch, "pods", "", "", &[("spec.nodeName", "n1")], "yes");
    check(
        Verb::Watch,
        "pods",
        "",
        "",
        &[("spec.nodeName", "n2")],
        "can only list/watch pods with spec.nodeName",
    );
    check(
        Verb::List,
        "pods",
        "",
        "",
        &[],
        "can only list/watch pods with spec.nodeName field selector",
    );
    check(Verb::Patch, "pods/status", "default", "web", &[], "if");
    check(Verb::Delete, "pods", "default", "web", &[], "if");
    check(
        Verb::Create,
        "pods",
        "default",
        "web",
        &[],
        "cannot create resource \"pods\"",
    );
    check(
        Verb::Update,
        "pods",
        "default",
        "web",
        &[],
        "cannot update resource \"pods\"",
    );
    check(Verb::Get, "secrets", "default", "key", &[], "if");
    check(
        Verb::Watch,
        "secrets",
        "default",
        "",
        &[("metadata.name", "key")],
        "if",
    );
    check(
        Verb::List,
        "secrets",
        "default",
        "",
        &[],
        "cannot list resource \"secrets\"",
    );
    check(
        Verb::Update,
        "secrets",
        "default",
        "key",
        &[],
        "cannot update resource \"secrets\"",
    );
    check(
        Verb::Update,
        "leases.coordination.k8s.io",
        "kube-node-lease",
        "n1",
        &[],
        "yes",
    );
    check(
        Verb::Update,
        "leases.coordination.k8s.io",
        "kube-node-lease",
        "n2",
        &[],
        "can only access node lease",
    );
    check(
        Verb::Update,
        "leases.coordination.k8s.io",
        "kube-system",
        "n1",
        &[],
        "can only access leases in the",
    );
    check(Verb::Create, "events", "default", "x", &[], "yes");
    check(
        Verb::Create,
        "pods/binding",
        "default",
        "x",
        &[],
        "cannot create resource \"pods/binding\"",
    );
}

#[test]
fn a_pod_refers_to_what_it_mounts_reads_and_pulls_with() {
    let pod = br#"{"spec": {
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "from"}}, {"configMapRef": {"name": "m1"}}]}],
        "containers": [{"name": "c", "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "m2", "key": "k"}}}]}],
        "volumes": [
            {"name": "v1", "secret": {"secretName": "vol"}},
            {"name": "v2", "configMap": {"name": "m3"}},
            {"name": "v3", "projected": {"sources": [{"secret": {"name": "proj"}}, {"configMap": {"name": "m4"}}]}}]
    }}"#;
    let pod: Pod = json::decode(pod).unwrap().object;
    for name in ["pull", "from", "key", "vol", "proj"] {
        assert!(refers_to(&pod, Referent::Secret, name), "{name}");
        assert!(!refers_to(&pod, Referent::ConfigMap, name), "{name}");
    }
    for name in ["m1", "m2", "m3", "m4"] {
        assert!(refers_to(&pod, Referent::ConfigMap, name), "{name}");
        assert!(!refers_to(&pod, Referent::Secret, name), "{name}");
    }
}
