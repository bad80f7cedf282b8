use super::placement::MAX_ENDPOINTS;
use super::*;
use crate::action::Object;
use crate::test_store::merge;
use gantry_proto::core::v1::{Container, ContainerPort, PodCondition, PodStatus, ServicePort, ServiceSpec};
use gantry_proto::json;
use gantry_proto::meta::v1::Time;

fn service(target: impl Into<gantry_proto::meta::v1::IntOrString>) -> Service {
    Service {
        metadata: Some(ObjectMeta {
            name: "web".into(),
            namespace: "default".into(),
            uid: "svc".into(),
            ..ObjectMeta::default()
        }),
        spec: Some(ServiceSpec {
            selector: [("app".to_string(), "web".to_string())].into(),
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: "TCP".into(),
                port: 80,
                target_port: Some(target.into()),
                ..ServicePort::default()
            }],
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn pod(number: usize, ready: bool) -> Pod {
    let mut pod = Pod {
        metadata: Some(ObjectMeta {
            name: format!("web-{number:03}"),
            namespace: "default".into(),
            uid: format!("uid-{number:03}"),
            labels: [("app".to_string(), "web".to_string())].into(),
            ..ObjectMeta::default()
        }),
        spec: None,
        status: Some(PodStatus {
            phase: "Running".into(),
            pod_ip: format!("10.244.{}.{}", number / 250, number % 250 + 1),
            conditions: vec![PodCondition {
                r#type: "Ready".into(),
                status: if ready { "True" } else { "False" }.into(),
                ..PodCondition::default()
            }],
            ..PodStatus::default()
        }),
    };
    pod.spec_mut().node_name = "n1".into();
    pod
}

/// A small store of slices that carries actions out.
#[derive(Default)]
struct Slices {
    slices: BTreeMap<String, EndpointSlice>,
    writes: usize,
    names: ChildNames,
}

impl Slices {
    fn actions(&self, service: &Service, pods: &[Pod]) -> Vec<Action> {
        reconcile(&View {
            service,
            pods: pods.iter().collect(),
            slices: self.slices.values().collect(),
            zones_by_node: [("n1", "zone-a")].into(),
            names: &self.names,
        })
    }

    /// Carries out what is decided and checks that it is then at rest; says how many writes it took.
    fn settle(&mut self, service: &Service, pods: &[Pod]) -> usize {
        let before = self.writes;
        for action in self.actions(service, pods) {
            self.writes += 1;
            match action {
                Action::Create {
                    object: Object::EndpointSlice(slice),
                    ..
                } => {
                    let name = slice.metadata().name.clone();
                    self.names.note("web-", &name, crate::child_names::Outcome::Used);
                    assert!(self.slices.insert(name, *slice).is_none(), "a name is used twice");
                }
                Action::Patch { target, patch, .. } => {
                    let slice = self.slices.get_mut(&target.key.name).unwrap();
                    let mut value = json::to_value(slice);
                    merge(&mut value, &patch);
                    *slice = json::decode_value::<EndpointSlice>(&value).unwrap().object;
                }
                Action::Delete { target, .. } => drop(self.slices.remove(&target.key.name)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(self.actions(service, pods), [], "not at rest");
        self.writes - before
    }

    fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<usize> = self.slices.values().map(|slice| slice.endpoints.len()).collect();
        sizes.sort_unstable();
        sizes
    }

    /// ready, serving, terminating of the only endpoint.
    fn conditions(&self) -> (bool, bool, bool) {
        let endpoints: Vec<_> = self.slices.values().flat_map(|slice| &slice.endpoints).collect();
        assert_eq!(endpoints.len(), 1);
        let conditions = endpoints[0].conditions();
        let is = |value: Option<bool>| value.unwrap_or_default();
        (
            is(conditions.ready),
            is(conditions.serving),
            is(conditions.terminating),
        )
    }
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let mut slices = Slices::default();
    assert_eq!(slices.settle(&service(8080), &[]), 1);
    assert_eq!(slices.sizes(), [0]);
    // The empty slice takes the first endpoints: no deletion, no creation.
    assert_eq!(slices.settle(&service(8080), &[pod(1, true)]), 1);
    assert_eq!(slices.sizes(), [1]);
    assert_eq!(slices.settle(&service(8080), &[]), 1);
    assert_eq!(slices.sizes(), [0]);
}

#[test]
fn a_slice_says_whose_it_is_and_what_it_holds() {
    let mut slices = Slices::default();
    let mut service = service(8080);
    service.metadata_mut().labels.insert("team".into(), "a".into());
    slices.settle(&service, &[pod(1, true)]);
    let slice = slices.slices.values().next().unwrap();
    let metadata = slice.metadata();
    assert!(metadata.name.starts_with("web-") && metadata.generate_name == "web-");
    assert_eq!(metadata.owner_references[0].uid, "svc");
    let labels: Vec<_> = metadata
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        labels,
        [
            "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io",
            "kubernetes.io/service-name=web",
            "team=a",
        ]
    );
    assert_eq!(
        serde_json::to_value(&slice.endpoints[0]).unwrap(),
        json!({
            "addresses": ["10.244.0.2"],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-001", "uid": "uid-001"},
            "nodeName": "n1",
            "zone": "zone-a",
        })
    );
    assert_eq!(
        serde_json::to_value(&slice.ports).unwrap(),
        json!([{"name": "http", "protocol": "TCP", "port": 8080}])
    );
    // A label that the Service loses, the slice loses too.
    service.metadata_mut().labels.clear();
    assert_eq!(slices.settle(&service, &[pod(1, true)]), 1);
    assert!(
        !slices
            .slices
            .values()
            .next()
            .unwrap()
            .metadata()
            .labels
            .contains_key("team")
    );
}

#[test]
fn conditions_follow_the_pod_until_it_has_ended() {
    let check = |change: fn(&mut Pod), publish: bool, expected: Option<(bool, bool, bool)>| {
        let mut slices = Slices::default();
        let mut service = service(8080);
        service.spec_mut().publish_not_ready_addresses = publish;
        let mut pod = pod(1, true);
        change(&mut pod);
        slices.settle(&service, &[pod]);
        match expected {
            Some(expected) => assert_eq!(slices.conditions(), expected),
            None => assert_eq!(slices.sizes(), [0]),
        }
    };
    let unready: fn(&mut Pod) = |pod| pod.status_mut().conditions[0].status = "False".into();
    let terminating: fn(&mut Pod) = |pod| pod.metadata_mut().deletion_timestamp = Some(Time::default());
    check(|_| {}, false, Some((true, true, false)));
    check(unready, false, Some((false, false, false)));
    check(unready, true, Some((true, false, false)));
    check(terminating, false, Some((false, true, true)));
    check(terminating, true, Some((true, true, true)));
    check(|pod| pod.status_mut().phase = "Failed".into(), true, None);
    check(|pod| pod.status_mut().phase = "Succeeded".into(), false, None);
    check(|pod| pod.status_mut().pod_ip.clear(), true, None);
    check(|pod| pod.metadata_mut().labels.clear(), false, None);
}

#[test]
fn a_named_port_is_looked_up_in_each_pod() {
    let with_port = |number: usize, container_port: Option<i32>| {
        let mut pod = pod(number, true);
        let ports = container_port.map(|container_port| ContainerPort {
            name: "web".into(),
            container_port,
            ..ContainerPort::default()
        });
        pod.spec_mut().containers = vec![Container {
            ports: ports.into_iter().collect(),
            ..Container::default()
        }];
        pod
    };
    let mut slices = Slices::default();
    // Two pods agree, one differs, one has no such port.
    let pods = [
        with_port(1, Some(80)),
        with_port(2, Some(80)),
        with_port(3, Some(81)),
        with_port(4, None),
    ];
    slices.settle(&service("web"), &pods);
    let mut ports: Vec<_> = slices
        .slices
        .values()
        .map(|slice| {
            (
                slice.ports.first().and_then(|port| port.port),
                slice.endpoints.len(),
            )
        })
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [(None, 1), (Some(80), 2), (Some(81), 1)]);
    // All agree now: the other slices go.
    let pods: Vec<Pod> = (1..5).map(|number| with_port(number, Some(80))).collect();
    slices.settle(&service("web"), &pods);
    assert_eq!(slices.sizes(), [4]);
}

#[test]
fn many_endpoints_are_spread_and_one_change_is_one_write() {
    let mut slices = Slices::default();
    let mut pods: Vec<Pod> = (0..250).map(|number| pod(number, true)).collect();
    assert_eq!(slices.settle(&service(8080), &pods), 3);
    assert_eq!(slices.sizes(), [50, MAX_ENDPOINTS, MAX_ENDPOINTS]);
    pods[7].status_mut().conditions[0].status = "False".into();
    assert_eq!(slices.settle(&service(8080), &pods), 1);
    pods.remove(7);
    assert_eq!(slices.settle(&service(8080), &pods), 1);
    pods.push(pod(300, true));
    assert_eq!(slices.settle(&service(8080), &pods), 1);
    pods.clear();
    slices.settle(&service(8080), &pods);
    assert_eq!(slices.sizes(), [0]);
}

#[test]
fn slices_of_others_and_services_without_selector_are_left_alone() {
    let mut foreign = EndpointSlice {
        address_type: "IPv4".into(),
        ..EndpointSlice::default()
    };
    foreign.metadata_mut().name = "by-hand".into();
    foreign
        .metadata_mut()
        .labels
        .insert(SERVICE_NAME.into(), "web".into());
    let mut slices = Slices::default();
    slices.slices.insert("by-hand".into(), foreign.clone());
    slices.settle(&service(8080), &[pod(1, true)]);
    assert_eq!(slices.slices["by-hand"], foreign);
    let mut without = service(8080);
    without.spec_mut().selector.clear();
    assert_eq!(slices.actions(&without, &[pod(1, true)]), []);
}

#[test]
fn a_headless_service_has_endpoints_without_ports_too() {
    let mut slices = Slices::default();
    let mut service = service(8080);
    service.spec_mut().cluster_ip = "None".into();
    service.spec_mut().ports.clear();
    let mut named = pod(1, true);
    named.spec_mut().hostname = "db-0".into();
    named.spec_mut().subdomain = "web".into();
    slices.settle(&service, &[named]);
    let slice = slices.slices.values().next().unwrap();
    assert_eq!(slice.metadata().labels[HEADLESS], "");
    assert_eq!(slice.endpoints[0].hostname.as_deref(), Some("db-0"));
    assert_eq!(slice.ports, []);
}

#[test]
fn a_slice_tells_when_the_pods_changed_that_its_last_write_is_about() {
    let (mut slices, service) = (Slices::default(), service(8080));
    let at = |mut pod: Pod, seconds| {
        let status = pod.status.as_mut().unwrap();
        status.conditions[0].last_transition_time = Some(Time { seconds, nanos: 0 });
        pod
    };
    let told = |slices: &Slices| {
        let slice = slices.slices.values().next().unwrap();
        slice.metadata().annotations.get(TRIGGER_TIME).cloned()
    };
    slices.settle(&service, &[]);
    assert_eq!(told(&slices), None);
    let first = at(pod(1, true), 1_000);
    slices.settle(&service, std::slice::from_ref(&first));
    assert_eq!(told(&slices).as_deref(), Some("1970-01-01T00:16:40Z"));
    let second = at(pod(2, false), 2_000);
    slices.settle(&service, &[first.clone(), second]);
    assert_eq!(told(&slices).as_deref(), Some("1970-01-01T00:33:20Z"));
    slices.settle(&service, &[first]);
    assert_eq!(told(&slices), None, "nobody became ready or ceased to be");
}
