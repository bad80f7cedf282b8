use gantry_proto::core::v1::Pod;
use gantry_proto::meta::v1::DeleteOptions;
use gantry_proto::scheduling::v1::PriorityClass;
use gantry_proto::status::Reason;

use crate::cluster::{Client, Cluster, object};

fn pod(name: &str, spec: &str) -> Pod {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "spec": {{{spec}
            "containers": [{{"name": "c", "image": "hello"}}]}}}}"#
    ))
}

fn class(name: &str, more: &str) -> PriorityClass {
    object(&format!(r#"{{"metadata": {{"name": "{name}"}}{more}}}"#))
}

impl Client {
    /// What a pod with this spec gets: class, priority and preemption policy.
    async fn priority_of(&self, name: &str, spec: &str) -> Result<(String, i32, String), String> {
        match self.create(&pod(name, spec)).await {
            Err(status) => Err(status.message),
            Ok(pod) => Ok((
                pod.spec().priority_class_name.clone(),
                pod.spec().priority.unwrap(),
                pod.spec().preemption_policy.clone().unwrap(),
            )),
        }
    }
}

fn given(class: &str, priority: i32, policy: &str) -> Result<(String, i32, String), String> {
    Ok((class.to_owned(), priority, policy.to_owned()))
}

#[tokio::test]
async fn a_pod_gets_the_priority_of_its_class() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let lower = "PreemptLowerPriority";
    assert_eq!(admin.priority_of("plain", "").await, given("", 0, lower));
    for (name, value) in [
        ("system-node-critical", 2_000_001_000),
        ("system-cluster-critical", 2_000_000_000),
    ] {
        let spec = format!(r#""priorityClassName": "{name}","#);
        assert_eq!(admin.priority_of(name, &spec).await, given(name, value, lower));
    }
    let high = class("high", r#", "value": 1000, "preemptionPolicy": "Never""#);
    admin.create(&high).await.unwrap();
    let spec = r#""priorityClassName": "high","#;
    assert_eq!(
        admin.priority_of("high", spec).await,
        given("high", 1000, "Never")
    );
    let same = r#""priorityClassName": "high", "priority": 1000, "preemptionPolicy": "Never","#;
    assert_eq!(
        admin.priority_of("same", same).await,
        given("high", 1000, "Never")
    );
    let refused = |why: &str| Err(format!("pods \"p\" is forbidden: {why}"));
    assert_eq!(
        admin.priority_of("p", r#""priorityClassName": "none","#).await,
        refused("no PriorityClass with name none was found")
    );
    assert_eq!(
        admin
            .priority_of("p", r#""priorityClassName": "high", "priority": 7,"#)
            .await,
        refused(
            "the integer value of priority (7) must not be provided in pod spec; priority admission controller \
             computed 1000 from the given PriorityClass name"
        )
    );
    assert_eq!(
        admin.priority_of("p", r#""preemptionPolicy": "Never","#).await,
        refused(
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission \
             controller computed PreemptLowerPriority from the given PriorityClass name"
        )
    );
    // Whoever knows nothing of priorities can still replace a pod.
    let mut known: Pod = admin.get("default", "high").await.unwrap();
    known.spec_mut().priority = None;
    known.spec_mut().preemption_policy = None;
    known.metadata_mut().labels.insert("a".into(), "b".into());
    let updated = admin.update("", &known).await.unwrap();
    assert_eq!(updated.spec().priority, Some(1000));
}

#[tokio::test]
async fn only_one_class_is_everybodys() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let default =
        |name: &str, value: i32| class(name, &format!(r#", "value": {value}, "globalDefault": true"#));
    let first = admin.create(&default("first", 5)).await.unwrap();
    let refused = admin.create(&default("second", 6)).await.unwrap_err();
    assert_eq!(
        (refused.reason_code(), refused.message.as_str()),
        (
            Reason::Forbidden,
            "priorityclasses.scheduling.k8s.io \"second\" is forbidden: PriorityClass first is already marked as \
             default. Only one default can exist"
        )
    );
    admin.create(&class("second", r#", "value": 6"#)).await.unwrap();
    for patch in [
        r#"{"globalDefault": true}"#,
        r#"{"globalDefault": true, "description": "x"}"#,
    ] {
        let refused = admin
            .patch::<PriorityClass>("", "second", "", patch)
            .await
            .unwrap_err();
        assert!(
            refused.message.ends_with("Only one default can exist"),
            "{refused:?}"
        );
    }
    let mut described = first;
    described.description = "of all pods".into();
    admin.update("", &described).await.unwrap();
    assert_eq!(
        admin.priority_of("p", "").await,
        given("first", 5, "PreemptLowerPriority")
    );
    admin
        .delete::<PriorityClass>("", "first", DeleteOptions::default())
        .await
        .unwrap();
    admin
        .patch::<PriorityClass>("", "second", "", r#"{"globalDefault": true}"#)
        .await
        .unwrap();
}
