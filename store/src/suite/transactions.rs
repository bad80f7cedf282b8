//! Claims about writes: comparisons, revisions, and what a failure means.

use futures::future::join_all;

use super::*;

pub async fn an_acknowledged_write_is_seen_by_every_later_read(subject: &mut dyn Subject) {
    let store = subject.store();
    let mut last = now(&*store).await;
    for number in 0..20 {
        let value = format!("value {number}");
        let revision = write(&*store, vec![put("/seen", value.clone())]).await;
        assert!(revision > last, "revisions grow: {revision} after {last}");
        assert!(now(&*store).await >= revision);
        let read = store.get("/seen").await.expect("get");
        assert!(read.revision >= revision);
        assert_eq!(read.kv.expect("the key is there").value, value);
        assert_eq!(
            list(&*store, "/seen", None).await.expect("list").kvs[0].mod_revision,
            revision
        );
        last = revision;
    }
}

pub async fn a_key_remembers_its_creation_its_last_change_and_its_version(subject: &mut dyn Subject) {
    let store = subject.store();
    let created = write(&*store, vec![put("/key", "one")]).await;
    let changed = write(&*store, vec![put("/key", "two")]).await;
    let kv = read(&*store, "/key").await.expect("the key is there");
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version, kv.lease),
        (created, changed, 2, 0)
    );
    write(&*store, vec![delete("/key")]).await;
    assert_eq!(read(&*store, "/key").await, None);
    let again = write(&*store, vec![put("/key", "three")]).await;
    let kv = read(&*store, "/key").await.expect("the key is there again");
    assert_eq!(
        (kv.create_revision, kv.mod_revision, kv.version),
        (again, again, 1)
    );
    assert_eq!(&*kv.key, "/key");
}

pub async fn a_comparison_that_fails_changes_nothing_and_reads_what_is_there(subject: &mut dyn Subject) {
    let store = subject.store();
    let there = write(&*store, vec![put("/there", "one")]).await;
    let wrong = [
        vec![must_be_at("/there", 0)],
        vec![must_be_at("/there", there - 1)],
        vec![must_be_at("/absent", there)],
        vec![must_be_at("/there", there), must_be_at("/absent", there)],
    ];
    for compare in wrong {
        let success = vec![put("/there", "overwritten"), put("/new", "written")];
        let read_on_failure = vec!["/absent".to_owned(), "/there".to_owned()];
        let txn = Txn {
            compare: compare.clone(),
            success,
            read_on_failure,
        };
        match store.txn(txn).await.expect("transaction") {
            TxnOutcome::CompareFailed { revision, current } => {
                assert_eq!(revision, there, "{compare:?}");
                assert_eq!(current[0], None);
                assert_eq!(current[1].as_ref().expect("it is there").value, "one");
            }
            committed => panic!("{compare:?} does not hold: {committed:?}"),
        }
    }
    assert_eq!(now(&*store).await, there);
    let compare = vec![must_be_at("/there", there), must_be_at("/absent", 0)];
    let txn = Txn {
        compare,
        success: vec![put("/there", "two")],
        read_on_failure: vec![],
    };
    let outcome = store.txn(txn).await.expect("transaction");
    assert_eq!(outcome, TxnOutcome::Committed { revision: there + 1 });
}

pub async fn of_many_writers_with_the_same_comparison_one_wins(subject: &mut dyn Subject) {
    let store = subject.store();
    let attempts = (0..32).map(|writer| {
        let store = store.clone();
        let compare = vec![must_be_at("/prize", 0)];
        let txn = Txn {
            compare,
            success: vec![put("/prize", format!("{writer}"))],
            read_on_failure: vec![],
        };
        async move { store.txn(txn).await.expect("transaction") }
    });
    let outcomes = join_all(attempts).await;
    let winners: Vec<_> = (0..32)
        .filter(|writer| matches!(outcomes[*writer], TxnOutcome::Committed { .. }))
        .collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let prize = read(&*store, "/prize").await.expect("somebody won");
    assert_eq!(prize.value, format!("{}", winners[0]));
}

pub async fn the_writes_of_a_transaction_share_one_revision(subject: &mut dyn Subject) {
    let store = subject.store();
    let before = write(&*store, vec![put("/old", "")]).await;
    let revision = write(&*store, vec![put("/a", "1"), put("/b", "2"), delete("/old")]).await;
    assert_eq!(revision, before + 1);
    let page = list(&*store, "/", None).await.expect("list");
    let keys: Vec<_> = page.kvs.iter().map(|kv| (&*kv.key, kv.mod_revision)).collect();
    assert_eq!(keys, [("/a", revision), ("/b", revision)]);
}

pub async fn a_value_that_is_too_large_is_refused_as_such(subject: &mut dyn Subject) {
    let store = subject.store();
    // One is above etcd's limit for a request, the other above that of its gRPC library too.
    for size in [1_600_000, 5_000_000] {
        let txn = Txn {
            success: vec![put("/large", vec![7; size])],
            ..Txn::default()
        };
        let outcome = store.txn(txn).await;
        assert!(
            matches!(outcome, Err(Error::TooLarge)),
            "{size} bytes: {outcome:?}"
        );
    }
    assert_eq!(read(&*store, "/large").await, None);
    write(&*store, vec![put("/large", vec![7; 1_000_000])]).await;
}

pub async fn a_write_whose_reply_was_lost_is_ambiguous(subject: &mut dyn Subject) {
    let Some(lossy) = subject.lossy().await else {
        return;
    };
    let witness = subject.store();
    lossy
        .store
        .get("/connected")
        .await
        .expect("the lossy way works at first");
    (lossy.lose_replies)();
    let store = lossy.store.clone();
    let txn = Txn {
        success: vec![put("/lost", "written")],
        ..Txn::default()
    };
    let attempt = tokio::spawn(async move { store.txn(txn).await });
    within(
        async { while read(&*witness, "/lost").await.is_none() {} },
        "the write whose reply is lost",
    )
    .await;
    (lossy.cut)();
    let outcome = within(attempt, "the end of the call")
        .await
        .expect("the call does not panic");
    assert!(matches!(outcome, Err(Error::Ambiguous(_))), "{outcome:?}");
    assert_eq!(
        read(&*witness, "/lost").await.expect("written").version,
        1,
        "it was not sent again"
    );
    let read = lossy
        .store
        .get("/lost")
        .await
        .expect("the connection is made again");
    assert_eq!(read.kv.expect("written").value, "written");
}

pub async fn acknowledged_writes_survive_a_restart(subject: &mut dyn Subject) {
    let before = write(&*subject.store(), vec![put("/kept", "value")]).await;
    subject.restart().await;
    let store = subject.store();
    let kv = read(&*store, "/kept").await.expect("it is still there");
    assert_eq!((kv.mod_revision, &kv.value[..]), (before, &b"value"[..]));
    assert!(write(&*store, vec![put("/kept", "new")]).await > before);
}
