use super::*;
use crate::action::Object;
use gantry_proto::core::v1::EndpointSubset;

fn endpoints(subsets: &[(&[i32], &[&str], &[&str])]) -> Endpoints {
    let addresses = |ips: &[&str]| {
        let address = |ip: &&str| EndpointAddress {
            ip: ip.to_string(),
            ..EndpointAddress::default()
        };
        ips.iter().map(address).collect()
    };
    let mut endpoints = Endpoints::default();
    let metadata = endpoints.metadata_mut();
    (metadata.name, metadata.namespace, metadata.uid) = ("db".into(), "default".into(), "ep".into());
    metadata.labels.insert("tier".into(), "back".into());
    metadata.annotations = [(LAST_APPLIED, "{}"), (TRIGGER_TIME, "t"), ("note", "n")]
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .into();
    endpoints.subsets = subsets
        .iter()
        .map(|(ports, ready, not_ready)| EndpointSubset {
            addresses: addresses(ready),
            not_ready_addresses: addresses(not_ready),
            ports: ports
                .iter()
                .map(|number| v1::EndpointPort {
                    port: *number,
                    protocol: "TCP".into(),
                    ..v1::EndpointPort::default()
                })
                .collect(),
        })
        .collect();
    endpoints
}

fn decide(endpoints: Option<&Endpoints>, service: Option<&Service>, slices: &[EndpointSlice]) -> Vec<Action> {
    let view = View {
        endpoints,
        service,
        slices: slices.iter().collect(),
        names: &ChildNames::new(1, "ep"),
    };
    reconcile(&view, "db")
}

fn created(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    let actions = decide(Some(endpoints), Some(&Service::default()), &[]);
    let slice = |action| match action {
        Action::Create {
            object: Object::EndpointSlice(slice),
            ..
        } => *slice,
        other => panic!("{other:?}"),
    };
    actions.into_iter().map(slice).collect()
}

fn words(slices: &[EndpointSlice]) -> Vec<String> {
    let word = |slice: &EndpointSlice| {
        let ports: Vec<String> = slice.ports.iter().map(|port| port.port().to_string()).collect();
        let endpoints: Vec<String> = slice
            .endpoints
            .iter()
            .map(|endpoint| {
                let ready = if endpoint.conditions().ready() { "" } else { "!" };
                format!("{ready}{}", endpoint.addresses[0])
            })
            .collect();
        format!(
            "{}:{} {}",
            slice.address_type,
            ports.join(","),
            endpoints.join(" ")
        )
    };
    let mut words: Vec<String> = slices.iter().map(word).collect();
    words.sort();
    words
}

#[test]
fn each_set_of_ports_and_each_family_has_a_slice() {
    let check = |subsets: &[(&[i32], &[&str], &[&str])], expected: &[&str]| {
        assert_eq!(words(&created(&endpoints(subsets))), expected);
    };
    check(&[], &[]);
    check(
        &[(&[80], &["10.0.0.2", "10.0.0.1"], &["10.0.0.3"])],
        &["IPv4:80 10.0.0.1 10.0.0.2 !10.0.0.3"],
    );
    check(
        &[
            (&[80], &["10.0.0.1", "2001:db8::1"], &[]),
            (&[81], &["10.0.0.2"], &[]),
        ],
        &["IPv4:80 10.0.0.1", "IPv4:81 10.0.0.2", "IPv6:80 2001:db8::1"],
    );
}

#[test]
fn a_slice_belongs_to_its_endpoints_and_says_who_keeps_it() {
    let [slice] = &created(&endpoints(&[(&[80], &["10.0.0.1"], &[])]))[..] else {
        panic!()
    };
    let metadata = slice.metadata();
    let labels: Vec<&str> = metadata.labels.values().map(String::as_str).collect();
    assert_eq!(labels, [MANAGER, "db", "back"]);
    let annotations: Vec<&String> = metadata.annotations.keys().collect();
    assert_eq!(annotations, ["note"]);
    let [owner] = &metadata.owner_references[..] else {
        panic!("{metadata:?}")
    };
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Endpoints", "ep"));
}

#[test]
fn what_is_so_already_is_not_written_and_a_slice_is_used_again() {
    let before = endpoints(&[(&[80], &["10.0.0.1"], &[])]);
    let slices = created(&before);
    let service = Service::default();
    assert_eq!(decide(Some(&before), Some(&service), &slices), []);
    let after = endpoints(&[(&[90], &["10.0.0.1"], &[])]);
    let actions = decide(Some(&after), Some(&service), &slices);
    let [Action::Patch { patch, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(patch["ports"][0]["port"], 90);
    let none = decide(Some(&endpoints(&[])), Some(&service), &slices);
    assert!(matches!(&none[..], [Action::Delete { .. }]), "{none:?}");
}

#[test]
fn only_what_somebody_keeps_by_hand_is_mirrored() {
    let by_hand = endpoints(&[(&[80], &["10.0.0.1"], &[])]);
    let slices = created(&by_hand);
    let check = |endpoints: Option<&Endpoints>, service: Option<&Service>| {
        let actions = decide(endpoints, service, &slices);
        assert!(matches!(&actions[..], [Action::Delete { .. }]), "{actions:?}");
    };
    let service = Service::default();
    check(None, Some(&service));
    check(Some(&by_hand), None);
    let mut selecting = Service::default();
    selecting.spec_mut().selector.insert("app".into(), "db".into());
    check(Some(&by_hand), Some(&selecting));
    let mut skipped = by_hand.clone();
    skipped
        .metadata_mut()
        .labels
        .insert(SKIP_MIRROR.into(), "true".into());
    check(Some(&skipped), Some(&service));
    let mut leader = by_hand.clone();
    leader
        .metadata_mut()
        .annotations
        .insert(LEADER.into(), "{}".into());
    check(Some(&leader), Some(&service));
}

#[test]
fn what_cannot_be_mirrored_is_told() {
    let many: Vec<String> = (0..1005u32)
        .map(|number| format!("10.0.{}.{}", number / 250, number % 250))
        .collect();
    let mut ips: Vec<&str> = many.iter().map(String::as_str).collect();
    ips.push("host.example.com");
    let actions = decide(
        Some(&endpoints(&[(&[80], &["nonsense"], &[]), (&[90], &ips, &[])])),
        Some(&Service::default()),
        &[],
    );
    let told: Vec<(&str, &str)> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Tell { says } => Some((says.reason, says.message.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "InvalidIPAddress",
                "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"
            ),
            (
                "TooManyAddressesToMirror",
                "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 7 addresses were skipped"
            ),
        ]
    );
}
