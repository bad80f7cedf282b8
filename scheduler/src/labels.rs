//! Selectors of labels and of nodes, read once and compared often; two that mean the same by the same words are equal,
//! so that what was counted for one pod serves the next.

use gantry_proto::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use gantry_proto::meta::v1::LabelSelector;
use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// Which labels are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    Nothing,
    /// What satisfies each of these; everything where there is none.
    All(Vec<Requirement>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    pub key: String,
    pub test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

impl Selection {
    pub const EVERYTHING: Selection = Selection::All(Vec::new());

    /// A selector that is absent selects nothing, an empty one everything. One that validation would have refused
    /// selects nothing (metav1.LabelSelectorAsSelector).
    pub fn of(selector: Option<&LabelSelector>) -> Selection {
        let Some(selector) = selector else {
            return Selection::Nothing;
        };
        let equal = selector
            .match_labels
            .iter()
            .map(|(key, value)| Some(Requirement::equals(key, value)));
        let expressions = selector.match_expressions.iter().map(|expression| {
            let test = match expression.operator.as_str() {
                "In" if !expression.values.is_empty() => Test::In(expression.values.clone()),
                "NotIn" if !expression.values.is_empty() => Test::NotIn(expression.values.clone()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::DoesNotExist,
                _ => return None,
            };
            Some(Requirement::new(&expression.key, test))
        });
        Selection::collect(equal.chain(expressions))
    }

    /// Every entry must be a label of its own.
    pub fn of_map(labels: &Labels) -> Selection {
        Selection::collect(
            labels
                .iter()
                .map(|(key, value)| Some(Requirement::equals(key, value))),
        )
    }

    /// What satisfies both.
    pub fn and(self, more: impl IntoIterator<Item = Requirement>) -> Selection {
        match self {
            Selection::Nothing => Selection::Nothing,
            Selection::All(requirements) => {
                Selection::collect(requirements.into_iter().chain(more).map(Some))
            }
        }
    }

    fn collect(requirements: impl Iterator<Item = Option<Requirement>>) -> Selection {
        let Some(mut requirements) = requirements.collect::<Option<Vec<_>>>() else {
            return Selection::Nothing;
        };
        requirements.sort();
        requirements.dedup();
        Selection::All(requirements)
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Selection::Nothing => false,
            Selection::All(requirements) => requirements.iter().all(|r| r.matches(labels)),
        }
    }

    pub fn is_everything(&self) -> bool {
        matches!(self, Selection::All(requirements) if requirements.is_empty())
    }

    /// A label that whatever is selected has, where there is one.
    pub fn certain_label(&self) -> Option<(&str, &str)> {
        let Selection::All(requirements) = self else {
            return None;
        };
        requirements
            .iter()
            .find_map(|requirement| match &requirement.test {
                Test::In(values) if values.len() == 1 => Some((requirement.key.as_str(), values[0].as_str())),
                _ => None,
            })
    }
}

impl Requirement {
    pub fn new(key: &str, mut test: Test) -> Requirement {
        if let Test::In(values) | Test::NotIn(values) = &mut test {
            values.sort();
            values.dedup();
        }
        Requirement {
            key: key.into(),
            test,
        }
    }

    pub fn equals(key: &str, value: &str) -> Requirement {
        Requirement::new(key, Test::In(vec![value.into()]))
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Test::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// Which nodes are meant: those that any of the terms describes (component-helpers nodeaffinity).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeTerms(Vec<NodeTerm>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeTerm {
    labels: Vec<Requirement>,
    /// Names that the node must have, or must not have.
    names: Vec<(bool, String)>,
}

impl NodeTerms {
    pub fn of(selector: &NodeSelector) -> NodeTerms {
        NodeTerms(
            selector
                .node_selector_terms
                .iter()
                .filter_map(NodeTerm::of)
                .collect(),
        )
    }

    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.0.iter().any(|term| term.matches(name, labels))
    }
}

impl NodeTerm {
    /// `None` for an empty term, and for one that validation would have refused: neither describes a node.
    pub fn of(term: &NodeSelectorTerm) -> Option<NodeTerm> {
        if term.match_expressions.is_empty() && term.match_fields.is_empty() {
            return None;
        }
        Some(NodeTerm {
            labels: term
                .match_expressions
                .iter()
                .map(node_requirement)
                .collect::<Option<_>>()?,
            names: term.match_fields.iter().map(name_of).collect::<Option<_>>()?,
        })
    }

    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.labels.iter().all(|requirement| requirement.matches(labels))
            && self
                .names
                .iter()
                .all(|(wanted, other)| (other == name) == *wanted)
    }
}

fn node_requirement(requirement: &NodeSelectorRequirement) -> Option<Requirement> {
    let values = &requirement.values;
    let bound = || match values.as_slice() {
        [value] => value.parse::<i64>().ok(),
        _ => None,
    };
    let test = match requirement.operator.as_str() {
        "In" if !values.is_empty() => Test::In(values.clone()),
        "NotIn" if !values.is_empty() => Test::NotIn(values.clone()),
        "Exists" => Test::Exists,
        "DoesNotExist" => Test::DoesNotExist,
        "Gt" => Test::GreaterThan(bound()?),
        "Lt" => Test::LessThan(bound()?),
        _ => return None,
    };
    Some(Requirement::new(&requirement.key, test))
}

/// The one field of a node that there is to select by.
pub const NAME_FIELD: &str = "metadata.name";

fn name_of(requirement: &NodeSelectorRequirement) -> Option<(bool, String)> {
    match (requirement.operator.as_str(), requirement.values.as_slice()) {
        _ if requirement.key != NAME_FIELD => None,
        ("In", [name]) => Some((true, name.clone())),
        ("NotIn", [name]) => Some((false, name.clone())),
        _ => None,
    }
}

/// The nodes that a pod may run on by its nodeSelector and the required part of its node affinity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequiredNodes {
    selector: Vec<Requirement>,
    terms: Option<NodeTerms>,
}

impl RequiredNodes {
    /// `None` where the pod asks for nothing.
    pub fn of(spec: &PodSpec) -> Option<RequiredNodes> {
        let terms = required_terms(spec).map(NodeTerms::of);
        if spec.node_selector.is_empty() && terms.is_none() {
            return None;
        }
        let selector = spec.node_selector.iter();
        Some(RequiredNodes {
            selector: selector
                .map(|(key, value)| Requirement::equals(key, value))
                .collect(),
            terms,
        })
    }

    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.selector
            .iter()
            .all(|requirement| requirement.matches(labels))
            && self
                .terms
                .as_ref()
                .is_none_or(|terms| terms.matches(name, labels))
    }
}

/// The required part of a pod's node affinity.
pub fn required_terms(spec: &PodSpec) -> Option<&NodeSelector> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn labels(value: Value) -> Labels {
        serde_json::from_value(value).unwrap_or_default()
    }

    #[test]
    fn a_selector_selects_as_in_kubernetes() {
        let check = |selector: Option<Value>, of: Value, expected: bool| {
            let parsed: Option<LabelSelector> = selector
                .clone()
                .map(|value| serde_json::from_value(value).unwrap());
            let matches = Selection::of(parsed.as_ref()).matches(&labels(of.clone()));
            assert_eq!(matches, expected, "{selector:?} of {of}");
        };
        check(None, json!({"a": "1"}), false);
        check(Some(json!({})), json!({}), true);
        check(
            Some(json!({"matchLabels": {"a": "1"}})),
            json!({"a": "1", "b": "2"}),
            true,
        );
        check(Some(json!({"matchLabels": {"a": "1"}})), json!({"a": "2"}), false);
        let expression = |operator: &str, values: &[&str]| {
            Some(json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}))
        };
        check(expression("In", &["1", "2"]), json!({"a": "2"}), true);
        check(expression("NotIn", &["1"]), json!({}), true);
        check(expression("Exists", &[]), json!({"a": ""}), true);
        check(expression("DoesNotExist", &[]), json!({"a": ""}), false);
        check(expression("Nonsense", &[]), json!({"a": ""}), false);
    }

    #[test]
    fn a_nodes_labels_and_name_are_selected_by() {
        let check = |term: Value, expected: bool| {
            let selector = json!({"nodeSelectorTerms": [term]});
            let parsed: NodeSelector = serde_json::from_value(selector).unwrap();
            let matches = NodeTerms::of(&parsed).matches("n1", &labels(json!({"size": "5", "disk": "ssd"})));
            assert_eq!(matches, expected, "{term}");
        };
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let field = |operator: &str, values: &[&str]| json!({"matchFields": [{"key": NAME_FIELD, "operator": operator, "values": values}]});
        check(json!({}), false);
        check(expression("disk", "In", &["ssd", "hdd"]), true);
        check(expression("disk", "NotIn", &["ssd"]), false);
        check(expression("size", "Gt", &["4"]), true);
        check(expression("size", "Gt", &["5"]), false);
        check(expression("size", "Lt", &["6"]), true);
        check(expression("disk", "Lt", &["6"]), false);
        check(expression("size", "Gt", &["x"]), false);
        check(expression("gpu", "DoesNotExist", &[]), true);
        check(field("In", &["n1"]), true);
        check(field("NotIn", &["n1"]), false);
        check(field("In", &["n1", "n2"]), false);
    }

    #[test]
    fn selectors_that_say_the_same_are_equal() {
        let of = |value| Selection::of(serde_json::from_value(value).ok().as_ref());
        let by_labels = of(json!({"matchLabels": {"a": "1"}}));
        let by_expression =
            of(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "1"]}]}));
        assert_eq!(by_labels, by_expression);
        assert_eq!(by_labels.certain_label(), Some(("a", "1")));
    }
}
