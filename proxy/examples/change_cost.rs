//! What one endpoint's change costs among many Services: bytes for nft, and times. Needs root; works in a
//! network namespace of its own.
//!
//!     cargo run -p gantry-proxy --example change_cost -- 1000 10000

use anyhow::Context as _;
use gantry_proto::Key;
use gantry_proxy::ledger::{Changes, Ledger};
use gantry_proxy::ruleset::{Node, ruleset};
use gantry_proxy::service::{Endpoint, Policy, Port, Protocol, ServiceView};
use gantry_proxy::topology::Topology;
use gantry_proxy::{nft, render};
use std::time::Instant;

const ENDPOINTS: u32 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
    let cluster_cidr = "10.0.0.0/8".parse().ok();
    let node = Node {
        table: "gantry".to_owned(),
        cluster_cidr,
        bridge_is_filtered: true,
    };
    for count in std::env::args().skip(1) {
        let count: u32 = count.parse().context("the arguments are numbers of Services")?;
        measure(count, &node).await?;
    }
    Ok(())
}

async fn measure(count: u32, node: &Node) -> anyhow::Result<()> {
    let (mut topology, mut ledger) = (Topology::default(), Ledger::default());
    let started = Instant::now();
    for number in 0..count {
        let replaced = topology.replace(&key(number), Some(&view(number, 0)));
        ledger.replace(&replaced, &mut Changes::default());
    }
    println!("{count} Services: computed in {:?}", started.elapsed());
    run("full load", &render::load(&ruleset(&topology, node))).await?;
    let mut change = async |what: &str, view: &ServiceView| {
        let started = Instant::now();
        let mut changes = Changes::default();
        ledger.replace(&topology.replace(&key(count / 2), Some(view)), &mut changes);
        let text = render::transaction(node, &changes);
        let computed = started.elapsed();
        run(&format!("{what} (computed in {computed:?})"), &text).await
    };
    for round in 1..=3 {
        change("one endpoint replaced", &view(count / 2, round)).await?;
    }
    let mut fewer = view(count / 2, 3);
    fewer.ports[0].endpoints.pop_first();
    change("one endpoint fewer", &fewer).await?;
    change("one endpoint more", &view(count / 2, 3)).await
}

async fn run(what: &str, text: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    nft::run(text).await?;
    println!("  {what}: {} bytes, {:?}", text.len(), started.elapsed());
    Ok(())
}

fn key(number: u32) -> Key {
    Key::new("default", format!("service-{number}"))
}

/// `round` exchanges the first endpoint.
fn view(number: u32, round: u32) -> ServiceView {
    let address = |base: u32, offset: u32| (base + offset).into();
    let endpoint = |index: u32| {
        let shift = if index == 0 { round * 0x0100_0000 } else { 0 };
        let address = address(0x0a00_0000, number * ENDPOINTS + index + shift);
        Endpoint {
            address,
            port: 8080,
            local: false,
        }
    };
    ServiceView {
        cluster_ips: vec![address(0x0b00_0000, number)],
        policy: Policy::RoundRobin,
        ports: vec![Port {
            name: String::new(),
            protocol: Protocol::Tcp,
            number: 80,
            node_port: None,
            endpoints: (0..ENDPOINTS).map(endpoint).collect(),
        }],
        ..ServiceView::default()
    }
}
