//! Claims about lists: pages, past revisions, compaction.

use super::*;

pub async fn pages_show_one_revision_whatever_is_written_meanwhile(subject: &mut dyn Subject) {
    let store = subject.store();
    for number in 0..10 {
        write(&*store, vec![put(&format!("/page/{number}"), "old")]).await;
    }
    let range = Range {
        prefix: "/page/",
        limit: 4,
        ..Range::default()
    };
    let first = store.list(range).await.expect("first page");
    assert_eq!((first.kvs.len(), first.more, first.count), (4, true, 10));
    write(
        &*store,
        vec![put("/page/45", "new"), put("/page/5", "new"), delete("/page/7")],
    )
    .await;

    let mut seen = first.kvs;
    let mut counts = vec![first.count];
    loop {
        let last = seen.last().expect("not empty").key.clone();
        let behind = Range {
            start_after: Some(&last),
            revision: Some(first.revision),
            ..range
        };
        let page = store.list(behind).await.expect("next page");
        assert_eq!(page.revision, first.revision);
        counts.push(page.count);
        seen.extend(page.kvs);
        if !page.more {
            break;
        }
    }
    assert_eq!(counts, [10, 6, 2]);
    let keys: Vec<_> = seen.iter().map(|kv| kv.key.to_string()).collect();
    let expected: Vec<_> = (0..10).map(|number| format!("/page/{number}")).collect();
    assert_eq!(keys, expected);
    assert!(seen.iter().all(|kv| kv.value == "old"));
}

pub async fn a_list_without_a_limit_is_complete(subject: &mut dyn Subject) {
    const TXNS: usize = 21;
    const KEYS_PER_TXN: usize = 100;
    let store = subject.store();
    for txn in 0..TXNS {
        let key = |number| format!("/all/{:04}", txn * KEYS_PER_TXN + number);
        write(
            &*store,
            (0..KEYS_PER_TXN).map(|number| put(&key(number), "v")).collect(),
        )
        .await;
    }
    let page = list(&*store, "/all/", None).await.expect("list");
    assert_eq!((page.kvs.len(), page.more, page.count), (2100, false, 2100));
    assert!(
        page.kvs.windows(2).all(|pair| pair[0].key < pair[1].key),
        "in order, each once"
    );
    let most = store
        .list(Range {
            prefix: "/all/",
            limit: 1700,
            ..Range::default()
        })
        .await
        .expect("list");
    assert_eq!((most.kvs.len(), most.more, most.count), (1700, true, 2100));
}

pub async fn a_prefix_matches_its_own_keys_only(subject: &mut dyn Subject) {
    let store = subject.store();
    let keys = ["/pods/a/x", "/pods/ab/x", "/pods/b/x", "/pods.other/x", "/pods"];
    write(&*store, keys.iter().map(|key| put(key, "")).collect()).await;
    let cases: [(&str, &[&str]); 5] = [
        ("/pods/", &["/pods/a/x", "/pods/ab/x", "/pods/b/x"]),
        ("/pods/a/", &["/pods/a/x"]),
        ("/pods/c/", &[]),
        ("/pods/a/x", &["/pods/a/x"]),
        (
            "",
            &["/pods", "/pods.other/x", "/pods/a/x", "/pods/ab/x", "/pods/b/x"],
        ),
    ];
    for (prefix, expected) in cases {
        let page = list(&*store, prefix, None).await.expect("list");
        let found: Vec<_> = page.kvs.iter().map(|kv| &*kv.key).collect();
        assert_eq!(found, expected, "{prefix}");
    }
}

pub async fn a_past_revision_is_read_as_it_was_and_a_future_one_is_refused(subject: &mut dyn Subject) {
    let store = subject.store();
    let first = write(&*store, vec![put("/past", "one")]).await;
    let second = write(&*store, vec![put("/past", "two")]).await;
    let third = write(&*store, vec![delete("/past")]).await;
    let at = |revision| list(&*store, "/past", Some(revision));
    let value = |page: Page| page.kvs.first().map(|kv| kv.value.clone());
    assert_eq!(value(at(first).await.expect("list")), Some(Bytes::from("one")));
    assert_eq!(value(at(second).await.expect("list")), Some(Bytes::from("two")));
    let last = at(third).await.expect("list");
    assert_eq!((last.revision, value(last)), (third, None));
    let future = at(third + 5).await;
    assert!(
        matches!(future, Err(Error::FutureRevision { revision }) if revision == third + 5),
        "{future:?}"
    );
}

pub async fn compaction_forgets_history_and_says_so(subject: &mut dyn Subject) {
    let store = subject.store();
    let first = write(&*store, vec![put("/compact", "one")]).await;
    let second = write(&*store, vec![put("/compact", "two")]).await;
    let third = write(&*store, vec![put("/compact", "three")]).await;
    store.compact(second).await.expect("compact");
    let gone = list(&*store, "/compact", Some(first)).await;
    assert!(
        matches!(gone, Err(Error::Compacted { revision, .. }) if revision == first),
        "{gone:?}"
    );
    for (revision, value) in [(second, "two"), (third, "three")] {
        let page = list(&*store, "/compact", Some(revision))
            .await
            .expect("still readable");
        assert_eq!(page.kvs[0].value, value);
    }
    let again = store.compact(first).await;
    assert!(matches!(again, Err(Error::Compacted { .. })), "{again:?}");
    let ahead = store.compact(third + 5).await;
    assert!(matches!(ahead, Err(Error::FutureRevision { .. })), "{ahead:?}");
}
