//! What follows when no node will do: what is said of it, whose room is taken, and where the pod waits.

use super::{Report, Scheduling, now};
use crate::binding::{self, Nomination, Outcome, Refusal, SCHEDULER_ERROR, UNSCHEDULABLE};
use crate::decision::Why;
use crate::pods::PodInfo;
use crate::preemption::eviction::{Eviction, evict};
use crate::preemption::{self, Victims};
use gantry_client::{Entry, EventType};
use gantry_proto::core::v1::Pod;
use gantry_proto::{Key, Kind as _};
use gantry_telemetry::trace;
use std::sync::Arc;
use tracing::Instrument;

/// A note of an Event is so long at most (validation.NoteLengthLimit); what is longer is cut as kube-scheduler does.
const NOTE_BYTES: usize = 1024;

impl Scheduling {
    /// A pod fits nowhere. `room` is what preemption does for it, where its profile has any.
    pub(super) fn refuse(
        &mut self,
        pod: Arc<Entry<Pod>>,
        info: Arc<PodInfo>,
        mut why: Why,
        room: Option<preemption::Outcome>,
        report: Report,
    ) {
        let key = info.key.clone();
        why.preemption = room
            .as_ref()
            .map(preemption::Outcome::message)
            .unwrap_or_default();
        self.metrics.looked_for_room(room.as_ref());
        let (nomination, eviction) = match room {
            Some(preemption::Outcome::Evict { node, victims }) => {
                let eviction = self.make_room(&info, &node, &victims);
                (Nomination::Set(node), Some(eviction))
            }
            Some(preemption::Outcome::NotEligible { .. }) => (Nomination::Keep, None),
            Some(preemption::Outcome::NoHelp { .. }) | None => {
                self.model.forget_nomination(&key);
                (Nomination::Clear, None)
            }
        };
        let surroundings = &self.model.snapshot().surroundings;
        self.queue.refuse(&key, why.plugins, surroundings, now());
        let refusal = Refusal {
            reason: UNSCHEDULABLE,
            message: why.message(),
            nomination,
        };
        self.tell_of(pod, refusal, eviction, "unschedulable", report);
    }

    /// The decision about a pod could not be made. It is tried again after its backoff.
    pub(super) fn fail(&mut self, key: &Key, pod: Arc<Entry<Pod>>, why: String, report: Report) {
        self.queue.fail(key, now());
        let refusal = Refusal {
            reason: SCHEDULER_ERROR,
            message: why,
            nomination: Nomination::Keep,
        };
        self.tell_of(pod, refusal, None, "error", report);
    }

    /// Writes it, and has victims evicted, by a task of its own.
    fn tell_of(
        &mut self,
        pod: Arc<Entry<Pod>>,
        refusal: Refusal,
        eviction: Option<Eviction>,
        result: &'static str,
        report: Report,
    ) {
        let Report {
            span,
            attempt,
            permit,
            outcomes,
        } = report;
        attempt.ended(result, trace::cause_of(&span).as_ref());
        span.in_scope(|| {
            let (object, revision) = (format_args!("pods/{}", pod.key()), pod.revision);
            tracing::info!(object, revision, reason = refusal.message, "the pod gets no node");
        });
        let recorder = self.recorder_of(&pod);
        if let Some(recorder) = &recorder {
            let note = shortened(&refusal.message);
            recorder.about(&pod.object, EventType::Warning, "FailedScheduling", note);
        }
        let client = self.client.clone();
        let write = binding::report_refusal(client.clone(), pod.clone(), refusal);
        tokio::spawn(
            async move {
                // The nomination is written first: should this process end, the next one knows whose the room is.
                write.await;
                let preemptor = pod.key();
                let outcome = match eviction {
                    Some(eviction) => Outcome::Evicted {
                        preemptor,
                        all: evict(client, recorder, pod, eviction).await,
                    },
                    None => Outcome::Reported,
                };
                // Others may have waited for the permit.
                drop(permit);
                let _ = outcomes.send(outcome).await;
            }
            .instrument(span),
        );
    }

    /// Nominates a pod to a node, and says who has to go for it.
    fn make_room(&mut self, info: &Arc<PodInfo>, node: &Arc<str>, victims: &Victims) -> Eviction {
        let nominated = self.model.snapshot().get(node).map(|node| node.nominated.clone());
        let lesser = nominated.unwrap_or_default();
        let lesser: Vec<_> = lesser
            .into_iter()
            .filter(|other| other.priority < info.priority)
            .collect();
        for other in &lesser {
            self.model.forget_nomination(&other.key);
        }
        self.model.nominate(info.clone(), node.clone());
        self.evicting.insert(info.key.clone());
        let entries = |pods: &[Arc<PodInfo>]| {
            let entry = |pod: &Arc<PodInfo>| {
                let entry = self.sources.pods.cache.get(&pod.key)?;
                (entry.metadata().uid == *pod.uid).then_some(entry)
            };
            pods.iter().filter_map(entry).collect()
        };
        Eviction {
            node: node.clone(),
            victims: entries(&victims.pods),
            displaced: entries(&lesser),
        }
    }
}

fn shortened(message: &str) -> String {
    const SUFFIX: &str = " ...";
    if message.len() <= NOTE_BYTES {
        return message.into();
    }
    let end = (0..=NOTE_BYTES - SUFFIX.len())
        .rev()
        .find(|end| message.is_char_boundary(*end));
    format!("{}{SUFFIX}", &message[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_in_an_event() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"é".repeat(NOTE_BYTES));
        assert!(long.len() <= NOTE_BYTES && long.ends_with("é ..."), "{long}");
    }
}
