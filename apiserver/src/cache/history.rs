//! The latest changes of a kind, from which watches are served.

use std::sync::Arc;

use imbl::Vector;

use super::Entry;

/// Changes kept for one kind. A burst of 60 pods makes about 600; a watcher that reconnects after a minute of a
/// thousand changes per ten seconds still finds its place.
pub const MAX_EVENTS: usize = 8192;
/// Bytes kept for one kind: 8192 pods of 2 KiB.
pub const MAX_BYTES: usize = 16 << 20;

/// One change of one object.
#[derive(Debug)]
pub struct Change {
    pub revision: i64,
    pub before: Option<Arc<Entry>>,
    pub after: Option<Arc<Entry>>,
}

impl Change {
    fn bytes(&self) -> usize {
        // A version before is what an earlier change brought, or one for each object that is there. Of an object that
        // is gone nothing else keeps the last version.
        let kept = self.after.as_ref().or(self.before.as_ref());
        size_of::<Change>() + kept.map_or(0, |entry| entry.bytes())
    }
}

/// A bounded window of changes that ends at the present. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct History {
    changes: Vector<Arc<Change>>,
    bytes: usize,
    /// Every change after this revision is in the window.
    start: i64,
}

/// The history no longer reaches back as far as was asked; it starts after this revision.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOld {
    pub start: i64,
}

impl History {
    /// A history that knows nothing up to `revision`.
    pub fn starting_at(revision: i64) -> History {
        History {
            start: revision,
            ..History::default()
        }
    }

    /// Every change after this revision is known.
    pub fn start(&self) -> i64 {
        self.start
    }

    pub fn push(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.changes.push_back(Arc::new(change));
    }

    /// Drops the oldest revisions until the window is within the limits, always whole revisions.
    pub fn trim(&mut self, max_events: usize, max_bytes: usize) {
        while self.changes.len() > max_events || self.bytes > max_bytes {
            let Some(oldest) = self.changes.front().map(|change| change.revision) else {
                break;
            };
            while let Some(change) = self.changes.front().filter(|change| change.revision == oldest) {
                self.bytes -= change.bytes();
                self.changes.pop_front();
            }
            self.start = oldest;
        }
    }

    /// The next changes after `revision`, about `max` of them and always whole revisions.
    pub fn after(&self, revision: i64, max: usize) -> Result<Vec<Arc<Change>>, TooOld> {
        if revision < self.start {
            return Err(TooOld { start: self.start });
        }
        if self.changes.last().is_none_or(|last| last.revision <= revision) {
            return Ok(Vec::new());
        }
        let mut slice: Vec<Arc<Change>> = Vec::new();
        let rest = self.first_after(revision)..self.changes.len();
        for change in rest.filter_map(|index| self.changes.get(index)) {
            let same_revision = slice.last().is_some_and(|last| last.revision == change.revision);
            if slice.len() >= max && !same_revision {
                break;
            }
            slice.push(change.clone());
        }
        Ok(slice)
    }

    fn first_after(&self, revision: i64) -> usize {
        let (mut low, mut high) = (0, self.changes.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let after = self
                .changes
                .get(middle)
                .is_none_or(|change| change.revision > revision);
            if after { high = middle } else { low = middle + 1 }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(revisions: &[i64]) -> History {
        let mut history = History::starting_at(10);
        for revision in revisions {
            history.push(Change {
                revision: *revision,
                before: None,
                after: None,
            });
        }
        history
    }

    #[test]
    fn a_reader_gets_whole_revisions_after_its_own() {
        let check = |after, max, expected: Result<&[i64], TooOld>| {
            let found = history(&[11, 13, 13, 13, 14, 20]).after(after, max);
            let found = found.map(|changes| changes.iter().map(|change| change.revision).collect::<Vec<_>>());
            assert_eq!(
                found,
                expected.map(<[i64]>::to_vec),
                "after {after}, at most {max}"
            );
        };
        check(9, 9, Err(TooOld { start: 10 }));
        check(10, 9, Ok(&[11, 13, 13, 13, 14, 20]));
        check(10, 1, Ok(&[11]));
        check(11, 1, Ok(&[13, 13, 13]));
        check(12, 2, Ok(&[13, 13, 13]));
        check(13, 9, Ok(&[14, 20]));
        check(20, 9, Ok(&[]));
        check(99, 9, Ok(&[]));
    }

    #[test]
    fn the_last_version_of_what_is_gone_counts() {
        let mut history = History::starting_at(0);
        for revision in 1..=20 {
            let before = Some(Arc::new(crate::cache::entry::sized(revision, 1 << 20)));
            history.push(Change {
                revision,
                before,
                after: None,
            });
        }
        history.trim(MAX_EVENTS, MAX_BYTES);
        assert!(history.bytes <= MAX_BYTES, "{}", history.bytes);
        assert!((5..20).contains(&history.start), "{}", history.start);
    }

    #[test]
    fn trimming_forgets_whole_revisions_and_remembers_where_the_window_starts() {
        let mut trimmed = history(&[11, 13, 13, 13, 14, 20]);
        trimmed.trim(4, MAX_BYTES);
        assert_eq!(trimmed.start, 13);
        assert_eq!(trimmed.after(13, 9).map(|changes| changes.len()), Ok(2));
        assert_eq!(trimmed.after(12, 9).map(|_| ()), Err(TooOld { start: 13 }));
        let one = size_of::<Change>();
        trimmed.trim(9, one);
        assert_eq!(trimmed.start, 14);
        trimmed.trim(0, 0);
        assert_eq!((trimmed.start, trimmed.bytes), (20, 0));
    }
}
