//! `gantry __complete`: what the shells' scripts ask. A line for each candidate, which a tab parts from what is said
//! about it, and a last line with what the shell does besides: 2 for no blank after it, 4 for no names of files.

use crate::completion::{self, Candidate, Request, Wanted};
use crate::failure::Failure;
use crate::output::write;
use crate::session::Session;
use anyhow::Result;
use clap::CommandFactory as _;
use gantry_proto::core::v1::Pod;
use gantry_proto::{Key, KindInfo};
use std::path::PathBuf;
use std::time::Duration;

/// As long as a person waits for a key: what the cluster has not told by then is not offered.
const LIMIT: Duration = Duration::from_millis(1500);
/// Names that are offered at most: more than a screen shows helps nobody.
const MOST_NAMES: i64 = 500;

/// Print what the last of the words could be
#[derive(clap::Args, Debug)]
#[command(hide = true)]
pub struct Arguments {
    #[arg(last = true)]
    words: Vec<String>,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let mut program = crate::CommandLine::command();
    program.build();
    let request = completion::request(&program, &arguments.words);
    let candidates = match &request.wanted {
        Wanted::Files => {
            write(format_args!(":0\n"));
            return Ok(());
        }
        Wanted::Nothing => Vec::new(),
        Wanted::OneOf(all) => all.clone(),
        Wanted::Names { kind, prefix } => {
            let asked = names(&request, kind, prefix, session);
            tokio::time::timeout(LIMIT, asked)
                .await
                .map_or(Vec::new(), Result::unwrap_or_default)
        }
        Wanted::Containers { pod } => {
            let asked = containers(&request, pod, session);
            tokio::time::timeout(LIMIT, asked)
                .await
                .map_or(Vec::new(), Result::unwrap_or_default)
        }
    };
    write(format_args!("{}", told(&request, &candidates)));
    Ok(())
}

fn told(request: &Request, candidates: &[Candidate]) -> String {
    let mut text = String::new();
    let mut open = true;
    for (value, about) in candidates {
        if !value.starts_with(&request.typed) || request.given.contains(value) {
            continue;
        }
        open &= value.ends_with(['=', '/']);
        text.push_str(&format!("{}{value}", request.before));
        if !about.is_empty() {
            text.push_str(&format!("\t{about}"));
        }
        text.push('\n');
    }
    // Where every candidate goes on, no blank follows.
    let directive = if open && !text.is_empty() { 6 } else { 4 };
    text + &format!(":{directive}\n")
}

/// A session as the words before would have it.
fn session_of(request: &Request, session: &Session) -> Session {
    let mut options = session.options.clone();
    if let Some(kubeconfig) = &request.kubeconfig {
        options.kubeconfig = Some(PathBuf::from(kubeconfig));
    }
    if let Some(namespace) = &request.namespace {
        options.namespace = Some(namespace.clone());
    }
    Session { options }
}

async fn names(
    request: &Request,
    kind: &'static KindInfo,
    prefix: &str,
    session: &Session,
) -> Result<Vec<Candidate>> {
    let connected = session_of(request, session).connect()?;
    let namespace = connected.namespace_of(kind);
    let objects = connected.cluster.list_first(kind, &namespace, MOST_NAMES).await?;
    let name = |object: crate::cluster::Object| (format!("{prefix}{}", object.metadata.name), String::new());
    Ok(objects.into_iter().map(name).collect())
}

async fn containers(request: &Request, pod: &str, session: &Session) -> Result<Vec<Candidate>> {
    let connected = session_of(request, session).connect()?;
    let key = Key::new(&connected.namespace, pod);
    let pod: Result<Pod, Failure> = connected.cluster.get_as(&key).await;
    let pod = pod?;
    let spec = pod.spec();
    let all = spec.containers.iter().chain(&spec.init_containers);
    Ok(all
        .map(|container| (container.name.clone(), container.image.clone()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_those_that_fit_and_are_not_there_yet() {
        let check = |request: Request, values: &[&str], expected: &str| {
            let candidates: Vec<Candidate> = values
                .iter()
                .map(|value| (value.to_string(), String::new()))
                .collect();
            assert_eq!(told(&request, &candidates), expected);
        };
        let typed = |typed: &str, before: &str| Request {
            typed: typed.into(),
            before: before.into(),
            given: vec!["web-1".into()],
            ..Request::default()
        };
        check(typed("web", ""), &["web-1", "web-2", "db"], "web-2\n:4\n");
        check(typed("ya", "--output="), &["yaml", "json"], "--output=yaml\n:4\n");
        check(typed("cond", ""), &["condition="], "condition=\n:6\n");
        check(typed("x", ""), &["web-1"], ":4\n");
    }
}
