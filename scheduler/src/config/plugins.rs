//! Which rules a profile has after what is enabled and disabled (v1's mergePlugins, framework/runtime's NewFramework).

use super::added::AddedPlugin;
use super::arguments;
use super::document::{PluginConfig, Plugins, WrittenPlugin, WrittenProfile, WrittenSet};
use super::problems::{Path, Problems};
use super::{ConfigurationError, ConfiguredProfile};
use crate::profile::{Plugin, Profile};
use std::collections::BTreeSet;

/// Where in a decision a rule takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl Point {
    /// In the order in which kube-scheduler looks at them.
    const ALL: [Point; 12] = [
        Point::PreFilter,
        Point::Filter,
        Point::PostFilter,
        Point::Reserve,
        Point::PreScore,
        Point::Score,
        Point::PreBind,
        Point::Bind,
        Point::PostBind,
        Point::Permit,
        Point::PreEnqueue,
        Point::QueueSort,
    ];

    /// What Kubernetes calls a plug-in that takes part here.
    fn plugin_type(self) -> String {
        format!("{self:?}Plugin")
    }

    fn of(self, plugins: &Plugins) -> &WrittenSet {
        match self {
            Point::PreEnqueue => &plugins.pre_enqueue,
            Point::QueueSort => &plugins.queue_sort,
            Point::PreFilter => &plugins.pre_filter,
            Point::Filter => &plugins.filter,
            Point::PostFilter => &plugins.post_filter,
            Point::PreScore => &plugins.pre_score,
            Point::Score => &plugins.score,
            Point::Reserve => &plugins.reserve,
            Point::Permit => &plugins.permit,
            Point::PreBind => &plugins.pre_bind,
            Point::Bind => &plugins.bind,
            Point::PostBind => &plugins.post_bind,
        }
    }
}

/// The default profile, in its order, and where each takes part.
const DEFAULTS: &[(&str, i32, &[Point])] = {
    use Point::{
        Bind, Filter, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, Reserve, Score,
    };
    &[
        ("SchedulingGates", 0, &[PreEnqueue]),
        ("PrioritySort", 0, &[QueueSort]),
        ("NodeUnschedulable", 0, &[Filter]),
        ("NodeName", 0, &[Filter]),
        ("TaintToleration", 3, &[Filter, PreScore, Score]),
        ("NodeAffinity", 2, &[PreFilter, Filter, PreScore, Score]),
        ("NodePorts", 0, &[PreFilter, Filter]),
        ("NodeResourcesFit", 1, &[PreFilter, Filter, PreScore, Score]),
        ("VolumeRestrictions", 0, &[PreFilter, Filter]),
        ("NodeVolumeLimits", 0, &[PreFilter, Filter]),
        (
            "VolumeBinding",
            0,
            &[PreFilter, Filter, Reserve, PreBind, PreScore, Score],
        ),
        ("VolumeZone", 0, &[PreFilter, Filter]),
        ("PodTopologySpread", 2, &[PreFilter, Filter, PreScore, Score]),
        ("InterPodAffinity", 2, &[PreFilter, Filter, PreScore, Score]),
        (
            "DynamicResources",
            2,
            &[PreEnqueue, PreFilter, Filter, PostFilter, Score, Reserve, PreBind],
        ),
        ("DefaultPreemption", 0, &[PreEnqueue, PostFilter]),
        ("NodeResourcesBalancedAllocation", 1, &[PreScore, Score]),
        ("ImageLocality", 1, &[Score]),
        ("DefaultBinder", 0, &[Bind]),
        ("NodeDeclaredFeatures", 0, &[PreFilter, Filter]),
    ]
};

/// Known, and nothing here that they could look at.
const IDLE: &[&str] = &[
    "VolumeRestrictions",
    "NodeVolumeLimits",
    "VolumeBinding",
    "VolumeZone",
    "DynamicResources",
    "NodeDeclaredFeatures",
];

/// Removed from Kubernetes.
const REMOVED: &[&str] = &["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];

/// The most that weights may sum up to, times the highest score of 100 (MaxTotalScore).
const MAX_WEIGHT: i64 = i64::MAX / 100;

/// Completes one profile.
pub(super) fn profile(
    written: WrittenProfile,
    path: &Path,
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Result<ConfiguredProfile, ConfigurationError> {
    let name = written.scheduler_name.clone().unwrap_or_default();
    let plugins = written.plugins.unwrap_or_default();
    check_removed(&plugins, &path.child("plugins"), problems);
    let mut added = added_plugins(&plugins, &written.plugin_config, path, problems)?;
    let resolve = Resolve {
        name: &name,
        plugins: &plugins,
        added: added.iter().map(|plugin| plugin.name.clone()).collect(),
    };
    let mut profile = Profile::named(name.clone());
    profile.percentage_of_nodes_to_score = written
        .percentage_of_nodes_to_score
        .and_then(|percent| u32::try_from(percent).ok());
    resolve.warn(path, warnings);
    arguments::apply(&mut profile, &written.plugin_config, path, problems, warnings)?;
    match resolve.all() {
        Ok(resolved) => resolved.apply(&mut profile, &mut added),
        // What is wrong with values is told first.
        Err(error) => problems.cannot_be_made(error),
    }
    Ok(ConfiguredProfile { profile, added })
}

/// Which plug-ins take part where, as far as it matters.
struct Resolved {
    filters: Vec<WrittenPlugin>,
    scores: Vec<(String, i64)>,
    preempts: bool,
}

impl Resolved {
    fn apply(self, profile: &mut Profile, added: &mut [AddedPlugin]) {
        let own = |plugin: &WrittenPlugin| Plugin::named(&plugin.name);
        profile.filters = self.filters.iter().filter_map(own).collect();
        let own = |(name, weight): &(String, i64)| Some((Plugin::named(name)?, *weight));
        profile.scores = self.scores.iter().filter_map(own).collect();
        if !self.preempts {
            profile.preemption = None;
        }
        for plugin in added {
            plugin.filters = self.filters.iter().any(|on| on.name == plugin.name);
            let weight = self.scores.iter().find(|(name, _)| *name == plugin.name);
            plugin.score_weight = weight.map(|(_, weight)| *weight);
        }
    }
}

/// The plug-ins that are no rule of ours and have arguments that say where they are.
fn added_plugins(
    plugins: &Plugins,
    configs: &[PluginConfig],
    path: &Path,
    problems: &mut Problems,
) -> Result<Vec<AddedPlugin>, ConfigurationError> {
    let sets = [&plugins.filter, &plugins.score, &plugins.multi_point];
    let enabled = sets.into_iter().flat_map(|set| &set.enabled);
    let foreign: BTreeSet<&str> = enabled
        .map(|plugin| plugin.name.as_str())
        .filter(|name| !is_known(name))
        .collect();
    let mut added = Vec::new();
    for (number, config) in configs.iter().enumerate() {
        if foreign.contains(config.name.as_str()) {
            let path = path.child("pluginConfig").index(number).child("args");
            added.push(AddedPlugin::read(&config.name, &config.args, &path, problems)?);
        }
    }
    Ok(added)
}

fn is_known(name: &str) -> bool {
    DEFAULTS.iter().any(|(known, _, _)| *known == name)
}

fn check_removed(plugins: &Plugins, path: &Path, problems: &mut Problems) {
    for point in Point::ALL {
        let name = format!("{point:?}");
        let path = path
            .child(&(name[..1].to_lowercase() + &name[1..]))
            .child("enabled");
        for (number, plugin) in point.of(plugins).enabled.iter().enumerate() {
            if REMOVED.contains(&plugin.name.as_str()) {
                let version = super::API_VERSION;
                let why = format!(
                    "was invalid in version {version:?} (KubeSchedulerConfiguration is version {version:?})"
                );
                problems.invalid_text(&path.index(number), &plugin.name, &why);
            }
        }
    }
}

/// Answers which plug-ins take part where.
struct Resolve<'a> {
    name: &'a str,
    plugins: &'a Plugins,
    /// Those that somebody added; they take part in filtering and scoring.
    added: Vec<String>,
}

impl Resolve<'_> {
    /// Fails with the first thing that is wrong, in the order in which kube-scheduler looks.
    fn all(&self) -> Result<Resolved, ConfigurationError> {
        for point in Point::ALL {
            self.own(point)?;
        }
        for point in Point::ALL {
            self.at(point)?;
        }
        self.check_fixed_points()?;
        let after = self.at(Point::PostFilter)?;
        Ok(Resolved {
            filters: self.at(Point::Filter)?,
            scores: self.weights()?,
            preempts: after.iter().any(|plugin| plugin.name == "DefaultPreemption"),
        })
    }

    /// What is said of one point itself.
    fn own(&self, point: Point) -> Result<Vec<WrittenPlugin>, ConfigurationError> {
        let own = point.of(self.plugins);
        let mut on: Vec<WrittenPlugin> = Vec::new();
        for plugin in &own.enabled {
            if !self.exists(&plugin.name) {
                return Err(self.failed(&format!(
                    "{} {:?} does not exist",
                    point.plugin_type(),
                    plugin.name
                )));
            }
            if !self.takes_part(&plugin.name, point) {
                let why = format!(
                    "plugin {:?} does not extend {} plugin",
                    plugin.name,
                    point.plugin_type()
                );
                return Err(self.failed(&why));
            }
            if on.iter().any(|other| other.name == plugin.name) {
                return Err(self.failed(&already(&plugin.name, point)));
            }
            on.push(plugin.clone());
        }
        Ok(on)
    }

    /// The plug-ins of one point: what is said of the point itself counts more than what is said of all points.
    fn at(&self, point: Point) -> Result<Vec<WrittenPlugin>, ConfigurationError> {
        let own = point.of(self.plugins);
        let mut on = self.own(point)?;
        let is_off = |name: &str| own.disabled.iter().any(|off| off.name == name);
        if is_off("*") {
            return Ok(on);
        }
        let mut everywhere: Vec<WrittenPlugin> = Vec::new();
        for plugin in self.everywhere() {
            if !self.exists(&plugin.name) {
                return Err(self.failed(&format!(
                    "{} {:?} does not exist",
                    point.plugin_type(),
                    plugin.name
                )));
            }
            let is_own = on.iter().any(|own| own.name == plugin.name);
            if !self.takes_part(&plugin.name, point) || is_off(&plugin.name) || is_own {
                continue;
            }
            if everywhere.iter().any(|other| other.name == plugin.name) {
                return Err(self.failed(&already(&plugin.name, point)));
            }
            everywhere.push(plugin);
        }
        on.extend(everywhere);
        Ok(on)
    }

    /// multiPoint, with the defaults that are not disabled there.
    fn everywhere(&self) -> Vec<WrittenPlugin> {
        let own = &self.plugins.multi_point;
        let is_off = |name: &str| own.disabled.iter().any(|off| off.name == name);
        let mut all: Vec<WrittenPlugin> = Vec::new();
        let mut replaced = BTreeSet::new();
        if !is_off("*") {
            for (name, weight, _) in DEFAULTS.iter().filter(|(name, _, _)| !is_off(name)) {
                // The last of several counts, as in a map.
                let again = own
                    .enabled
                    .iter()
                    .enumerate()
                    .rev()
                    .find(|(_, on)| on.name == *name);
                all.push(match again {
                    Some((number, on)) => {
                        replaced.insert(number);
                        on.clone()
                    }
                    None => WrittenPlugin {
                        name: (*name).into(),
                        weight: Some(*weight),
                    },
                });
            }
        }
        let rest = own
            .enabled
            .iter()
            .enumerate()
            .filter(|(number, _)| !replaced.contains(number));
        all.extend(rest.map(|(_, plugin)| plugin.clone()));
        all
    }

    /// The plug-ins that score, with their weights.
    fn weights(&self) -> Result<Vec<(String, i64)>, ConfigurationError> {
        let (mut weights, mut sum) = (Vec::new(), 0_i64);
        for plugin in self.at(Point::Score)? {
            let weight = match plugin.weight.unwrap_or(0) {
                0 => 1,
                weight => i64::from(weight),
            };
            sum = sum.saturating_add(weight);
            if sum > MAX_WEIGHT {
                return Err(self.failed("score plugins: total score of Score plugins could overflow"));
            }
            weights.push((plugin.name, weight));
        }
        Ok(weights)
    }

    /// What cannot be left out, or be otherwise.
    fn check_fixed_points(&self) -> Result<(), ConfigurationError> {
        let sorts = self.at(Point::QueueSort)?.len();
        if sorts != 1 {
            return Err(self.failed(&format!(
                "only one queue sort plugin required for profile with scheduler name {:?}, but got {sorts}",
                self.name
            )));
        }
        if self.at(Point::Bind)?.is_empty() {
            return Err(self.failed(&format!(
                "at least one bind plugin is needed for profile with scheduler name {:?}",
                self.name
            )));
        }
        Ok(())
    }

    fn warn(&self, path: &Path, warnings: &mut Vec<String>) {
        let path = path.child("plugins");
        let sets = Point::ALL.iter().map(|point| point.of(self.plugins));
        let sets = sets.chain([&self.plugins.multi_point]);
        let mut told = BTreeSet::new();
        for plugin in sets.clone().flat_map(|set| &set.enabled) {
            if IDLE.contains(&plugin.name.as_str()) && told.insert(plugin.name.as_str()) {
                warnings.push(format!(
                    "{path}: there is nothing that {} could decide by",
                    plugin.name
                ));
            }
        }
        // Rules that are always on: a rule's preparation is part of it, and gates hold pods back whatever is said.
        let always = [
            (Point::PreEnqueue, "SchedulingGates"),
            (Point::PreFilter, "the preparation of a filter"),
            (Point::PreScore, "the preparation of a score"),
        ];
        for (point, what) in always {
            let off = !point.of(self.plugins).disabled.is_empty();
            if off {
                warnings.push(format!(
                    "{path}: {what} is on as long as its rule is; disabling it changes nothing"
                ));
            }
        }
        let gates_off = self
            .plugins
            .multi_point
            .disabled
            .iter()
            .any(|off| off.name == "SchedulingGates");
        if gates_off {
            warnings.push(format!(
                "{path}: SchedulingGates is always on; disabling it changes nothing"
            ));
        }
    }

    fn exists(&self, name: &str) -> bool {
        is_known(name) || self.added.iter().any(|added| added == name)
    }

    fn takes_part(&self, name: &str, point: Point) -> bool {
        match DEFAULTS.iter().find(|(known, _, _)| *known == name) {
            Some((_, _, points)) => points.contains(&point),
            None => matches!(point, Point::Filter | Point::Score),
        }
    }

    fn failed(&self, why: &str) -> ConfigurationError {
        ConfigurationError(format!(
            "initializing profiles: creating profile for scheduler name {}: {why}",
            self.name
        ))
    }
}

fn already(name: &str, point: Point) -> String {
    format!("plugin {name:?} already registered as {:?}", point.plugin_type())
}
