//! Three servers on one store: whatever one acknowledged, the others show.

use std::collections::BTreeSet;

use gantry_proto::api::v1::{self as api, ListRequest, WatchRequest};
use gantry_proto::coordination::v1::Lease;
use gantry_proto::core::v1::{ConfigMap, Service};
use gantry_proto::meta::v1::DeleteOptions;
use gantry_proto::networking::v1::IpAddress;
use gantry_proto::status::Reason;

use crate::cluster::{Client, Cluster, failure, object, wire};

async fn three(cluster: &Cluster) -> [Client; 3] {
    let masters = ["system:masters"];
    let (second, third) = tokio::join!(cluster.another_server(), cluster.another_server());
    [
        cluster.admin().await,
        cluster.client_of(second, "kubernetes-admin", &masters).await,
        cluster.client_of(third, "kubernetes-admin", &masters).await,
    ]
}

fn map(name: &str, value: &str) -> ConfigMap {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "data": {{"k": "{value}"}}}}"#
    ))
}

#[tokio::test]
async fn what_one_server_acknowledged_the_others_read_list_and_watch() {
    let cluster = Cluster::start().await;
    let servers = three(&cluster).await;
    let mut watches = Vec::new();
    for server in &servers {
        let request = WatchRequest {
            namespace: "default".into(),
            ..Default::default()
        };
        watches.push(server.watch::<ConfigMap>(request).await.unwrap());
    }
    let everything = ListRequest {
        namespace: "default".into(),
        ..Default::default()
    };
    let mut told = Vec::new();
    for round in 0..12 {
        let (writer, reader) = (&servers[round % 3], &servers[(round + 1) % 3]);
        let name = format!("m{round:02}");
        let created = writer.create(&map(&name, "1")).await.unwrap();
        let read: ConfigMap = reader.get("default", &name).await.unwrap();
        assert_eq!(read, created);
        let (items, _) = reader.list::<ConfigMap>(everything.clone()).await.unwrap();
        assert!(
            items.contains(&created),
            "{name} must be in a list after its write"
        );
        // An update through a server whose cache may not have the object yet, of the version that another gave.
        let mut changed = created.clone();
        changed.data.insert("k".into(), "2".into());
        let updated = reader.update("", &changed).await.unwrap();
        let stale = servers[(round + 2) % 3].update("", &changed).await.unwrap_err();
        assert_eq!(stale.reason_code(), Reason::Conflict);
        told.push(("ADDED".to_owned(), created));
        told.push(("MODIFIED".to_owned(), updated));
    }
    for watch in &mut watches {
        for (kind, expected) in &told {
            let event = watch.next().await.unwrap();
            assert_eq!(&event.r#type, kind);
            assert_eq!(
                &crate::cluster::decode::<ConfigMap>(event.object.unwrap()),
                expected
            );
        }
    }
}

#[tokio::test]
async fn a_fence_holds_at_every_server() {
    let cluster = Cluster::start().await;
    let servers = three(&cluster).await;
    let lease: Lease = object(
        r#"{"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "a",
            "leaseDurationSeconds": 15, "leaseTransitions": 0}}"#,
    );
    servers[0].create(&lease).await.unwrap();
    let write = async |server: &Client, holder: &str, transitions: i32, name: String| {
        let request = api::CreateRequest {
            object: Some(wire(&map(&name, "1"))),
            fence: Some(api::Fence {
                namespace: "default".into(),
                name: "l".into(),
                holder: holder.into(),
                transitions,
            }),
            ..Default::default()
        };
        server
            .resources()
            .create(request)
            .await
            .map(drop)
            .map_err(failure)
    };
    let mut holder = ("a".to_owned(), 0);
    for term in 1..=6 {
        // The lead changes at one server; the old leader's write comes at another, which may not have seen it.
        let next = (format!("h{term}"), term);
        let patch = format!(
            r#"{{"spec": {{"holderIdentity": "{}", "leaseTransitions": {}}}}}"#,
            next.0, next.1
        );
        let taker = &servers[term as usize % 3];
        taker.patch::<Lease>("default", "l", "", &patch).await.unwrap();
        for (number, server) in servers.iter().enumerate() {
            let late = write(server, &holder.0, holder.1, format!("late-{term}-{number}")).await;
            assert_eq!(late.unwrap_err().reason_code(), Reason::Conflict);
            write(server, &next.0, next.1, format!("led-{term}-{number}"))
                .await
                .unwrap();
        }
        holder = next;
    }
}

/// Services come and go at three servers at once; the network has 13 addresses to give and there are four node ports.
#[tokio::test]
async fn no_address_and_no_port_is_given_twice_while_services_come_and_go() {
    let cluster = Cluster::start().await;
    let servers = three(&cluster).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let server = servers[writer % 3].clone();
        writers.spawn(async move {
            let kind = if writer % 2 == 0 { "NodePort" } else { "ClusterIP" };
            let mut service: Service = object(&format!(
                r#"{{"metadata": {{"name": "s{writer}", "namespace": "default"}},
                     "spec": {{"type": "{kind}", "ports": [{{"port": 80}}]}}}}"#
            ));
            for round in 0..15 {
                let created = server.create(&service).await.unwrap();
                let address = created.spec().cluster_ip.clone();
                // While it is there, its address is nobody else's.
                let record: IpAddress = server.get("", &address).await.unwrap();
                assert_eq!(
                    record.spec().parent_ref().name,
                    format!("s{writer}"),
                    "round {round}"
                );
                server
                    .delete::<Service>("default", &created.metadata().name, DeleteOptions::default())
                    .await
                    .unwrap();
            }
            service = server.create(&service).await.unwrap();
            (
                service.spec().cluster_ip.clone(),
                service.spec().ports[0].node_port,
            )
        });
    }
    let kept = writers.join_all().await;
    let addresses: BTreeSet<&String> = kept.iter().map(|(address, _)| address).collect();
    let ports: BTreeSet<i32> = kept
        .iter()
        .map(|(_, port)| *port)
        .filter(|port| *port != 0)
        .collect();
    assert_eq!((addresses.len(), ports.len()), (6, 3), "{kept:?}");
    // What went was given back: only the Services that are there have addresses.
    let (records, _) = servers[1]
        .list::<IpAddress>(ListRequest::default())
        .await
        .unwrap();
    let records: BTreeSet<String> = records
        .iter()
        .map(|record| record.metadata().name.clone())
        .collect();
    let mut expected: BTreeSet<String> = addresses.into_iter().cloned().collect();
    expected.extend(records.get("10.96.0.1").cloned());
    assert_eq!(records, expected);
}
