//! The sample application, deployed and reached.

use gantry_tests::cluster::{Cluster, Options, condition};
use gantry_tests::{eventually, load};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long things that involve starting containers may take on two busy cores.
pub const SLOW: Duration = Duration::from_secs(90);

/// A cluster with the sample's images, and the sample rolled out.
pub fn cluster_with_sample(name: &str, options: &Options) -> Cluster {
    let cluster = match Cluster::start(name, options) {
        Ok(cluster) => cluster,
        Err(error) => panic!("the cluster did not start: {error:#}"),
    };
    for image in ["hello-1.tar", "hello-2.tar", "busybox.tar"] {
        cluster.import(image);
    }
    cluster.must(&["apply", "-f", &example("web.yaml")]);
    cluster.must(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    cluster
}

pub fn example(name: &str) -> String {
    gantry_tests::cluster::root()
        .join("examples")
        .join(name)
        .to_string_lossy()
        .into_owned()
}

/// The pods behind the sample that are Ready and not on their way out.
pub fn ready_pods(cluster: &Cluster) -> Result<Vec<Value>, String> {
    let pods = cluster.pods("app=web")?;
    Ok(pods
        .into_iter()
        .filter(|pod| condition(pod, "Ready") == "True" && pod["metadata"]["deletionTimestamp"].is_null())
        .collect())
}

pub fn names(pods: &[Value]) -> BTreeSet<String> {
    pods.iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .map(str::to_string)
        .collect()
}

/// Waits until the sample's Service is answered by exactly the ready pods, `wanted` of them, from a node.
pub fn served_by_all(cluster: &Cluster, node: usize, wanted: usize) {
    let address = cluster.cluster_ip("web", 80);
    let namespace = cluster.node_network(node);
    eventually(
        "every ready pod answers through the Service and nothing else does",
        SLOW,
        || {
            let ready = names(&ready_pods(cluster)?);
            if ready.len() != wanted {
                return Err(format!("{} of {wanted} pods are ready", ready.len()));
            }
            let answered = answers(&namespace, address, 4 * wanted)?;
            (answered == ready)
                .then_some(())
                .ok_or(format!("{answered:?} answer, {ready:?} are ready"))
        },
    );
}

/// Which pods answer a number of requests from a network namespace.
pub fn answers(
    namespace: &str,
    address: std::net::SocketAddr,
    requests: usize,
) -> Result<BTreeSet<String>, String> {
    let namespace = namespace.to_string();
    let requesting = std::thread::spawn(move || {
        gantry_tests::network::enter(&namespace).map_err(|error| error.to_string())?;
        (0..requests)
            .map(|_| load::get(address))
            .collect::<Result<Vec<_>, _>>()
    });
    let bodies = requesting
        .join()
        .map_err(|_| "the requests panicked".to_string())??;
    Ok(bodies
        .iter()
        .filter_map(|body| body.split_whitespace().nth(2))
        .map(str::to_string)
        .collect())
}
