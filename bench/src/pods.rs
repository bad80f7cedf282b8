//! From create to Ready: one pod at a time, and many at once. A kubelet 1.36 with containerd on two cores of
//! this class takes 274 ms (median) and 9.5 s for 60.

use crate::figures::percentile;
use gantry_tests::cluster::{Cluster, condition};
use std::time::{Duration, Instant};

/// Much longer than any measurement.
const LIMIT: Duration = Duration::from_secs(300);

pub fn print(cluster: &Cluster, one_by_one: usize, at_once: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let _entered = runtime.enter();
    let client = gantry_client::Client::new(gantry_client::Config::load(&cluster.kubeconfig())?)?;
    let mut times = Vec::new();
    for number in 0..one_by_one {
        let name = format!("one-{number}");
        let start = Instant::now();
        runtime.block_on(create(&client, &name))?;
        runtime.block_on(ready(&client, std::slice::from_ref(&name)))?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        cluster.must(&["delete", "pod", &name]);
    }
    println!("create to Ready, one pod at a time, {one_by_one} pods");
    println!(
        "  p50 {:.0} ms, p90 {:.0} ms",
        percentile(&times, 0.5),
        percentile(&times, 0.9)
    );

    let names: Vec<String> = (0..at_once).map(|number| format!("many-{number}")).collect();
    let start = Instant::now();
    for name in &names {
        runtime.block_on(create(&client, name))?;
    }
    runtime.block_on(ready(&client, &names))?;
    println!(
        "create to Ready, {at_once} pods at once\n  {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let list = cluster.json(&["get", "pods"]).unwrap_or_default();
    let not_ready = gantry_tests::cluster::items(&list)
        .iter()
        .filter(|pod| condition(pod, "Ready") != "True")
        .count();
    anyhow::ensure!(not_ready == 0, "{not_ready} pods are not Ready");
    cluster.must(&["delete", "pods", "--all"]);
    Ok(())
}

async fn create(client: &gantry_client::Client, name: &str) -> anyhow::Result<()> {
    let pod = serde_json::json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "busybox:1", "command": ["/bin/sleep", "3600"]}],
        },
    });
    let pod: gantry_proto::core::v1::Pod = gantry_proto::json::decode_value(&pod)?.object;
    client.create(&pod).await?;
    Ok(())
}

/// Follows the pods by watch, as a user's `-w` does, until all are Ready.
async fn ready(client: &gantry_client::Client, names: &[String]) -> anyhow::Result<()> {
    let shutdown = tokio_util::sync::CancellationToken::new();
    let (sender, mut changed) = tokio::sync::watch::channel(());
    let cache = gantry_client::Cache::<gantry_proto::core::v1::Pod>::builder(client.clone())
        .namespace("default")
        .on_change(move |_| {
            sender.send_replace(());
        })
        .spawn(shutdown.clone());
    let all_ready = async {
        loop {
            let done = names.iter().all(|name| {
                let pod = cache.get(&gantry_proto::Key::new("default", name.as_str()));
                pod.is_some_and(|pod| {
                    pod.status()
                        .conditions
                        .iter()
                        .any(|c| c.r#type == "Ready" && c.status == "True")
                })
            });
            if done {
                return anyhow::Ok(());
            }
            changed.changed().await?;
        }
    };
    let result = tokio::time::timeout(LIMIT, all_ready).await?;
    shutdown.cancel();
    result
}
