//! Disruption budgets, as far as a preemption respects them.

use crate::labels::Selection;
use crate::pods::PodInfo;
use gantry_proto::policy::v1::PodDisruptionBudget;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many pods of an application may still go.
#[derive(Clone, Debug)]
pub struct Budget {
    namespace: String,
    selection: Selection,
    allowed: i32,
    /// Pods whose going is counted already.
    disrupted: BTreeSet<String>,
}

impl Budget {
    /// `None` for one that concerns no pod: here, unlike in an eviction, an empty selector means none.
    pub fn of(budget: &PodDisruptionBudget) -> Option<Budget> {
        let selection = Selection::of(budget.spec().selector.as_ref());
        if selection == Selection::Nothing || selection.is_everything() {
            return None;
        }
        let status = budget.status();
        Some(Budget {
            namespace: budget.metadata().namespace.clone(),
            selection,
            allowed: status.disruptions_allowed,
            disrupted: status.disrupted_pods.keys().cloned().collect(),
        })
    }

    fn concerns(&self, pod: &PodInfo) -> bool {
        self.namespace == pod.key.namespace.as_str()
            && !pod.labels.is_empty()
            && self.selection.matches(&pod.labels)
            && !self.disrupted.contains(pod.key.name.as_str())
    }
}

/// The pods whose going would break a budget, and the others, each in their order (filterPodsWithPDBViolation).
pub(super) fn split(pods: &[Arc<PodInfo>], budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut allowed: Vec<i32> = budgets.iter().map(|budget| budget.allowed).collect();
    pods.iter().cloned().partition(|pod| {
        for (budget, allowed) in budgets.iter().zip(&mut allowed) {
            if budget.concerns(pod) {
                *allowed -= 1;
                if *allowed < 0 {
                    return true;
                }
            }
        }
        false
    })
}

#[cfg(test)]
pub(super) fn budget(namespace: &str, app: &str, allowed: i32, disrupted: &[&str]) -> Budget {
    let value = serde_json::json!({
        "metadata": {"name": app, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {
            "disruptionsAllowed": allowed,
            "disruptedPods": disrupted.iter().map(|name| (name.to_string(), "2026-11-20T00:00:00Z")).collect::<std::collections::BTreeMap<_, _>>(),
        },
    });
    let budget: PodDisruptionBudget = gantry_proto::json::decode_value(&value).unwrap().object;
    Budget::of(&budget).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto::Key;
    use serde_json::{Value, json};

    #[test]
    fn pods_beyond_what_a_budget_allows_break_it() {
        let pod = |name: &str, namespace: &str, app: &str| {
            Arc::new(PodInfo {
                key: Key::new(namespace, name),
                labels: Arc::new([("app".to_string(), app.to_string())].into()),
                ..PodInfo::default()
            })
        };
        let pods = [
            pod("a", "mine", "web"),
            pod("b", "mine", "web"),
            pod("c", "mine", "db"),
            pod("d", "yours", "web"),
            pod("e", "mine", "web"),
        ];
        let check = |budgets: &[Budget], expected: &str| {
            let (breaking, _) = split(&pods, budgets);
            let names: Vec<&str> = breaking.iter().map(|pod| pod.key.name.as_ref()).collect();
            assert_eq!(names.join(" "), expected);
        };
        check(&[], "");
        check(&[budget("mine", "web", 0, &[])], "a b e");
        check(&[budget("mine", "web", 1, &[])], "b e");
        check(&[budget("mine", "web", 1, &["a"])], "e");
        check(
            &[budget("mine", "web", 1, &[]), budget("mine", "db", 0, &[])],
            "b c e",
        );
    }

    #[test]
    fn a_budget_that_selects_everything_or_nothing_is_not_asked() {
        let of = |selector: Value| {
            let value =
                json!({"metadata": {"name": "b", "namespace": "mine"}, "spec": {"selector": selector}});
            Budget::of(&gantry_proto::json::decode_value(&value).unwrap().object)
        };
        assert!(of(json!({})).is_none());
        assert!(of(Value::Null).is_none());
        assert!(of(json!({"matchLabels": {"app": "web"}})).is_some());
    }
}
