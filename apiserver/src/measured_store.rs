//! The store with a clock beside it.

use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gantry_store::{Compare, Error, LeaseId, Op, Page, Range, Read, Revision, Store, Txn, TxnOutcome, Watch};

use crate::metrics::Metrics;

/// Passes every call on and measures how long it took.
pub struct MeasuredStore<S> {
    pub store: S,
    pub metrics: Metrics,
}

impl<S: Sync> MeasuredStore<S> {
    /// `key` is what the call is about; empty for a call about none.
    fn measure<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        key: String,
        call: BoxFuture<'a, Result<T, Error>>,
    ) -> BoxFuture<'a, Result<T, Error>> {
        async move {
            let mut measured = Call {
                metrics: &self.metrics,
                operation,
                key,
                start: Instant::now(),
                has_succeeded: false,
            };
            let outcome = call.await;
            measured.has_succeeded = outcome.is_ok();
            outcome
        }
        .boxed()
    }
}

/// A call that is counted when it is dropped: after its reply, or before it, when whoever asked has lost patience with a
/// store that does not answer.
struct Call<'a> {
    metrics: &'a Metrics,
    operation: &'static str,
    key: String,
    start: Instant,
    has_succeeded: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let took = self.start.elapsed();
        self.metrics
            .store_call(self.operation, &self.key, took, self.has_succeeded);
    }
}

impl<S: Store> Store for MeasuredStore<S> {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Read, Error>> {
        self.measure("get", key.to_owned(), self.store.get(key))
    }

    fn list(&self, range: Range<'_>) -> BoxFuture<'_, Result<Page, Error>> {
        self.measure("list", range.prefix.to_owned(), self.store.list(range))
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnOutcome, Error>> {
        let (operation, key) = purpose(&txn);
        self.measure(operation, key, self.store.txn(txn))
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<Watch, Error>> {
        self.measure("watch", prefix.to_owned(), self.store.watch(prefix, after))
    }

    fn current_revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        self.measure("revision", String::new(), self.store.current_revision())
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.measure("compact", String::new(), self.store.compact(revision))
    }

    fn grant_lease(&self, ttl_seconds: i64) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.measure("grant", String::new(), self.store.grant_lease(ttl_seconds))
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.measure("keepalive", String::new(), self.store.keep_alive(lease))
    }

    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.measure("revoke", String::new(), self.store.revoke_lease(lease))
    }
}

/// What a transaction is for, as Kubernetes names it, and the key of its object: the first that it writes.
fn purpose(txn: &Txn) -> (&'static str, String) {
    match txn.success.first() {
        Some(Op::Put { key, .. }) if txn.compare.iter().any(|compare| is_absence(compare, key)) => {
            ("create", key.clone())
        }
        Some(Op::Put { key, .. }) => ("update", key.clone()),
        Some(Op::Delete { key }) => ("delete", key.clone()),
        None => ("txn", String::new()),
    }
}

fn is_absence(compare: &Compare, written: &str) -> bool {
    let Compare::ModRevision { key, revision } = compare;
    *revision == 0 && key == written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_named_after_what_it_does_to_its_object() {
        let key = || "/registry/pods/default/web".to_owned();
        let compare = |revision| vec![Compare::ModRevision { key: key(), revision }];
        let put = || Op::Put {
            key: key(),
            value: Default::default(),
            lease: None,
        };
        for (compare, op, name) in [
            (compare(0), put(), "create"),
            (compare(7), put(), "update"),
            (compare(7), Op::Delete { key: key() }, "delete"),
        ] {
            let txn = Txn {
                compare,
                success: vec![op],
                ..Txn::default()
            };
            assert_eq!(purpose(&txn), (name, key()));
        }
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_any_more_has_failed() {
        let registry = gantry_telemetry::metrics::Registry::new();
        let store = MeasuredStore {
            store: (),
            metrics: Metrics::new(&registry),
        };
        let measure = |call| store.measure("get", "/registry/pods/default/web".into(), call);
        measure(futures::future::ready(Ok(())).boxed()).await.unwrap();
        assert!(futures::poll!(measure(futures::future::pending().boxed())).is_pending());
        let text = gantry_telemetry::metrics::encode(&registry);
        let labels = "{operation=\"get\",group=\"\",resource=\"pods\"}";
        for line in [
            format!("etcd_request_duration_seconds_count{labels} 2"),
            format!("etcd_request_errors_total{labels} 1"),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
}
