//! `gantry api-resources`: the types that the server has.

use crate::aligned::Aligned;
use crate::output::write;
use crate::session::Session;
use anyhow::Result;
use gantry_proto::api::v1::ResourceInfo;

/// Show the types of objects that the server has
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Only those of this group; empty for the core group
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// Only those with namespaces, or with =false those without
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    namespaced: Option<bool>,
    /// Only those that can be all of this, such as list,get
    #[arg(long, value_delimiter = ',')]
    verbs: Vec<String>,
    /// Only those that belong to all of these, such as all
    #[arg(long, value_delimiter = ',')]
    categories: Vec<String>,
    /// In which order [default: by group]
    #[arg(long, value_enum)]
    sort_by: Option<SortBy>,
    /// As rows with more columns, or as names
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Without the headers
    #[arg(long)]
    no_headers: bool,
    /// Taken and without effect: the server is always asked
    #[arg(long, hide = true)]
    cached: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum SortBy {
    Name,
    Kind,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Wide,
    Name,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let reply = session.connect()?.cluster.discover().await?;
    let resources = chosen(reply.resources, &arguments);
    write(format_args!("{}", shown(&resources, &arguments)));
    Ok(())
}

fn chosen(mut resources: Vec<ResourceInfo>, arguments: &Arguments) -> Vec<ResourceInfo> {
    let has_all = |all: &[String], wanted: &[String]| wanted.iter().all(|one| all.contains(one));
    resources.retain(|resource| {
        !resource.verbs.is_empty()
            && arguments
                .api_group
                .as_ref()
                .is_none_or(|group| resource.group == *group)
            && arguments
                .namespaced
                .is_none_or(|namespaced| resource.namespaced == namespaced)
            && has_all(&resource.verbs, &arguments.verbs)
            && has_all(&resource.categories, &arguments.categories)
    });
    resources.sort_by(|a, b| {
        let key = |resource: &ResourceInfo| match arguments.sort_by {
            Some(SortBy::Name) => String::new(),
            Some(SortBy::Kind) => resource.kind.clone(),
            None => resource.group.clone(),
        };
        (key(a), &a.resource).cmp(&(key(b), &b.resource))
    });
    resources
}

fn shown(resources: &[ResourceInfo], arguments: &Arguments) -> String {
    if arguments.output == Some(Output::Name) {
        return resources.iter().map(|resource| name(resource) + "\n").collect();
    }
    let wide = arguments.output == Some(Output::Wide);
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !arguments.no_headers {
        let mut headers = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        if wide {
            headers.extend(["VERBS", "CATEGORIES"]);
        }
        rows.push(headers.into_iter().map(String::from).collect());
    }
    rows.extend(resources.iter().map(|resource| {
        let mut row = vec![
            resource.resource.clone(),
            resource.short_names.join(","),
            api_version(resource),
            resource.namespaced.to_string(),
            resource.kind.clone(),
        ];
        if wide {
            row.extend([resource.verbs.join(","), resource.categories.join(",")]);
        }
        row
    }));
    Aligned::default().lines(&rows)
}

/// Such as `deployments.apps`.
fn name(resource: &ResourceInfo) -> String {
    match resource.group.as_str() {
        "" => resource.resource.clone(),
        group => format!("{}.{group}", resource.resource),
    }
}

/// Such as `apps/v1`.
pub(super) fn api_version(resource: &ResourceInfo) -> String {
    match resource.group.as_str() {
        "" => resource.version.clone(),
        group => format!("{group}/{}", resource.version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use expect_test::{Expect, expect};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn resource(group: &str, kind: &str, name: &str, namespaced: bool, verbs: &[&str]) -> ResourceInfo {
        ResourceInfo {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            resource: name.into(),
            namespaced,
            verbs: verbs.iter().map(ToString::to_string).collect(),
            categories: if name == "pods" {
                vec!["all".into()]
            } else {
                Vec::new()
            },
            short_names: if name == "pods" {
                vec!["po".into()]
            } else {
                Vec::new()
            },
            ..ResourceInfo::default()
        }
    }

    fn check(options: &str, expected: Expect) {
        let words = std::iter::once("api-resources").chain(options.split_whitespace());
        let arguments = Line::try_parse_from(words).unwrap().arguments;
        let resources = vec![
            resource(
                "policy",
                "PodDisruptionBudget",
                "poddisruptionbudgets",
                true,
                &["get", "list"],
            ),
            resource("", "Pod", "pods", true, &["get", "list"]),
            resource("", "Binding", "bindings", true, &["create"]),
            resource("", "Node", "nodes", false, &["get", "list"]),
        ];
        expected.assert_eq(&shown(&chosen(resources, &arguments), &arguments));
    }

    #[test]
    fn types_are_chosen_ordered_and_shown_as_kubectl_does() {
        check(
            "",
            expect![[r#"
                NAME                   SHORTNAMES   APIVERSION   NAMESPACED   KIND
                bindings                            v1           true         Binding
                nodes                               v1           false        Node
                pods                   po           v1           true         Pod
                poddisruptionbudgets                policy/v1    true         PodDisruptionBudget
            "#]],
        );
        check("--namespaced=false -o name", expect![["nodes\n"]]);
        check(
            "--verbs=list --sort-by=kind -o name",
            expect![[r#"
            nodes
            pods
            poddisruptionbudgets.policy
        "#]],
        );
        check(
            "--api-group=policy --no-headers",
            expect![[r#"
            poddisruptionbudgets         policy/v1   true   PodDisruptionBudget
        "#]],
        );
        check(
            "--categories=all -o wide",
            expect![[r#"
                NAME   SHORTNAMES   APIVERSION   NAMESPACED   KIND   VERBS      CATEGORIES
                pods   po           v1           true         Pod    get,list   all
            "#]],
        );
    }
}
