use anyhow::Context as _;
use clap::{Parser, Subcommand};
use gantry_tests::cluster::{Cluster, Options};

/// Measures a cluster that it starts for the purpose, in network namespaces of its own. Needs root.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Seconds for each half of each pair of the create measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Pairs of the create measurement: through the apiserver, then raw on etcd.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Pods that are started one after the other.
    #[arg(long, default_value_t = 10)]
    pods: usize,
    /// Pods that are started at once.
    #[arg(long, default_value_t = 60)]
    at_once: usize,
}

#[derive(Subcommand)]
enum What {
    /// What tracing costs: instructions and throughput, on an apiserver and a scheduler without nodes
    Cost(gantry_bench::cost::Arguments),
    /// Pods bound per second on simulated nodes, beside raw etcd writes
    Schedule(gantry_bench::scheduling::ScheduleArguments),
    /// How long an answer to "why" takes for a pod that fits nowhere
    Why(gantry_bench::scheduling::WhyArguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.what {
        Some(What::Cost(arguments)) => return gantry_bench::cost::print(arguments),
        Some(What::Schedule(arguments)) => return gantry_bench::scheduling::print_schedule(arguments),
        Some(What::Why(arguments)) => return gantry_bench::scheduling::print_why(arguments),
        None => {}
    }
    let mut cluster = Cluster::start("bench", &Options::default())?;
    for image in ["hello-1.tar", "busybox.tar"] {
        cluster.import(image);
    }
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    gantry_bench::footprint::print(&cluster);
    gantry_bench::pods::print(&cluster, arguments.pods, arguments.at_once)?;
    // It would remove the pods that it does not know.
    if let Some(node) = cluster.nodes.first_mut() {
        node.agent.stop();
    }
    runtime.block_on(gantry_bench::cri::print(
        &cluster,
        arguments.pods,
        arguments.at_once,
    ))?;
    runtime.block_on(gantry_bench::creates::print(
        &cluster,
        arguments.seconds,
        arguments.pairs,
    ))
}
