//! Connections are cut at random bytes while objects come, change and go and the store forgets its past: each client's
//! history of each key, built from its lists and watches, is etcd's own.

mod churn;
#[path = "../serving/cluster.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
#[allow(clippy::result_large_err, reason = "as there")]
mod cluster;
mod cutting_proxy;
mod truth;
mod watcher;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gantry_client as client;
use gantry_proto::core::v1::ConfigMap;
use gantry_store::Store as _;
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use cluster::{Cluster, DEADLINE};
use cutting_proxy::CuttingProxy;
use truth::{CacheLog, Truth};
use watcher::Watcher;

const LOOK_AGAIN: Duration = Duration::from_millis(10);
const PREFIX: &str = "/registry/configmaps/default/";
/// Between two compactions.
const COMPACTION_PAUSE: Duration = Duration::from_millis(20);
/// What the store remembers where the servers' connections to it hold: etcd itself may be this much behind in telling
/// them, and would end a watch that it has let fall behind a compaction.
const KEPT: i64 = 100;

/// One run.
struct Plan {
    /// Servers that clients use, besides the one through which objects are written.
    servers: usize,
    /// Whether the servers' connections to etcd are cut too, so that they list again and their clients have to.
    cuts_etcd: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_over_one_server_are_etcds() {
    run(Plan {
        servers: 1,
        cuts_etcd: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_over_two_servers_are_etcds() {
    run(Plan {
        servers: 2,
        cuts_etcd: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_over_three_servers_that_lose_etcd_are_etcds_but_for_what_a_list_skips() {
    run(Plan {
        servers: 3,
        cuts_etcd: true,
    })
    .await;
}

/// `GANTRY_SEED` repeats a run.
#[allow(
    clippy::disallowed_methods,
    reason = "each run tries something else, and says what"
)]
fn seed() -> u64 {
    let given = std::env::var("GANTRY_SEED").ok();
    let seed = given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    println!("GANTRY_SEED={seed}");
    seed
}

async fn run(plan: Plan) {
    let mut rng = StdRng::seed_from_u64(seed());
    let cluster = Cluster::start().await;
    let etcd = Arc::new(cluster.etcd.connect().await);
    let (mut to_etcd, mut to_servers) = (Vec::new(), Vec::new());
    for _ in 0..plan.servers {
        let way = if plan.cuts_etcd {
            let proxy = CuttingProxy::start(cluster.etcd.address(), 20_000..2_000_000, rng.random()).await;
            let way = cluster.etcd.config_by_way_of(proxy.address());
            to_etcd.push(proxy);
            way
        } else {
            cluster.etcd.config()
        };
        let server = cluster.another_server_by(way).await;
        to_servers.push(CuttingProxy::start(server, 1_000..300_000, rng.random()).await);
    }
    // Whoever begins now has to see everything that the truth has.
    let start = etcd.current_revision().await.unwrap();
    let truth = Arc::new(Truth::follow(&*etcd, start).await);
    let stop = CancellationToken::new();
    let (certificate, key) = cluster.files.sign("kubernetes-admin", &["system:masters"], &[]);
    let ca = std::fs::read(cluster.files.folder.join("ca.crt")).unwrap();
    let log = Arc::new(CacheLog::default());
    let cache = {
        let config = client::Config {
            servers: to_servers
                .iter()
                .map(|proxy| format!("https://{}", proxy.address()))
                .collect(),
            ca: ca.clone(),
            identity: Some((certificate.clone().into_bytes(), key.clone().into_bytes())),
            tls_server_name: Some("localhost".into()),
            namespace: None,
            trace_parent: || None,
            observer: client::Observer::default(),
        };
        let log = log.clone();
        client::Cache::<ConfigMap>::builder(client::Client::new(config).unwrap())
            .namespace("default")
            .on_change(move |change| log.note(change))
            .spawn(stop.clone())
    };
    let watchers: Vec<Watcher> = (0..3)
        .map(|number| {
            let addresses = to_servers.iter().map(CuttingProxy::address).collect();
            Watcher::start(addresses, number, &ca, (&certificate, &key), stop.clone())
        })
        .collect();
    tokio::time::timeout(DEADLINE, cache.synced())
        .await
        .expect("the first list");
    for proxy in to_servers.iter().chain(&to_etcd) {
        proxy.begin();
    }
    let kept = if plan.cuts_etcd { 0 } else { KEPT };
    let compactor = tokio::spawn(compact(etcd.clone(), truth.clone(), kept, stop.clone()));
    churn::run(&cluster.admin().await, &mut rng).await;
    for proxy in to_servers.iter().chain(&to_etcd) {
        proxy.calm();
    }
    let last = churn::mark_the_end(&cluster.admin().await).await;
    truth.until(last).await;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while cache.revision() < last || watchers.iter().any(|watcher| watcher.position() < last) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "every client must reach {last}: the cache is at {}, the watchers at {:?}",
            cache.revision(),
            watchers.iter().map(Watcher::position).collect::<Vec<_>>()
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    stop.cancel();
    let compactions = compactor.await.unwrap();
    let cuts: usize = to_servers
        .iter()
        .chain(&to_etcd)
        .map(|proxy| proxy.cuts.load(Ordering::SeqCst))
        .sum();
    let lists: usize = watchers.iter().map(Watcher::lists).sum();
    println!(
        "{cuts} connections cut, {compactions} compactions, {lists} lists by {} watchers",
        watchers.len()
    );
    assert!(cuts > 10 && compactions > 3, "the run must be rough");
    if !plan.cuts_etcd {
        assert_eq!(
            lists,
            watchers.len(),
            "a connection that is cut costs no client its place"
        );
    }
    for (number, watcher) in watchers.iter().enumerate() {
        truth.check_segments(&watcher.segments(), last, &format!("watcher {number}"));
    }
    truth.check_cache(&log, !plan.cuts_etcd);
}

/// Lets the store forget all but the last `kept` revisions of what the truth has heard, again and again; returns how
/// often.
async fn compact(
    etcd: Arc<gantry_store::etcd::EtcdStore>,
    truth: Arc<Truth>,
    kept: i64,
    stop: CancellationToken,
) -> usize {
    let mut count = 0;
    while stop
        .run_until_cancelled(tokio::time::sleep(COMPACTION_PAUSE))
        .await
        .is_some()
    {
        count += usize::from(etcd.compact(truth.last() - kept).await.is_ok());
    }
    count
}
