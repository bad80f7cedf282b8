//! Pods bound per second, durable on etcd, and how long an answer to "why" takes, on nodes that nobody runs.
//!
//! A real etcd, apiserver and scheduler as processes. What depends on the machine is told as a ratio to raw etcd writes
//! of the same run: transactions that create a key, with values of the size that a bound pod has, by as many clients.

mod simulated;
mod raw;

use crate::cost::place::Place;
use crate::cost::{CLIENTS, CONNECTIONS, Mode};
use crate::figures::{median, percentile};
use anyhow::Context as _;
use gantry_client::{Client, ListOptions};
use gantry_proto::api::v1::{ListRequest, WhyRequest};
use gantry_proto::core::v1::Pod;
use simulated::{Pending, Placed};
use std::time::{Duration, Instant};

/// How often all pods are listed.
const LISTS: usize = 5;
/// How long raw writes are counted, before the pods are bound and after.
const RAW_WRITES: Duration = Duration::from_secs(5);
/// Questions whose answers are timed, after as many that fill caches and connections as the second says.
const QUESTIONS: usize = 200;
const FIRST_QUESTIONS: usize = 5;
/// The largest reply: a list of all pods.
const MAX_REPLY_BYTES: usize = 1 << 30;

/// How much is measured by `schedule`.
#[derive(clap::Args, Debug)]
pub struct ScheduleArguments {
    /// Simulated nodes; give it several times for several measurements.
    #[arg(long, default_values_t = [1_000, 5_000])]
    nodes: Vec<usize>,
    /// Pods that wait when the scheduler starts.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    /// Rounds, each on an etcd of its own.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// How much is measured by `why`.
#[derive(clap::Args, Debug)]
pub struct WhyArguments {
    /// Simulated nodes.
    #[arg(long, default_value_t = 5_000)]
    nodes: usize,
    /// Pods that run on them.
    #[arg(long, default_value_t = 5_000)]
    pods: usize,
}

pub fn print_schedule(arguments: &ScheduleArguments) -> anyhow::Result<()> {
    let mut place = Place::new()?;
    let outcome = arguments
        .nodes
        .iter()
        .try_for_each(|nodes| place.schedule(*nodes, arguments));
    let _ = std::fs::remove_dir_all(&place.folder);
    outcome
}

pub fn print_why(arguments: &WhyArguments) -> anyhow::Result<()> {
    let mut place = Place::new()?;
    let outcome = place.why(arguments);
    let _ = std::fs::remove_dir_all(&place.folder);
    outcome
}

/// What one round gave.
struct Round {
    creates: f64,
    /// Milliseconds: in one reply, and in chunks that are decoded, as a component lists.
    lists: [f64; 2],
    value_bytes: usize,
    raw: f64,
    bindings: f64,
    /// With the scheduler's start, its lists and its lease.
    from_start: f64,
}

impl Place {
    fn schedule(&mut self, nodes: usize, arguments: &ScheduleArguments) -> anyhow::Result<()> {
        let pods = arguments.pods;
        let mut rounds = Vec::new();
        for _ in 0..arguments.rounds {
            rounds.push(self.round(nodes, pods)?);
        }
        let of = |figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<_>>();
        let ratios = of(|round| round.bindings / round.raw);
        let bytes = rounds.first().map_or(0, |round| round.value_bytes);
        println!(
            "{pods} pending pods on {nodes} nodes, {} rounds; medians",
            rounds.len()
        );
        println!(
            "  creates of the pods, {CLIENTS} clients {:8.0}/s",
            median(&of(|round| round.creates))
        );
        println!(
            "  list of the pods, one reply    {:8.1} ms",
            median(&of(|round| round.lists[0]))
        );
        println!(
            "  list of the pods, in chunks    {:8.1} ms",
            median(&of(|round| round.lists[1]))
        );
        println!(
            "  raw etcd creates of {bytes} bytes {:8.0}/s",
            median(&of(|round| round.raw))
        );
        println!(
            "  pods bound, durable            {:8.0}/s",
            median(&of(|round| round.bindings))
        );
        println!(
            "  with the scheduler's start     {:8.0}/s",
            median(&of(|round| round.from_start))
        );
        println!(
            "  bound for each raw write {:.3} (median; {:.3} to {:.3})",
            median(&ratios),
            percentile(&ratios, 0.0),
            percentile(&ratios, 1.0)
        );
        Ok(())
    }

    fn round(&mut self, nodes: usize, pods: usize) -> anyhow::Result<Round> {
        let mut plane = self.plane(Mode::Off, false)?;
        let clients = self.clients()?;
        self.runtime.block_on(simulated::add_nodes(&clients, nodes))?;
        let start = Instant::now();
        self.runtime
            .block_on(simulated::add_pods(&clients, pods, Pending::Anywhere))?;
        let creates = pods as f64 / start.elapsed().as_secs_f64();
        let lists = self.runtime.block_on(list(&clients[0], pods))?;

        let raw_clients = self.runtime.block_on(raw::connect(&self.folder, CONNECTIONS))?;
        let value_bytes = self.runtime.block_on(raw::size_of_a_pod(&raw_clients[0]))?;
        let raw_writes = || {
            self.runtime
                .block_on(raw::rate(&raw_clients, value_bytes, RAW_WRITES))
        };
        let before = raw_writes()?;

        let placed = Placed::follow(&plane.client, &self.runtime);
        self.runtime.block_on(placed.listed(pods))?;
        let started = Instant::now();
        self.add_scheduler(&mut plane, Mode::Off, false)?;
        let (bindings, from_start) = self.runtime.block_on(async {
            placed.count(1).await?;
            let (first, before) = (Instant::now(), placed.now());
            placed.count(pods).await?;
            anyhow::Ok((
                (pods - before) as f64 / first.elapsed().as_secs_f64(),
                pods as f64 / started.elapsed().as_secs_f64(),
            ))
        })?;
        drop(placed);
        plane.scheduler = None;
        let after = raw_writes()?;
        Ok(Round {
            creates,
            lists,
            value_bytes,
            raw: f64::midpoint(before, after),
            bindings,
            from_start,
        })
    }

    fn why(&mut self, arguments: &WhyArguments) -> anyhow::Result<()> {
        let mut plane = self.plane(Mode::Off, false)?;
        let clients = self.clients()?;
        let runtime = &self.runtime;
        runtime.block_on(simulated::add_nodes(&clients, arguments.nodes))?;
        runtime.block_on(simulated::add_pods(&clients, arguments.pods, Pending::Anywhere))?;
        let placed = Placed::follow(&plane.client, runtime);
        runtime.block_on(placed.listed(arguments.pods))?;
        self.add_scheduler(&mut plane, Mode::Off, false)?;
        runtime.block_on(placed.count(arguments.pods))?;
        drop(placed);
        println!(
            "why, on {} nodes with {} pods, {QUESTIONS} questions one after the other",
            arguments.nodes, arguments.pods
        );
        for (number, (what, pending)) in [
            ("asks for more than any node has", Pending::TooLarge),
            (
                "asks for as much and has affinity, anti-affinity, spread and a selector",
                Pending::Demanding,
            ),
        ]
        .into_iter()
        .enumerate()
        {
            // Numbers above those of the pods that run.
            let name = simulated::pod_name(arguments.pods + number);
            let client = &clients[0];
            let milliseconds = runtime.block_on(async {
                simulated::add_pod(client, arguments.pods + number, pending).await?;
                simulated::refused(client, &name).await?;
                let mut times = Vec::new();
                for question in 0..FIRST_QUESTIONS + QUESTIONS {
                    let took = ask(client, &name).await?;
                    if question >= FIRST_QUESTIONS {
                        times.push(took);
                    }
                }
                anyhow::Ok(times)
            })?;
            println!(
                "  a pod that {what}: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
                median(&milliseconds),
                percentile(&milliseconds, 0.99),
                percentile(&milliseconds, 1.0)
            );
        }
        Ok(())
    }

    fn clients(&self) -> anyhow::Result<Vec<Client>> {
        (0..CONNECTIONS).map(|_| self.client()).collect()
    }
}

/// Milliseconds for an answer.
async fn ask(client: &Client, name: &str) -> anyhow::Result<f64> {
    let request = WhyRequest {
        resource: "pods".into(),
        namespace: "default".into(),
        name: name.into(),
    };
    let start = Instant::now();
    let reply = client
        .diagnostics()
        .max_decoding_message_size(MAX_REPLY_BYTES)
        .why(request)
        .await?
        .into_inner();
    let took = start.elapsed().as_secs_f64() * 1e3;
    anyhow::ensure!(
        !reply.groups.is_empty(),
        "the pod should fit nowhere: {}",
        reply.summary
    );
    Ok(took)
}

/// Milliseconds for a list of all pods: in one reply whose objects stay bytes, and in chunks that are decoded.
async fn list(client: &Client, pods: usize) -> anyhow::Result<[f64; 2]> {
    let (mut whole, mut chunks) = (Vec::new(), Vec::new());
    for _ in 0..LISTS {
        let request = ListRequest {
            resource: "pods".into(),
            ..ListRequest::default()
        };
        let start = Instant::now();
        let reply = client
            .resources()
            .max_decoding_message_size(MAX_REPLY_BYTES)
            .list(request)
            .await
            .context("listing the pods")?;
        whole.push(start.elapsed().as_secs_f64() * 1e3);
        let listed = reply.into_inner().items.len();
        anyhow::ensure!(listed == pods, "{listed} of {pods} pods are listed");
        let start = Instant::now();
        client.list::<Pod>(&ListOptions::default()).await?;
        chunks.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok([median(&whole), median(&chunks)])
}
