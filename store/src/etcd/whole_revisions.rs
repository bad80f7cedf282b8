//! Puts the fragments of a watch together so that no batch ever ends inside a revision.
//!
//! etcd cuts a large message into fragments wherever the size is reached, which may be between two events of
//! one transaction. Whoever delivered the first half and resumed from its revision would lose the second.

use crate::{Event, Revision, WatchBatch};

/// What has been delivered of a watch, and what is held back until its revision is complete.
#[derive(Debug)]
pub(super) struct WholeRevisions {
    delivered: Revision,
    /// Events of one revision, of which more may follow.
    held: Vec<Event>,
}

impl WholeRevisions {
    /// Everything up to and including `delivered` is known to the consumer.
    pub(super) fn after(delivered: Revision) -> Self {
        WholeRevisions {
            delivered,
            held: Vec::new(),
        }
    }

    /// The revision to resume after.
    pub(super) fn delivered(&self) -> Revision {
        self.delivered
    }

    /// Takes the events of one message; `more_follows` says that it is a fragment and not the last one.
    pub(super) fn accept(&mut self, events: Vec<Event>, more_follows: bool) -> Option<WatchBatch> {
        let mut complete = std::mem::take(&mut self.held);
        // A member that restored a snapshot may send again what it had sent before.
        complete.extend(
            events
                .into_iter()
                .filter(|event| event.revision() > self.delivered),
        );
        if more_follows && let Some(open) = complete.last().map(Event::revision) {
            let closed = complete
                .iter()
                .take_while(|event| event.revision() < open)
                .count();
            self.held = complete.split_off(closed);
        }
        let revision = complete.last()?.revision();
        self.delivered = revision;
        Some(WatchBatch {
            events: complete,
            revision,
        })
    }

    /// Takes etcd's word that everything up to `revision` has been sent.
    pub(super) fn progress(&mut self, revision: Revision) -> Option<WatchBatch> {
        if !self.held.is_empty() || revision < self.delivered {
            return None;
        }
        self.delivered = revision;
        Some(WatchBatch {
            events: Vec::new(),
            revision,
        })
    }

    /// Forgets what the lost connection had not completed; it will be sent again.
    pub(super) fn connection_lost(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(revisions: &[Revision]) -> Vec<Event> {
        let event = |revision: &Revision| Event::Delete {
            key: "k".into(),
            revision: *revision,
        };
        revisions.iter().map(event).collect()
    }

    /// A message (its events' revisions, whether more follows) and the batch it should complete.
    type Step<'a> = (&'a [Revision], bool, Option<&'a [Revision]>);

    fn check(after: Revision, steps: &[Step<'_>]) {
        let mut whole = WholeRevisions::after(after);
        for (index, (sent, more_follows, expected)) in steps.iter().enumerate() {
            let batch = whole.accept(events(sent), *more_follows);
            let got = batch.map(|batch| batch.events.iter().map(Event::revision).collect::<Vec<_>>());
            assert_eq!(got.as_deref(), *expected, "message {index}");
        }
    }

    #[test]
    fn a_revision_that_was_cut_is_held_back_until_it_is_complete() {
        check(
            1,
            &[
                (&[2, 2, 3], true, Some(&[2, 2])),
                (&[3], true, None),
                (&[3, 4], false, Some(&[3, 3, 3, 4])),
            ],
        );
        check(
            1,
            &[
                (&[5], true, None),
                (&[5], true, None),
                (&[6], false, Some(&[5, 5, 6])),
            ],
        );
    }

    #[test]
    fn a_message_that_is_not_a_fragment_is_delivered_at_once() {
        check(1, &[(&[2, 2], false, Some(&[2, 2])), (&[3], false, Some(&[3]))]);
    }

    #[test]
    fn what_was_delivered_is_not_delivered_again() {
        check(
            3,
            &[
                (&[2, 3], false, None),
                (&[3, 4], false, Some(&[4])),
                (&[4], true, None),
                (&[], false, None),
            ],
        );
    }

    #[test]
    fn a_lost_connection_forgets_the_open_revision_and_resumes_before_it() {
        let mut whole = WholeRevisions::after(1);
        assert!(whole.accept(events(&[2, 3]), true).is_some());
        whole.connection_lost();
        assert_eq!(whole.delivered(), 2);
        let again = whole.accept(events(&[3, 3]), false).expect("the whole revision");
        assert_eq!(again.events.len(), 2);
    }

    #[test]
    fn progress_is_not_believed_while_a_revision_is_open_nor_backwards() {
        let mut whole = WholeRevisions::after(5);
        assert_eq!(whole.progress(4), None);
        assert_eq!(whole.progress(9).map(|batch| batch.revision), Some(9));
        assert!(whole.accept(events(&[10]), true).is_none());
        assert_eq!(whole.progress(11), None);
    }
}
