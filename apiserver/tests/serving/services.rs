use std::collections::BTreeSet;
use std::time::Duration;

use gantry_proto::api::v1::{self as api, ListRequest};
use gantry_proto::core::v1::{Endpoints, Event, Service};
use gantry_proto::discovery::v1::EndpointSlice;
use gantry_proto::meta::v1::DeleteOptions;
use gantry_proto::networking::v1::{IpAddress, ServiceCidr};
use gantry_proto::status::Reason;

use crate::cluster::{Client, Cluster, DEADLINE, decode, object, wire};

fn service(name: &str, spec: &str) -> Service {
    object(&format!(
        r#"{{"metadata": {{"name": "{name}", "namespace": "default"}}, "spec": {{"ports": [{{"port": 80}}], {spec}}}}}"#
    ))
}

/// An apiserver that pods can find, kept by itself.
#[tokio::test]
async fn the_apiserver_keeps_a_service_of_its_own_at_the_first_address() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let (service, slice, endpoints) = kubernetes(&admin).await;
    assert_eq!(service.spec().cluster_ip, "10.96.0.1");
    let port = &service.spec().ports[0];
    let served = i32::from(cluster.address.port());
    assert_eq!(
        (port.name.as_str(), port.port, port.target_port().as_int()),
        ("https", 443, Some(served))
    );
    assert_eq!(slice.endpoints[0].addresses, ["192.0.2.1"]);
    assert_eq!(slice.ports[0].port, Some(served));
    let subset = &endpoints.subsets[0];
    assert_eq!(
        (subset.addresses[0].ip.as_str(), subset.ports[0].port),
        ("192.0.2.1", served)
    );
    let mut other = service.clone();
    other.metadata_mut().name = "other".into();
    other.metadata_mut().resource_version.clear();
    let taken = admin.create(&other).await.unwrap_err();
    assert!(taken.message.contains("already allocated"), "{}", taken.message);
}

/// What is made within the first turn after the start.
async fn kubernetes(admin: &Client) -> (Service, EndpointSlice, Endpoints) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let service = admin.get("default", "kubernetes").await;
        let slice = admin.get("default", "kubernetes").await;
        let endpoints = admin.get("default", "kubernetes").await;
        if let (Ok(service), Ok(slice), Ok(endpoints)) = (service, slice, endpoints) {
            return (service, slice, endpoints);
        }
        assert!(tokio::time::Instant::now() < deadline, "they must be made");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The cluster's network has 14 addresses, of which the first is never given by chance; four node ports.
#[tokio::test]
async fn two_servers_never_give_an_address_or_a_port_twice() {
    let cluster = Cluster::start().await;
    let other = cluster.another_server().await;
    let clients = [
        cluster.admin().await,
        cluster
            .client_of(other, "kubernetes-admin", &["system:masters"])
            .await,
    ];
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..13 {
        let client = clients[number % 2].clone();
        let spec = if number < 4 {
            r#""type": "NodePort""#
        } else {
            r#""type": "ClusterIP""#
        };
        let service = service(&format!("s{number}"), spec);
        calls.spawn(async move { client.create(&service).await.unwrap() });
    }
    let services = calls.join_all().await;
    let addresses: BTreeSet<_> = services
        .iter()
        .map(|service| service.spec().cluster_ip.clone())
        .collect();
    let ports = services.iter().map(|service| service.spec().ports[0].node_port);
    let ports: BTreeSet<i32> = ports.filter(|port| *port != 0).collect();
    assert_eq!((addresses.len(), ports.len()), (13, 4), "{addresses:?} {ports:?}");

    let full = clients[0]
        .create(&service("more", r#""type": "ClusterIP""#))
        .await
        .unwrap_err();
    assert_eq!(full.reason_code(), Reason::InternalError);
    assert!(full.message.contains("range is full"), "{}", full.message);
    let headless = clients[0]
        .create(&service("headless", r#""clusterIP": "None""#))
        .await
        .unwrap();
    assert_eq!(headless.spec().cluster_ip, "None");

    let freed = clients[0]
        .delete::<Service>("default", "s7", DeleteOptions::default())
        .await
        .unwrap();
    let chosen = format!(r#""clusterIP": "{}""#, freed.spec().cluster_ip);
    let taker = clients[1].create(&service("taker", &chosen)).await.unwrap();
    assert_eq!(taker.spec().cluster_ip, freed.spec().cluster_ip);
    let taken = clients[0].create(&service("late", &chosen)).await.unwrap_err();
    assert_eq!(
        taken.message,
        format!(
            "Service \"late\" is invalid: spec.clusterIPs: Invalid value: [\"{0}\"]: failed to allocate IP {0}: provided \
             IP is already allocated",
            freed.spec().cluster_ip
        )
    );
}

#[tokio::test]
async fn a_service_keeps_its_address_over_updates_and_returns_what_it_no_longer_needs() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let created = admin
        .create(&service("s", r#""type": "NodePort""#))
        .await
        .unwrap();
    let port = created.spec().ports[0].node_port;
    assert!((30000..=30003).contains(&port));
    let replaced = admin
        .update("", &service("s", r#""type": "NodePort", "selector": {"a": "b"}"#))
        .await
        .unwrap();
    assert_eq!(replaced.spec().cluster_ip, created.spec().cluster_ip);
    assert_eq!(replaced.spec().ports[0].node_port, port);
    let narrowed = admin
        .update("", &service("s", r#""type": "ClusterIP""#))
        .await
        .unwrap();
    assert_eq!(narrowed.spec().ports[0].node_port, 0);
    let mut other = service("other", r#""type": "NodePort""#);
    other.spec_mut().ports[0].node_port = port;
    assert_eq!(
        admin.create(&other).await.unwrap().spec().ports[0].node_port,
        port
    );
    assert_eq!(created.metadata().uid, narrowed.metadata().uid);
}

/// Waits until `look` finds something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} must come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_service_has_an_ip_address_object_for_as_long_as_it_has_the_address() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let dry = api::CreateRequest {
        object: Some(wire(&service("s", r#""type": "NodePort""#))),
        dry_run: true,
        ..Default::default()
    };
    let shown = admin.resources().create(dry).await.unwrap().into_inner();
    let shown: Service = decode(shown.object.unwrap());
    assert_eq!(
        (shown.spec().cluster_ip.as_str(), shown.spec().ports[0].node_port),
        ("10.96.0.0", 32769),
        "placeholders"
    );
    let created = admin
        .create(&service("s", r#""type": "NodePort""#))
        .await
        .unwrap();
    let address = created.spec().cluster_ip.clone();
    let record: IpAddress = admin.get("", &address).await.unwrap();
    let labels = &record.metadata().labels;
    assert_eq!(labels["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    assert_eq!(labels["ipaddress.kubernetes.io/ip-family"], "IPv4");
    let parent = record.spec().parent_ref();
    assert_eq!(
        [&parent.group, &parent.resource, &parent.namespace, &parent.name],
        ["", "services", "default", "s"]
    );
    assert!(!record.metadata().uid.is_empty() && record.metadata().creation_timestamp.is_some());
    assert!(record.metadata().resource_version == created.metadata().resource_version);
    admin
        .update(
            "",
            &service("s", r#""type": "ExternalName", "externalName": "a.b""#),
        )
        .await
        .unwrap();
    let gone = admin.get::<IpAddress>("", &address).await.unwrap_err();
    assert_eq!(gone.reason_code(), Reason::NotFound);

    // Whoever makes the object has the address.
    let mut foreign: IpAddress = object(
        r#"{"metadata": {"name": "10.96.0.9"},
            "spec": {"parentRef": {"group": "gateway.networking.k8s.io", "resource": "gateways",
                                   "namespace": "default", "name": "g"}}}"#,
    );
    foreign = admin.create(&foreign).await.unwrap();
    let taken = admin
        .create(&service("t", r#""clusterIP": "10.96.0.9""#))
        .await
        .unwrap_err();
    assert!(
        taken.message.ends_with("provided IP is already allocated"),
        "{}",
        taken.message
    );
    admin
        .delete::<IpAddress>("", &foreign.metadata().name, DeleteOptions::default())
        .await
        .unwrap();
    admin
        .create(&service("t", r#""clusterIP": "10.96.0.9""#))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_network_is_a_service_cidr_and_another_one_adds_addresses() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let default = until("the default ServiceCIDR", async || {
        let cidr = admin.get::<ServiceCidr>("", "kubernetes").await.ok()?;
        (!cidr.status().conditions.is_empty()).then_some(cidr)
    })
    .await;
    assert_eq!(default.spec().cidrs, ["10.96.0.0/28"]);
    assert_eq!(
        default.metadata().finalizers,
        ["networking.k8s.io/service-cidr-finalizer"]
    );
    let ready = &default.status().conditions[0];
    assert_eq!(
        [&ready.r#type, &ready.status, &ready.message],
        ["Ready", "True", "Kubernetes default Service CIDR is ready"]
    );

    let more: ServiceCidr = object(r#"{"metadata": {"name": "more"}, "spec": {"cidrs": ["10.1.0.0/30"]}}"#);
    let mut more = admin.create(&more).await.unwrap();
    let wanted = service("s", r#""clusterIP": "10.1.0.2""#);
    let refused = admin.create(&wanted).await.unwrap_err();
    assert_eq!(
        refused.message,
        "Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"10.1.0.2\"]: failed to allocate IP 10.1.0.2: the \
         provided network does not match the current range"
    );
    // As the controller-manager does.
    let mut condition = ready.clone();
    condition.message = "Kubernetes Service CIDR is ready".into();
    more.status_mut().conditions.push(condition);
    admin.update("status", &more).await.unwrap();
    until("an address of the new network", async || {
        admin.create(&wanted).await.ok()
    })
    .await;
}

#[tokio::test]
async fn an_address_whose_object_was_deleted_is_recorded_again() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let created = admin
        .create(&service("s", r#""type": "ClusterIP""#))
        .await
        .unwrap();
    let address = created.spec().cluster_ip.clone();
    admin
        .delete::<IpAddress>("", &address, DeleteOptions::default())
        .await
        .unwrap();
    // Every server compares at its start, and then every three minutes.
    let _another = cluster.another_server().await;
    let record = until("the record", async || {
        admin.get::<IpAddress>("", &address).await.ok()
    })
    .await;
    assert_eq!(record.spec().parent_ref().name, "s");
    let told = ListRequest {
        namespace: "default".into(),
        field_selector: "reason=ClusterIPNotAllocated".into(),
        ..Default::default()
    };
    let event = until("an Event", async || {
        let (events, _) = admin.list::<Event>(told.clone()).await.unwrap();
        events.into_iter().next()
    })
    .await;
    assert_eq!(
        event.message,
        format!("Cluster IP [IPv4]: {address} is not allocated; repairing")
    );
    assert_eq!(event.involved_object().name, "s");
}

#[tokio::test]
async fn an_address_that_somebody_took_over_stays_theirs_when_its_first_holder_goes() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin().await;
    let chosen = r#""clusterIP": "10.96.0.9""#;
    admin.create(&service("first", chosen)).await.unwrap();
    let remove = DeleteOptions::default;
    admin
        .delete::<IpAddress>("", "10.96.0.9", remove())
        .await
        .unwrap();
    admin.create(&service("second", chosen)).await.unwrap();
    // So that the server's cache has it.
    admin.list::<IpAddress>(ListRequest::default()).await.unwrap();
    admin
        .delete::<Service>("default", "first", remove())
        .await
        .unwrap();
    let record: IpAddress = admin.get("", "10.96.0.9").await.unwrap();
    assert_eq!(record.spec().parent_ref().name, "second");
    admin
        .delete::<Service>("default", "second", remove())
        .await
        .unwrap();
    let gone = admin.get::<IpAddress>("", "10.96.0.9").await.unwrap_err();
    assert_eq!(gone.reason_code(), Reason::NotFound);
}
