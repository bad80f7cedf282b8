//! Names for the children of an owner, chosen so that a write whose reply was lost cannot overshoot.
//!
//! A name is a function of the owner's uid, this process's epoch and a counter. A name whose creation is in
//! doubt is the first to be tried again: if the lost write landed, the second one finds the name taken, and
//! there is one child, not two. A name that was used is never chosen again, because its pod may still run on a
//! node that nobody can reach; the epoch keeps that promise across restarts.

use std::collections::BTreeMap;

/// The letters and digits that Kubernetes' generated names use: no vowels, and none that look alike.
pub const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// As long as the suffix of a generateName.
const SUFFIX_LENGTH: usize = 5;
/// The longest prefix that leaves room for the suffix in a DNS label of 63.
const MAX_PREFIX_LENGTH: usize = 63 - SUFFIX_LENGTH;

/// The names that one owner's children have had, as far as this process knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChildNames {
    /// Differs between any two runs of the process.
    pub epoch: u64,
    pub owner_uid: String,
    /// Counters below this are used up.
    next: u64,
    /// Names whose creation was sent and whose reply was lost, by their counters.
    in_doubt: BTreeMap<u64, String>,
}

/// What came of an attempt to create a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The name is used, by this child or by somebody else's.
    Used,
    /// It may have been created.
    InDoubt,
}

impl ChildNames {
    pub fn new(epoch: u64, owner_uid: &str) -> Self {
        ChildNames {
            epoch,
            owner_uid: owner_uid.into(),
            ..ChildNames::default()
        }
    }

    /// The names to try, in order: first those in doubt, then new ones. Without end.
    pub fn candidates(&self, prefix: &str) -> impl Iterator<Item = String> {
        let counters = self.in_doubt.keys().copied().chain(self.next..);
        counters.map(move |counter| self.name(prefix, counter))
    }

    /// A name in doubt that is seen is used.
    pub fn settle(&mut self, is_seen: impl Fn(&str) -> bool) {
        self.in_doubt.retain(|_, name| !is_seen(name));
    }

    /// Whether there is a name in doubt, or one that was used.
    pub fn is_blank(&self) -> bool {
        self.next == 0
    }

    /// Takes note of what came of creating `name`. Names that are not of this series are of no interest.
    pub fn note(&mut self, prefix: &str, name: &str, outcome: Outcome) {
        let Some(counter) = self.counter_of(prefix, name) else {
            return;
        };
        match outcome {
            Outcome::Used => drop(self.in_doubt.remove(&counter)),
            Outcome::InDoubt => drop(self.in_doubt.insert(counter, name.to_string())),
        }
        self.next = self.next.max(counter + 1);
    }

    fn counter_of(&self, prefix: &str, name: &str) -> Option<u64> {
        /// A decision creates at most this many children, so the counter is not further away.
        const REACH: u64 = 2 * 500;
        let recent = self.next..self.next.saturating_add(REACH);
        self.in_doubt
            .keys()
            .copied()
            .chain(recent)
            .find(|counter| self.name(prefix, *counter) == name)
    }

    fn name(&self, prefix: &str, counter: u64) -> String {
        let mut hash = Fnv64::default();
        hash.write(self.owner_uid.as_bytes());
        hash.write(&self.epoch.to_be_bytes());
        hash.write(&counter.to_be_bytes());
        let mut rest = hash.finish();
        let end = prefix.floor_char_boundary(MAX_PREFIX_LENGTH);
        let mut name = prefix[..end].to_string();
        for _ in 0..SUFFIX_LENGTH {
            name.push(char::from(ALPHABET[(rest % 27) as usize]));
            rest /= 27;
        }
        name
    }
}

/// FNV-1a with a final mix (that of splitmix64), because FNV alone changes few bits for a last byte.
struct Fnv64(u64);

impl Default for Fnv64 {
    fn default() -> Self {
        Fnv64(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv64 {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn first(names: &ChildNames, count: usize) -> Vec<String> {
        names.candidates("web-abc-").take(count).collect()
    }

    #[test]
    fn a_name_in_doubt_is_tried_again_before_a_new_one() {
        let mut names = ChildNames::new(1, "uid");
        let tried = first(&names, 3);
        names.note("web-abc-", &tried[0], Outcome::Used);
        names.note("web-abc-", &tried[1], Outcome::InDoubt);
        names.note("web-abc-", &tried[2], Outcome::Used);
        let again = first(&names, 2);
        assert_eq!(again[0], tried[1]);
        assert!(!tried.contains(&again[1]));
        names.note("web-abc-", &again[0], Outcome::Used);
        assert!(first(&names, 100).iter().all(|name| !tried.contains(name)));
        names.note("web-abc-", &again[1], Outcome::InDoubt);
        names.settle(|name| name == again[1]);
        assert!(!first(&names, 100).contains(&again[1]));
    }

    #[test]
    fn no_name_is_used_twice_and_runs_and_owners_differ() {
        let mut names = ChildNames::new(1, "uid");
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            let name = first(&names, 1).remove(0);
            names.note("web-abc-", &name, Outcome::Used);
            seen.insert(name);
        }
        // 27^5 suffixes: among 1000 a repetition has a chance of 1000^2 / 2 / 14.3 million, about 3 %.
        assert_eq!(seen.len(), 1000);
        assert_ne!(
            first(&ChildNames::new(2, "uid"), 1),
            first(&ChildNames::new(1, "uid"), 1)
        );
        assert_ne!(
            first(&ChildNames::new(1, "other"), 1),
            first(&ChildNames::new(1, "uid"), 1)
        );
    }

    #[test]
    fn a_name_fits_into_a_label() {
        let names = ChildNames::new(1, "uid");
        let name = names.candidates(&"a".repeat(80)).next().unwrap();
        assert_eq!(name.len(), 63);
    }
}
