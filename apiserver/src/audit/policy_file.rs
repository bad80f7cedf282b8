//! Reading the file of `--audit-policy-file`. A mistake in it is told with its field's path, and the server does not
//! start: Kubernetes only warns of a field that it doesn't know, and the rule then is about more than was meant.

use std::path::Path as FilePath;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::policy::{GroupResources, Level, Policy, Rule, Stage, Stages};
use crate::kinds::field::{Errors, Path};
use crate::kinds::names;

/// The largest file that is read: a rule takes a few hundred bytes, and every request is compared with all of them
/// until one matches.
const MAX_FILE_BYTES: u64 = 1 << 20;

const API_VERSION: &str = "audit.k8s.io/v1";

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("failed decoding: {0}")]
    Yaml(String),
    #[error("{path}: {message}")]
    Field { path: String, message: String },
    #[error(
        "unknown group version field {version}, Kind={kind} in policy: it must be {API_VERSION}, Kind=Policy"
    )]
    Kind { version: String, kind: String },
    /// In Kubernetes' words, each with its field's path.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    #[error("loaded illegal policy with 0 rules")]
    NoRules,
}

/// Reads a policy from its file.
pub fn load(path: &FilePath) -> anyhow::Result<Policy> {
    let read = || {
        let length = std::fs::metadata(path)?.len();
        anyhow::ensure!(
            length <= MAX_FILE_BYTES,
            "{length} bytes are too many: at most {MAX_FILE_BYTES}"
        );
        Ok(parse(&std::fs::read_to_string(path)?)?)
    };
    read().with_context(|| format!("reading the audit policy {}", path.display()))
}

/// Reads a policy from YAML or JSON.
pub fn parse(text: &str) -> Result<Policy, PolicyError> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| PolicyError::Yaml(error.to_string()))?;
    let written =
        serde_path_to_error::deserialize::<_, WrittenPolicy>(&value).map_err(|error| PolicyError::Field {
            path: error.path().to_string(),
            message: error.into_inner().to_string(),
        })?;
    let (version, kind) = (written.api_version.clone(), written.kind.clone());
    if (version.as_str(), kind.as_str()) != (API_VERSION, "Policy") {
        return Err(PolicyError::Kind { version, kind });
    }
    let mut errors = Errors::new();
    let policy = written.check(&mut errors);
    if !errors.is_empty() {
        let causes = errors.into_causes().into_iter();
        return Err(PolicyError::Invalid(
            causes
                .map(|cause| format!("{}: {}", cause.field, cause.message))
                .collect(),
        ));
    }
    if policy.rules.is_empty() {
        return Err(PolicyError::NoRules);
    }
    Ok(policy)
}

/// As the file has it; a list that is null is empty.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenPolicy {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<Value>,
    rules: Option<Vec<WrittenRule>>,
    omit_stages: Option<Vec<String>>,
    omit_managed_fields: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenRule {
    level: Option<String>,
    users: Option<Vec<String>>,
    user_groups: Option<Vec<String>>,
    verbs: Option<Vec<String>>,
    resources: Option<Vec<WrittenResources>>,
    namespaces: Option<Vec<String>>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Option<Vec<String>>,
    omit_stages: Option<Vec<String>>,
    omit_managed_fields: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenResources {
    group: Option<String>,
    resources: Option<Vec<String>>,
    resource_names: Option<Vec<String>>,
}

impl WrittenPolicy {
    fn check(self, errors: &mut Errors) -> Policy {
        let omit_stages = check_stages(self.omit_stages, &Path::new("omitStages"), errors);
        let rules = self.rules.unwrap_or_default().into_iter().enumerate();
        Policy {
            rules: rules
                .map(|(index, rule)| rule.check(&Path::new("rules").index(index), errors))
                .collect(),
            omit_stages,
            omit_managed_fields: self.omit_managed_fields.unwrap_or_default(),
        }
    }
}

impl WrittenRule {
    fn check(self, path: &Path, errors: &mut Errors) -> Rule {
        let level = check_level(self.level.as_deref().unwrap_or_default(), path, errors);
        let urls = self.non_resource_urls.unwrap_or_default();
        let urls_path = path.child("nonResourceURLs");
        for (index, url) in urls.iter().enumerate() {
            check_url(url, &urls_path.index(index), errors);
        }
        let resources: Vec<GroupResources> = self
            .resources
            .unwrap_or_default()
            .into_iter()
            .enumerate()
            .map(|(index, some)| some.check(&path.child("resources").index(index), errors))
            .collect();
        let omit_stages = check_stages(self.omit_stages, &path.child("omitStages"), errors);
        let namespaces = self.namespaces.unwrap_or_default();
        let about_resources = !resources.is_empty() || !namespaces.is_empty();
        if about_resources && !urls.is_empty() {
            errors.invalid(
                &urls_path,
                format!("[{}]", urls.join(", ")),
                "rules cannot apply to both regular resources and non-resource URLs",
            );
        }
        Rule {
            level,
            users: self.users.unwrap_or_default(),
            user_groups: self.user_groups.unwrap_or_default(),
            verbs: self.verbs.unwrap_or_default(),
            resources,
            namespaces,
            non_resource_urls: urls,
            omit_stages,
            omit_managed_fields: self.omit_managed_fields,
        }
    }
}

impl WrittenResources {
    fn check(self, path: &Path, errors: &mut Errors) -> GroupResources {
        let group = self.group.unwrap_or_default();
        if !group.is_empty() && group != "*" {
            errors.invalid_each(&path.child("group"), group.as_str(), names::dns_subdomain(&group));
        }
        let (resources, resource_names) = (
            self.resources.unwrap_or_default(),
            self.resource_names.unwrap_or_default(),
        );
        if resources.is_empty() && !resource_names.is_empty() {
            errors.invalid(
                &path.child("resourceNames"),
                format!("[{}]", resource_names.join(", ")),
                "using resourceNames requires at least one resource",
            );
        }
        GroupResources {
            group,
            resources,
            resource_names,
        }
    }
}

fn check_level(level: &str, rule: &Path, errors: &mut Errors) -> Level {
    let path = rule.child("level");
    if level.is_empty() {
        errors.required(&path, "");
    }
    Level::parse(level).unwrap_or_else(|| {
        if !level.is_empty() {
            errors.not_supported(&path, level, &Level::NAMES);
        }
        Level::None
    })
}

fn check_stages(stages: Option<Vec<String>>, path: &Path, errors: &mut Errors) -> Stages {
    let stages = stages.unwrap_or_default();
    let known = stages.iter().enumerate().filter_map(|(index, stage)| {
        let known = Stage::parse(stage);
        if known.is_none() {
            let allowed = format!("allowed stages are {}", Stage::NAMES.join(","));
            errors.invalid(&path.index(index), stage.as_str(), allowed);
        }
        known
    });
    known.collect()
}

fn check_url(url: &str, path: &Path, errors: &mut Errors) {
    if url == "*" {
        return;
    }
    if !url.starts_with('/') {
        let detail = "non-resource URL rules must begin with a '/' character";
        errors.invalid(path, url, detail);
    }
    if url.strip_suffix('*').unwrap_or(url).contains('*') {
        let detail = "non-resource URL wildcards '*' must be the final character of the rule";
        errors.invalid(path, url, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_with_its_fields_path() {
        let check = |rest: &str, expected: &str| {
            let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rest}");
            let error = parse(&text).map(|_| ()).expect_err(rest).to_string();
            assert!(error.contains(expected), "{rest}\n{error}");
        };
        check("", "loaded illegal policy with 0 rules");
        check("rules: []", "loaded illegal policy with 0 rules");
        check("rules: [{}]", "rules[0].level: Required value");
        check(
            "rules: [{level: Metadata}, {level: metadata}]",
            "rules[1].level: Unsupported value: \"metadata\": supported values: \"None\", \"Metadata\", \"Request\", \
             \"RequestResponse\"",
        );
        check(
            "rules: [{level: None, nonResourceURLs: [metrics, \"/a*b\"]}]",
            "rules[0].nonResourceURLs[0]: Invalid value: \"metrics\": non-resource URL rules must begin with a '/' \
             character; rules[0].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be \
             the final character of the rule",
        );
        check(
            "rules: [{level: None, nonResourceURLs: [\"*\"], namespaces: [default]}]",
            "rules[0].nonResourceURLs: Invalid value: \"[*]\": rules cannot apply to both",
        );
        check(
            "rules: [{level: None, resources: [{group: \"\"}, {group: rbac.authorization.k8s.io/v1}]}]",
            "rules[0].resources[1].group: Invalid value: \"rbac.authorization.k8s.io/v1\": a lowercase RFC 1123 subdomain",
        );
        check(
            "rules: [{level: None, resources: [{resourceNames: [a]}]}]",
            "rules[0].resources[0].resourceNames: Invalid value: \"[a]\": using resourceNames requires at least one \
             resource",
        );
        check(
            "omitStages: [Foo]\nrules: [{level: None, omitStages: [Panic, Bar]}]",
            "omitStages[0]: Invalid value: \"Foo\": allowed stages are \
             RequestReceived,ResponseStarted,ResponseComplete,Panic; rules[0].omitStages[1]: Invalid value: \"Bar\"",
        );
        check(
            "rules: [{level: None, namespace: default}]",
            "rules[0].namespace: unknown field `namespace`",
        );
        check(
            "rules: [{level: None, verbs: get}]",
            "rules[0].verbs: invalid type: string \"get\"",
        );
        check(
            "rules: [{level: None, users: [1]}]",
            "rules[0].users[0]: invalid type",
        );
        check("rules: [", "failed decoding");
    }

    #[test]
    fn a_policy_says_which_kind_it_is() {
        for text in [
            "rules: [{level: None}]",
            "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]",
            "apiVersion: audit.k8s.io/v1\nkind: Event\nrules: [{level: None}]",
        ] {
            let error = parse(text).map(|_| ()).unwrap_err().to_string();
            assert!(error.starts_with("unknown group version field"), "{error}");
        }
    }

    #[test]
    fn the_sample_policy_is_correct() {
        let sample = include_str!("../../../deploy/audit/policy.yaml");
        assert!(!parse(sample).unwrap().rules.is_empty());
    }
}
