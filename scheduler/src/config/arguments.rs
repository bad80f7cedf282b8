//! What rules are told by pluginConfig (v1's types_pluginargs.go, validation_pluginargs.go).

use super::ConfigurationError;
use super::document::{self, PluginConfig};
use super::problems::{Path, Problems};
use crate::profile::{
    AddedAffinity, DefaultConstraints, FitArguments, InterPodAffinityArguments, Preemption, Profile,
    ResourceWeight, ScoringStrategy, cpu_and_memory,
};
use gantry_proto::core::v1::{
    NodeSelector, NodeSelectorRequirement, PreferredSchedulingTerm, TopologySpreadConstraint,
};
use gantry_proto::selector::label::{key_complaints, value_complaints};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Arguments of these are read and change nothing.
const IDLE: &[&str] = &["VolumeBinding", "DynamicResources"];

pub(super) fn apply(
    profile: &mut Profile,
    configs: &[PluginConfig],
    path: &Path,
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigurationError> {
    let mut seen = BTreeSet::new();
    for (number, config) in configs.iter().enumerate() {
        let path = path.child("pluginConfig").index(number);
        if !seen.insert(config.name.as_str()) {
            problems.duplicate(&path, &config.name);
        }
        let args = path.child("args");
        let (name, value) = (config.name.as_str(), &config.args);
        let outcome = match name {
            "DefaultPreemption" => read(name, value, |it: PreemptionArgs| {
                it.apply(profile, &args, problems)
            }),
            "InterPodAffinity" => read(name, value, |it: PodAffinityArgs| {
                it.apply(profile, &args, problems)
            }),
            "NodeAffinity" => read(name, value, |it: NodeAffinityArgs| {
                it.apply(profile, &args, problems)
            }),
            "NodeResourcesFit" => read(name, value, |it: FitArgs| it.apply(profile, &args, problems)),
            "NodeResourcesBalancedAllocation" => {
                read(name, value, |it: BalancedArgs| it.apply(profile, &args, problems))
            }
            "PodTopologySpread" => read(name, value, |it: SpreadArgs| it.apply(profile, &args, problems)),
            _ => {
                if IDLE.contains(&name) {
                    warnings.push(format!("{path}: there is nothing that {name} could decide by"));
                }
                Ok(())
            }
        };
        outcome.map_err(|error| ConfigurationError(format!("decoding .{path}: {}", error.0)))?;
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned + Default>(
    plugin: &str,
    args: &serde_json::Value,
    apply: impl FnOnce(T),
) -> Result<(), ConfigurationError> {
    document::arguments(plugin, &format!("{plugin}Args"), args).map(apply)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PreemptionArgs {
    min_candidate_nodes_percentage: Option<i32>,
    min_candidate_nodes_absolute: Option<i32>,
}

impl PreemptionArgs {
    fn apply(self, profile: &mut Profile, path: &Path, problems: &mut Problems) {
        let percentage = self.min_candidate_nodes_percentage.unwrap_or(10);
        let absolute = self.min_candidate_nodes_absolute.unwrap_or(100);
        let percentage_path = path.child("minCandidateNodesPercentage");
        let absolute_path = path.child("minCandidateNodesAbsolute");
        if !(0..=100).contains(&percentage) {
            problems.invalid(&percentage_path, percentage, "not in valid range [0, 100]");
        }
        if absolute < 0 {
            problems.invalid(&absolute_path, absolute, "not in valid range [0, inf)");
        }
        if percentage == 0 && absolute == 0 {
            let why = |other| format!("cannot be zero at the same time as {other}");
            problems.invalid(&percentage_path, 0, &why("minCandidateNodesAbsolute"));
            problems.invalid(&absolute_path, 0, &why("minCandidateNodesPercentage"));
        }
        if let Some(preemption) = &mut profile.preemption {
            *preemption = Preemption {
                min_candidate_nodes_percentage: u32::try_from(percentage).unwrap_or(0),
                min_candidate_nodes_absolute: u32::try_from(absolute).unwrap_or(0),
            };
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodAffinityArgs {
    hard_pod_affinity_weight: Option<i32>,
    ignore_preferred_terms_of_existing_pods: bool,
}

impl PodAffinityArgs {
    fn apply(self, profile: &mut Profile, path: &Path, problems: &mut Problems) {
        let weight = self.hard_pod_affinity_weight.unwrap_or(1);
        if !(0..=100).contains(&weight) {
            let path = path.child("hardPodAffinityWeight");
            problems.invalid(&path, weight, "not in valid range [0, 100]");
        }
        profile.inter_pod_affinity = InterPodAffinityArguments {
            hard_pod_affinity_weight: weight,
            ignore_preferred_terms_of_existing_pods: self.ignore_preferred_terms_of_existing_pods,
        };
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinityArgs {
    added_affinity: Option<WrittenAffinity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    preferred_during_scheduling_ignored_during_execution: Vec<PreferredSchedulingTerm>,
}

impl NodeAffinityArgs {
    fn apply(self, profile: &mut Profile, path: &Path, problems: &mut Problems) {
        let affinity = self.added_affinity.unwrap_or_default();
        let path = path.child("addedAffinity");
        let (required, preferred) = (
            affinity.required_during_scheduling_ignored_during_execution,
            affinity.preferred_during_scheduling_ignored_during_execution,
        );
        let terms = path
            .child("requiredDuringSchedulingIgnoredDuringExecution")
            .child("nodeSelectorTerms");
        for (number, term) in required
            .iter()
            .flat_map(|required| &required.node_selector_terms)
            .enumerate()
        {
            let path = terms.index(number);
            check_requirements(&term.match_expressions, &path.child("matchExpressions"), problems);
            check_fields(&term.match_fields, &path.child("matchFields"), problems);
        }
        let terms = path.child("preferredDuringSchedulingIgnoredDuringExecution");
        for (number, term) in preferred.iter().enumerate() {
            let path = terms.index(number);
            check_requirements(
                &term.preference().match_expressions,
                &path.child("matchExpressions"),
                problems,
            );
            check_fields(
                &term.preference().match_fields,
                &path.child("matchFields"),
                problems,
            );
        }
        profile.node_affinity = AddedAffinity { required, preferred };
    }
}

/// As component-helpers' nodeaffinity and labels.NewRequirement check them.
fn check_requirements(requirements: &[NodeSelectorRequirement], path: &Path, problems: &mut Problems) {
    for (number, requirement) in requirements.iter().enumerate() {
        let path = path.index(number);
        for complaint in key_complaints(&requirement.key) {
            problems.invalid_text(&path.child("key"), &requirement.key, &complaint);
        }
        let values = &requirement.values;
        let shown = serde_json::to_string(values).unwrap_or_default();
        let wrong = match requirement.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => "for 'in', 'notin' operators, values set can't be empty",
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                "values set must be empty for exists and does not exist"
            }
            "Gt" | "Lt" if values.len() != 1 => "for 'Gt', 'Lt' operators, exactly one value is required",
            "Gt" | "Lt" if values.iter().any(|value| value.parse::<i64>().is_err()) => {
                "for 'Gt', 'Lt' operators, the value must be an integer"
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => "",
            operator => {
                let supported = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
                problems.not_supported(&path.child("operator"), operator, &supported);
                ""
            }
        };
        if !wrong.is_empty() {
            problems.invalid(&path.child("values"), &shown, wrong);
        }
        for (number, value) in values.iter().enumerate() {
            for complaint in value_complaints(value) {
                problems.invalid_text(&path.child("values").index(number), value, &complaint);
            }
        }
    }
}

fn check_fields(requirements: &[NodeSelectorRequirement], path: &Path, problems: &mut Problems) {
    for (number, requirement) in requirements.iter().enumerate() {
        let path = path.index(number);
        if !matches!(requirement.operator.as_str(), "In" | "NotIn") {
            problems.not_supported(&path.child("operator"), &requirement.operator, &["In", "NotIn"]);
        }
        if requirement.values.len() != 1 {
            problems.required(&path.child("values"), "must have one element");
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FitArgs {
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<WrittenStrategy>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenStrategy {
    r#type: String,
    resources: Vec<WrittenResource>,
    requested_to_capacity_ratio: Option<WrittenRatio>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenResource {
    name: String,
    weight: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenRatio {
    shape: Vec<WrittenPoint>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenPoint {
    utilization: i32,
    score: i32,
}

const STRATEGIES: [&str; 3] = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];

impl FitArgs {
    fn apply(self, profile: &mut Profile, path: &Path, problems: &mut Problems) {
        let resources = path.child("ignoredResources");
        for (number, resource) in self.ignored_resources.iter().enumerate() {
            for complaint in key_complaints(resource) {
                problems.invalid_text(&resources.index(number), resource, &complaint);
            }
        }
        let groups = path.child("ignoredResourceGroups");
        for (number, group) in self.ignored_resource_groups.iter().enumerate() {
            let path = groups.index(number);
            if group.contains('/') {
                problems.invalid_text(&path, group, "resource group name can't contain '/'");
            }
            for complaint in key_complaints(group) {
                problems.invalid_text(&path, group, &complaint);
            }
        }
        let strategy = self.scoring_strategy.unwrap_or_else(|| WrittenStrategy {
            r#type: "LeastAllocated".into(),
            ..WrittenStrategy::default()
        });
        let (strategy, resources) = strategy.check(&path.child("scoringStrategy"), problems);
        profile.node_resources_fit = FitArguments {
            ignored_resources: self.ignored_resources,
            ignored_resource_groups: self.ignored_resource_groups,
            strategy,
            resources,
        };
    }
}

impl WrittenStrategy {
    fn check(self, path: &Path, problems: &mut Problems) -> (ScoringStrategy, Vec<ResourceWeight>) {
        if !STRATEGIES.contains(&self.r#type.as_str()) {
            problems.not_supported(&path.child("type"), &self.r#type, &STRATEGIES);
        }
        let resources = weights(self.resources);
        for (number, resource) in resources.iter().enumerate() {
            if !(1..=100).contains(&resource.weight) {
                let path = path.child("resources").index(number).child("weight");
                let why = format!(
                    "resource weight of {} not in valid range (0, 100]",
                    resource.resource
                );
                problems.invalid(&path, resource.weight, &why);
            }
        }
        let ratio_path = path.child("requestedToCapacityRatio");
        let strategy = match (self.r#type.as_str(), self.requested_to_capacity_ratio) {
            ("RequestedToCapacityRatio", None) => {
                let why = "must be specified when type is RequestedToCapacityRatio";
                problems.required(&ratio_path, why);
                ScoringStrategy::LeastAllocated
            }
            ("RequestedToCapacityRatio", Some(ratio)) => {
                check_shape(&ratio.shape, &ratio_path.child("shape"), problems);
                let point = |point: &WrittenPoint| (i64::from(point.utilization), i64::from(point.score));
                ScoringStrategy::RequestedToCapacityRatio {
                    shape: ratio.shape.iter().map(point).collect(),
                }
            }
            (_, Some(_)) => {
                problems.forbidden(
                    &ratio_path,
                    "must be nil when type is not RequestedToCapacityRatio",
                );
                ScoringStrategy::LeastAllocated
            }
            ("MostAllocated", None) => ScoringStrategy::MostAllocated,
            (_, None) => ScoringStrategy::LeastAllocated,
        };
        (strategy, resources)
    }
}

/// A weight that is missing is 1; no resources are cpu and memory.
fn weights(resources: Vec<WrittenResource>) -> Vec<ResourceWeight> {
    if resources.is_empty() {
        return cpu_and_memory();
    }
    let weight = |resource: WrittenResource| ResourceWeight {
        resource: resource.name,
        weight: if resource.weight == 0 { 1 } else { resource.weight },
    };
    resources.into_iter().map(weight).collect()
}

fn check_shape(shape: &[WrittenPoint], path: &Path, problems: &mut Problems) {
    if shape.is_empty() {
        problems.required(path, "at least one point must be specified");
        return;
    }
    let falls = |number: &usize| shape[number - 1].utilization >= shape[*number].utilization;
    if let Some(number) = (1..shape.len()).find(falls) {
        let path = path.index(number).child("utilization");
        problems.invalid(
            &path,
            shape[number].utilization,
            "values must be sorted in increasing order",
        );
    }
    for (number, point) in shape.iter().enumerate() {
        let path = path.index(number);
        if !(0..=100).contains(&point.utilization) {
            problems.invalid(
                &path.child("utilization"),
                point.utilization,
                "not in valid range [0, 100]",
            );
        }
        if !(0..=10).contains(&point.score) {
            problems.invalid(&path.child("score"), point.score, "not in valid range [0, 10]");
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BalancedArgs {
    resources: Vec<WrittenResource>,
}

impl BalancedArgs {
    fn apply(self, profile: &mut Profile, path: &Path, problems: &mut Problems) {
        let path = path.child("resources");
        let resources = weights(self.resources);
        let mut seen = BTreeSet::new();
        for (number, resource) in resources.iter().enumerate() {
            let path = path.index(number);
            if !seen.insert(resource.resource.as_str()) {
                problems.duplicate(&path.child("name"), &resource.resource);
            }
            if resource.weight != 1 {
                problems.invalid(&path.child("weight"), resource.weight, "must be 1");
            }
        }
        profile.balanced_allocation = resources;
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpreadArgs {
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: String,
}

impl SpreadArgs {
    fn apply(self, profile: &mut Profile, path: &Path, problems: &mut Problems) {
        let (constraints, kind) = (self.default_constraints, self.defaulting_type.as_str());
        let kind_path = path.child("defaultingType");
        match kind {
            "" | "System" if !constraints.is_empty() => {
                problems.invalid_text(&kind_path, "System", "when .defaultConstraints are not empty");
            }
            "" | "System" | "List" => {}
            other => problems.not_supported(&kind_path, other, &["System", "List"]),
        }
        let path = path.child("defaultConstraints");
        for (number, constraint) in constraints.iter().enumerate() {
            check_constraint(constraint, &path.index(number), problems);
            let same = |other: &TopologySpreadConstraint| {
                other.topology_key == constraint.topology_key
                    && other.when_unsatisfiable == constraint.when_unsatisfiable
            };
            if constraints[..number].iter().any(same) {
                let value = format!(
                    "{{{}, {}}}",
                    constraint.topology_key, constraint.when_unsatisfiable
                );
                problems.duplicate(&path.index(number), &value);
            }
        }
        profile.pod_topology_spread = match kind {
            "List" => DefaultConstraints::List(constraints),
            _ => DefaultConstraints::System,
        };
    }
}

fn check_constraint(constraint: &TopologySpreadConstraint, path: &Path, problems: &mut Problems) {
    if constraint.max_skew <= 0 {
        problems.invalid(
            &path.child("maxSkew"),
            constraint.max_skew,
            "not in valid range (0, inf)",
        );
    }
    let key = path.child("topologyKey");
    if constraint.topology_key.is_empty() {
        problems.required(&key, "can not be empty");
    } else {
        for complaint in key_complaints(&constraint.topology_key) {
            problems.invalid_text(&key, &constraint.topology_key, &complaint);
        }
    }
    let when = path.child("whenUnsatisfiable");
    match constraint.when_unsatisfiable.as_str() {
        "" => problems.required(&when, "can not be empty"),
        "DoNotSchedule" | "ScheduleAnyway" => {}
        other => problems.not_supported(&when, other, &["DoNotSchedule", "ScheduleAnyway"]),
    }
    if constraint.label_selector.is_some() {
        let why = "constraint must not define a selector, as they deduced for each pod";
        problems.forbidden(&path.child("labelSelector"), why);
    }
}
