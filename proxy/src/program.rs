//! The one task that owns the rules.
//!
//! ```text
//!               loaded                 refused, or gone
//! Unknown ----------------> Programmed --------------> Unknown
//!    ^  `- refused: again,      |  ^
//!    |     after a pause        `--' changes loaded
//! ```

use crate::conntrack::{self, EndpointsByFrontend};
use crate::dns::Zone;
use crate::follow::{Wake, Wakes, service_of};
use crate::ledger::{Changes, Ledger};
use crate::metrics::Metrics;
use crate::ruleset::{Node, ruleset};
use crate::service::ServiceView;
use crate::topology::Topology;
use crate::{nft, render};
use gantry_client::Cache;
use gantry_proto::Key;
use gantry_proto::core::v1::Service;
use gantry_proto::discovery::v1::EndpointSlice;
use gantry_telemetry::trace;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Changes that come closer together than this are loaded together. A lone change does not wait.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// How long Services go unserved, at most, when somebody removes the table. One touch takes some milliseconds.
const TOUCH_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after the kernel refused rules, doubled with each refusal up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// Causes that a span names.
const MAX_LINKS: usize = 32;

pub struct Programmer {
    pub services: Cache<Service>,
    pub slices: Cache<EndpointSlice>,
    pub wakes: Wakes,
    pub node_name: String,
    pub node: Node,
    pub zone: Arc<RwLock<Zone>>,
    pub metrics: Metrics,
    /// Whether the kernel holds what it should; for the health check.
    pub programmed: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    topology: Topology,
    ledger: Ledger,
    slices_by_service: HashMap<Key, BTreeSet<Key>>,
    kernel: Kernel,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kernel {
    #[default]
    Unknown,
    Programmed,
}

/// What a round of recomputing found.
#[derive(Default)]
struct Round {
    changes: Changes,
    frontends: EndpointsByFrontend,
    causes: Vec<Arc<str>>,
    triggered: Vec<SystemTime>,
    services: usize,
    slices: usize,
}

impl Round {
    /// Adds what an earlier round was to bring and did not. Its rules come with all others, in a load of the whole.
    fn add(&mut self, earlier: Round) {
        for (frontend, endpoints) in earlier.frontends {
            self.frontends.entry(frontend).or_insert(endpoints);
        }
        let unseen = earlier
            .causes
            .into_iter()
            .filter(|cause| !self.causes.contains(cause));
        let unseen: Vec<_> = unseen.collect();
        self.causes.extend(unseen);
        self.triggered.extend(earlier.triggered);
        self.services += earlier.services;
        self.slices += earlier.slices;
    }
}

impl Programmer {
    /// Keeps the kernel's rules and the zone until `shutdown`. What the kernel holds then, it keeps.
    pub async fn run(self, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.keep()).await;
    }

    async fn keep(self) {
        // Until all is known, the rules of an earlier run are the better ones.
        self.services.synced().await;
        self.slices.synced().await;
        let mut state = State::default();
        let mut pause = FIRST_PAUSE;
        let mut refused = None;
        loop {
            let wakes = self.wakes.take();
            if !wakes.is_empty() {
                self.metrics.queued(now());
            }
            let mut round = self.recompute(&mut state, wakes);
            if let Some(refused) = refused.take() {
                round.add(refused);
            }
            self.zone().complete = true;
            let pending = [
                (&self.metrics.pending_services, round.services),
                (&self.metrics.pending_slices, round.slices),
            ];
            for (gauge, changes) in pending {
                gauge.set(i64::try_from(changes).unwrap_or(i64::MAX));
            }
            if self.program(&mut state, &round).await {
                for (gauge, _) in pending {
                    gauge.set(0);
                }
                pause = FIRST_PAUSE;
                tokio::time::sleep(MIN_INTERVAL).await;
                if tokio::time::timeout(TOUCH_INTERVAL, self.wakes.some())
                    .await
                    .is_err()
                {
                    self.touch(&mut state).await;
                }
            } else {
                // What it was to bring is late, and will be said to be when it comes.
                refused = Some(round);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }

    /// Finds out whether the table is still there, by a change that does nothing: `nft flush ruleset`, which
    /// reloading a firewall does, takes our table, too.
    async fn touch(&self, state: &mut State) {
        if let Err(error) = nft::run(&render::touch(&self.node.table)).await {
            tracing::warn!(%error, "the rules are gone; loading all of them");
            self.programmed.store(false, Ordering::Relaxed);
            state.kernel = Kernel::Unknown;
        }
    }

    fn recompute(&self, state: &mut State, wakes: BTreeMap<Key, Wake>) -> Round {
        let mut round = Round {
            services: wakes.len(),
            slices: wakes.values().map(|wake| wake.slices.len()).sum(),
            ..Round::default()
        };
        for (key, wake) in wakes {
            let slices = self.slices_of(state, &key, wake.slices);
            let service = self.services.get(&key);
            let view = service.map(|service| {
                let slices: Vec<&EndpointSlice> = slices.iter().map(|entry| &entry.object).collect();
                Arc::new(ServiceView::new(&service, &slices, &self.node_name))
            });
            self.zone().replace(&key, view.clone());
            let replaced = state.topology.replace(&key, view.as_deref());
            if replaced.dropped > 0 {
                let (object, count) = (format_args!("services/{key}"), replaced.dropped);
                tracing::error!(object, count, "more ports or endpoints than fit");
            }
            state.ledger.replace(&replaced, &mut round.changes);
            round.frontends.extend(conntrack::changed_frontends(&replaced));
            let unseen = wake
                .causes
                .into_iter()
                .filter(|cause| !round.causes.contains(cause));
            let unseen: Vec<_> = unseen.collect();
            round.causes.extend(unseen);
            round.triggered.extend(wake.triggered);
        }
        self.metrics.changed_services.inc_by(round.services as u64);
        self.metrics.changed_slices.inc_by(round.slices as u64);
        round
    }

    fn zone(&self) -> RwLockWriteGuard<'_, Zone> {
        self.zone.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Service's present slices, after another look at those that changed.
    fn slices_of(
        &self,
        state: &mut State,
        service: &Key,
        changed: BTreeSet<Key>,
    ) -> Vec<Arc<gantry_client::Entry<EndpointSlice>>> {
        let keys = state.slices_by_service.entry(service.clone()).or_default();
        keys.extend(changed);
        let mut slices = Vec::with_capacity(keys.len());
        keys.retain(|key| {
            let slice = self
                .slices
                .get(key)
                .filter(|slice| service_of(slice).as_ref() == Some(service));
            slices.extend(slice.clone());
            slice.is_some()
        });
        if keys.is_empty() {
            state.slices_by_service.remove(service);
        }
        slices
    }

    /// Returns whether the kernel holds what it should.
    async fn program(&self, state: &mut State, round: &Round) -> bool {
        let full = state.kernel == Kernel::Unknown;
        if !full && round.changes.is_empty() {
            self.metrics.programmed(now(), &round.triggered);
            return true;
        }
        let span = span(round);
        let started = Instant::now();
        let text = match state.kernel {
            Kernel::Unknown => render::load(&ruleset(&state.topology, &self.node)),
            Kernel::Programmed => render::transaction(&self.node, &round.changes),
        };
        let outcome = nft::run(&text).instrument(span.clone()).await;
        let loaded = outcome.is_ok();
        self.metrics.synced(full, started.elapsed(), loaded);
        self.programmed.store(loaded, Ordering::Relaxed);
        state.kernel = if loaded {
            Kernel::Programmed
        } else {
            Kernel::Unknown
        };
        span.in_scope(|| match outcome {
            Ok(()) if full => {
                tracing::info!(bytes = text.len(), duration = ?started.elapsed(), "all rules loaded")
            }
            Ok(()) => tracing::debug!(bytes = text.len(), duration = ?started.elapsed(), "rules changed"),
            Err(error) => tracing::error!(%error, full, "rules not loaded; loading all of them next"),
        });
        if !loaded {
            return false;
        }
        let mut frontends = round.frontends.clone();
        if full {
            // What changed while nobody looked, or could not be loaded, may have left stale flows of any Service.
            let services = state.topology.services();
            frontends.extend(services.flat_map(|(_, placed)| conntrack::frontends(placed)));
        }
        self.metrics.programmed(now(), &round.triggered);
        conntrack::forget_stale(frontends).await;
        true
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "metrics tell when changes were made, and how long ago"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Continues the first cause, and names the others.
fn span(round: &Round) -> tracing::Span {
    let (services, changes) = (round.services, round.changes.by_item.len());
    let span = tracing::info_span!(
        "proxy.program",
        gantry.services = services,
        gantry.changes = changes
    );
    let mut causes = round.causes.iter();
    if let Some(first) = causes.next() {
        trace::continue_from(&span, first);
    }
    causes.take(MAX_LINKS).for_each(|cause| trace::link(&span, cause));
    span
}
