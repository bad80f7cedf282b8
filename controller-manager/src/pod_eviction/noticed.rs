//! Since when taints are there that do not say it: `kubectl taint` writes no timeAdded.

use gantry_proto::core::v1::{Node, Taint};
use gantry_proto::meta::v1::Time;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// One entry for each NoExecute taint without a time, by its node's name. It begins anew with the process, as in
/// Kubernetes.
#[derive(Debug, Default)]
pub struct Noticed {
    by_node: Mutex<HashMap<String, Vec<Taint>>>,
}

impl Noticed {
    /// Takes note of a node as it is now.
    pub fn note(&self, node: &Node, now: SystemTime) {
        let mut by_node = self.lock();
        let name = &node.metadata().name;
        let before = by_node.remove(name).unwrap_or_default();
        let undated = node
            .spec()
            .taints
            .iter()
            .filter(|taint| taint.effect == "NoExecute" && taint.time_added.is_none());
        let dated: Vec<Taint> = undated
            .map(|taint| {
                let known = before.iter().find(|known| is_same(known, taint)).cloned();
                known.unwrap_or_else(|| Taint {
                    time_added: Some(Time::from_system(now)),
                    ..taint.clone()
                })
            })
            .collect();
        if !dated.is_empty() {
            by_node.insert(name.clone(), dated);
        }
    }

    pub fn forget(&self, node: &str) {
        self.lock().remove(node);
    }

    /// The node's taints, with their times as far as they are known.
    pub fn taints(&self, node: &Node) -> Vec<Taint> {
        let by_node = self.lock();
        let noticed = by_node
            .get(&node.metadata().name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let dated = |taint: &Taint| {
            let known = noticed.iter().find(|known| is_same(known, taint));
            match (taint.time_added, known) {
                (None, Some(known)) => known.clone(),
                _ => taint.clone(),
            }
        };
        node.spec().taints.iter().map(dated).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Taint>>> {
        // No code that holds the lock can panic half way through a change.
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(a: &Taint, b: &Taint) -> bool {
    (&a.key, &a.value, &a.effect) == (&b.key, &b.value, &b.effect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_taint_without_a_time_counts_from_when_it_was_noticed() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let taint = |key: &str| Taint {
            key: key.into(),
            effect: "NoExecute".into(),
            ..Taint::default()
        };
        let node = |taints: &[Taint]| {
            let mut node = Node::default();
            node.metadata_mut().name = "n".into();
            node.spec_mut().taints = taints.to_vec();
            node
        };
        let noticed = Noticed::default();
        let times = |node: &Node| -> Vec<Option<i64>> {
            let taints = noticed.taints(node);
            taints
                .iter()
                .map(|taint| taint.time_added.map(|time| time.seconds))
                .collect()
        };
        let one = node(&[taint("a")]);
        noticed.note(&one, at(10));
        noticed.note(&one, at(20));
        assert_eq!(times(&one), [Some(10)]);
        let two = node(&[taint("a"), taint("b")]);
        noticed.note(&two, at(30));
        assert_eq!(times(&two), [Some(10), Some(30)]);
        noticed.note(&node(&[]), at(40));
        noticed.note(&one, at(50));
        assert_eq!(times(&one), [Some(50)], "it went and came back");
        let mut dated = taint("a");
        dated.time_added = Some(Time::from_system(at(5)));
        assert_eq!(times(&node(&[dated])), [Some(5)]);
        noticed.forget("n");
        assert_eq!(times(&one), [None]);
    }
}
