//! Claims about leases.

use super::*;

async fn write_with_lease(store: &dyn Store, key: &str, lease: i64) -> Revision {
    write(
        store,
        vec![Op::Put {
            key: key.to_owned(),
            value: "v".into(),
            lease: Some(lease),
        }],
    )
    .await
}

pub async fn a_lease_that_ends_deletes_its_keys_and_watches_hear_of_it(subject: &mut dyn Subject) {
    let store = subject.store();
    let revoked = store.grant_lease(600).await.expect("grant");
    let expiring = store.grant_lease(1).await.expect("grant");
    write_with_lease(&*store, "/lease/revoked", revoked).await;
    let revision = write_with_lease(&*store, "/lease/expiring", expiring).await;
    assert_eq!(
        read(&*store, "/lease/revoked").await.expect("it is there").lease,
        revoked
    );
    let mut watch = watch(&*store, "/lease/", revision).await;
    store.revoke_lease(revoked).await.expect("revoke");
    let mut gone: Vec<_> = Vec::new();
    for event in next_events(&mut watch, 2).await {
        assert!(matches!(event, Event::Delete { .. }), "{event:?}");
        gone.push(event.key().to_string());
    }
    gone.sort();
    assert_eq!(gone, ["/lease/expiring", "/lease/revoked"]);
    assert_eq!(list(&*store, "/lease/", None).await.expect("list").kvs, []);
}

pub async fn a_lease_that_is_kept_alive_outlives_its_time(subject: &mut dyn Subject) {
    let store = subject.store();
    let kept = store.grant_lease(2).await.expect("grant");
    let clock = store.grant_lease(2).await.expect("grant");
    write_with_lease(&*store, "/kept", kept).await;
    write_with_lease(&*store, "/clock", clock).await;
    let clock_runs_out = async {
        while read(&*store, "/clock").await.is_some() {
            store.keep_alive(kept).await.expect("keep alive");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(clock_runs_out, "the end of a lease that nobody keeps alive").await;
    assert!(read(&*store, "/kept").await.is_some());
}

pub async fn a_lease_that_is_not_there_is_reported_as_such(subject: &mut dyn Subject) {
    const NEVER_GRANTED: i64 = 12_345;
    let store = subject.store();
    let put = Op::Put {
        key: "/k".into(),
        value: "v".into(),
        lease: Some(NEVER_GRANTED),
    };
    let written = store
        .txn(Txn {
            success: vec![put],
            ..Txn::default()
        })
        .await;
    assert!(matches!(written, Err(Error::LeaseNotFound)), "{written:?}");
    let kept = store.keep_alive(NEVER_GRANTED).await;
    assert!(matches!(kept, Err(Error::LeaseNotFound)), "{kept:?}");
    let revoked = store.revoke_lease(NEVER_GRANTED).await;
    assert!(matches!(revoked, Err(Error::LeaseNotFound)), "{revoked:?}");
    assert_eq!(read(&*store, "/k").await, None);
}
