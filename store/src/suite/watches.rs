//! Claims about watches: every change once, in order, in whole revisions, across breaks.

use futures::future::join_all;

use super::*;

/// Puts and deletes as `key=value` and `key-`.
fn told(events: &[Event]) -> Vec<String> {
    let tell = |event: &Event| match event {
        Event::Put { kv } => format!("{}={}", kv.key, String::from_utf8_lossy(&kv.value)),
        Event::Delete { key, .. } => format!("{key}-"),
    };
    events.iter().map(tell).collect()
}

fn revisions(events: &[Event]) -> Vec<Revision> {
    events.iter().map(Event::revision).collect()
}

pub async fn a_watch_replays_the_past_in_order(subject: &mut dyn Subject) {
    let store = subject.store();
    let first = write(&*store, vec![put("/w/a", "1")]).await;
    write(&*store, vec![put("/w/a", "2")]).await;
    write(&*store, vec![put("/elsewhere", "x")]).await;
    write(&*store, vec![put("/w/b", "3"), delete("/w/a")]).await;
    let last = write(&*store, vec![put("/w/a", "4")]).await;

    let mut all = watch(&*store, "/w/", first - 1).await;
    let events = next_events(&mut all, 5).await;
    let expected = ["/w/a=1", "/w/a=2", "/w/b=3", "/w/a-", "/w/a=4"];
    assert_eq!(told(&events), expected);
    assert_eq!(revisions(&events), [first, first + 1, first + 3, first + 3, last]);

    let mut later = watch(&*store, "/w/", first + 1).await;
    assert_eq!(told(&next_events(&mut later, 3).await), expected[2..]);
}

pub async fn a_watch_goes_on_from_the_past_into_the_present(subject: &mut dyn Subject) {
    let store = subject.store();
    let start = now(&*store).await;
    for number in 0..50 {
        write(&*store, vec![put("/w/past", format!("{number}"))]).await;
    }
    let mut watch = watch(&*store, "/w/", start).await;
    for number in 0..50 {
        write(&*store, vec![put("/w/present", format!("{number}"))]).await;
    }
    let events = next_events(&mut watch, 100).await;
    assert_eq!(revisions(&events), (start + 1..=start + 100).collect::<Vec<_>>());
}

pub async fn a_watch_delivers_whole_revisions_only(subject: &mut dyn Subject) {
    // The transactions that a late watch catches up with are 8.4 MB of events, far more than etcd sends in one
    // message.
    const KEYS: usize = 100;
    const VALUE_BYTES: usize = 14_000;
    const TXNS: usize = 6;
    let store = subject.store();
    let start = now(&*store).await;
    let mut live = watch(&*store, "/w/", start).await;
    for txn in 0..TXNS {
        let value = Bytes::from(vec![b'a' + txn as u8; VALUE_BYTES]);
        let ops = (0..KEYS).map(|key| put(&format!("/w/{key:03}"), value.clone()));
        write(&*store, ops.collect()).await;
    }
    let mut late = watch(&*store, "/w/", start).await;
    for (name, watch) in [("live", &mut live), ("late", &mut late)] {
        let mut seen = 0;
        let mut last = start;
        while seen < TXNS * KEYS {
            let batch = next_batch(watch).await;
            assert!(
                batch
                    .events
                    .iter()
                    .all(|event| event.revision() > last && event.revision() <= batch.revision)
            );
            assert_eq!(
                batch.events.len() % KEYS,
                0,
                "{name}: a batch of {} events",
                batch.events.len()
            );
            seen += batch.events.len();
            last = batch.revision;
        }
        assert_eq!(last, start + TXNS as i64, "{name}");
    }
}

pub async fn a_watch_that_nobody_reads_for_a_while_loses_nothing(subject: &mut dyn Subject) {
    // Many small messages, of which a connection holds few unread, and then large ones.
    const SMALL: usize = 3000;
    const WRITERS: usize = 50;
    const LARGE: usize = 100;
    const KEYS: usize = 100;
    let store = subject.store();
    let start = now(&*store).await;
    let mut watch = watch(&*store, "/w/", start).await;
    for _ in 0..SMALL / WRITERS {
        join_all((0..WRITERS).map(|_| write(&*store, vec![put("/w/small", "")]))).await;
    }
    for number in 0..LARGE {
        let ops = (0..KEYS).map(|key| put(&format!("/w/{key}"), format!("{number}")));
        write(&*store, ops.collect()).await;
    }
    let events = next_events(&mut watch, SMALL + LARGE * KEYS).await;
    let small = (0..SMALL).map(|index| start + 1 + index as i64);
    let large = (0..LARGE * KEYS).map(|index| start + 1 + (SMALL + index / KEYS) as i64);
    assert_eq!(revisions(&events), small.chain(large).collect::<Vec<_>>());
}

pub async fn a_watch_of_a_compacted_past_ends_with_that_error(subject: &mut dyn Subject) {
    let store = subject.store();
    let first = write(&*store, vec![put("/w/a", "1")]).await;
    write(&*store, vec![put("/w/a", "2")]).await;
    let third = write(&*store, vec![put("/w/a", "3")]).await;
    store.compact(third).await.expect("compact");
    let error = match store.watch("/w/", first - 1).await {
        Err(error) => error,
        Ok(mut watch) => {
            let error = within(watch.next(), "the end of the watch")
                .await
                .expect("an item")
                .expect_err("an error");
            assert!(watch.next().await.is_none(), "an error is the last item");
            error
        }
    };
    match error {
        Error::Compacted {
            revision,
            compact_revision,
        } => {
            assert_eq!(revision, first - 1);
            assert!(compact_revision.is_none_or(|compact_revision| compact_revision == third));
        }
        other => panic!("{other:?}"),
    }
    let mut current = watch(&*store, "/w/", third).await;
    write(&*store, vec![put("/w/a", "4")]).await;
    assert_eq!(next_events(&mut current, 1).await[0].revision(), third + 1);
}

pub async fn a_watch_survives_a_restart_and_delivers_each_change_once(subject: &mut dyn Subject) {
    let store = subject.store();
    let start = now(&*store).await;
    let mut watch = watch(&*store, "/w/", start).await;
    for round in 0..3 {
        for number in 0..5 {
            write(&*subject.store(), vec![put("/w/a", format!("{round}.{number}"))]).await;
        }
        // The watch is read in the second round only, so it breaks with and without something unread.
        if round == 1 {
            next_events(&mut watch, 10).await;
        }
        subject.restart().await;
    }
    write(&*subject.store(), vec![put("/w/a", "end")]).await;
    let events = next_events(&mut watch, 6).await;
    assert_eq!(revisions(&events), (start + 11..=start + 16).collect::<Vec<_>>());
    assert_eq!(told(&events)[5], "/w/a=end");
}

pub async fn progress_never_runs_ahead_of_the_events_it_covers(subject: &mut dyn Subject) {
    const WRITES: usize = 500;
    let store = subject.store();
    let start = now(&*store).await;
    let mut watch = watch(&*store, "/w/", start).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 0..WRITES {
                write(&*store, vec![put("/w/a", format!("{number}"))]).await;
            }
        }
    });
    let mut told = start;
    let mut seen = start;
    while seen < start + WRITES as i64 {
        watch.request_progress();
        let batch = next_batch(&mut watch).await;
        for event in &batch.events {
            assert_eq!(event.revision(), seen + 1, "the next change");
            assert!(event.revision() > told, "progress had told of {told} already");
            seen = event.revision();
        }
        assert!(batch.revision >= told, "progress never goes back");
        // Every revision is a change that this watch must see, so the two may never differ.
        assert_eq!(batch.revision, seen);
        told = batch.revision;
    }
    writer.await.expect("the writer");
}

pub async fn progress_comes_when_nothing_is_written_to_the_prefix(subject: &mut dyn Subject) {
    let store = subject.store();
    let mut watch = watch(&*store, "/quiet/", now(&*store).await).await;
    for number in 0..3 {
        let revision = write(&*store, vec![put("/elsewhere", format!("{number}"))]).await;
        watch.request_progress();
        loop {
            let batch = next_batch(&mut watch).await;
            assert_eq!(batch.events, []);
            if batch.revision >= revision {
                break;
            }
            watch.request_progress();
        }
    }
}
