//! Pods whose profile has programs that are asked: the question goes to a task of its own, and the decision is made when
//! the answer is there. Other pods are decided about meanwhile.
//!
//! ```text
//! popped --a place is free--> asked --answer--> answered --a write may begin--> bound, or refused
//!    `--none is--> waiting --a place becomes free--^
//! ```

use super::{Report, Scheduling};
use crate::binding::Outcome;
use crate::decision::{Decision, search};
use crate::explain::node_reader;
use crate::metrics::Attempt;
use crate::plugin::{Failure, Question, Verdict, consult, verdict};
use gantry_client::Entry;
use gantry_proto::Key;
use gantry_proto::core::v1::Pod;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::{Instrument, Span};

/// Questions under way at once. Each holds its pod and the names of its nodes, or the nodes: some megabytes with
/// thousands of nodes.
const QUESTIONS: usize = 16;

/// The pods that are asked about. Those that wait are no more than there are pods.
#[derive(Default)]
pub(super) struct Consulting {
    under_way: usize,
    waiting: VecDeque<Asked>,
    answered: VecDeque<Answered>,
}

/// A pod about which programs have to be asked.
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) pod: Arc<Entry<Pod>>,
    pub(super) span: Span,
    pub(super) attempt: Attempt,
}

/// What they said.
pub struct Answered {
    asked: Asked,
    /// Where the search began whose nodes they were asked about.
    start: usize,
    /// `None` where no node was left to ask about.
    verdict: Result<Option<Verdict>, Failure>,
}

impl Scheduling {
    pub(super) fn ask(&mut self, asked: Asked, outcomes: &mpsc::Sender<Outcome>) {
        if self.consulting.under_way >= QUESTIONS {
            self.consulting.waiting.push_back(asked);
            return;
        }
        let profiles = self.profiles.clone();
        let Some(served) = profiles.of(&asked.pod.spec().scheduler_name) else {
            self.queue.remove(&asked.key);
            return;
        };
        let start = self.start;
        let names: Vec<Arc<str>> = asked.span.in_scope(|| {
            self.model.settle();
            let wanted = self.model.want(&asked.pod.object, &served.profile);
            let snapshot = self.model.snapshot();
            let search = search(&wanted, snapshot, start);
            self.start = (start + search.looked_at()) % snapshot.len().max(1);
            search.nodes.iter().map(|node| node.name.clone()).collect()
        });
        if names.is_empty() {
            let verdict = Ok(None);
            self.consulting.answered.push_back(Answered {
                asked,
                start,
                verdict,
            });
            return;
        }
        let question = Question {
            pod: asked.pod.object.clone(),
            names,
            nodes: node_reader(&self.sources.nodes.cache),
        };
        let (added, outcomes) = (served.added.clone(), outcomes.clone());
        self.consulting.under_way += 1;
        let span = asked.span.clone();
        tokio::spawn(
            async move {
                let verdict = consult(&added, question).await.map(Some);
                let answered = Answered {
                    asked,
                    start,
                    verdict,
                };
                let _ = outcomes.send(Outcome::Consulted(Box::new(answered))).await;
            }
            .instrument(span),
        );
    }

    /// Takes over an answer, and asks about the next pod that waits.
    pub(super) fn take_in_answer(&mut self, answered: Answered, outcomes: &mpsc::Sender<Outcome>) {
        self.consulting.under_way -= 1;
        self.consulting.answered.push_back(answered);
        if let Some(next) = self.consulting.waiting.pop_front() {
            self.ask(next, outcomes);
        }
    }

    /// A pod about which everything is known.
    pub(super) fn next_answered(&mut self) -> Option<Answered> {
        self.consulting.answered.pop_front()
    }

    /// Decides with what the programs said, on the present picture.
    pub(super) fn conclude(
        &mut self,
        answered: Answered,
        permit: OwnedSemaphorePermit,
        outcomes: &mpsc::Sender<Outcome>,
    ) {
        let Answered {
            asked,
            start,
            verdict,
        } = answered;
        let Asked {
            key,
            pod,
            span,
            attempt,
        } = asked;
        let present = self.sources.pods.cache.get(&key);
        let same = present.filter(|present| {
            present.metadata().uid == pod.metadata().uid && self.profile_for(present).is_some()
        });
        // Where it is gone, bound by others, or another one has its name, the queue has learned of it, or is about to.
        let Some(pod) = same else {
            self.sources.pods.wake(key);
            return;
        };
        let report = Report {
            span: span.clone(),
            attempt,
            permit,
            outcomes: outcomes.clone(),
        };
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(failure) => return self.fail(&key, pod, failure.to_string(), report),
        };
        let decided = span.in_scope(|| match &verdict {
            Some(verdict) => self.decide_about(&pod, |wanted, snapshot, _, tie| {
                (verdict::decide(wanted, snapshot, start, verdict, tie), 0)
            }),
            None => self.decide_about(&pod, crate::decision::decide),
        });
        report.attempt.decided();
        match decided.decision {
            Decision::Bind { node } => self.bind(key, pod, decided.info, node, report),
            Decision::Unschedulable(why) => self.refuse(pod, decided.info, why, decided.room, report),
        }
    }
}
