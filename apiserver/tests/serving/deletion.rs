use gantry_proto::Kind;
use gantry_proto::api::v1::{self as api, FieldValidation};
use gantry_proto::core::v1::{ConfigMap, Event, Namespace, Pod};
use gantry_proto::meta::v1::{DeleteOptions, Preconditions, Status};
use gantry_proto::status::Reason;

use crate::cluster::{Client, Cluster, failure, object};

fn map(name: &str, finalizers: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default", "finalizers": [{finalizers}]}}}}"#
    ))
}

/// On a node, so that its node has to end it.
fn pod(name: &str) -> Pod {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "spec": {{"nodeName": "n1",
            "containers": [{{"name": "c", "image": "hello"}}]}}}}"#
    ))
}

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions {
        grace_period_seconds: Some(seconds),
        ..DeleteOptions::default()
    }
}

fn policy(policy: &str) -> DeleteOptions {
    DeleteOptions {
        propagation_policy: Some(policy.into()),
        ..DeleteOptions::default()
    }
}

fn on_condition(uid: Option<&str>, version: Option<&str>) -> DeleteOptions {
    DeleteOptions {
        preconditions: Some(Preconditions {
            uid: uid.map(str::to_owned),
            resource_version: version.map(str::to_owned),
        }),
        ..DeleteOptions::default()
    }
}

async fn is_gone<K: Kind>(client: &Client, namespace: &str, name: &str) -> bool {
    match client.get::<K>(namespace, name).await {
        Ok(_) => false,
        Err(status) => status.reason_code() == Reason::NotFound,
    }
}

/// The kind that the details name, and the message.
fn told(status: &Status) -> (&str, &str) {
    let kind = status
        .details
        .as_ref()
        .map_or("", |details| details.kind.as_str());
    (kind, status.message.as_str())
}

#[tokio::test]
async fn a_pods_grace_period_only_becomes_shorter_and_zero_ends_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&pod("p")).await.unwrap();
    let marked: Pod = admin.delete("default", "p", grace(60)).await.unwrap();
    let metadata = marked.metadata();
    assert_eq!(metadata.deletion_grace_period_seconds, Some(60));
    assert_eq!(metadata.generation, 2, "a deletion is a change of what is wanted");
    let (begun, revision) = (metadata.deletion_timestamp.unwrap(), &metadata.resource_version);
    for longer in [
        grace(60),
        grace(90),
        DeleteOptions::default(),
        policy("Foreground"),
    ] {
        let same: Pod = admin.delete("default", "p", longer).await.unwrap();
        assert_eq!(&same.metadata().resource_version, revision, "nothing is written");
    }
    let shorter: Pod = admin.delete("default", "p", grace(20)).await.unwrap();
    let metadata = shorter.metadata();
    assert_eq!(metadata.deletion_grace_period_seconds, Some(20));
    assert_eq!(
        metadata.deletion_timestamp.unwrap().seconds,
        begun.seconds - 40,
        "counted from where it began"
    );
    admin.delete::<Pod>("default", "p", grace(0)).await.unwrap();
    assert!(is_gone::<Pod>(&admin, "default", "p").await);

    admin.create(&pod("q")).await.unwrap();
    let negative: Pod = admin.delete("default", "q", grace(-5)).await.unwrap();
    assert_eq!(negative.metadata().deletion_grace_period_seconds, Some(1));
    let mut finished = pod("r");
    finished.metadata_mut().finalizers = vec!["example.com/hold".into()];
    admin.create(&finished).await.unwrap();
    admin
        .patch::<Pod>("default", "r", "status", r#"{"status": {"phase": "Succeeded"}}"#)
        .await
        .unwrap();
    let held: Pod = admin
        .delete("default", "r", DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(held.metadata().deletion_grace_period_seconds, Some(0));
}

#[tokio::test]
async fn the_propagation_policy_becomes_the_garbage_collectors_finalizer() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let check = async |name: &str, options: DeleteOptions, expected: Option<&[&str]>| {
        admin.create(&map(name, "")).await.unwrap();
        let deleted: ConfigMap = admin.delete("default", name, options).await.unwrap();
        match expected {
            None => assert!(is_gone::<ConfigMap>(&admin, "default", name).await, "{name}"),
            Some(finalizers) => assert_eq!(deleted.metadata().finalizers, finalizers, "{name}"),
        }
    };
    let orphan = |orphan| DeleteOptions {
        orphan_dependents: Some(orphan),
        ..DeleteOptions::default()
    };
    check("default", DeleteOptions::default(), None).await;
    check("background", policy("Background"), None).await;
    check("not-orphan", orphan(false), None).await;
    check("foreground", policy("Foreground"), Some(&["foregroundDeletion"])).await;
    check("orphan", policy("Orphan"), Some(&["orphan"])).await;
    check("old-orphan", orphan(true), Some(&["orphan"])).await;
    // Who asks again may ask for something else, and an end of waiting.
    let changed: ConfigMap = admin
        .delete("default", "foreground", policy("Orphan"))
        .await
        .unwrap();
    assert_eq!(changed.metadata().finalizers, ["orphan"]);
    admin
        .delete::<ConfigMap>("default", "foreground", policy("Background"))
        .await
        .unwrap();
    assert!(is_gone::<ConfigMap>(&admin, "default", "foreground").await);

    let event: Event = object(
        r#"{"metadata": {"name": "e", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}}"#,
    );
    admin.create(&event).await.unwrap();
    admin
        .delete::<Event>("default", "e", policy("Foreground"))
        .await
        .unwrap();
    assert!(
        is_gone::<Event>(&admin, "default", "e").await,
        "nobody collects Events"
    );
}

#[tokio::test]
async fn a_deletion_that_is_meant_for_another_object_is_a_conflict() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let created = admin.create(&map("m", "")).await.unwrap();
    let (uid, version) = (&created.metadata().uid, &created.metadata().resource_version);
    let refused = async |options: DeleteOptions| {
        let refused = admin
            .delete::<ConfigMap>("default", "m", options)
            .await
            .unwrap_err();
        assert_eq!(refused.reason_code(), Reason::Conflict);
        refused
    };
    let other_uid = refused(on_condition(Some("other"), None)).await;
    assert_eq!(
        told(&other_uid),
        (
            "ConfigMap",
            format!(
                "Operation cannot be fulfilled on ConfigMap \"m\": the UID in the precondition (other) does not match \
                 the UID in record ({uid}). The object might have been deleted and then recreated"
            )
            .as_str()
        )
    );
    let other_version = refused(on_condition(Some(uid), Some("1"))).await;
    assert_eq!(
        other_version.message,
        format!(
            "Operation cannot be fulfilled on ConfigMap \"m\": the ResourceVersion in the precondition (1) does not \
             match the ResourceVersion in record ({version}). The object might have been modified"
        )
    );
    admin
        .delete::<ConfigMap>("default", "m", on_condition(Some(uid), Some(version)))
        .await
        .unwrap();

    let team: Namespace = admin
        .create(&object(r#"{"metadata": {"name": "team"}}"#))
        .await
        .unwrap();
    let refused = admin
        .delete::<Namespace>("", "team", on_condition(Some("other"), None))
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        format!(
            "Operation cannot be fulfilled on namespaces \"team\": Precondition failed: UID in precondition: other, UID \
             in object meta: {}",
            team.metadata().uid
        )
    );
}

#[tokio::test]
async fn an_update_that_is_meant_for_another_object_is_a_conflict() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let created = admin.create(&map("m", "")).await.unwrap();
    let mut other = created.clone();
    other.metadata_mut().uid = "other".into();
    other.metadata_mut().resource_version.clear();
    let refused = admin.update("", &other).await.unwrap_err();
    assert_eq!(refused.reason_code(), Reason::Conflict);
    assert_eq!(
        refused.message,
        format!(
            "Operation cannot be fulfilled on configmaps \"m\": StorageError: invalid object, Code: 4, Key: \
             /registry/configmaps/default/m, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
             precondition: other, UID in object meta: {}",
            created.metadata().uid
        )
    );
    // A patch that changes the uid is wrong whatever the object is.
    let refused = admin
        .patch::<ConfigMap>("default", "m", "", r#"{"metadata": {"uid": "other"}}"#)
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        "ConfigMap \"m\" is invalid: metadata.uid: Invalid value: \"other\": field is immutable"
    );
}

#[tokio::test]
async fn an_object_on_its_way_out_gets_no_new_finalizers_and_goes_with_its_last() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin
        .create(&map("m", r#""example.com/a", "example.com/b""#))
        .await
        .unwrap();
    let going: ConfigMap = admin
        .delete("default", "m", DeleteOptions::default())
        .await
        .unwrap();
    assert!(going.metadata().deletion_timestamp.is_some());
    assert_eq!(going.metadata().deletion_grace_period_seconds, Some(0));
    let exists = admin.create(&map("m", "")).await.unwrap_err();
    assert_eq!(
        exists.message,
        "object is being deleted: configmaps \"m\" already exists"
    );
    let added = admin
        .patch::<ConfigMap>(
            "default",
            "m",
            "",
            r#"{"metadata": {"finalizers": ["example.com/c"]}}"#,
        )
        .await
        .unwrap_err();
    assert_eq!(
        added.message,
        "ConfigMap \"m\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is \
         being deleted, found new finalizers []string{\"example.com/c\"}"
    );
    let mut undeleted = going.clone();
    undeleted.metadata_mut().deletion_timestamp = None;
    undeleted.metadata_mut().deletion_grace_period_seconds = None;
    undeleted.metadata_mut().finalizers = vec!["example.com/a".into()];
    let updated = admin.update("", &undeleted).await.unwrap();
    assert!(
        updated.metadata().deletion_timestamp.is_some(),
        "a deletion is not taken back"
    );
    let mut last = updated;
    last.metadata_mut().finalizers.clear();
    admin.update("", &last).await.unwrap();
    assert!(is_gone::<ConfigMap>(&admin, "default", "m").await);
}

#[tokio::test]
async fn a_namespace_ends_in_two_steps_and_says_so_to_who_comes_late() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    for name in ["default", "kube-system", "kube-public"] {
        let refused = admin
            .delete::<Namespace>("", name, DeleteOptions::default())
            .await
            .unwrap_err();
        assert_eq!(
            refused.message,
            format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted")
        );
    }
    admin
        .create::<Namespace>(&object(r#"{"metadata": {"name": "team"}}"#))
        .await
        .unwrap();
    let going: Namespace = admin.delete("", "team", policy("Foreground")).await.unwrap();
    assert_eq!(going.status().phase, "Terminating");
    assert_eq!(going.metadata().finalizers, ["foregroundDeletion"]);
    assert_eq!(going.metadata().deletion_grace_period_seconds, None);
    let (late, _) = admin
        .create_json(
            r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-", "namespace": "team"}}"#,
            FieldValidation::Warn,
        )
        .await
        .map_or_else(|status| (status, ()), |_| panic!("a namespace that ends takes nothing in"));
    assert_eq!(late.reason_code(), Reason::Forbidden);
    assert_eq!(
        late.message,
        "configmaps \"m-\" is forbidden: unable to create new content in namespace team because it is being terminated"
    );
    let cause = &late.details.unwrap().causes[0];
    assert_eq!(
        (
            cause.reason.as_str(),
            cause.message.as_str(),
            cause.field.as_str()
        ),
        (
            "NamespaceTerminating",
            "namespace team is being terminated",
            "metadata.namespace"
        )
    );
    let again: Namespace = admin.delete("", "team", DeleteOptions::default()).await.unwrap();
    assert_eq!(
        again.metadata().resource_version,
        going.metadata().resource_version
    );
    let patched = admin
        .patch::<Namespace>("", "team", "finalize", r#"{"spec": {"finalizers": null}}"#)
        .await
        .unwrap_err();
    assert_eq!(patched.reason_code(), Reason::MethodNotAllowed);
    let mut finalized = going;
    finalized.spec_mut().finalizers.clear();
    let kept = admin.update("finalize", &finalized).await.unwrap();
    assert_eq!(
        kept.metadata().finalizers,
        ["foregroundDeletion"],
        "the collector has not let go yet"
    );
    admin
        .patch::<Namespace>("", "team", "", r#"{"metadata": {"finalizers": null}}"#)
        .await
        .unwrap();
    assert!(is_gone::<Namespace>(&admin, "", "team").await);
}

#[tokio::test]
async fn options_that_nobody_can_mean_delete_nothing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&map("m", "")).await.unwrap();
    let check = async |options: DeleteOptions, expected: &str| {
        let refused = admin
            .delete::<ConfigMap>("default", "m", options)
            .await
            .unwrap_err();
        assert_eq!(refused.reason_code(), Reason::Invalid);
        assert_eq!(refused.message, expected);
    };
    check(
        policy("foreground"),
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"foreground\": supported \
         values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
    )
    .await;
    let misspelt = DeleteOptions {
        dry_run: vec!["all".into()],
        ..DeleteOptions::default()
    };
    check(
        misspelt,
        "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"all\"]: supported values: \"All\"",
    )
    .await;
    assert!(!is_gone::<ConfigMap>(&admin, "default", "m").await);
    let request = api::DeleteRequest {
        resource: "configmaps".into(),
        namespace: "default".into(),
        name: "a/b".into(),
        ..Default::default()
    };
    let refused = admin.resources().delete(request).await.map_err(failure);
    assert_eq!(
        refused.unwrap_err().message,
        "Name parameter invalid: \"a/b\": may not contain '/'"
    );
}

#[tokio::test]
async fn a_namespace_that_ends_takes_nothing_in_at_any_server() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let elsewhere = cluster.another_server().await;
    let elsewhere = cluster
        .client_of(elsewhere, "kubernetes-admin", &["system:masters"])
        .await;
    for number in 0..20 {
        let name = format!("team-{number}");
        let mut inside = map("before", "");
        inside.metadata_mut().namespace.clone_from(&name);
        let namespace: Namespace = object(&format!(r#"{{"metadata": {{"name": "{name}"}}}}"#));
        admin.create(&namespace).await.unwrap();
        elsewhere.create(&inside).await.unwrap();
        admin
            .delete::<Namespace>("", &name, DeleteOptions::default())
            .await
            .unwrap();
        inside.metadata_mut().name = "after".into();
        let refused = elsewhere.create(&inside).await.unwrap_err();
        assert_eq!(refused.reason_code(), Reason::Forbidden, "{refused:?}");
    }
}
