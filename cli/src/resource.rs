//! Which objects the arguments of a command mean: `pods`, `pod/web`, `deploy web`, `pods,svc`, `all`.

use crate::failure::Failure;
use crate::suggest;
use gantry_proto::KindInfo;
use gantry_proto::kinds::KINDS;

/// A kind, or one object of it.
#[derive(Clone, Debug)]
pub struct Target {
    pub kind: &'static KindInfo,
    pub name: Option<String>,
    /// Where a file names it; otherwise the one that is worked in.
    pub namespace: Option<String>,
}

impl Target {
    fn all(kind: &'static KindInfo) -> Target {
        Target {
            kind,
            name: None,
            namespace: None,
        }
    }

    fn named(kind: &'static KindInfo, name: &str) -> Target {
        Target {
            name: Some(name.into()),
            ..Target::all(kind)
        }
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        self.kind.message == other.kind.message
            && self.name == other.name
            && self.namespace == other.namespace
    }
}

/// The kind that a user's word means: a plural, singular or short name, with or without its group, in any case.
pub fn kind(word: &str) -> Result<&'static KindInfo, Failure> {
    let lower = word.to_lowercase();
    let stored = || KINDS.iter().copied().filter(|kind| kind.stored);
    let (name, group) = lower.split_once('.').unwrap_or((&lower, ""));
    let named = stored().find(|kind| {
        let is_name = name == kind.resource || name == kind.singular || kind.short_names.contains(&name);
        let versioned = format!("{}.{}", kind.version, kind.group);
        is_name && (group.is_empty() || group == kind.group || group == versioned.trim_end_matches('.'))
    });
    if let Some(kind) = named {
        return Ok(kind);
    }
    let words = stored().flat_map(|kind| {
        [kind.resource, kind.singular]
            .into_iter()
            .chain(kind.short_names.to_vec())
    });
    let hint = match suggest::nearest(name, words) {
        Some(word) => format!(". Did you mean \"{word}\"?"),
        None => ". See `gantry api-resources` for those there are".into(),
    };
    Err(Failure::message(format!(
        "the server doesn't have a resource type \"{word}\"{hint}"
    )))
}

/// What the arguments of get, delete and describe mean. At least one target, or an error.
pub fn targets(arguments: &[String]) -> Result<Vec<Target>, Failure> {
    let Some(first) = arguments.first() else {
        return Err(Failure::message(
            "you must specify the type of resource to get. See `gantry api-resources` for those there are",
        ));
    };
    if first.contains('/') {
        return arguments.iter().map(|argument| one(argument)).collect();
    }
    let names = &arguments[1..];
    if let Some(mixed) = names.iter().find(|name| name.contains('/')) {
        return Err(Failure::message(format!(
            "there is no need to specify a resource type as a separate argument when passing arguments in \
             resource/name form (e.g. 'gantry get resource/<resource_name>' instead of 'gantry get resource \
             resource/<resource_name>'): {mixed}"
        )));
    }
    let mut targets = Vec::new();
    for word in first.split(',').filter(|word| !word.is_empty()) {
        let kinds = match word {
            "all" => KINDS
                .iter()
                .copied()
                .filter(|kind| kind.categories.contains(&"all"))
                .collect(),
            word => vec![kind(word)?],
        };
        for kind in kinds {
            match names {
                [] => targets.push(Target::all(kind)),
                names => targets.extend(names.iter().map(|name| Target::named(kind, name))),
            }
        }
    }
    Ok(targets)
}

/// One object, as `deployment/web` or, in two arguments, `deployment web`. Without a type it is of `default`.
pub fn object(arguments: &[String], default: Option<&str>) -> Result<(&'static KindInfo, String), Failure> {
    let target = match (arguments, default) {
        ([one_word], _) if one_word.contains('/') => one(one_word)?,
        ([name], Some(default)) => Target::named(kind(default)?, name),
        ([word, name], _) if !word.contains('/') => Target::named(kind(word)?, name),
        _ => return Err(Failure::message("expected one object, as TYPE/NAME or TYPE NAME")),
    };
    Ok((target.kind, target.name.unwrap_or_default()))
}

fn one(argument: &str) -> Result<Target, Failure> {
    match argument.split('/').collect::<Vec<_>>()[..] {
        [word, name] if !word.is_empty() && !name.is_empty() => Ok(Target::named(kind(word)?, name)),
        [_, _] => Err(Failure::message(format!(
            "arguments in resource/name form must have a single resource and name, not \"{argument}\""
        ))),
        _ => Err(Failure::message(
            "there is no need to specify a resource type as a separate argument when passing arguments in \
             resource/name form (e.g. 'gantry get resource/<resource_name>' instead of 'gantry get resource \
             resource/<resource_name>'",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn arguments_mean_what_they_mean_to_kubectl() {
        let check = |arguments: &str, expected: &str| {
            let targets = targets(&words(arguments)).unwrap();
            let shown: Vec<String> = targets
                .iter()
                .map(|target| {
                    format!(
                        "{}:{}",
                        target.kind.resource,
                        target.name.as_deref().unwrap_or("*")
                    )
                })
                .collect();
            assert_eq!(shown.join(" "), expected, "{arguments}");
        };
        check("pods", "pods:*");
        check("po a b", "pods:a pods:b");
        check("pod/a svc/b", "pods:a services:b");
        check("Deployment web", "deployments:web");
        check("deploy.apps,rs", "deployments:* replicasets:*");
        check("deployments.v1.apps", "deployments:*");
        check("pods.v1", "pods:*");
        check("all", "pods:* services:* deployments:* replicasets:*");
        check("pods,svc web", "pods:web services:web");
    }

    #[test]
    fn a_mistyped_kind_is_answered_with_the_right_one() {
        let check = |arguments: &str, expected: &str| {
            let text = targets(&words(arguments)).unwrap_err().to_string();
            assert!(text.contains(expected), "{arguments}: {text}");
        };
        check(
            "pdos",
            "the server doesn't have a resource type \"pdos\". Did you mean \"pods\"?",
        );
        check("deploymnt/web", "Did you mean \"deployment\"?");
        check("gateways", "See `gantry api-resources`");
        check("bindings", "doesn't have a resource type");
        check("pods pod/a", "there is no need to specify a resource type");
        check("pod/", "must have a single resource and name");
        check("", "you must specify the type of resource");
    }
}
