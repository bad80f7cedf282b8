//! Creates per second through the apiserver, beside raw creates on the same etcd: interleaved pairs.

use crate::figures::{median, percentile};
use etcd_client::{Certificate, Compare, CompareOp, ConnectOptions, Identity, TlsOptions, Txn, TxnOp};
use gantry_client::{Client, Config};
use gantry_proto::core::v1::ConfigMap;
use gantry_proto::meta::v1::ObjectMeta;
use gantry_tests::cluster::Cluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 32;
/// Connections that the clients share, as many client processes would.
const CONNECTIONS: usize = 4;
/// The size of each object's data.
const BYTES: usize = 1_000;

pub async fn print(cluster: &Cluster, seconds: u64, pairs: usize) -> anyhow::Result<()> {
    let number = Arc::new(AtomicU64::new(0));
    let half = Duration::from_secs(seconds);
    let (mut ours, mut raw, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pairs {
        let through = through_apiserver(cluster, half, number.clone()).await?;
        let direct = on_etcd(cluster, half, number.clone()).await?;
        ours.push(through);
        raw.push(direct);
        ratios.push(through / direct);
    }
    println!("creates of {BYTES} bytes with {CLIENTS} clients, {pairs} pairs of {seconds} s");
    println!("  through the apiserver {:8.0}/s (median)", median(&ours));
    println!("  raw etcd transactions {:8.0}/s (median)", median(&raw));
    println!(
        "  ratio {:.2} (median; {:.2} to {:.2})",
        median(&ratios),
        percentile(&ratios, 0.0),
        percentile(&ratios, 1.0)
    );
    Ok(())
}

async fn through_apiserver(cluster: &Cluster, half: Duration, number: Arc<AtomicU64>) -> anyhow::Result<f64> {
    let config = Config::load(&cluster.kubeconfig())?;
    let clients = (0..CONNECTIONS)
        .map(|_| Client::new(config.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    rate(half, |worker| {
        let (client, number) = (clients[worker % CONNECTIONS].clone(), number.clone());
        async move {
            let metadata = ObjectMeta {
                name: format!("bench-{}", number.fetch_add(1, Ordering::Relaxed)),
                namespace: "default".into(),
                ..ObjectMeta::default()
            };
            let data = [("data".to_string(), "x".repeat(BYTES))].into();
            client
                .create(&ConfigMap {
                    metadata: Some(metadata),
                    data,
                    ..ConfigMap::default()
                })
                .await?;
            Ok(())
        }
    })
    .await
}

async fn on_etcd(cluster: &Cluster, half: Duration, number: Arc<AtomicU64>) -> anyhow::Result<f64> {
    let pki = cluster.folder().join("pki/etcd");
    let read = |name: &str| std::fs::read(pki.join(name));
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(read("ca.crt")?))
        .identity(Identity::from_pem(read("client.crt")?, read("client.key")?));
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let options = ConnectOptions::new().with_tls(tls.clone());
        clients.push(etcd_client::Client::connect(["https://127.0.0.1:2379"], Some(options)).await?);
    }
    rate(half, |worker| {
        let (mut client, number) = (clients[worker % CONNECTIONS].clone(), number.clone());
        async move {
            let key = format!("/bench/{}", number.fetch_add(1, Ordering::Relaxed));
            let absent = Compare::mod_revision(key.clone(), CompareOp::Equal, 0);
            let put = TxnOp::put(key, vec![b'x'; BYTES + 200], None);
            client.txn(Txn::new().when([absent]).and_then([put])).await?;
            Ok(())
        }
    })
    .await
}

/// How often per second 32 workers together do something.
async fn rate<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
    half: Duration,
    once: impl Fn(usize) -> F,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut done = 0_u64;
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..CLIENTS {
        let first = once(worker);
        workers.spawn(async move { (worker, first.await) });
    }
    while let Some(finished) = workers.join_next().await {
        let (worker, result) = finished?;
        result?;
        done += 1;
        if start.elapsed() < half {
            let next = once(worker);
            workers.spawn(async move { (worker, next.await) });
        }
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}
