use gantry_proto::api::v1::{GetRequest, ListReply, ListRequest};
use gantry_proto::core::v1::ConfigMap;
use gantry_proto::meta::v1::Status;
use gantry_proto::status::Reason;
use gantry_store::Store as _;

use crate::cluster::{Client, Cluster, failure, object};

fn map(name: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}}}"#
    ))
}

fn revision(map: &ConfigMap) -> i64 {
    map.metadata().resource_version.parse().unwrap()
}

async fn list(client: &Client, request: ListRequest) -> Result<(Vec<String>, ListReply), Status> {
    let request = ListRequest {
        namespace: "default".into(),
        ..request
    };
    let (items, reply) = client.list::<ConfigMap>(request).await?;
    let names = items.iter().map(|map| map.metadata().name.clone());
    Ok((names.collect(), reply))
}

#[tokio::test]
async fn a_list_is_of_the_revision_that_it_asks_for() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let first = revision(&admin.create(&map("a")).await.unwrap());
    let second = revision(&admin.create(&map("b")).await.unwrap());
    let third = revision(&admin.create(&map("c")).await.unwrap());
    let at = |version: i64, matching: &str, limit: i64| ListRequest {
        resource_version: version.to_string(),
        resource_version_match: matching.into(),
        limit,
        ..Default::default()
    };
    let (names, reply) = list(&admin, at(second, "Exact", 0)).await.unwrap();
    assert_eq!(
        (names.join(","), reply.resource_version),
        ("a,b".into(), second.to_string())
    );
    // A limit makes a revision mean itself, unless the request says otherwise.
    let (names, reply) = list(&admin, at(second, "", 1)).await.unwrap();
    assert_eq!(
        (names.join(","), reply.remaining_item_count),
        ("a".into(), Some(1))
    );
    let more = ListRequest {
        r#continue: reply.r#continue,
        ..Default::default()
    };
    let (names, reply) = list(&admin, more).await.unwrap();
    assert_eq!(
        (names.join(","), reply.resource_version),
        ("b".into(), second.to_string())
    );
    let (names, reply) = list(&admin, at(first, "NotOlderThan", 0)).await.unwrap();
    assert_eq!(names.len(), 3, "at least as new");
    assert!(reply.resource_version.parse::<i64>().unwrap() >= third);
    // What is at hand comes whole.
    let (names, reply) = list(&admin, at(0, "", 1)).await.unwrap();
    assert_eq!((names.len(), reply.r#continue.as_str()), (3, ""));
    // What remains is not known behind a selector.
    let selected = ListRequest {
        field_selector: "metadata.name!=z".into(),
        limit: 1,
        ..Default::default()
    };
    let (_, reply) = list(&admin, selected).await.unwrap();
    assert!(reply.remaining_item_count.is_none() && !reply.r#continue.is_empty());

    let etcd = cluster.etcd.connect().await;
    etcd.compact(third).await.unwrap();
    let gone = list(&admin, at(first, "Exact", 0)).await.unwrap_err();
    assert_eq!(
        (gone.reason_code(), gone.code, gone.message.as_str()),
        (
            Reason::Expired,
            410,
            "The resourceVersion for the provided list is too old."
        )
    );
}

#[tokio::test]
async fn a_revision_that_does_not_come_is_a_timeout() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    admin.create(&map("a")).await.unwrap();
    let never = ListRequest {
        resource_version: "999999999".into(),
        ..Default::default()
    };
    let exact = ListRequest {
        resource_version_match: "Exact".into(),
        ..never.clone()
    };
    let get = GetRequest {
        resource: "configmaps".into(),
        namespace: "default".into(),
        name: "a".into(),
        resource_version: "999999999".into(),
        ..Default::default()
    };
    let mut resources = admin.resources();
    let (late, exact, get) = tokio::join!(list(&admin, never), list(&admin, exact), resources.get(get));
    for status in [late.unwrap_err(), exact.unwrap_err(), failure(get.unwrap_err())] {
        assert_eq!((status.reason_code(), status.code), (Reason::Timeout, 504));
        assert!(
            status
                .message
                .starts_with("Timeout: Too large resource version: 999999999, current: "),
            "{}",
            status.message
        );
        let details = status.details();
        assert_eq!(details.retry_after_seconds, 1);
        assert_eq!(
            (
                details.causes[0].reason.as_str(),
                details.causes[0].message.as_str()
            ),
            ("ResourceVersionTooLarge", "Too large resource version")
        );
    }
}

#[tokio::test]
async fn a_token_that_has_expired_brings_one_that_goes_on_and_a_forged_one_nothing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let other = cluster
        .client_of(
            cluster.another_server().await,
            "kubernetes-admin",
            &["system:masters"],
        )
        .await;
    for name in ["a", "b", "c"] {
        admin.create(&map(name)).await.unwrap();
    }
    let chunk = |token: &str| ListRequest {
        limit: 1,
        r#continue: token.into(),
        ..Default::default()
    };
    let (names, reply) = list(&admin, chunk("")).await.unwrap();
    assert_eq!(names, ["a"]);
    let after = revision(&admin.create(&map("bb")).await.unwrap());
    let etcd = cluster.etcd.connect().await;
    etcd.compact(after).await.unwrap();
    // The other server has not kept what this one showed.
    let expired = list(&other, chunk(&reply.r#continue)).await.unwrap_err();
    assert_eq!((expired.reason_code(), expired.code), (Reason::Expired, 410));
    assert!(
        expired
            .message
            .starts_with("The provided continue parameter is too old to display a consistent list result."),
        "{}",
        expired.message
    );
    let token = expired.metadata.unwrap().r#continue;
    let rest = ListRequest {
        r#continue: token,
        ..Default::default()
    };
    let (names, now) = list(&other, rest).await.unwrap();
    assert_eq!(names, ["b", "bb", "c"], "the list goes on with the present");
    assert!(now.resource_version.parse::<i64>().unwrap() >= after);

    for (request, expected) in [
        (
            chunk("Zm9yZ2Vk"),
            "invalid continue token: continue key is not valid: invalid character 'o' in literal false (expecting 'a')",
        ),
        (
            chunk("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0"),
            "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ),
        (
            ListRequest {
                resource_version: "7".into(),
                ..chunk(&reply.r#continue)
            },
            "specifying resource version is not allowed when using continue",
        ),
        (
            ListRequest {
                resource_version: "abc".into(),
                ..Default::default()
            },
            "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax",
        ),
    ] {
        let refused = list(&admin, request).await.unwrap_err();
        assert_eq!((refused.reason_code(), refused.code), (Reason::BadRequest, 400));
        let known = expected.split(": invalid character").next().unwrap();
        assert!(refused.message.starts_with(known), "{}", refused.message);
    }
}
