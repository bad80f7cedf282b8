//! Raw writes to the etcd of the measurement, beside which the bindings are told.

use crate::cost::CLIENTS;
use anyhow::Context as _;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, GetOptions, Identity, TlsOptions, Txn, TxnOp,
};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keys are used once in a run.
static NUMBER: AtomicU64 = AtomicU64::new(0);

pub(super) async fn connect(folder: &Path, connections: usize) -> anyhow::Result<Vec<Client>> {
    let pki = folder.join("pki/etcd");
    let read = |name: &str| std::fs::read(pki.join(name)).with_context(|| format!("reading {name}"));
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(read("ca.crt")?))
        .identity(Identity::from_pem(read("client.crt")?, read("client.key")?));
    let mut clients = Vec::new();
    for _ in 0..connections {
        let options = ConnectOptions::new().with_tls(tls.clone());
        clients.push(Client::connect(["https://127.0.0.1:2379"], Some(options)).await?);
    }
    Ok(clients)
}

/// How many bytes a pod's value has. One that is bound has a few more.
pub(super) async fn size_of_a_pod(client: &Client) -> anyhow::Result<usize> {
    let options = GetOptions::new().with_prefix().with_limit(1);
    let reply = client
        .clone()
        .get("/registry/pods/default/", Some(options))
        .await?;
    let first = reply.kvs().first().context("etcd has no pod")?;
    Ok(first.value().len())
}

/// Transactions per second that each create a key, by as many clients as create pods.
pub(super) async fn rate(clients: &[Client], bytes: usize, span: Duration) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..CLIENTS {
        let mut client = clients[writer % clients.len()].clone();
        writers.spawn(async move {
            let mut done = 0_u64;
            while start.elapsed() < span {
                let key = format!("/bench/{}", NUMBER.fetch_add(1, Ordering::Relaxed));
                let absent = Compare::mod_revision(key.clone(), CompareOp::Equal, 0);
                let put = TxnOp::put(key, vec![b'x'; bytes], None);
                client.txn(Txn::new().when([absent]).and_then([put])).await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(writer) = writers.join_next().await {
        done += writer??;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}
