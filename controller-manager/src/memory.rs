//! What a worker remembers about a key between two looks at it: how the last attempt failed, which names its
//! children have had, and the gate.
//!
//! ```text
//!            action written, revision R                     cache has seen R
//!  Open ------------------------------------> Closed(R) -------------------------> Open
//!    |       reply lost                          ^
//!    `--------> fresh read at revision F --------'   (Closed(F): F is later than anything that was sent)
//! ```
//!
//! Behind a closed gate a key sleeps, so that no decision is made on a picture older than its own writes.

use crate::action::{Action, Attempt, Failure, Target};
use crate::child_names::{self, ChildNames};
use crate::ownership::controller_of;
use gantry_proto::{Key, KindInfo};
use gantry_telemetry::trace;
use std::collections::BTreeMap;
use std::time::Instant;

/// What became of one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Written, at this revision.
    Written {
        revision: i64,
    },
    /// A creation found the name taken by an object of this revision. Whose it is, the next decision reads.
    Taken {
        revision: i64,
    },
    /// A deletion was accepted, or the target was not there any more.
    Gone,
    /// The reply was lost; a fresh read that began afterwards saw this revision, and no trace of the write where
    /// it was a creation.
    InDoubt {
        fresh: i64,
        message: String,
    },
    Failed {
        message: String,
    },
    /// No apiserver could take it; it certainly did not happen.
    Unreached {
        message: String,
    },
    /// The object had changed since it was read: nobody's fault, and nothing to report.
    Outdated {
        message: String,
    },
}

/// What began a trace, and its root.
#[derive(Clone, Debug)]
pub struct Begun {
    pub what: &'static str,
    pub root: trace::Cause,
}

#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub failure: Option<Failure>,
    pub gate: Gate,
    /// The trace that a decision began whose writes failed: the next attempt at the same goes on with it.
    pub begun: Option<Begun>,
    epoch: u64,
    names: Option<ChildNames>,
    /// Where the children whose names those are would be found.
    children: Option<Target>,
    /// The earliest timer that is set for the key. A second one is set only if it is earlier, or each look
    /// would leave one more timer behind.
    wakes_at: Option<Instant>,
}

impl Memory {
    pub fn new(epoch: u64) -> Memory {
        Memory {
            epoch,
            ..Memory::default()
        }
    }

    /// The names for the children of the owner with this uid.
    pub fn names(&self, owner_uid: &str) -> ChildNames {
        match &self.names {
            Some(names) if names.owner_uid == owner_uid => names.clone(),
            _ => ChildNames::new(self.epoch, owner_uid),
        }
    }

    /// Whether a timer that ends at `at` is needed beside those that are set.
    pub fn sets_timer(&mut self, at: Instant, now: Instant) -> bool {
        let is_needed = self.wakes_at.is_none_or(|set| set <= now || at < set);
        if is_needed {
            self.wakes_at = Some(at);
        }
        is_needed
    }

    /// Nothing in it is worth keeping.
    pub fn is_blank(&self, now: Instant) -> bool {
        let has_timer = self.wakes_at.is_some_and(|set| set > now);
        self.failure.is_none() && self.gate == Gate::default() && self.names.is_none() && !has_timer
    }

    /// Looks for children whose creation was in doubt.
    pub fn settle(&mut self, seen: &impl Seen) {
        if let (Some(names), Some(children)) = (&mut self.names, &self.children) {
            let key = |name: &str| Key::new(&children.key.namespace, name);
            names.settle(|name| seen.has(children.kind, &key(name)));
        }
    }

    /// Takes note of an action's outcome.
    pub fn note(&mut self, action: &Action, outcome: &Outcome) {
        let names_outcome = match outcome {
            Outcome::Written { .. } | Outcome::Taken { .. } => Some(child_names::Outcome::Used),
            Outcome::InDoubt { .. } => Some(child_names::Outcome::InDoubt),
            Outcome::Gone | Outcome::Failed { .. } | Outcome::Unreached { .. } | Outcome::Outdated { .. } => {
                None
            }
        };
        if let (Action::Create { object, .. }, Some(names_outcome)) = (action, names_outcome)
            && let metadata = object.metadata()
            && let Some(owner) = controller_of(metadata)
            && !metadata.generate_name.is_empty()
        {
            let mut names = self.names(&owner.uid);
            names.note(&metadata.generate_name, &metadata.name, names_outcome);
            self.names = Some(names);
            self.children = Some(object.target());
        }
        let Some(target) = action.target() else { return };
        match outcome {
            Outcome::Written { revision } | Outcome::Taken { revision } => {
                self.gate.close_until(target.kind.resource, *revision);
            }
            Outcome::InDoubt { fresh, .. } => self.gate.close_until(target.kind.resource, *fresh),
            Outcome::Gone => self.gate.close_until_gone(target),
            Outcome::Failed { .. } | Outcome::Unreached { .. } | Outcome::Outdated { .. } => {}
        }
        let of = match outcome {
            Outcome::Outdated { .. } => Attempt::Outdated,
            Outcome::Unreached { .. } => Attempt::Unreached,
            _ => action.attempt(),
        };
        if let Outcome::InDoubt { message, .. }
        | Outcome::Failed { message }
        | Outcome::Unreached { message }
        | Outcome::Outdated { message } = outcome
        {
            self.failure = Some(Failure {
                of,
                message: message.clone(),
            });
        }
    }
}

impl Action {
    /// What the action writes to.
    fn target(&self) -> Option<Target> {
        match self {
            Action::Create { object, .. } | Action::UpdateStatus { object } => Some(object.target()),
            Action::Patch { target, .. } | Action::Adopt { target, .. } | Action::Delete { target, .. } => {
                Some(target.clone())
            }
            Action::Finalize { namespace } => Some(Target::of(namespace)),
            Action::Begin { .. } | Action::Tell { .. } | Action::WakeAfter(_) | Action::CheckAfter(_) => None,
        }
    }
}

/// What a key waits for before it is looked at again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// By the resource's plural name.
    revisions: BTreeMap<&'static str, i64>,
    gone: Vec<Target>,
}

/// The caches, as far as a gate looks at them.
pub trait Seen {
    /// How far the cache of a resource is; `None` where there is none, which closes no gate.
    fn revision(&self, resource: &str) -> Option<i64>;
    /// Whether the cache still shows the target, and not as being deleted.
    fn shows(&self, target: &Target) -> bool;
    /// Whether the cache shows any object of this name.
    fn has(&self, kind: &KindInfo, key: &Key) -> bool;
}

/// One thing that a gate waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Awaited {
    Revision { resource: &'static str, revision: i64 },
    Gone(Target),
}

impl Gate {
    pub fn close_until(&mut self, resource: &'static str, revision: i64) {
        let entry = self.revisions.entry(resource).or_insert(revision);
        *entry = revision.max(*entry);
    }

    fn close_until_gone(&mut self, target: Target) {
        self.gone.push(target);
    }

    /// Forgets those that have gone, from the last on. A namespace's contents are thousands: each is looked for until it
    /// has gone, and then never again.
    pub fn forget_gone(&mut self, seen: &impl Seen) {
        while self.gone.last().is_some_and(|target| !seen.shows(target)) {
            self.gone.pop();
        }
    }

    /// What is still awaited; nothing when the gate is open.
    pub fn awaits(&self, seen: &impl Seen) -> Option<Awaited> {
        let late = self
            .revisions
            .iter()
            .find(|(resource, revision)| seen.revision(resource).is_some_and(|seen| seen < **revision));
        if let Some((resource, revision)) = late {
            return Some(Awaited::Revision {
                resource,
                revision: *revision,
            });
        }
        self.gone
            .iter()
            .rfind(|target| seen.shows(target))
            .cloned()
            .map(Awaited::Gone)
    }

    /// Forgets what was awaited, once it is there.
    pub fn open(&mut self) {
        *self = Gate::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::Kind;
    use gantry_proto::core::v1::Pod;
    use std::cell::Cell;
    use std::collections::BTreeSet;

    /// Shows these, and counts how often it was asked.
    struct Shown(BTreeSet<String>, Cell<usize>);

    impl Seen for Shown {
        fn revision(&self, _resource: &str) -> Option<i64> {
            None
        }

        fn shows(&self, target: &Target) -> bool {
            self.1.set(self.1.get() + 1);
            self.0.contains(&target.key.name)
        }

        fn has(&self, _kind: &KindInfo, key: &Key) -> bool {
            self.0.contains(&key.name)
        }
    }

    #[test]
    fn a_gate_opens_when_every_target_has_gone_and_looks_at_each_until_then_only() {
        const TARGETS: usize = 1_000;
        let names: Vec<String> = (0..TARGETS).map(|number| number.to_string()).collect();
        let mut gate = Gate::default();
        for name in &names {
            gate.close_until_gone(Target {
                kind: Pod::INFO,
                key: Key::new("default", name),
                uid: name.clone(),
            });
        }
        let mut shown = Shown(names.iter().cloned().collect(), Cell::default());
        for name in &names {
            assert!(matches!(gate.awaits(&shown), Some(Awaited::Gone(_))), "{name}");
            shown.0.remove(name);
            gate.forget_gone(&shown);
        }
        assert_eq!(gate.awaits(&shown), None);
        assert!(shown.1.get() < 4 * TARGETS, "asked {} times", shown.1.get());
    }
}
