use super::*;
use crate::service::{Endpoint, Port};
use std::sync::Arc;

const SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

fn zone() -> Zone {
    let port = |name: &str, number| Port {
        name: name.to_owned(),
        protocol: Protocol::Tcp,
        number,
        node_port: None,
        endpoints: [Endpoint {
            address: [10, 0, 0, 9].into(),
            port: 8080,
            local: true,
        }]
        .into(),
    };
    let host = |last: u8, hostname: Option<&str>| Host {
        address: [10, 0, 0, last].into(),
        hostname: hostname.map(str::to_owned),
        ports: vec![("peer".to_owned(), Protocol::Tcp, 7000)],
    };
    let mut zone = Zone::new("cluster.local", SERVER).unwrap();
    let mut set = |name: &str, view| zone.replace(&Key::new("default", name), Some(Arc::new(view)));
    set(
        "web",
        ServiceView {
            cluster_ips: vec![[10, 96, 0, 10].into()],
            ports: vec![port("http", 80), port("admin", 81)],
            hosts: vec![host(9, None)],
            ..ServiceView::default()
        },
    );
    set(
        "db",
        ServiceView {
            headless: true,
            hosts: vec![host(1, Some("db-0")), host(2, Some("db-1")), host(3, None)],
            ..ServiceView::default()
        },
    );
    set(
        "idle",
        ServiceView {
            headless: true,
            ..ServiceView::default()
        },
    );
    set(
        "out",
        ServiceView {
            external_name: Some("www.example.com".to_owned()),
            ..ServiceView::default()
        },
    );
    zone.complete = true;
    zone
}

fn ask(name: &str, kind: RecordType) -> String {
    let question = Query::query(Name::from_ascii(name).unwrap(), kind);
    let data = |records: Vec<Record>| {
        let lines: Vec<String> = records.iter().map(|record| record.data.to_string()).collect();
        lines.join(", ")
    };
    match answer(&zone(), &question, 0) {
        Answer::Records { answers, additionals } if additionals.is_empty() => data(answers),
        Answer::Records { answers, additionals } => format!("{} | {}", data(answers), data(additionals)),
        Answer::Alias { target, .. } => format!("-> {target}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn names_have_the_records_that_the_specification_says() {
    use RecordType::{A, AAAA, NS, PTR, SRV, TXT};
    let check = |name: &str, kind: RecordType, expected: &str| {
        assert_eq!(ask(name, kind), expected, "{name} {kind}");
    };
    check("web.default.svc.cluster.local.", A, "10.96.0.10");
    check("WEB.Default.svc.Cluster.Local.", A, "10.96.0.10");
    check("web.default.svc.cluster.local.", AAAA, "NoData");
    check(
        "_http._tcp.web.default.svc.cluster.local.",
        SRV,
        "0 100 80 web.default.svc.cluster.local. | 10.96.0.10",
    );
    check("_http._tcp.web.default.svc.cluster.local.", A, "NoData");
    check("_http._udp.web.default.svc.cluster.local.", SRV, "NoName");
    check("_none._tcp.web.default.svc.cluster.local.", SRV, "NoName");
    check("http.tcp.web.default.svc.cluster.local.", SRV, "NoName");
    check(
        "web.default.svc.cluster.local.",
        SRV,
        "0 50 80 web.default.svc.cluster.local., 0 50 81 web.default.svc.cluster.local. | 10.96.0.10",
    );
    check("10-0-0-9.web.default.svc.cluster.local.", A, "10.0.0.9");

    check("db.default.svc.cluster.local.", A, "10.0.0.1, 10.0.0.2, 10.0.0.3");
    check("db-1.db.default.svc.cluster.local.", A, "10.0.0.2");
    check("10-0-0-3.db.default.svc.cluster.local.", A, "10.0.0.3");
    check("db-7.db.default.svc.cluster.local.", A, "NoName");
    check(
        "_peer._tcp.db.default.svc.cluster.local.",
        SRV,
        "0 33 7000 db-0.db.default.svc.cluster.local., 0 33 7000 db-1.db.default.svc.cluster.local., \
         0 33 7000 10-0-0-3.db.default.svc.cluster.local. | 10.0.0.1, 10.0.0.2, 10.0.0.3",
    );
    check("idle.default.svc.cluster.local.", A, "NoName");
    check("out.default.svc.cluster.local.", A, "-> www.example.com.");
    check("x.out.default.svc.cluster.local.", A, "NoName");

    check("nothing.default.svc.cluster.local.", A, "NoName");
    check("default.svc.cluster.local.", A, "NoData");
    check("elsewhere.svc.cluster.local.", A, "NoName");
    check("a.b.c.d.web.default.svc.cluster.local.", A, "NoName");
    check("svc.cluster.local.", A, "NoData");
    check("cluster.local.", A, "NoData");
    check("cluster.local.", NS, "ns.dns.cluster.local.");
    check("ns.dns.cluster.local.", A, "169.254.20.10");
    check("dns-version.cluster.local.", TXT, "1.1.0");
    check("www.example.com.", A, "Elsewhere");
    check("kubernetes.default.svc.", A, "Elsewhere");

    check("10.0.96.10.in-addr.arpa.", PTR, "web.default.svc.cluster.local.");
    check("10.0.96.10.in-addr.arpa.", A, "NoData");
    check(
        "2.0.0.10.in-addr.arpa.",
        PTR,
        "db-1.db.default.svc.cluster.local.",
    );
    check("9.0.0.10.in-addr.arpa.", PTR, "Elsewhere");
    check("0.96.10.in-addr.arpa.", PTR, "Elsewhere");
}

#[test]
fn each_question_begins_with_another_endpoint() {
    let question = Query::query(
        Name::from_ascii("db.default.svc.cluster.local.").unwrap(),
        RecordType::A,
    );
    let first = |turn| match answer(&zone(), &question, turn) {
        Answer::Records { answers, .. } => answers[0].data.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [first(0), first(1), first(2), first(3)],
        ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1"]
    );
}

#[test]
fn before_the_first_list_a_missing_name_is_not_said_to_be_missing() {
    let zone = Zone::new("cluster.local", SERVER).unwrap();
    let question = Query::query(
        Name::from_ascii("web.default.svc.cluster.local.").unwrap(),
        RecordType::A,
    );
    assert_eq!(answer(&zone, &question, 0), Answer::Unknown);
}

#[test]
fn a_service_that_is_gone_leaves_no_name() {
    let mut zone = zone();
    for name in ["web", "db", "idle", "out"] {
        zone.replace(&Key::new("default", name), None);
    }
    let gone = |name: &str, kind| answer(&zone, &Query::query(Name::from_ascii(name).unwrap(), kind), 0);
    assert_eq!(gone("default.svc.cluster.local.", RecordType::A), Answer::NoName);
    assert_eq!(
        gone("10.0.96.10.in-addr.arpa.", RecordType::PTR),
        Answer::Elsewhere
    );
}
