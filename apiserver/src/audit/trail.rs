//! What is known of one request, and when it is recorded.
//!
//! ```text
//! Undecided --what is asked, or the reply's begin--> Recorded --reply's end, panic--> Ended
//!     `------ the policy's level is None ----------> Ended
//! ```

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use gantry_proto::KindInfo;
use gantry_proto::meta::v1::{ObjectMeta, Status};

use super::Auditor;
use super::event::{Body, Decision, Entry, Origin};
use super::policy::{self, Level, Stage, Target, Verdict};
use crate::request::Verb;

/// A request's place in the audit log. Clones share it; the default one records nothing.
#[derive(Clone, Debug, Default)]
pub struct Trail(Option<Arc<Record>>);

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub verb: Verb,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// Of the request's object, or else of the reply's.
    pub uid: String,
    pub resource_version: String,
}

#[derive(Debug)]
pub(super) struct Record {
    pub auditor: Arc<Auditor>,
    pub origin: Arc<Origin>,
    /// Of a page or a method that is about no object.
    pub method: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    decision: Option<Decision>,
    status: Option<Status>,
    request: Option<Body>,
    response: Option<Body>,
    truncated: bool,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Undecided,
    Recorded {
        verdict: Verdict,
        verb: Cow<'static, str>,
        object: Option<Arc<Asked>>,
    },
    Ended,
}

/// The most that an event's objects may have, together (Kubernetes' --audit-log-truncate-max-event-size): three times
/// the largest request. More is left out, and an annotation says so.
const MAX_OBJECT_BYTES: usize = 10 << 20;

impl Asked {
    pub fn of(verb: Verb, kind: &KindInfo) -> Asked {
        Asked {
            verb,
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            resource: kind.resource.to_owned(),
            subresource: String::new(),
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
            resource_version: String::new(),
        }
    }

    /// Fills in what is not known yet.
    pub fn complete(&mut self, metadata: &ObjectMeta) {
        let pairs = [
            (&mut self.namespace, &metadata.namespace),
            (&mut self.name, &metadata.name),
            (&mut self.uid, &metadata.uid),
            (&mut self.resource_version, &metadata.resource_version),
        ];
        for (own, more) in pairs {
            if own.is_empty() {
                own.clone_from(more);
            }
        }
    }

    fn target(&self) -> Target<'_> {
        // An object that is created is not named by a request's URL in Kubernetes.
        let creates = self.verb == Verb::Create && self.subresource.is_empty();
        Target::Resource {
            group: &self.group,
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: if creates { "" } else { &self.name },
        }
    }

    /// Whether the reply may take as long as its client likes.
    fn lasts(&self) -> bool {
        self.verb == Verb::Watch || (self.resource == "pods" && self.subresource == "log")
    }
}

impl Trail {
    pub(super) fn new(auditor: Arc<Auditor>, origin: Origin, method: String) -> Trail {
        Trail(Some(Arc::new(Record {
            auditor,
            origin: Arc::new(origin),
            method,
            state: Mutex::default(),
        })))
    }

    /// Says what the request asks for. Whether and how it is recorded is decided now.
    pub fn received(&self, asked: impl FnOnce() -> Option<Asked>) {
        let Some(record) = &self.0 else { return };
        // What is about no object is decided when its reply begins.
        if let Some(asked) = asked() {
            record.decide(&mut record.state(), Some(asked));
        }
    }

    /// Keeps the request's object, if it is recorded.
    pub fn request(&self, body: impl FnOnce() -> Option<Body>) {
        self.keep(Level::Request, |state| &mut state.request, body);
    }

    /// Says whether the request is allowed, and why.
    pub fn authorized(&self, allowed: bool, reason: impl FnOnce() -> String) {
        let Some(record) = &self.0 else { return };
        let mut state = record.state();
        // A request may be authorized before it is known what it asks for.
        if !matches!(state.phase, Phase::Ended) {
            let reason = reason();
            state.decision = Some(Decision { allowed, reason });
        }
    }

    /// Fills in what the reply's object tells of what the request was about.
    pub fn about(&self, metadata: impl FnOnce() -> Option<ObjectMeta>) {
        let Some(record) = &self.0 else { return };
        if let Phase::Recorded {
            object: Some(object), ..
        } = &mut record.state().phase
            && let Some(metadata) = metadata()
        {
            Arc::make_mut(object).complete(&metadata);
        }
    }

    /// Keeps the reply's object, if it is recorded.
    pub fn response(&self, body: impl FnOnce() -> Option<Body>) {
        self.keep(Level::RequestResponse, |state| &mut state.response, body);
    }

    fn keep(
        &self,
        from: Level,
        place: impl FnOnce(&mut State) -> &mut Option<Body>,
        body: impl FnOnce() -> Option<Body>,
    ) {
        let Some(record) = &self.0 else { return };
        let mut state = record.state();
        if !matches!(&state.phase, Phase::Recorded { verdict, .. } if verdict.level >= from) {
            return;
        }
        let Some(body) = body() else { return };
        let kept = [&state.request, &state.response].into_iter().flatten();
        if kept.map(Body::bytes).sum::<usize>() + body.bytes() > MAX_OBJECT_BYTES {
            state.truncated = true;
        } else {
            *place(&mut state) = Some(body);
        }
    }

    pub(super) fn record(&self) -> Option<&Arc<Record>> {
        self.0.as_ref()
    }
}

impl Record {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, state: &mut State, asked: Option<Asked>) {
        if !matches!(state.phase, Phase::Undecided) {
            return;
        }
        let path = self.origin.uri.split('?').next().unwrap_or_default();
        let verdict = self.auditor.policy.decide(&policy::Asked {
            user: &self.origin.user,
            verb: asked.as_ref().map_or(&self.method, |asked| asked.verb.name()),
            target: asked.as_ref().map_or(Target::Path(path), Asked::target),
        });
        self.auditor.metrics.decided(verdict.level);
        if verdict.level == Level::None {
            *state = State {
                phase: Phase::Ended,
                ..State::default()
            };
            return;
        }
        state.phase = Phase::Recorded {
            verdict,
            verb: match &asked {
                Some(asked) => Cow::Borrowed(asked.verb.name()),
                None => Cow::Owned(self.method.clone()),
            },
            object: asked.map(Arc::new),
        };
        self.record(state, Stage::RequestReceived);
    }

    /// The reply begins. `failure` says why there is none, `success` is the code that HTTP has.
    pub fn begins(&self, failure: Option<Status>, success: i32) {
        let mut state = self.state();
        self.decide(&mut state, None);
        let Phase::Recorded { verdict, object, .. } = &state.phase else {
            return;
        };
        let creates = object.as_ref().is_some_and(|asked| asked.verb == Verb::Create);
        let lasts = object.as_ref().is_some_and(|asked| asked.lasts());
        let tells = verdict.level >= Level::RequestResponse && object.is_some();
        if let Some(failure) = &failure
            && tells
        {
            state.response = Some(Body::failure(failure));
        }
        state.status = Some(failure.unwrap_or(Status {
            code: if creates { 201 } else { success },
            ..Status::default()
        }));
        if lasts {
            self.record(&state, Stage::ResponseStarted);
        }
    }

    /// The reply has turned out to be a failure after its begin.
    pub fn fails(&self, failure: Status) {
        self.state().status = Some(failure);
    }

    /// The last thing that is recorded. Without a status by now, the client is gone.
    pub fn ends(&self, stage: Stage, status: Option<Status>) {
        let mut state = self.state();
        self.decide(&mut state, None);
        if let Some(status) = status {
            state.status = Some(status);
        }
        self.record(&state, stage);
        *state = State {
            phase: Phase::Ended,
            ..State::default()
        };
    }

    fn record(&self, state: &State, stage: Stage) {
        let Phase::Recorded {
            verdict,
            verb,
            object,
        } = &state.phase
        else {
            return;
        };
        if verdict.omit_stages.has(stage) {
            return;
        }
        let ends = matches!(stage, Stage::ResponseComplete | Stage::Panic);
        self.auditor.metrics.event();
        self.auditor.queue.offer(Entry {
            origin: self.origin.clone(),
            level: verdict.level,
            stage,
            at: match stage {
                Stage::RequestReceived => self.origin.received,
                _ => now(),
            },
            verb: verb.clone(),
            object: object.clone(),
            decision: state.decision.clone(),
            status: state.status.clone(),
            request: state.request.clone().filter(|_| ends),
            response: state.response.clone().filter(|_| ends),
            truncated: state.truncated && ends,
            omit_managed_fields: verdict.omit_managed_fields,
        });
    }

    /// Whether a status is known.
    pub fn has_status(&self) -> bool {
        self.state().status.is_some()
    }
}

#[allow(clippy::disallowed_methods, reason = "an event says when it happened")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
