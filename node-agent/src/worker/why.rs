//! Why a pod's worker does what it does: which cause its next span continues.
//!
//! ```text
//!   the pod's last write ──▶ its trace             the apply, the binding, our own status
//!   a container died     ──▶ a trace of its own    until the pod as it is stored carries it
//!   a step has ended     ──▶ that step's span      for what is done next, within the same trace
//! ```

use gantry_client::Entry;
use gantry_proto::core::v1::Pod;
use gantry_telemetry::trace::{self, Cause};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tracing::{Span, info_span};

/// A trace goes on for this long after its cause; later work begins a new one with a link.
const TRACE_LIMIT: Duration = Duration::from_secs(600);

/// What a worker remembers of causes. Bounded by the pod's containers.
#[derive(Default)]
pub struct Why {
    /// Which trace the pod's newest version belongs to, and since when.
    trace: Option<(String, SystemTime)>,
    unasked: Option<Unasked>,
    prompted: Option<Cause>,
    sandbox: Option<Cause>,
    starts_by_container: BTreeMap<String, Cause>,
    probing_by_container: BTreeMap<String, Span>,
}

/// Something happened that nobody asked for.
struct Unasked {
    /// `None` when its trace is not sampled: then its work leaves no span, and none in the older trace.
    cause: Option<Cause>,
    /// The pod's generation then. A newer one is a wish, and wishes are work's reason again.
    generation: i64,
    /// A status was written since; the revision, once it is known.
    is_being_written: bool,
    written: Option<i64>,
}

impl Why {
    /// Takes note of the pod as it is stored now.
    pub fn follow(&mut self, pod: &Entry<Pod>, now: SystemTime) {
        let trace = pod.cause.as_deref().and_then(trace_id);
        if trace != self.trace.as_ref().map(|(trace, _)| trace.as_str()) {
            self.trace = trace.map(|trace| (trace.to_string(), now));
        }
        if self.unasked.as_ref().is_some_and(|unasked| unasked.is_over(pod)) {
            self.unasked = None;
        }
    }

    /// From now on, work is done because of what `root` tells.
    pub fn begins(&mut self, root: &Span, pod: &Entry<Pod>) {
        self.prompted = None;
        self.unasked = Some(Unasked {
            cause: trace::cause_of(root),
            generation: pod.metadata().generation,
            is_being_written: false,
            written: None,
        });
    }

    /// A status is being written, for the present reason.
    pub fn writes(&mut self) {
        if let Some(unasked) = &mut self.unasked {
            unasked.is_being_written = true;
        }
    }

    /// The status was written and has this revision.
    pub fn wrote(&mut self, revision: i64) {
        if let Some(unasked) = self.unasked.as_mut().filter(|unasked| unasked.is_being_written) {
            unasked.written.get_or_insert(revision);
        }
    }

    /// What the next span continues, if that is sampled.
    pub fn cause(&self, pod: &Entry<Pod>) -> Option<Cause> {
        let base = match &self.unasked {
            Some(unasked) => unasked.cause.clone(),
            None => pod.cause.as_deref().and_then(|cause| cause.parse().ok()),
        }?;
        let prompted = self.prompted.as_ref();
        let prompted = prompted.filter(|prompted| prompted.trace_id() == base.trace_id());
        Some(prompted.cloned().unwrap_or(base)).filter(Cause::is_sampled)
    }

    /// The span that work begun now belongs to.
    pub fn span(&mut self, pod: &Entry<Pod>, node: &str, now: SystemTime) -> Span {
        let span = info_span!(
            parent: None,
            "node-agent.sync",
            k8s.namespace.name = pod.metadata().namespace,
            k8s.pod.name = pod.metadata().name,
            k8s.pod.uid = pod.metadata().uid,
            k8s.node.name = node,
        );
        let cause = self.cause(pod);
        self.prompted = None;
        let Some(cause) = cause else { return span };
        // The limit for traces whose ids do not tell their age.
        let is_recent = |since: SystemTime| now.duration_since(since).unwrap_or_default() < TRACE_LIMIT;
        if self.unasked.is_some() || self.trace.as_ref().is_some_and(|(_, since)| is_recent(*since)) {
            trace::continue_from(&span, cause.as_str());
        } else {
            trace::root(&span);
            trace::link(&span, cause.as_str());
        }
        span
    }

    /// A look found nothing to do: what prompted it is over.
    pub fn rests(&mut self) {
        self.prompted = None;
    }

    /// A sandbox is being made in `span`.
    pub fn makes_sandbox(&mut self, span: &Span) {
        self.sandbox = trace::cause_of(span);
    }

    /// The sandbox is there: what is done next is done because of it.
    pub fn made_sandbox(&mut self) {
        self.prompted = self.sandbox.take();
    }

    /// A container is being started in `span`.
    pub fn starts(&mut self, container: &str, span: &Span) {
        self.probing_by_container.remove(container);
        match trace::cause_of(span) {
            Some(cause) => self.starts_by_container.insert(container.to_string(), cause),
            None => self.starts_by_container.remove(container),
        };
    }

    /// The start has ended; where probes must succeed before the container is ready, they begin.
    pub fn started(&mut self, container: &str, is_probed: bool) {
        let Some(cause) = self.starts_by_container.remove(container) else {
            return;
        };
        if is_probed && let Some(span) = probing(container, &cause) {
            self.probing_by_container.insert(container.to_string(), span);
        }
        self.prompted = Some(cause);
    }

    /// The container became ready: what is done next is done because of it. A probe may succeed before the start is
    /// known to have ended.
    pub fn is_ready(&mut self, container: &str) {
        let early = || probing(container, self.starts_by_container.remove(container).as_ref()?);
        let span = self.probing_by_container.remove(container).or_else(early);
        if let Some(span) = span {
            self.prompted = trace::cause_of(&span);
        }
    }

    /// The container ended, ready or not.
    pub fn ended(&mut self, container: &str) {
        self.probing_by_container.remove(container);
    }
}

impl Unasked {
    /// Whether the pod as it is stored says why, or says that somebody wishes something else.
    fn is_over(&self, pod: &Entry<Pod>) -> bool {
        self.written.is_some_and(|written| pod.revision >= written)
            || pod.metadata().deletion_timestamp.is_some()
            || pod.metadata().generation != self.generation
    }
}

/// Begins the span of a container's probes; `None` when it is not sampled.
fn probing(container: &str, start: &Cause) -> Option<Span> {
    let span = info_span!(parent: None, "container.probes", k8s.container.name = container);
    trace::continue_from(&span, start.as_str());
    // Which also makes it begin now, not when it ends.
    trace::cause_of(&span).is_some().then_some(span)
}

fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLY: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const DEATH: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-10f067aa0ba902b7-01";

    fn pod(revision: i64, cause: &str) -> Entry<Pod> {
        Entry {
            object: Pod::default(),
            revision,
            cause: Some(cause.into()),
        }
    }

    fn died(cause: Option<&str>) -> Why {
        let mut why = Why::default();
        why.follow(&pod(5, APPLY), SystemTime::UNIX_EPOCH);
        why.unasked = Some(Unasked {
            cause: cause.map(|cause| cause.parse().unwrap()),
            generation: 0,
            is_being_written: false,
            written: None,
        });
        why
    }

    fn continued(why: &Why, pod: &Entry<Pod>) -> Option<String> {
        why.cause(pod).map(|cause| cause.to_string())
    }

    #[test]
    fn a_death_is_the_reason_until_the_stored_pod_carries_it() {
        let mut why = died(Some(DEATH));
        // A write that was under way when the container died belongs to the older trace.
        why.wrote(6);
        why.follow(&pod(6, APPLY), SystemTime::UNIX_EPOCH);
        assert_eq!(continued(&why, &pod(6, APPLY)).as_deref(), Some(DEATH));
        why.writes();
        why.wrote(8);
        why.follow(&pod(7, APPLY), SystemTime::UNIX_EPOCH);
        assert_eq!(continued(&why, &pod(7, APPLY)).as_deref(), Some(DEATH));
        let stored = DEATH.replace("10f067", "20f067");
        why.follow(&pod(8, &stored), SystemTime::UNIX_EPOCH);
        assert_eq!(continued(&why, &pod(8, &stored)), Some(stored));
    }

    #[test]
    fn a_death_that_is_not_sampled_does_not_lengthen_the_older_trace() {
        let why = died(None);
        assert_eq!(continued(&why, &pod(5, APPLY)), None);
    }

    #[test]
    fn a_step_is_the_reason_only_within_the_trace_that_it_belongs_to() {
        let mut why = Why::default();
        let step = APPLY.replace("00f067", "30f067");
        for (prompted, expected) in [(step.as_str(), step.as_str()), (DEATH, APPLY)] {
            why.prompted = Some(prompted.parse().unwrap());
            assert_eq!(continued(&why, &pod(5, APPLY)).as_deref(), Some(expected));
        }
        why.rests();
        assert_eq!(continued(&why, &pod(5, APPLY)).as_deref(), Some(APPLY));
    }

    #[test]
    fn probes_are_the_reason_for_ready_also_when_they_are_quicker_than_the_start() {
        let arguments = gantry_telemetry::Args {
            log_level: "off".into(),
            ..gantry_telemetry::Args::default()
        };
        let _telemetry = gantry_telemetry::init("test", &arguments).unwrap();
        let start = info_span!("container.start");
        trace::continue_from(&start, APPLY);
        let spans = || {
            let spans = gantry_telemetry::ring::ring().trace("4bf92f3577b34da6a3ce929d0e0e4736");
            let spans = spans.unwrap();
            let named = |span: &&serde_json::Value| span["name"] == "container.probes";
            spans
                .as_array()
                .unwrap()
                .iter()
                .filter(named)
                .cloned()
                .collect::<Vec<_>>()
        };
        for (ready_first, number) in [(true, 1), (false, 2)] {
            let mut why = Why::default();
            why.starts("c", &start);
            if ready_first {
                why.is_ready("c");
                why.started("c", true);
            } else {
                why.started("c", true);
                why.is_ready("c");
            }
            let spans = spans();
            assert_eq!(spans.len(), number, "ready first: {ready_first}");
            let reason = continued(&why, &pod(5, APPLY)).unwrap();
            let is_ended_probes = |span: &serde_json::Value| {
                reason.contains(span["spanId"].as_str().unwrap()) && span.get("endTimeUnixNano").is_some()
            };
            assert!(spans.iter().any(is_ended_probes), "{reason} is none of {spans:?}");
        }
    }

    #[test]
    fn a_new_wish_is_a_new_reason() {
        let mut why = died(Some(DEATH));
        let mut changed = pod(6, APPLY);
        changed.object.metadata_mut().generation = 1;
        why.follow(&changed, SystemTime::UNIX_EPOCH);
        assert_eq!(continued(&why, &changed).as_deref(), Some(APPLY));
    }
}
