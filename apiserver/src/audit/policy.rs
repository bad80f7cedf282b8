//! Which requests are recorded, and how much of them: audit.k8s.io/v1 Policy, decided as Kubernetes' policy checker
//! decides it (k8s.io/apiserver/pkg/audit/policy/checker.go). The first rule that matches counts.

use serde::Serialize;

use crate::authentication::User;

/// How much is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Level {
    None,
    /// Who asked for what, when, and what came of it.
    Metadata,
    /// And the request's object.
    Request,
    /// And the reply's.
    RequestResponse,
}

impl Level {
    /// In the order of Kubernetes' messages.
    pub const NAMES: [&'static str; 4] = ["None", "Metadata", "Request", "RequestResponse"];

    pub fn parse(name: &str) -> Option<Level> {
        let levels = [
            Level::None,
            Level::Metadata,
            Level::Request,
            Level::RequestResponse,
        ];
        levels.into_iter().find(|level| level.name() == name)
    }

    pub fn name(self) -> &'static str {
        Level::NAMES[self as usize]
    }
}

/// When an event is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Stage {
    RequestReceived,
    /// Of requests that last, watches and logs, when their reply begins.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub const NAMES: [&'static str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

    pub fn parse(name: &str) -> Option<Stage> {
        let stages = [
            Stage::RequestReceived,
            Stage::ResponseStarted,
            Stage::ResponseComplete,
            Stage::Panic,
        ];
        stages.into_iter().find(|stage| stage.name() == name)
    }

    pub fn name(self) -> &'static str {
        Stage::NAMES[self as usize]
    }
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages([bool; Stage::NAMES.len()]);

impl Stages {
    pub fn has(self, stage: Stage) -> bool {
        self.0[stage as usize]
    }

    pub fn and(mut self, other: Stages) -> Stages {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own |= other;
        }
        self
    }
}

impl FromIterator<Stage> for Stages {
    fn from_iter<T: IntoIterator<Item = Stage>>(stages: T) -> Stages {
        let mut set = Stages::default();
        stages.into_iter().for_each(|stage| set.0[stage as usize] = true);
        set
    }
}

/// What the policy says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    pub omit_stages: Stages,
    pub omit_managed_fields: bool,
}

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub user: &'a User,
    pub verb: &'a str,
    pub target: Target<'a>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Resource {
        group: &'a str,
        resource: &'a str,
        subresource: &'a str,
        /// Empty for all namespaces, and for kinds without.
        namespace: &'a str,
        /// Empty where the request names no object; so it is when one is created.
        name: &'a str,
    },
    /// A page, or a gRPC method that is about no object: the request's path.
    Path(&'a str),
}

/// A policy whose file was found to be correct.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub rules: Vec<Rule>,
    pub omit_stages: Stages,
    pub omit_managed_fields: bool,
}

/// Which requests a rule is about. An empty list is about all.
#[derive(Clone, Debug)]
pub struct Rule {
    pub level: Level,
    pub users: Vec<String>,
    pub user_groups: Vec<String>,
    pub verbs: Vec<String>,
    pub resources: Vec<GroupResources>,
    pub namespaces: Vec<String>,
    pub non_resource_urls: Vec<String>,
    pub omit_stages: Stages,
    pub omit_managed_fields: Option<bool>,
}

/// Resources of one API group.
#[derive(Clone, Debug)]
pub struct GroupResources {
    /// Empty for the core group, `*` for all.
    pub group: String,
    /// `pods`, `pods/log`, `pods/*`, `*/scale` or `*`.
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
}

impl Policy {
    /// Nothing is recorded of what no rule matches.
    pub fn decide(&self, asked: &Asked<'_>) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(asked));
        let own = rule.map_or(Stages::default(), |rule| rule.omit_stages);
        Verdict {
            level: rule.map_or(Level::None, |rule| rule.level),
            omit_stages: self.omit_stages.and(own),
            omit_managed_fields: rule
                .and_then(|rule| rule.omit_managed_fields)
                .unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn matches(&self, asked: &Asked<'_>) -> bool {
        let in_group = |group| asked.user.is_in(group);
        let who = (self.users.is_empty() || has(&self.users, &asked.user.name))
            && (self.user_groups.is_empty() || self.user_groups.iter().any(|group| in_group(group)));
        who && (self.verbs.is_empty() || has(&self.verbs, asked.verb)) && self.covers(asked.target)
    }

    fn covers(&self, target: Target<'_>) -> bool {
        let about_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        match target {
            _ if !about_resources && self.non_resource_urls.is_empty() => true,
            Target::Path(path) => {
                !about_resources && self.non_resource_urls.iter().any(|url| path_matches(path, url))
            }
            Target::Resource { namespace, .. } => {
                about_resources
                    && (self.namespaces.is_empty() || has(&self.namespaces, namespace))
                    && (self.resources.is_empty() || self.resources.iter().any(|some| some.cover(target)))
            }
        }
    }
}

impl GroupResources {
    fn cover(&self, target: Target<'_>) -> bool {
        let Target::Resource {
            group,
            resource,
            subresource,
            name,
            ..
        } = target
        else {
            return false;
        };
        if self.group != "*" && self.group != group {
            return false;
        }
        // Names without resources are refused when the file is read.
        self.resources.is_empty()
            || (self.resource_names.is_empty() || has(&self.resource_names, name))
                && self
                    .resources
                    .iter()
                    .any(|pattern| resource_matches(pattern, resource, subresource))
    }
}

fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    match pattern.split_once('/') {
        None => pattern == "*" || subresource.is_empty() && pattern == resource,
        // As Kubernetes has it, the resource itself is among `pods/*`.
        Some((of, "*")) if of == resource => true,
        Some(("*", sub)) => !subresource.is_empty() && sub == subresource,
        Some((of, sub)) => !subresource.is_empty() && of == resource && sub == subresource,
    }
}

fn path_matches(path: &str, url: &str) -> bool {
    url == path || url.ends_with('*') && path.starts_with(url.trim_end_matches('*'))
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|own| own == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::policy_file;

    fn user() -> User {
        User {
            name: "jane".into(),
            groups: vec!["developers".into(), "system:authenticated".into()],
        }
    }

    /// A request as `VERB GROUP/RESOURCE[/SUBRESOURCE] NAMESPACE NAME` (`-` for an empty word), or `VERB PATH`.
    fn decide(rules: &str, request: &str) -> Verdict {
        let policy = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
        let policy = policy_file::parse(&policy).unwrap_or_else(|error| panic!("{rules}: {error}"));
        let words: Vec<&str> = request
            .split(' ')
            .map(|word| if word == "-" { "" } else { word })
            .collect();
        let target = match words[..] {
            [_, path] => Target::Path(path),
            [_, what, namespace, name] => {
                let mut parts = what.split('/');
                Target::Resource {
                    group: parts.next().unwrap(),
                    resource: parts.next().unwrap(),
                    subresource: parts.next().unwrap_or_default(),
                    namespace,
                    name,
                }
            }
            _ => panic!("{request}"),
        };
        policy.decide(&Asked {
            user: &user(),
            verb: words[0],
            target,
        })
    }

    fn check(rule: &str, request: &str, matches: bool) {
        let expected = if matches { Level::Metadata } else { Level::None };
        let verdict = decide(&format!("rules: [{{level: Metadata, {rule}}}]"), request);
        assert_eq!(verdict.level, expected, "{rule} on {request}");
    }

    #[test]
    fn a_rule_matches_what_kubernetes_matches() {
        let pod = "get /pods default web-1";
        for (rule, request, matches) in [
            ("", pod, true),
            ("", "get /healthz", true),
            // Who.
            ("users: [jane]", pod, true),
            ("users: [john]", pod, false),
            ("users: [jan]", pod, false),
            ("userGroups: [admins, developers]", pod, true),
            ("userGroups: [admins]", pod, false),
            ("users: [john], userGroups: [developers]", pod, false),
            // Verbs have no wildcard.
            ("verbs: [get, list]", pod, true),
            ("verbs: [list]", pod, false),
            ("verbs: [\"*\"]", pod, false),
            // Resources.
            ("resources: [{group: \"\"}]", pod, true),
            ("resources: [{}]", pod, true),
            ("resources: [{group: apps}]", pod, false),
            ("resources: [{group: \"*\"}]", pod, true),
            ("resources: [{group: \"\", resources: [pods]}]", pod, true),
            (
                "resources: [{group: \"\", resources: [services, pods]}]",
                pod,
                true,
            ),
            ("resources: [{group: \"\", resources: [services]}]", pod, false),
            ("resources: [{group: apps}, {group: \"\"}]", pod, true),
            (
                "resources: [{group: \"*\", resources: [deployments]}]",
                "list apps/deployments - -",
                true,
            ),
            (
                "resources: [{group: apps, resources: [deployments]}]",
                "list /deployments - -",
                false,
            ),
            ("resources: [{group: \"\"}]", "get /healthz", false),
            // Subresources.
            (
                "resources: [{resources: [pods]}]",
                "get /pods/log default p",
                false,
            ),
            (
                "resources: [{resources: [pods/log]}]",
                "get /pods/log default p",
                true,
            ),
            ("resources: [{resources: [pods/log]}]", pod, false),
            (
                "resources: [{resources: [pods/log]}]",
                "get /pods/status default p",
                false,
            ),
            (
                "resources: [{resources: [\"pods/*\"]}]",
                "get /pods/log default p",
                true,
            ),
            ("resources: [{resources: [\"pods/*\"]}]", pod, true),
            (
                "resources: [{resources: [\"pods/*\"]}]",
                "get /podsecurity/log default p",
                false,
            ),
            (
                "resources: [{resources: [\"*\"]}]",
                "get /pods/log default p",
                true,
            ),
            (
                "resources: [{group: \"*\", resources: [\"*/scale\"]}]",
                "get apps/deployments/scale d p",
                true,
            ),
            (
                "resources: [{group: \"*\", resources: [\"*/scale\"]}]",
                "get apps/deployments d p",
                false,
            ),
            // Names; a create has none yet.
            (
                "resources: [{resources: [pods], resourceNames: [web-1]}]",
                pod,
                true,
            ),
            (
                "resources: [{resources: [pods], resourceNames: [web-2]}]",
                pod,
                false,
            ),
            (
                "resources: [{resources: [pods], resourceNames: [web-1]}]",
                "create /pods default -",
                false,
            ),
            // Namespaces.
            ("namespaces: [kube-system, default]", pod, true),
            ("namespaces: [kube-system]", pod, false),
            ("namespaces: [\"\"]", "get /nodes - n1", true),
            ("namespaces: [\"\"]", pod, false),
            ("namespaces: [default]", "get /healthz", false),
            ("namespaces: [default], resources: [{group: apps}]", pod, false),
            // Paths.
            ("nonResourceURLs: [/metrics]", "get /metrics", true),
            ("nonResourceURLs: [/metrics]", "get /metrics/x", false),
            ("nonResourceURLs: [\"/healthz*\"]", "get /healthz/etcd", true),
            ("nonResourceURLs: [\"/healthz*\"]", "get /livez", false),
            ("nonResourceURLs: [\"*\"]", "get /livez", true),
            ("nonResourceURLs: [\"*\"]", pod, false),
            (
                "nonResourceURLs: [\"/grpc.health.v1.Health/*\"]",
                "post /grpc.health.v1.Health/Check",
                true,
            ),
        ] {
            check(rule, request, matches);
        }
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_nothing_is_recorded_without_one() {
        let rules = "rules: [{level: None, users: [jane], verbs: [watch]}, {level: RequestResponse, resources: \
                     [{group: apps}]}, {level: Request, resources: [{group: \"\"}]}, {level: Metadata, \
                     nonResourceURLs: [/metrics]}]";
        for (request, level) in [
            ("watch apps/deployments default -", Level::None),
            ("list apps/deployments default -", Level::RequestResponse),
            ("list /pods default -", Level::Request),
            ("get /metrics", Level::Metadata),
            ("get /livez", Level::None),
            ("get batch/jobs default -", Level::None),
        ] {
            assert_eq!(decide(rules, request).level, level, "{request}");
        }
    }

    #[test]
    fn stages_are_left_out_by_the_policy_and_by_the_rule_and_a_rule_overrides_managed_fields() {
        let verdict = decide(
            "omitStages: [RequestReceived]\nomitManagedFields: true\nrules: [{level: Request, verbs: [get], omitStages: \
             [Panic], omitManagedFields: false}, {level: Request}]",
            "get /pods default p",
        );
        let expected = [Stage::RequestReceived, Stage::Panic]
            .into_iter()
            .collect::<Stages>();
        assert_eq!(verdict.omit_stages, expected);
        assert!(!verdict.omit_managed_fields);
        let other = decide(
            "omitStages: [RequestReceived]\nomitManagedFields: true\nrules: [{level: Request}]",
            "list /pods default -",
        );
        assert_eq!(other.omit_stages, [Stage::RequestReceived].into_iter().collect());
        assert!(other.omit_managed_fields);
    }
}
