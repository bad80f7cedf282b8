use super::*;
use gantry_proto::json;

fn service(spec: &str) -> Service {
    let text = format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "web"}}, "spec": {spec}}}"#
    );
    json::decode::<Service>(text.as_bytes()).unwrap().object
}

fn slice(endpoints: &str) -> EndpointSlice {
    let text = format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {{"name": "web-1"}},
        "addressType": "IPv4", "ports": [{{"name": "http", "port": 8080, "protocol": "TCP"}}],
        "endpoints": {endpoints}}}"#
    );
    json::decode::<EndpointSlice>(text.as_bytes()).unwrap().object
}

const SPEC: &str =
    r#"{"clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}"#;

fn endpoints_of(slices: &[EndpointSlice]) -> Vec<String> {
    let slices: Vec<&EndpointSlice> = slices.iter().collect();
    let view = ServiceView::new(&service(SPEC), &slices, "n1");
    let text = |endpoint: &Endpoint| {
        format!(
            "{}:{}{}",
            endpoint.address,
            endpoint.port,
            if endpoint.local { " local" } else { "" }
        )
    };
    view.ports[0].endpoints.iter().map(text).collect()
}

#[test]
fn connections_go_to_ready_endpoints_and_only_without_any_to_those_that_serve_while_they_terminate() {
    let endpoint = |address: &str, ready: &str, serving: &str, terminating: &str| {
        format!(
            r#"{{"addresses": ["{address}"], "nodeName": "n2",
            "conditions": {{"ready": {ready}, "serving": {serving}, "terminating": {terminating}}}}}"#
        )
    };
    let check = |endpoints: &[String], expected: &[&str]| {
        let slice = slice(&format!("[{}]", endpoints.join(",")));
        assert_eq!(endpoints_of(&[slice]), expected, "{endpoints:?}");
    };
    let ready = endpoint("10.0.0.1", "true", "true", "false");
    let leaving = endpoint("10.0.0.2", "false", "true", "true");
    let broken = endpoint("10.0.0.3", "false", "false", "false");
    let gone = endpoint("10.0.0.4", "false", "false", "true");
    let unsaid = endpoint("10.0.0.5", "null", "null", "null");
    check(
        &[ready.clone(), leaving.clone(), broken.clone(), gone.clone()],
        &["10.0.0.1:8080"],
    );
    check(&[leaving, broken.clone(), gone.clone()], &["10.0.0.2:8080"]);
    check(&[broken, gone], &[]);
    check(&[unsaid], &["10.0.0.5:8080"]);
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_other_address_types_are_left_out() {
    let one = slice(r#"[{"addresses": ["10.0.0.1"], "nodeName": "n1"}]"#);
    let mut other = slice(r#"[{"addresses": ["fd00::1"]}]"#);
    other.address_type = "IPv6".to_owned();
    assert_eq!(endpoints_of(&[one.clone(), one, other]), ["10.0.0.1:8080 local"]);
}

#[test]
fn a_port_takes_the_endpoints_of_the_slice_port_with_its_name_and_protocol() {
    let mut slice = slice(r#"[{"addresses": ["10.0.0.1"]}]"#);
    slice.ports[0].name = Some("metrics".to_owned());
    assert_eq!(endpoints_of(&[slice.clone()]), <[String; 0]>::default());
    slice.ports[0].name = Some("http".to_owned());
    slice.ports[0].protocol = Some("UDP".to_owned());
    assert_eq!(endpoints_of(&[slice]), <[String; 0]>::default());
}

#[test]
fn the_annotation_and_session_affinity_choose_the_policy() {
    let check = |annotation: Option<&str>, affinity: &str, expected: Policy| {
        let mut service = service(SPEC);
        service.spec_mut().session_affinity = affinity.to_owned();
        if let Some(annotation) = annotation {
            let annotations = &mut service.metadata.get_or_insert_default().annotations;
            annotations.insert(LOAD_BALANCING_ANNOTATION.to_owned(), annotation.to_owned());
        }
        assert_eq!(
            ServiceView::new(&service, &[], "n1").policy,
            expected,
            "{annotation:?} {affinity}"
        );
    };
    check(None, "None", Policy::RoundRobin);
    check(Some("round_robin"), "None", Policy::RoundRobin);
    check(Some("random"), "None", Policy::Random);
    check(Some("best"), "None", Policy::RoundRobin);
    check(Some("random"), "ClientIP", Policy::ClientAddress);
}

#[test]
fn headless_and_external_services_have_no_address() {
    let view = ServiceView::new(
        &service(r#"{"clusterIP": "None", "clusterIPs": ["None"]}"#),
        &[],
        "n1",
    );
    assert!(view.headless && view.cluster_ips.is_empty());
    let view = ServiceView::new(
        &service(r#"{"type": "ExternalName", "externalName": "a.example"}"#),
        &[],
        "n1",
    );
    assert_eq!(view.external_name.as_deref(), Some("a.example"));
}
