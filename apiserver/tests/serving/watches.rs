use gantry_proto::api::v1::{ListRequest, WatchRequest};
use gantry_proto::core::v1::{ConfigMap, Secret};
use gantry_proto::meta::v1::DeleteOptions;
use gantry_proto::status::Reason;

use crate::cluster::{Cluster, decode, object};

fn map(name: &str, app: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default", "labels": {{"app": "{app}"}}}}}}"#
    ))
}

fn revision(map: &ConfigMap) -> i64 {
    map.metadata().resource_version.parse().unwrap()
}

#[tokio::test]
async fn a_watch_tells_the_present_then_each_change_and_resumes_where_it_was_cut() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let first = revision(&admin.create(&map("a", "x")).await.unwrap());
    let everything = WatchRequest {
        namespace: "default".into(),
        allow_bookmarks: true,
        ..Default::default()
    };
    let mut watch = admin.watch::<ConfigMap>(everything.clone()).await.unwrap();
    assert_eq!(
        watch.told::<ConfigMap>().await,
        ("ADDED".into(), "a".into(), first)
    );
    let (kind, _, revision_of_list) = watch.told::<ConfigMap>().await;
    assert_eq!((kind.as_str(), revision_of_list >= first), ("BOOKMARK", true));

    let second = revision(&admin.create(&map("b", "x")).await.unwrap());
    let mut changed = map("b", "x");
    changed.data.insert("k".into(), "v".into());
    let third = revision(&admin.update("", &changed).await.unwrap());
    admin
        .delete::<ConfigMap>("default", "b", DeleteOptions::default())
        .await
        .unwrap();
    let resume = |after: i64| WatchRequest {
        resource_version: after.to_string(),
        ..everything.clone()
    };
    let added = ("ADDED".to_owned(), "b".to_owned(), second);
    let modified = ("MODIFIED".to_owned(), "b".to_owned(), third);
    assert_eq!(watch.told::<ConfigMap>().await, added);
    assert_eq!(watch.told::<ConfigMap>().await, modified);
    let deleted = watch.next().await.unwrap();
    assert_eq!(deleted.r#type, "DELETED");
    let last: ConfigMap = decode(deleted.object.unwrap());
    assert_eq!(
        (last.data["k"].as_str(), revision(&last)),
        ("v", deleted.revision)
    );

    // A watch cut after each event, and resumed from it, misses nothing and repeats nothing.
    let mut again = admin.watch::<ConfigMap>(resume(revision_of_list)).await.unwrap();
    assert_eq!(again.told::<ConfigMap>().await, added);
    let mut again = admin.watch::<ConfigMap>(resume(second)).await.unwrap();
    assert_eq!(again.told::<ConfigMap>().await, modified);
    let mut again = admin.watch::<ConfigMap>(resume(third)).await.unwrap();
    assert_eq!(again.told::<ConfigMap>().await.0, "DELETED");

    // A server that started later has no history of what was before.
    let late = cluster.another_server().await;
    let late = cluster
        .client_of(late, "kubernetes-admin", &["system:masters"])
        .await;
    let mut old = late.watch::<ConfigMap>(resume(1)).await.unwrap();
    let told = old.next().await.unwrap();
    assert_eq!(told.r#type, "ERROR");
    let old = old.ended_after(told).await;
    assert_eq!((old.reason_code(), old.code), (Reason::Expired, 410));
    assert!(
        old.message.starts_with("too old resource version: 1 ("),
        "{}",
        old.message
    );
}

#[tokio::test]
async fn an_object_enters_and_leaves_a_selection() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let selected = WatchRequest {
        label_selector: "app=x".into(),
        ..Default::default()
    };
    let mut watch = admin.watch::<ConfigMap>(selected).await.unwrap();
    admin.create(&map("a", "y")).await.unwrap();
    let entered = revision(&admin.update("", &map("a", "x")).await.unwrap());
    let left = revision(&admin.update("", &map("a", "y")).await.unwrap());
    assert_eq!(
        watch.told::<ConfigMap>().await,
        ("ADDED".into(), "a".into(), entered)
    );
    let deleted = watch.next().await.unwrap();
    assert_eq!((deleted.r#type.as_str(), deleted.revision), ("DELETED", left));
    let last: ConfigMap = decode(deleted.object.unwrap());
    assert_eq!(
        (last.metadata().labels["app"].as_str(), revision(&last)),
        ("x", left)
    );

    let by_name = ListRequest {
        field_selector: "metadata.name=a,metadata.namespace!=kube-system".into(),
        ..Default::default()
    };
    assert_eq!(admin.list::<ConfigMap>(by_name).await.unwrap().0.len(), 1);
    let unknown = ListRequest {
        field_selector: "spec.colour=red".into(),
        ..Default::default()
    };
    assert_eq!(
        admin.list::<ConfigMap>(unknown).await.unwrap_err().reason_code(),
        Reason::BadRequest
    );
}

#[tokio::test]
async fn a_list_sees_every_acknowledged_write_and_its_chunks_are_of_one_revision() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let other = cluster
        .client_of(
            cluster.another_server().await,
            "kubernetes-admin",
            &["system:masters"],
        )
        .await;
    let everything = ListRequest {
        namespace: "default".into(),
        ..Default::default()
    };
    for count in 1..=20 {
        let created = admin.create(&map(&format!("m{count:02}"), "x")).await.unwrap();
        let (items, reply) = other.list::<ConfigMap>(everything.clone()).await.unwrap();
        assert_eq!(
            items.len(),
            count,
            "the other server must see what this one acknowledged"
        );
        assert!(reply.resource_version.parse::<i64>().unwrap() >= revision(&created));
    }
    let chunk = |token: &str| ListRequest {
        limit: 8,
        r#continue: token.into(),
        ..everything.clone()
    };
    let (first, reply) = admin.list::<ConfigMap>(chunk("")).await.unwrap();
    assert_eq!((first.len(), reply.remaining_item_count), (8, Some(12)));
    for name in ["m12", "m13"] {
        admin
            .delete::<ConfigMap>("default", name, DeleteOptions::default())
            .await
            .unwrap();
    }
    // The next chunks come from both servers: one has the snapshot, the other reads it from the store.
    let (second, next) = other.list::<ConfigMap>(chunk(&reply.r#continue)).await.unwrap();
    let (third, last) = admin.list::<ConfigMap>(chunk(&next.r#continue)).await.unwrap();
    let names: Vec<String> = [first, second, third]
        .concat()
        .iter()
        .map(|map| map.metadata().name.clone())
        .collect();
    assert_eq!(
        names,
        (1..=20).map(|count| format!("m{count:02}")).collect::<Vec<_>>()
    );
    assert_eq!(
        (last.r#continue.as_str(), &last.resource_version),
        ("", &reply.resource_version)
    );
}

#[tokio::test]
async fn watches_go_on_when_etcd_comes_back() {
    let mut cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let mut watch = admin.watch::<ConfigMap>(WatchRequest::default()).await.unwrap();
    admin.create(&map("a", "x")).await.unwrap();
    assert_eq!(watch.told::<ConfigMap>().await.1, "a");
    cluster.etcd.kill();
    let refused = admin.create(&map("b", "x")).await.unwrap_err();
    assert!(
        matches!(
            refused.reason_code(),
            Reason::ServiceUnavailable | Reason::Timeout
        ),
        "{refused:?}"
    );
    cluster.etcd.run().await;
    let deadline = tokio::time::Instant::now() + crate::cluster::DEADLINE;
    while admin.create(&map("c", "x")).await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "writes must succeed again"
        );
    }
    loop {
        // The refused write may have happened all the same, if it was said that it may.
        match watch.told::<ConfigMap>().await.1.as_str() {
            "c" => break,
            name => assert_eq!(name, "b"),
        }
    }
}

#[tokio::test]
async fn a_watch_list_ends_its_beginning_with_a_bookmark() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let created = revision(&admin.create(&map("a", "x")).await.unwrap());
    let streaming = |version: &str, sends: Option<bool>, bookmarks: bool| WatchRequest {
        namespace: "default".into(),
        resource_version: version.into(),
        resource_version_match: sends.map_or("", |_| "NotOlderThan").into(),
        send_initial_events: sends,
        allow_bookmarks: bookmarks,
        ..Default::default()
    };
    for version in ["", "0", &created.to_string()] {
        // What is at hand may be older, so it must be at hand first.
        admin.list::<ConfigMap>(ListRequest::default()).await.unwrap();
        let request = streaming(version, Some(true), true);
        let mut watch = admin.watch::<ConfigMap>(request).await.unwrap();
        assert_eq!(
            watch.told::<ConfigMap>().await,
            ("ADDED".into(), "a".into(), created)
        );
        let end = watch.next().await.unwrap();
        assert_eq!((end.r#type.as_str(), end.initial_events_end), ("BOOKMARK", true));
        assert!(end.revision >= created && end.object.is_none());
    }
    // A watch that says nothing of its beginning is one of these; one that wants nothing of it gets what follows.
    let mut plain = admin.watch::<ConfigMap>(streaming("", None, true)).await.unwrap();
    assert_eq!(plain.told::<ConfigMap>().await.0, "ADDED");
    assert!(plain.next().await.unwrap().initial_events_end);
    let mut unmarked = admin
        .watch::<ConfigMap>(streaming("", Some(true), false))
        .await
        .unwrap();
    assert_eq!(unmarked.told::<ConfigMap>().await.0, "ADDED");
    let mut following = admin
        .watch::<ConfigMap>(streaming("", Some(false), true))
        .await
        .unwrap();
    let second = revision(&admin.create(&map("b", "x")).await.unwrap());
    for watch in [&mut plain, &mut unmarked, &mut following] {
        let mut told = watch.told::<ConfigMap>().await;
        // How far the others have read may be told first.
        while told.0 == "BOOKMARK" {
            told = watch.told::<ConfigMap>().await;
        }
        assert_eq!(told, ("ADDED".into(), "b".into(), second));
    }

    let contradiction = WatchRequest {
        resource_version_match: String::new(),
        ..streaming("", Some(true), true)
    };
    let refused = admin
        .watch::<ConfigMap>(contradiction)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires \
             setting resourceVersionMatch to NotOlderThan"
        )
    );
    // The present state at a revision that does not come: told in the watch, after three seconds.
    let mut future = admin
        .watch::<ConfigMap>(streaming("999999999", Some(true), true))
        .await
        .unwrap();
    let told = future.next().await.unwrap();
    let status = future.ended_after(told).await;
    assert_eq!((status.reason_code(), status.code), (Reason::Timeout, 504));
    assert_eq!(status.details().causes[0].reason, "ResourceVersionTooLarge");
}

#[tokio::test]
async fn a_watch_from_the_future_tells_nothing_until_then_and_one_that_ends_tells_how_far_it_was() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let first = revision(&admin.create(&map("a", "x")).await.unwrap());
    let ahead = WatchRequest {
        namespace: "default".into(),
        resource_version: (first + 2).to_string(),
        allow_bookmarks: true,
        timeout_seconds: 5,
        ..Default::default()
    };
    let mut watch = admin.watch::<ConfigMap>(ahead).await.unwrap();
    let mut last = first;
    for name in ["b", "c", "d", "e"] {
        last = revision(&admin.create(&map(name, "x")).await.unwrap());
    }
    loop {
        let (kind, name, revision) = watch.told::<ConfigMap>().await;
        assert!(
            kind == "ADDED" && revision > first + 2,
            "{kind} {name} {revision}"
        );
        if revision == last {
            break;
        }
    }
    let (kind, _, revision) = watch.told::<ConfigMap>().await;
    assert_eq!((kind.as_str(), revision >= last), ("BOOKMARK", true));
    assert!(watch.next().await.is_none(), "its time is over");
    let over = WatchRequest {
        timeout_seconds: -1,
        ..Default::default()
    };
    let mut over = admin.watch::<ConfigMap>(over).await.unwrap();
    assert!(over.next().await.is_none());
}

#[tokio::test]
async fn a_watch_is_told_that_it_is_as_far_as_somebody_has_read() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let request = WatchRequest {
        namespace: "default".into(),
        allow_bookmarks: true,
        ..Default::default()
    };
    let mut watch = admin.watch::<ConfigMap>(request).await.unwrap();
    assert!(watch.next().await.unwrap().initial_events_end);
    // Nothing of the kind happens, but the store moves on; the next bookmark by the clock is a minute away.
    let elsewhere: Secret = object(r#"{"metadata": {"name": "s", "namespace": "default"}}"#);
    admin.create(&elsewhere).await.unwrap();
    let (_, read) = admin.list::<ConfigMap>(ListRequest::default()).await.unwrap();
    let (kind, _, revision) = watch.told::<ConfigMap>().await;
    assert_eq!(kind, "BOOKMARK");
    assert!(revision >= read.resource_version.parse().unwrap());
}
