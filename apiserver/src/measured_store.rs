//! The store with a clock beside it.

use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gantry_store::{Error, LeaseId, Page, Range, Read, Revision, Store, Txn, TxnOutcome, Watch};

use crate::metrics::Metrics;

/// Passes every call on and measures how long it took.
pub struct MeasuredStore<S> {
    pub store: S,
    pub metrics: Metrics,
}

impl<S: Sync> MeasuredStore<S> {
    fn measure<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        call: BoxFuture<'a, T>,
    ) -> BoxFuture<'a, T> {
        let start = Instant::now();
        call.inspect(move |_| self.metrics.store_call(operation, start.elapsed()))
            .boxed()
    }
}

impl<S: Store> Store for MeasuredStore<S> {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Read, Error>> {
        self.measure("get", self.store.get(key))
    }

    fn list(&self, range: Range<'_>) -> BoxFuture<'_, Result<Page, Error>> {
        self.measure("list", self.store.list(range))
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnOutcome, Error>> {
        self.measure("txn", self.store.txn(txn))
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<Watch, Error>> {
        self.measure("watch", self.store.watch(prefix, after))
    }

    fn current_revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        self.measure("revision", self.store.current_revision())
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.measure("compact", self.store.compact(revision))
    }

    fn grant_lease(&self, ttl_seconds: i64) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.measure("grant", self.store.grant_lease(ttl_seconds))
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.measure("keepalive", self.store.keep_alive(lease))
    }

    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.measure("revoke", self.store.revoke_lease(lease))
    }
}
