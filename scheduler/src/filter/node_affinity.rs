//! A pod's node selector, its required node affinity, and the affinity that the profile adds (plugins/nodeaffinity).

use super::{Filter, Reason, Remedy, UNRESOLVABLE, Wanted};
use crate::labels::{NAME_FIELD, NodeTerm, RequiredNodes, required_terms};
use crate::profile::{Plugin, Profile};
use crate::snapshot::NodeInfo;
use gantry_proto::core::v1::{NodeSelectorTerm, PodSpec, PreferredSchedulingTerm};
use std::collections::BTreeSet;

pub const FILTER: Filter = Filter {
    plugin: Plugin::NodeAffinity,
    concerns: |wanted| wanted.nodes.required.is_some() || wanted.added_nodes.is_some(),
    check: |wanted, node| match added_refuses(wanted, node) || refuses(wanted, node) {
        true => UNRESOLVABLE,
        false => None,
    },
    words: |wanted, node, say| match () {
        () if added_refuses(wanted, node) => say(ENFORCED),
        () if refuses(wanted, node) => say(UNMATCHED),
        () => {}
    },
    explain,
};

const ENFORCED: &str = "node(s) didn't match scheduler-enforced node affinity";
const UNMATCHED: &str = "node(s) didn't match Pod's node affinity/selector";
pub const CONFLICT: &str = "pod affinity terms conflict";

/// What a pod asks of nodes.
#[derive(Clone, Debug)]
pub struct WantedNodes {
    pub required: Option<RequiredNodes>,
    /// With their weights, those of the profile among them.
    pub preferred: Vec<(i64, NodeTerm)>,
    /// The only nodes that it can be, where the pod says them by name.
    pub names: Option<RequiredNodeNames>,
}

pub type RequiredNodeNames = BTreeSet<String>;

impl WantedNodes {
    pub fn of(spec: &PodSpec, profile: &Profile) -> WantedNodes {
        let own = spec.affinity.as_ref();
        let own = own.and_then(|affinity| affinity.node_affinity.as_ref());
        let own = own.map(|affinity| &affinity.preferred_during_scheduling_ignored_during_execution);
        let added = &profile.node_affinity.preferred;
        let read = |term: &PreferredSchedulingTerm| {
            let nodes = NodeTerm::of(term.preference())?;
            (term.weight != 0).then_some((i64::from(term.weight), nodes))
        };
        WantedNodes {
            required: RequiredNodes::of(spec),
            preferred: own.into_iter().flatten().chain(added).filter_map(read).collect(),
            names: names(spec),
        }
    }

    /// Whether the pod's terms exclude each other's names.
    pub fn names_conflict(&self) -> bool {
        self.names.as_ref().is_some_and(BTreeSet::is_empty)
    }
}

/// The nodes that a pod says by name: `None` where one of its terms leaves the name open.
fn names(spec: &PodSpec) -> Option<RequiredNodeNames> {
    let terms = &required_terms(spec)?.node_selector_terms;
    if terms.is_empty() {
        return None;
    }
    let mut names = BTreeSet::new();
    for term in terms {
        names.extend(names_of(term)?);
    }
    Some(names)
}

fn names_of(term: &NodeSelectorTerm) -> Option<RequiredNodeNames> {
    let by_name = term
        .match_fields
        .iter()
        .filter(|field| field.key == NAME_FIELD && field.operator == "In");
    by_name
        .map(|field| field.values.iter().cloned().collect::<BTreeSet<_>>())
        .reduce(|names, others| names.intersection(&others).cloned().collect())
}

fn added_refuses(wanted: &Wanted, node: &NodeInfo) -> bool {
    let added = wanted.added_nodes.as_ref();
    added.is_some_and(|terms| !terms.matches(&node.name, &node.labels))
}

fn refuses(wanted: &Wanted, node: &NodeInfo) -> bool {
    let required = wanted.nodes.required.as_ref();
    required.is_some_and(|required| !required.matches(&node.name, &node.labels))
}

fn explain(wanted: &Wanted, node: &NodeInfo) -> Vec<Reason> {
    if added_refuses(wanted, node) {
        return vec![Reason {
            text: ENFORCED.into(),
            detail: format!("the profile {} adds an affinity", wanted.profile.scheduler_name),
            remedy: Remedy::None,
        }];
    }
    if !refuses(wanted, node) {
        return Vec::new();
    }
    let missing: Vec<String> = wanted
        .spec
        .node_selector
        .iter()
        .filter(|(key, value)| node.labels.get(*key) != Some(value))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let labels = missing.join(",");
    let (detail, remedy) = match labels.is_empty() {
        true => (
            "the pod's required node affinity excludes the node".into(),
            Remedy::Relax {
                change: "let its node affinity include the node".into(),
            },
        ),
        false => (format!("the node lacks {labels}"), Remedy::Label { labels }),
    };
    vec![Reason {
        text: UNMATCHED.into(),
        detail,
        remedy,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_may_say_its_nodes_by_name() {
        let check = |terms: serde_json::Value, expected: Option<&[&str]>| {
            let spec = json!({"affinity": {"nodeAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_string()).collect());
            assert_eq!(names(&spec), expected, "{terms}");
        };
        let name = |names: &[&str]| json!({"key": NAME_FIELD, "operator": "In", "values": names});
        check(json!([{"matchFields": [name(&["a"])]}]), Some(&["a"]));
        check(
            json!([{"matchFields": [name(&["a"])]}, {"matchFields": [name(&["b"])]}]),
            Some(&["a", "b"]),
        );
        check(json!([{"matchFields": [name(&["a"]), name(&["b"])]}]), Some(&[]));
        let open = json!({"matchExpressions": [{"key": "k", "operator": "Exists"}]});
        check(json!([{"matchFields": [name(&["a"])]}, open]), None);
    }
}
