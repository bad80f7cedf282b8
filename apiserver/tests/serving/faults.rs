use std::time::Duration;

use gantry_proto::api::v1::{ListRequest, WatchRequest};
use gantry_proto::core::v1::{ConfigMap, Event};
use gantry_store::Store as _;

use crate::cluster::{Cluster, DEADLINE, decode, object};

const LOOK_AGAIN: Duration = Duration::from_millis(10);

fn map(name: &str, value: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "data": {{"k": "{value}"}}}}"#
    ))
}

#[tokio::test]
async fn a_write_whose_reply_from_the_store_was_lost_is_found_and_acknowledged() {
    let (cluster, proxy) = Cluster::start_behind_proxy().await;
    let admin = cluster.admin().await;
    let first = admin.create(&map("m", "1")).await.unwrap();
    let etcd = cluster.etcd.connect().await;
    let stored = async || {
        let read = etcd.get("/registry/configmaps/default/m").await.unwrap();
        read.kv.unwrap()
    };
    // Once the server's cache has the object, the update needs nothing from etcd but the write.
    admin.list::<ConfigMap>(ListRequest::default()).await.unwrap();
    proxy.lose_replies();
    let mut changed = first.clone();
    changed.data.insert("k".into(), "2".into());
    let caller = admin.clone();
    let call = tokio::spawn(async move { caller.update("", &changed).await });
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while stored().await.version == 1 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the write must reach etcd"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    proxy.cut();
    let updated = call.await.unwrap().unwrap();
    let stored = stored().await;
    assert_eq!(
        updated.metadata().resource_version,
        stored.mod_revision.to_string()
    );
    assert_eq!(stored.version, 2, "it was written once");
}

#[tokio::test]
async fn events_go_on_when_the_store_has_forgotten_their_lease() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let event = |name: &str| -> Event {
        object(&format!(
            r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "reason": "R", "type": "Normal",
                "involvedObject": {{"kind": "Pod", "namespace": "default", "name": "p"}}}}"#
        ))
    };
    admin.create(&event("first")).await.unwrap();
    let etcd = cluster.etcd.connect().await;
    let stored = etcd.get("/registry/events/default/first").await.unwrap();
    etcd.revoke_lease(stored.kv.unwrap().lease).await.unwrap();
    admin.create(&event("second")).await.unwrap_err();
    admin.create(&event("third")).await.unwrap();
}

#[tokio::test]
async fn a_watch_that_is_not_read_for_a_while_loses_nothing_unsaid() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let mut watch = admin.watch::<ConfigMap>(WatchRequest::default()).await.unwrap();
    let first = admin.create(&map("m", "0")).await.unwrap();
    assert_eq!(watch.told::<ConfigMap>().await.1, "m");
    // Far more than the connection takes on without being read: 400 times 65 KB.
    let mut revision: i64 = first.metadata().resource_version.parse().unwrap();
    let mut revisions = Vec::new();
    for number in 1..=400 {
        let updated = admin
            .update("", &map("m", &format!("{number:065000}")))
            .await
            .unwrap();
        revisions.push(updated.metadata().resource_version.parse::<i64>().unwrap());
    }
    for expected in revisions {
        let event = watch.next().await.expect("the watch goes on");
        if event.r#type == "ERROR" {
            // Fallen out of the window of 16 MiB: said plainly, and never skipped over.
            assert!(
                event
                    .error
                    .unwrap()
                    .message
                    .starts_with("too old resource version")
            );
            assert!(watch.next().await.is_none());
            return;
        }
        assert_eq!((event.r#type.as_str(), event.revision), ("MODIFIED", expected));
        let map: ConfigMap = decode(event.object.unwrap());
        assert!(map.metadata().resource_version.parse::<i64>().unwrap() > revision);
        revision = event.revision;
    }
}
