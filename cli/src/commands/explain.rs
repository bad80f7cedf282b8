//! `gantry explain`: what a kind's fields mean.

use crate::explain;
use crate::failure::Failure;
use crate::output::write;
use crate::resource;
use crate::session::Session;
use anyhow::Result;
use gantry_proto::KindInfo;
use gantry_proto::kinds::KINDS;

/// Say what a kind's fields mean
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE, or TYPE.FIELD.FIELD such as pods.spec.containers
    targets: Vec<String>,
    /// With the fields of fields, and without what they mean
    #[arg(long)]
    recursive: bool,
    /// Of this version, such as apps/v1
    #[arg(long, value_name = "VERSION")]
    api_version: Option<String>,
}

pub async fn run(arguments: Arguments, _session: &Session) -> Result<()> {
    let target = match &arguments.targets[..] {
        [one] => one.trim_end_matches('.'),
        [] => {
            return Err(Failure::message(
                "You must specify the type of resource to explain. Use \"gantry api-resources\" for a complete list of \
                 supported resources.",
            )
            .into());
        }
        _ => return Err(Failure::message("We accept only this format: explain RESOURCE").into()),
    };
    let (kind, path) = split(target, arguments.api_version.as_deref())?;
    let text = explain::explain(kind, &path, arguments.recursive).map_err(Failure::message)?;
    write(format_args!("{text}"));
    Ok(())
}

/// The kind is as many words as name one with its group: `deployments.apps.spec` is of `deployments.apps`.
fn split<'a>(
    target: &'a str,
    api_version: Option<&str>,
) -> Result<(&'static KindInfo, Vec<&'a str>), Failure> {
    let words: Vec<&str> = target.split('.').collect();
    let longest = (1..=words.len())
        .rev()
        .find_map(|count| Some((resource::kind(&words[..count].join(".")).ok()?, count)));
    let (kind, count) = match longest {
        Some(found) => found,
        None => (resource::kind(words[0])?, 1),
    };
    let Some(api_version) = api_version else {
        return Ok((kind, words[count..].to_vec()));
    };
    let of_version = KINDS
        .iter()
        .copied()
        .find(|other| other.stored && other.resource == kind.resource && other.api_version() == api_version);
    match of_version {
        Some(kind) => Ok((kind, words[count..].to_vec())),
        None => Err(Failure::message(format!(
            "couldn't find resource for \"{api_version}, Resource={}\"",
            kind.resource
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_from_its_fields() {
        let check = |target: &str, expected: &str| {
            let (kind, path) = split(target, None).unwrap();
            assert_eq!(
                format!("{} {}", kind.resource, path.join("/")),
                expected,
                "{target}"
            );
        };
        check("pods", "pods ");
        check("po.spec.containers", "pods spec/containers");
        check("deployments.apps.spec", "deployments spec");
        check("deployments.v1.apps.spec.replicas", "deployments spec/replicas");
        assert!(split("pdos.spec", None).is_err());
        assert!(split("deploy", Some("apps/v1")).is_ok());
        assert_eq!(
            split("deploy", Some("apps/v2")).unwrap_err().to_string(),
            "error: couldn't find resource for \"apps/v2, Resource=deployments\""
        );
    }
}
