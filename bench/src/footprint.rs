//! Memory of each process at rest, and the size of each binary.

use gantry_tests::cluster::{Cluster, binary};

const BINARIES: &[&str] = &[
    "gantry",
    "gantry-apiserver",
    "gantry-scheduler",
    "gantry-controller-manager",
    "gantry-node-agent",
    "gantry-proxy",
];

pub fn print(cluster: &Cluster) {
    println!("memory at rest (resident, MB)");
    let node = cluster.nodes.first();
    let mut processes = vec![
        &cluster.etcd,
        &cluster.apiserver,
        &cluster.scheduler,
        &cluster.controller_manager,
    ];
    processes.extend(
        node.into_iter()
            .flat_map(|node| [&node.agent, &node.proxy, &node.containerd]),
    );
    for process in processes {
        let resident = process.id().map_or(0.0, resident_megabytes);
        println!("  {:32} {resident:7.1}", process.name());
    }
    println!("binaries (MB)");
    for name in BINARIES {
        let size = binary(name)
            .ok()
            .and_then(|path| std::fs::metadata(path).ok())
            .map_or(0, |file| file.len());
        println!("  {name:32} {:7.1}", size as f64 / 1e6);
    }
}

fn resident_megabytes(process: i32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1e3
}
