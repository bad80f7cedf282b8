//! The store on an etcd cluster, reached by TLS with a client certificate.
//!
//! Reads and writes go to one member until it fails, then to the next. Watches run on connections of their
//! own, so that a burst of events never delays a call.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare as EtcdCompare, CompareOp, DeleteOptions, GetOptions, PutOptions, TxnOp};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::{Compare, Error, LeaseId, Op, Page, Range, Read, Revision, Store, Txn, TxnOutcome, Watch};
use failure::Request;
use members::{Member, Members};

mod members;
mod failure;
mod version;
mod wire;
mod stream;
mod whole_revisions;

/// How long [`connect`] waits for an etcd that is still starting: one that replays a large log and elects a
/// leader is up within a minute.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

/// Keys that one request of a list reads: 500 keys of etcd's largest request (1.5 MiB) are 750 MiB, which
/// stays below [`members::LARGEST_REPLY`].
const PAGE_KEYS: usize = 500;

/// Where etcd is and how to prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `https://host:port` of each member.
    pub endpoints: Vec<String>,
    /// The CA that signed the members' certificates (PEM).
    pub ca_file: PathBuf,
    /// Our client certificate (PEM).
    pub cert_file: PathBuf,
    /// Its key (PEM).
    pub key_file: PathBuf,
}

/// Connects to etcd, waiting up to a minute for it to come up.
///
/// Fails with [`Error::Refused`] when the configuration is wrong or a member is older than 3.5.13, and with
/// [`Error::Unavailable`] when no member answers in time.
pub async fn connect(config: Config) -> Result<EtcdStore, Error> {
    connect_within(config, CONNECT_PATIENCE).await
}

async fn connect_within(config: Config, patience: Duration) -> Result<EtcdStore, Error> {
    let members = Members::new(&config).await?;
    members.wait_until_one_answers(patience).await?;
    Ok(EtcdStore {
        members: Arc::new(members),
    })
}

/// [`Store`] on etcd. Cloning shares the connections.
#[derive(Clone)]
pub struct EtcdStore {
    members: Arc<Members>,
}

impl Store for EtcdStore {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Read, Error>> {
        let key = key.to_owned();
        async move {
            let key = key.as_str();
            let attempt = |member: &Member| {
                let mut kv = member.kv();
                async move { kv.get(key, None).await }
            };
            let reply = self.members.call(Request::read("get"), attempt).await?.0;
            let revision = wire::revision(reply.header.as_ref())?;
            let kv = reply.kvs.into_iter().next().map(wire::key_value).transpose()?;
            Ok(Read { kv, revision })
        }
        .boxed()
    }

    fn list(&self, range: Range<'_>) -> BoxFuture<'_, Result<Page, Error>> {
        let start = wire::range_start(range.prefix, range.start_after);
        let end = wire::range_end(range.prefix);
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        self.list_pages(start, end, limit, range.revision).boxed()
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnOutcome, Error>> {
        async move {
            let txn = &txn;
            let attempt = |member: &Member| {
                let mut kv = member.kv();
                async move { kv.txn(etcd_txn(txn)).await }
            };
            let reply = self.members.call(Request::write("transaction"), attempt).await?.0;
            let revision = wire::revision(reply.header.as_ref())?;
            if reply.succeeded {
                return Ok(TxnOutcome::Committed { revision });
            }
            let current = reply
                .responses
                .into_iter()
                .map(wire::read_in_txn)
                .collect::<Result<_, _>>()?;
            Ok(TxnOutcome::CompareFailed { revision, current })
        }
        .boxed()
    }

    fn watch(&self, prefix: &str, after: Revision) -> BoxFuture<'_, Result<Watch, Error>> {
        stream::start(self.members.clone(), prefix.to_owned(), after).boxed()
    }

    fn current_revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        async move {
            let attempt = |member: &Member| {
                let mut kv = member.kv();
                async move { kv.get("\0", Some(GetOptions::new().with_count_only())).await }
            };
            let reply = self
                .members
                .call(Request::read("read of the revision"), attempt)
                .await?
                .0;
            wire::revision(reply.header.as_ref())
        }
        .boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let attempt = |member: &Member| {
                let mut kv = member.kv();
                async move { kv.compact(revision, None).await }
            };
            self.members
                .call(Request::write("compaction").at(revision), attempt)
                .await?;
            Ok(())
        }
        .boxed()
    }

    fn grant_lease(&self, ttl_seconds: i64) -> BoxFuture<'_, Result<LeaseId, Error>> {
        async move {
            let attempt = |member: &Member| {
                let mut lease = member.lease();
                async move { lease.grant(ttl_seconds, None).await }
            };
            let reply = self
                .members
                .call(Request::write("grant of a lease"), attempt)
                .await?;
            Ok(reply.id())
        }
        .boxed()
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            // Doing it twice is as good as once, so a lost reply is not ambiguous.
            let attempt = |member: &Member| {
                let mut client = member.lease();
                async move { client.keep_alive(lease).await }
            };
            self.members
                .call(Request::read("renewal of a lease"), attempt)
                .await?;
            Ok(())
        }
        .boxed()
    }

    fn revoke_lease(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let attempt = |member: &Member| {
                let mut client = member.lease();
                async move { client.revoke(lease).await }
            };
            self.members
                .call(Request::write("revocation of a lease"), attempt)
                .await?;
            Ok(())
        }
        .boxed()
    }
}

impl EtcdStore {
    /// Reads up to `limit` keys, in requests of bounded size that all read at the revision of the first.
    async fn list_pages(
        &self,
        mut start: Vec<u8>,
        end: Vec<u8>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<Page, Error> {
        let mut page = Page {
            kvs: Vec::new(),
            revision: revision.unwrap_or(0),
            more: true,
            count: 0,
        };
        while page.more && page.kvs.len() < limit {
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit((limit - page.kvs.len()).min(PAGE_KEYS) as i64)
                .with_revision(page.revision);
            let (from, options) = (&start, &options);
            let attempt = |member: &Member| {
                let mut kv = member.kv();
                async move { kv.get(from.as_slice(), Some(options.clone())).await }
            };
            let reply = self
                .members
                .call(Request::read("list").at(page.revision), attempt)
                .await?
                .0;
            if page.revision == 0 {
                page.revision = wire::revision(reply.header.as_ref())?;
            }
            if page.kvs.is_empty() {
                page.count = reply.count;
            }
            page.more = reply.more;
            for kv in reply.kvs {
                page.kvs.push(wire::key_value(kv)?);
            }
            if let Some(last) = page.kvs.last() {
                start = wire::just_behind(&last.key);
            }
        }
        Ok(page)
    }
}

fn etcd_txn(txn: &Txn) -> etcd_client::Txn {
    let compare = txn.compare.iter().map(|Compare::ModRevision { key, revision }| {
        EtcdCompare::mod_revision(key.as_str(), CompareOp::Equal, *revision)
    });
    let success = txn.success.iter().map(|op| match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease));
            TxnOp::put(key.as_str(), value.as_ref(), options)
        }
        Op::Delete { key } => TxnOp::delete(key.as_str(), None::<DeleteOptions>),
    });
    let failure = txn
        .read_on_failure
        .iter()
        .map(|key| TxnOp::get(key.as_str(), None));
    etcd_client::Txn::new()
        .when(compare.collect::<Vec<_>>())
        .and_then(success.collect::<Vec<_>>())
        .or_else(failure.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
