use super::*;
use crate::action::Object;
use gantry_proto::core::v1::{Container, ContainerPort, PodCondition, PodIp, ServicePort};

fn service() -> Service {
    let mut service = Service::default();
    let metadata = service.metadata_mut();
    (metadata.name, metadata.namespace) = ("web".into(), "default".into());
    metadata.labels.insert("tier".into(), "front".into());
    metadata.creation_timestamp = Some(Time { seconds: 1, nanos: 0 });
    let spec = service.spec_mut();
    spec.selector.insert("app".into(), "web".into());
    spec.cluster_ip = "10.96.0.10".into();
    spec.ports = vec![ServicePort {
        name: "http".into(),
        protocol: "TCP".into(),
        port: 80,
        target_port: Some("web".into()),
        ..ServicePort::default()
    }];
    service
}

fn pod(number: u32, ready: bool) -> Pod {
    let mut pod = Pod::default();
    let metadata = pod.metadata_mut();
    (metadata.name, metadata.uid) = (format!("web-{number}"), format!("uid-{number}"));
    metadata.namespace = "default".into();
    metadata.labels.insert("app".into(), "web".into());
    pod.spec_mut().node_name = "n1".into();
    pod.spec_mut().containers = vec![Container {
        ports: vec![ContainerPort {
            name: "web".into(),
            container_port: 8080,
            protocol: "TCP".into(),
            ..ContainerPort::default()
        }],
        ..Container::default()
    }];
    let ip = format!("10.244.{}.{}", number / 250, number % 250 + 1);
    let status = pod.status_mut();
    status.phase = "Running".into();
    status.pod_ip = ip.clone();
    status.pod_ips = vec![PodIp { ip }];
    status.conditions = vec![PodCondition {
        r#type: "Ready".into(),
        status: if ready { "True" } else { "False" }.into(),
        last_transition_time: Some(Time {
            seconds: 100 + i64::from(number),
            nanos: 0,
        }),
        ..PodCondition::default()
    }];
    pod
}

fn decide(service: &Service, pods: &[Pod], present: Option<&Endpoints>) -> Vec<Action> {
    reconcile(&View {
        service,
        pods: pods.iter().collect(),
        endpoints: present,
    })
}

fn created(service: &Service, pods: &[Pod]) -> Endpoints {
    match &decide(service, pods, None)[..] {
        [
            Action::Create {
                object: Object::Endpoints(endpoints),
                ..
            },
        ] => (**endpoints).clone(),
        other => panic!("{other:?}"),
    }
}

/// Ready addresses, others and ports of each subset.
fn words(subsets: &[EndpointSubset]) -> String {
    let word = |subset: &EndpointSubset| {
        let ips = |addresses: &[EndpointAddress]| {
            let ips: Vec<&str> = addresses.iter().map(|address| address.ip.as_str()).collect();
            ips.join(",")
        };
        let ports: Vec<String> = subset.ports.iter().map(|port| port.port.to_string()).collect();
        format!(
            "{}!{}:{}",
            ips(&subset.addresses),
            ips(&subset.not_ready_addresses),
            ports.join(",")
        )
    };
    subsets.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_pod_that_has_an_address_and_has_not_ended_is_listed() {
    let check = |change: fn(&mut Service, &mut Vec<Pod>), expected: &str| {
        let (mut service, mut pods) = (service(), vec![pod(1, true), pod(2, false)]);
        change(&mut service, &mut pods);
        assert_eq!(words(&created(&service, &pods).subsets), expected);
    };
    check(|_, _| {}, "10.244.0.2!10.244.0.3:8080");
    check(|_, pods| pods.clear(), "");
    check(
        |service, _| service.spec_mut().publish_not_ready_addresses = true,
        "10.244.0.2,10.244.0.3!:8080",
    );
    check(
        |_, pods| pods[0].metadata_mut().deletion_timestamp = Some(Time::default()),
        "!10.244.0.3:8080",
    );
    check(
        |service, pods| {
            service.spec_mut().publish_not_ready_addresses = true;
            pods[0].metadata_mut().deletion_timestamp = Some(Time::default());
        },
        "10.244.0.2,10.244.0.3!:8080",
    );
    check(
        |_, pods| pods[0].status_mut().phase = "Succeeded".into(),
        "!10.244.0.3:8080",
    );
    check(
        |_, pods| {
            let status = pods[0].status_mut();
            (status.pod_ip, status.pod_ips) = (String::new(), Vec::new());
        },
        "!10.244.0.3:8080",
    );
    check(
        |_, pods| pods[0].metadata_mut().labels.clear(),
        "!10.244.0.3:8080",
    );
    // One pod lacks the named port.
    check(
        |_, pods| pods[0].spec_mut().containers.clear(),
        "!10.244.0.3:8080",
    );
    check(|service, _| service.spec_mut().ports.clear(), "");
    check(
        |service, _| {
            service.spec_mut().ports.clear();
            service.spec_mut().cluster_ip = "None".into();
        },
        "10.244.0.2!10.244.0.3:",
    );
}

#[test]
fn an_address_says_which_pod_it_is_and_on_which_node() {
    let mut named = pod(1, true);
    named.spec_mut().hostname = "one".into();
    named.spec_mut().subdomain = "web".into();
    let endpoints = created(&service(), &[named]);
    let address = &endpoints.subsets[0].addresses[0];
    let reference = address.target_ref();
    assert_eq!((address.hostname.as_str(), address.node_name()), ("one", "n1"));
    assert_eq!(
        (
            reference.kind.as_str(),
            reference.name.as_str(),
            reference.uid.as_str()
        ),
        ("Pod", "web-1", "uid-1")
    );
}

#[test]
fn the_object_has_the_services_labels_and_says_whose_it_is() {
    let endpoints = created(&service(), &[]);
    let metadata = endpoints.metadata();
    let labels: Vec<(&str, &str)> = metadata
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(labels, [(MANAGED_BY, MANAGER), ("tier", "front")]);
    assert_eq!(metadata.annotations[TRIGGER_TIME], "1970-01-01T00:00:01Z");
    let mut headless = service();
    headless.spec_mut().cluster_ip = "None".into();
    let labels = &created(&headless, &[]).metadata().labels.clone();
    assert_eq!(labels.get(HEADLESS).map(String::as_str), Some(""));
}

#[test]
fn what_is_so_already_is_not_written_and_what_is_not_is_written_once() {
    let pods = [pod(1, true), pod(2, true)];
    let mut present = created(&service(), &pods);
    let reference = present.subsets[0].addresses[0].target_ref.as_mut().unwrap();
    reference.resource_version = "17".into();
    assert_eq!(decide(&service(), &pods, Some(&present)), []);
    present.metadata_mut().labels.insert("other".into(), "x".into());
    let actions = decide(&service(), &pods, Some(&present));
    let [Action::Patch { patch, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert!(patch["metadata"]["labels"]["other"].is_null());
    assert!(patch["metadata"]["annotations"][TRIGGER_TIME].is_null());
    present.metadata_mut().labels.remove("other");
    let changed = [pod(1, false), pod(2, true)];
    let actions = decide(&service(), &changed, Some(&present));
    let [Action::Patch { patch, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    // The pod's time, since it is what changed.
    assert_eq!(
        patch["metadata"]["annotations"][TRIGGER_TIME],
        "1970-01-01T00:01:41Z"
    );
    assert_eq!(patch["subsets"][0]["notReadyAddresses"][0]["ip"], "10.244.0.2");
}

#[test]
fn more_than_a_thousand_addresses_are_cut_off_those_that_are_not_ready_first() {
    let check = |ready: u32, not_ready: u32, expected: (usize, usize), says: Option<&str>| {
        let pods: Vec<Pod> = (0..ready + not_ready)
            .map(|number| pod(number, number < ready))
            .collect();
        let endpoints = created(&service(), &pods);
        let count = |of: fn(&EndpointSubset) -> usize| endpoints.subsets.iter().map(of).sum::<usize>();
        let found = (
            count(|subset| subset.addresses.len()),
            count(|subset| subset.not_ready_addresses.len()),
        );
        assert_eq!(found, expected);
        let said = endpoints.metadata().annotations.get(OVER_CAPACITY);
        assert_eq!(said.map(String::as_str), says);
        assert_eq!(decide(&service(), &pods, Some(&endpoints)), []);
    };
    check(900, 100, (900, 100), None);
    check(900, 300, (900, 100), Some("truncated"));
    check(1200, 10, (1000, 0), Some("truncated"));
}

#[test]
fn a_service_without_a_selector_is_somebody_elses() {
    let mut other = service();
    other.spec_mut().selector.clear();
    assert_eq!(decide(&other, &[pod(1, true)], None), []);
    let mut external = service();
    external.spec_mut().r#type = "ExternalName".into();
    assert_eq!(decide(&external, &[pod(1, true)], None), []);
}

#[test]
fn endpoints_go_with_their_service_and_not_before_it_came() {
    let own = created(&service(), &[]);
    let by_hand = Endpoints::default();
    assert_eq!(reconcile_leftover(&own, false).len(), 1);
    assert_eq!(reconcile_leftover(&by_hand, false), []);
    assert_eq!(reconcile_leftover(&by_hand, true).len(), 1);
}
