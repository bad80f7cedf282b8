use super::*;
use crate::dns::{Upstreams, Zone};
use crate::metrics::Metrics;
use crate::service::{Host, ServiceView};
use gantry_proto::Key;
use gantry_telemetry::metrics::Registry;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::Ipv4Addr;
use std::sync::RwLock;

const OWN: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A server on a free port that asks `upstream` about other domains.
async fn server(upstream: Option<SocketAddr>) -> SocketAddr {
    let mut zone = Zone::new("cluster.local", OWN).unwrap();
    let mut set = |name: &str, view| zone.replace(&Key::new("default", name), Some(Arc::new(view)));
    set(
        "web",
        ServiceView {
            cluster_ips: vec![[10, 96, 0, 10].into()],
            ..ServiceView::default()
        },
    );
    let host = |last| Host {
        address: [10, 0, 0, last].into(),
        hostname: None,
        ports: Vec::new(),
    };
    let hosts = (0..200).map(host).collect();
    set(
        "many",
        ServiceView {
            headless: true,
            hosts,
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
    set(
        "in",
        ServiceView {
            external_name: Some("web.default.svc.cluster.local".to_owned()),
            ..ServiceView::default()
        },
    );
    set(
        "loop",
        ServiceView {
            external_name: Some("loop.default.svc.cluster.local".to_owned()),
            ..ServiceView::default()
        },
    );
    zone.complete = true;
    let upstreams = Upstreams::of(upstream.into_iter().collect());
    let resolver = Resolver::new(
        Arc::new(RwLock::new(zone)),
        upstreams,
        Metrics::new(&Registry::new()),
    );
    let listeners = Listeners::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listeners.address().unwrap();
    tokio::spawn(listeners.serve(resolver, CancellationToken::new()));
    address
}

/// Another name server, which says that every name has one address.
async fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let request = Message::from_vec(&buffer[..length]).unwrap();
            let mut reply = Message::response(request.metadata.id, OpCode::Query);
            let name = request.queries[0].name().clone();
            reply.add_queries(request.queries);
            reply.add_answer(Record::from_rdata(name, 60, RData::A(A([192, 0, 2, 1].into()))));
            socket.send_to(&reply.to_vec().unwrap(), client).await.unwrap();
        }
    });
    address
}

fn request(name: &str, kind: RecordType, edns: bool) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        message.set_edns(edns);
    }
    message
}

async fn by_udp(server: SocketAddr, bytes: &[u8]) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(bytes).await.unwrap();
    let mut buffer = [0; 4096];
    let length = timeout(IDLE_LIMIT, socket.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn by_tcp(server: SocketAddr, requests: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    for request in requests {
        let bytes = request.to_vec().unwrap();
        stream
            .write_all(&(bytes.len() as u16).to_be_bytes())
            .await
            .unwrap();
        stream.write_all(&bytes).await.unwrap();
    }
    let mut replies = Vec::new();
    for _ in requests {
        replies.push(Message::from_vec(&read(&mut stream).await.unwrap()).unwrap());
    }
    replies
}

async fn ask(server: SocketAddr, name: &str) -> (ResponseCode, Vec<String>, Message) {
    let reply = by_udp(server, &request(name, RecordType::A, false).to_vec().unwrap()).await;
    let data = reply
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    (reply.metadata.response_code, data, reply)
}

#[tokio::test]
async fn names_of_the_cluster_are_answered_with_authority_by_udp_and_tcp() {
    let server = server(None).await;
    let (code, data, reply) = ask(server, "web.default.svc.cluster.local.").await;
    assert_eq!(
        (code, data),
        (ResponseCode::NoError, vec!["10.96.0.10".to_owned()])
    );
    assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
    assert_eq!(
        (reply.metadata.id, reply.answers[0].ttl),
        (77, crate::dns::TTL_SECONDS)
    );
    let question = request("web.default.svc.cluster.local.", RecordType::A, false);
    let replies = by_tcp(server, &[question.clone(), question]).await;
    assert!(replies.iter().all(|other| other.answers == reply.answers));
}

#[tokio::test]
async fn a_missing_name_and_a_missing_type_say_how_long_they_may_be_remembered() {
    let server = server(None).await;
    let (code, _, reply) = ask(server, "none.default.svc.cluster.local.").await;
    assert_eq!(code, ResponseCode::NXDomain);
    assert_eq!(reply.authorities[0].record_type(), RecordType::SOA);
    let question = request("web.default.svc.cluster.local.", RecordType::AAAA, false);
    let reply = by_udp(server, &question.to_vec().unwrap()).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert_eq!(
        (reply.answers.len(), reply.authorities[0].record_type()),
        (0, RecordType::SOA)
    );
}

#[tokio::test]
async fn other_domains_are_asked_of_other_servers_and_fail_where_there_are_none() {
    let (code, data, _) = ask(server(Some(upstream().await)).await, "www.example.com.").await;
    assert_eq!(
        (code, data),
        (ResponseCode::NoError, vec!["192.0.2.1".to_owned()])
    );
    let (code, data, _) = ask(server(None).await, "www.example.com.").await;
    assert_eq!((code, data), (ResponseCode::ServFail, Vec::new()));
}

#[tokio::test]
async fn an_external_name_is_followed_inside_and_outside_of_the_cluster_but_not_for_ever() {
    let server = server(Some(upstream().await)).await;
    let (_, data, _) = ask(server, "out.default.svc.cluster.local.").await;
    assert_eq!(data, ["www.example.com.", "192.0.2.1"]);
    let (_, data, _) = ask(server, "in.default.svc.cluster.local.").await;
    assert_eq!(data, ["web.default.svc.cluster.local.", "10.96.0.10"]);
    let (_, data, _) = ask(server, "loop.default.svc.cluster.local.").await;
    assert!(data.len() < 16, "{data:?}");
}

#[tokio::test]
async fn a_long_answer_fits_the_client_says_what_is_missing_and_is_whole_by_tcp() {
    let server = server(None).await;
    for (edns, limit) in [(false, 512), (true, 1232)] {
        let question = request("many.default.svc.cluster.local.", RecordType::A, edns);
        let reply = by_udp(server, &question.to_vec().unwrap()).await;
        let length = reply.to_vec().unwrap().len();
        assert!(reply.metadata.truncation && length <= limit, "{length}");
        assert!(reply.answers.len() > limit / 32, "{}", reply.answers.len());
    }
    let question = request("many.default.svc.cluster.local.", RecordType::A, false);
    let replies = by_tcp(server, &[question]).await;
    assert_eq!(
        (replies[0].answers.len(), replies[0].metadata.truncation),
        (200, false)
    );
}

#[tokio::test]
async fn what_is_no_query_is_refused_or_ignored_and_the_next_query_is_answered() {
    let server = server(None).await;
    let reply = by_udp(server, &[0, 9, 0, 0, 0xff]).await;
    assert_eq!(
        (reply.metadata.id, reply.metadata.response_code),
        (9, ResponseCode::FormErr)
    );
    let mut update = request("cluster.local.", RecordType::A, false);
    update.metadata.op_code = OpCode::Update;
    let reply = by_udp(server, &update.to_vec().unwrap()).await;
    assert!(matches!(
        reply.metadata.response_code,
        ResponseCode::NotImp | ResponseCode::FormErr
    ));
    let mut empty = request("cluster.local.", RecordType::A, false);
    empty.queries.clear();
    assert_eq!(
        by_udp(server, &empty.to_vec().unwrap())
            .await
            .metadata
            .response_code,
        ResponseCode::FormErr
    );
    let (code, ..) = ask(server, "web.default.svc.cluster.local.").await;
    assert_eq!(code, ResponseCode::NoError);
}
