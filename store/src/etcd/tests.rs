//! The suite on a real etcd, and what only etcd can do wrong.

use tokio::time::Instant;

use super::*;
use crate::Event;
use crate::suite::etcd_server::{EtcdServer, EtcdSubject};
use crate::suite::proxy::Proxy;

mod suite {
    use super::EtcdSubject;

    crate::store_suite!(EtcdSubject::start);
}

fn put(key: &str, value: Vec<u8>) -> Txn {
    let put = Op::Put {
        key: key.to_owned(),
        value: value.into(),
        lease: None,
    };
    Txn {
        success: vec![put],
        ..Txn::default()
    }
}

#[tokio::test]
async fn a_write_while_etcd_is_down_is_certainly_not_done() {
    let mut server = EtcdServer::start().await;
    let store = server.connect().await;
    server.kill();
    // The first call may still find the dying connection; then its write is ambiguous, as it must be.
    while let Err(Error::Ambiguous(_)) = store.txn(put("/first", vec![])).await {}
    let outcome = store.txn(put("/second", vec![])).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    let text = outcome.expect_err("etcd is down").to_string();
    assert!(
        text.contains("transaction at https://127.0.0.1:") && text.contains("refused"),
        "{text}"
    );
    let listed = store.list(Range::default()).await;
    assert!(matches!(listed, Err(Error::Unavailable(_))), "{listed:?}");
    server.run().await;
    assert_eq!(store.get("/second").await.expect("etcd is back").kv, None);
}

#[tokio::test]
async fn a_read_outlives_a_connection_that_falls_silent() {
    let server = EtcdServer::start().await;
    let proxy = Proxy::start(server.address()).await;
    let store = connect(server.config_by_way_of(proxy.address()))
        .await
        .expect("connect");
    store.txn(put("/key", vec![1])).await.expect("write");
    proxy.silence();
    let began = Instant::now();
    let read = store.get("/key").await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(12), "it took {took:?}");
    assert!(
        read.as_ref().is_ok_and(|read| read.kv.is_some()),
        "a new connection answers: {read:?}"
    );
}

#[tokio::test]
async fn a_watch_outlives_a_connection_that_falls_silent() {
    let server = EtcdServer::start().await;
    let proxy = Proxy::start(server.address()).await;
    let store = connect(server.config_by_way_of(proxy.address()))
        .await
        .expect("connect");
    let direct = server.connect().await;
    let start = store.current_revision().await.expect("revision");
    let mut watch = store.watch("/key", start).await.expect("watch");
    direct.txn(put("/key", vec![1])).await.expect("write");
    assert_eq!(next_revisions(&mut watch, 1).await, [start + 1]);
    proxy.silence();
    direct.txn(put("/key", vec![2])).await.expect("write");
    direct.txn(put("/key", vec![3])).await.expect("write");
    assert_eq!(next_revisions(&mut watch, 2).await, [start + 2, start + 3]);
}

/// The revisions of the next changes, so many.
async fn next_revisions(watch: &mut Watch, count: usize) -> Vec<Revision> {
    let next = async {
        let mut revisions = Vec::new();
        while revisions.len() < count {
            let batch = watch.next().await.expect("it goes on").expect("a batch");
            revisions.extend(batch.events.iter().map(Event::revision));
        }
        revisions
    };
    let next = tokio::time::timeout(Duration::from_secs(30), next).await;
    next.expect("it resumes once the connection is found dead")
}

#[tokio::test]
async fn another_member_is_asked_when_one_is_away() {
    let server = EtcdServer::start().await;
    let away = EtcdServer::start().await.address();
    let mut config = server.config();
    config.endpoints.insert(0, format!("https://{away}"));
    let store = connect(config).await.expect("one member answers");
    for number in 0..5 {
        store
            .txn(put("/key", vec![number]))
            .await
            .expect("the other member does it");
    }
    assert_eq!(
        store.get("/key").await.expect("get").kv.expect("written").version,
        5
    );
    let mut watch = store.watch("/key", 1).await.expect("watch");
    assert!(matches!(watch.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn connecting_waits_for_an_etcd_that_is_not_up_yet() {
    let mut server = EtcdServer::start().await;
    server.kill();
    let config = server.config();
    let connecting = tokio::spawn(connect(config.clone()));
    server.run().await;
    connecting
        .await
        .expect("no panic")
        .expect("connected once etcd was up");
    server.kill();
    let error = connect_within(config, Duration::ZERO)
        .await
        .err()
        .expect("etcd is down");
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_what_is_wrong() {
    let server = EtcdServer::start().await;
    let good = server.config();
    let cases = [
        (
            Config {
                endpoints: vec![],
                ..good.clone()
            },
            "no etcd endpoint",
        ),
        (
            Config {
                endpoints: vec!["http://127.0.0.1:1".into()],
                ..good.clone()
            },
            "https://host:port",
        ),
        (
            Config {
                ca_file: "/nowhere/ca.crt".into(),
                ..good.clone()
            },
            "CA certificate /nowhere/ca.crt",
        ),
        (
            Config {
                key_file: good.ca_file.clone(),
                ..good.clone()
            },
            "cannot be used",
        ),
    ];
    for (config, expected) in cases {
        let error = connect(config.clone()).await.err().expect("refused");
        assert!(matches!(error, Error::Refused(_)), "{config:?}: {error:?}");
        assert!(
            error.to_string().contains(expected),
            "{expected:?} is missing in: {error}"
        );
    }
}

#[tokio::test]
async fn a_full_store_is_reported_as_such_and_still_reads() {
    const QUOTA_BYTES: &str = "8388608";
    let server = EtcdServer::start_with(&["--quota-backend-bytes", QUOTA_BYTES]).await;
    let store = server.connect().await;
    store.txn(put("/small", vec![1])).await.expect("room for a byte");
    let mut outcome = Ok(TxnOutcome::Committed { revision: 0 });
    for _ in 0..32 {
        outcome = store.txn(put("/large", vec![7; 1 << 20])).await;
        if outcome.is_err() {
            break;
        }
    }
    assert!(matches!(outcome, Err(Error::NoSpace)), "{outcome:?}");
    assert!(store.get("/small").await.expect("reads go on").kv.is_some());
}
