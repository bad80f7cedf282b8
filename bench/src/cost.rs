//! What tracing costs: the instructions of a create and of a binding, and the throughput of both, with the exporter on
//! and one of a hundred traces sampled, beside the same with tracing off.
//!
//! The programs are the cluster's own, as processes: instructions are counted in them by valgrind's callgrind, around
//! calls that come one after the other, so that no chance decides how many share a wake-up. Each round has an etcd and
//! programs of its own and the modes take turns within it.

pub(crate) mod place;
mod objects;
mod counting;

use crate::figures::{median, median_interval};
use anyhow::Context as _;
use counting::Counting;
use objects::{Bound, SCHEDULER, add_node, bind, create_config_map, create_pod, key};
use place::{COLLECTOR, Place, Plane};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For programs that run fifty times slower than usual.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(120);
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Calls that fill caches and connections before anything is counted.
const WARM_UP: usize = 200;
/// Callers at once where throughput is measured.
pub(crate) const CLIENTS: usize = 32;
/// Connections that they share.
pub(crate) const CONNECTIONS: usize = 4;
/// What is promised.
const PROMISED: f64 = 0.03;

/// How much is measured.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rounds in which instructions are counted.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Creates and bindings in each of them, for each mode.
    #[arg(long, default_value_t = 500)]
    calls: usize,
    /// Pairs of throughput, with and without tracing.
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// Seconds of creates in each half of a pair.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Pods that are bound in each half of a pair.
    #[arg(long, default_value_t = 3_000)]
    pods: usize,
}

/// What the programs are told, and which share of calls is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    OneOfAHundred,
    /// For what a sampled call costs.
    All,
}

/// Calls so far, and every which of them is sampled; 0 for none. The client asks a plain function for the context of
/// each call.
static CALLS: AtomicU64 = AtomicU64::new(0);
static SAMPLED_EACH: AtomicU64 = AtomicU64::new(0);

/// What a sampling client sends: nothing but with the calls that are sampled.
fn traceparent() -> Option<String> {
    let each = SAMPLED_EACH.load(Ordering::Relaxed);
    let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    (each != 0 && call.is_multiple_of(each))
        .then(|| format!("00-{:016x}{call:016x}-{call:016x}-01", u64::MAX))
}

impl Mode {
    fn begin(self) {
        let each = match self {
            Mode::Off => 0,
            Mode::OneOfAHundred => 100,
            Mode::All => 1,
        };
        SAMPLED_EACH.store(each, Ordering::Relaxed);
        CALLS.store(0, Ordering::Relaxed);
    }

    fn environment(self) -> Vec<(&'static str, String)> {
        match self {
            Mode::Off => vec![("GANTRY_TRACE_RATIO", "0".into())],
            Mode::OneOfAHundred => vec![
                ("GANTRY_TRACE_RATIO", "0.01".into()),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{COLLECTOR}")),
            ],
            Mode::All => vec![("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{COLLECTOR}"))],
        }
    }
}

pub fn print(arguments: &Arguments) -> anyhow::Result<()> {
    let mut place = Place::new()?;
    let outcome = place
        .instructions(arguments)
        .and_then(|()| place.throughput(arguments));
    let _ = std::fs::remove_dir_all(&place.folder);
    outcome
}

impl Place {
    fn instructions(&mut self, arguments: &Arguments) -> anyhow::Result<()> {
        const MODES: [Mode; 3] = [Mode::Off, Mode::OneOfAHundred, Mode::All];
        let what = [
            "create, in the apiserver",
            "binding, in the apiserver",
            "binding, in the scheduler",
        ];
        // By what is done, then by mode: a figure of each round.
        let mut figures = vec![vec![Vec::new(); MODES.len()]; what.len()];
        for round in 0..arguments.rounds {
            for turn in 0..MODES.len() {
                let mode = (turn + round) % MODES.len();
                for (what, figure) in self.count(MODES[mode], arguments.calls)?.into_iter().enumerate() {
                    figures[what][mode].push(figure);
                }
            }
        }
        if arguments.rounds == 0 {
            return Ok(());
        }
        println!(
            "instructions (callgrind), {} calls one after the other, {} rounds; medians",
            arguments.calls, arguments.rounds
        );
        for (what, by_mode) in what.iter().zip(&figures) {
            let [off, on, all] = [0, 1, 2].map(|mode| median(&by_mode[mode]));
            let ratios: Vec<f64> = by_mode[1]
                .iter()
                .zip(&by_mode[0])
                .map(|(on, off)| on / off)
                .collect();
            println!("  {what}: off {off:.0}, 1 % sampled {on:.0}, all sampled {all:.0}");
            print_ratio(&ratios, |ratio| ratio <= 1.0 + PROMISED);
        }
        Ok(())
    }

    /// Instructions for each create and each binding.
    fn count(&mut self, mode: Mode, calls: usize) -> anyhow::Result<[f64; 3]> {
        let mut plane = self.plane(mode, true)?;
        let (client, runtime) = (plane.client.clone(), &self.runtime);
        runtime.block_on(add_node(&client))?;
        runtime.block_on(one_by_one(WARM_UP, |number| {
            create_config_map(&client, "warm", number)
        }))?;
        let counting = Counting::begin(&plane.apiserver, &plane.folder)?;
        runtime.block_on(one_by_one(calls, |number| {
            create_config_map(&client, "counted", number)
        }))?;
        let create = counting.end()? / calls as f64;

        // No scheduler has this name: the binding is ours.
        runtime.block_on(one_by_one(calls, |number| create_pod(&client, "nobody", number)))?;
        let counting = Counting::begin(&plane.apiserver, &plane.folder)?;
        runtime.block_on(one_by_one(calls, |number| bind(&client, "nobody", number)))?;
        let binding = counting.end()? / calls as f64;
        drop(plane);

        // The scheduler's own instructions are counted on an apiserver of the usual speed.
        plane = self.plane(mode, false)?;
        self.runtime.block_on(add_node(&plane.client))?;
        self.add_scheduler(&mut plane, mode, true)?;
        let bound = Bound::new(&plane.client, &self.runtime);
        let client = plane.client.clone();
        let runtime = &self.runtime;
        let schedule = |numbers: std::ops::Range<usize>| {
            let (client, bound) = (client.clone(), &bound);
            runtime.block_on(async move {
                for number in numbers {
                    create_pod(&client, SCHEDULER, number).await?;
                    bound.one(&key(SCHEDULER, number)).await?;
                }
                anyhow::Ok(())
            })
        };
        schedule(0..WARM_UP)?;
        let scheduler = plane.scheduler.as_ref().context("a scheduler")?;
        let counting = Counting::begin(scheduler, &plane.folder)?;
        schedule(WARM_UP..WARM_UP + calls)?;
        Ok([create, binding, counting.end()? / calls as f64])
    }

    fn throughput(&mut self, arguments: &Arguments) -> anyhow::Result<()> {
        let (mut creates, mut bindings) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let modes = [Mode::Off, Mode::OneOfAHundred];
        for pair in 0..arguments.pairs {
            // Who comes first changes, so that what a machine does to the second is shared.
            for turn in 0..modes.len() {
                let mode = (turn + pair) % modes.len();
                let mut plane = self.plane(modes[mode], false)?;
                self.runtime.block_on(add_node(&plane.client))?;
                creates[mode].push(self.creates(Duration::from_secs(arguments.seconds))?);
                bindings[mode].push(self.bindings(&mut plane, modes[mode], arguments.pods)?);
            }
        }
        if arguments.pairs == 0 {
            return Ok(());
        }
        println!(
            "throughput, {} pairs of an etcd of their own, tracing off and 1 % sampled; medians",
            arguments.pairs
        );
        for (what, figures) in [("creates", creates), ("bindings", bindings)] {
            let [off, on] = &figures;
            let ratios: Vec<f64> = on.iter().zip(off).map(|(on, off)| on / off).collect();
            println!(
                "  {what}: off {:.0}/s, 1 % sampled {:.0}/s",
                median(off),
                median(on)
            );
            print_ratio(&ratios, |ratio| ratio >= 1.0 - PROMISED);
        }
        println!(
            "spans that the collector received: {}",
            self.collector.spans().len()
        );
        Ok(())
    }

    /// Creates per second of several callers.
    fn creates(&self, half: Duration) -> anyhow::Result<f64> {
        let clients = (0..CONNECTIONS)
            .map(|_| self.client())
            .collect::<anyhow::Result<Vec<_>>>()?;
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut callers = tokio::task::JoinSet::new();
            for caller in 0..CLIENTS {
                let client = clients[caller % CONNECTIONS].clone();
                callers.spawn(async move {
                    let mut done = 0;
                    while start.elapsed() < half {
                        create_config_map(&client, &format!("caller-{caller}"), done).await?;
                        done += 1;
                    }
                    anyhow::Ok(done)
                });
            }
            let mut done = 0;
            while let Some(caller) = callers.join_next().await {
                done += caller??;
            }
            Ok(done as f64 / start.elapsed().as_secs_f64())
        })
    }

    /// Bindings per second of a scheduler that finds many pods waiting.
    fn bindings(&self, plane: &mut Plane, mode: Mode, pods: usize) -> anyhow::Result<f64> {
        let client = plane.client.clone();
        self.runtime.block_on(async {
            let mut creating = tokio::task::JoinSet::new();
            for caller in 0..CLIENTS {
                let client = client.clone();
                creating.spawn(async move {
                    for number in (caller..pods).step_by(CLIENTS) {
                        create_pod(&client, SCHEDULER, number).await?;
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(created) = creating.join_next().await {
                created??;
            }
            anyhow::Ok(())
        })?;
        let bound = Bound::new(&client, &self.runtime);
        self.add_scheduler(plane, mode, false)?;
        self.runtime.block_on(async {
            bound.count(1).await?;
            let start = Instant::now();
            let before = bound.now();
            bound.count(pods).await?;
            Ok((pods - before) as f64 / start.elapsed().as_secs_f64())
        })
    }
}

/// `kept` says whether a ratio keeps what is promised.
fn print_ratio(ratios: &[f64], kept: impl Fn(f64) -> bool) {
    let (low, high) = median_interval(ratios);
    let verdict = match (kept(low), kept(high)) {
        (true, true) => "within 3 %",
        (false, false) => "NOT within 3 %",
        // A busy machine makes it wide.
        _ => "the interval is too wide to say whether within 3 %",
    };
    println!(
        "    ratio {:.4} (median; {low:.4} to {high:.4}): {verdict}",
        median(ratios)
    );
}

async fn one_by_one<F: Future<Output = anyhow::Result<()>>>(
    calls: usize,
    call: impl Fn(usize) -> F,
) -> anyhow::Result<()> {
    for number in 0..calls {
        call(number).await?;
    }
    Ok(())
}
