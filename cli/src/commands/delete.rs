//! `gantry delete`: deletes objects and waits until they are gone.

use crate::chosen::{self, Choice, Meant, Selectors};
use crate::cluster::{qualified_singular, shown};
use crate::dry_run::{DryRun, DryRunOption};
use crate::failure::Failure;
use crate::follow;
use crate::go_text;
use crate::hints;
use crate::manifest::Files;
use crate::output::{line, write};
use crate::session::{Connected, Session};
use crate::span::Span;
use crate::trace;
use anyhow::Result;
use gantry_proto::meta::v1::DeleteOptions;
use gantry_proto::status::Reason;
use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::str::FromStr;

/// Delete objects, and wait until they are gone
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE NAME..., TYPE/NAME..., or TYPE[,TYPE...] with a selector or --all
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// All objects of the type in the namespace
    #[arg(long)]
    all: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Seconds that an object has to end; below 0 for its own choice; 0 only with --force
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// Do not wait for confirmation that the pod's containers have ended
    #[arg(long)]
    force: bool,
    /// Give an object one second to end
    #[arg(long)]
    now: bool,
    /// Wait until the objects are gone
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    #[arg(action = clap::ArgAction::Set)]
    wait: bool,
    /// The longest to wait for one object, such as 30s; 0 for no limit
    #[arg(long, default_value = "0s")]
    timeout: Span,
    /// What happens to the objects that this one owns: background (they are deleted afterwards), foreground (they are
    /// deleted first) or orphan (they stay)
    #[arg(long, default_value = "background", num_args = 0..=1, default_missing_value = "background")]
    #[arg(require_equals = true, value_name = "HOW")]
    cascade: Cascade,
    /// Succeed where an object does not exist [default: true with --all or a selector]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ignore_not_found: Option<bool>,
    /// Show what is meant and ask first
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    dry_run: DryRunOption,
    /// Print names only
    #[arg(short, long, value_enum)]
    output: Option<NameOnly>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum NameOnly {
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cascade {
    Background,
    Foreground,
    Orphan,
}

impl FromStr for Cascade {
    type Err = String;

    fn from_str(text: &str) -> Result<Cascade, String> {
        match text {
            "background" => Ok(Cascade::Background),
            "foreground" => Ok(Cascade::Foreground),
            "orphan" => Ok(Cascade::Orphan),
            "true" => {
                deprecated(text, "background");
                Ok(Cascade::Background)
            }
            "false" => {
                deprecated(text, "orphan");
                Ok(Cascade::Orphan)
            }
            _ => Err(format!(
                "invalid cascade value ({text}). Must be \"background\", \"foreground\", or \"orphan\""
            )),
        }
    }
}

fn deprecated(given: &str, instead: &str) {
    eprintln!(
        "warning: --cascade={given} is deprecated (boolean value) and can be replaced with --cascade={instead}."
    );
}

impl Cascade {
    fn policy(self) -> &'static str {
        match self {
            Cascade::Background => "Background",
            Cascade::Foreground => "Foreground",
            Cascade::Orphan => "Orphan",
        }
    }
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let grace = grace_seconds(&arguments)?;
    check(&arguments)?;
    let connected = session.connect()?;
    let choice = Choice {
        arguments: &arguments.targets,
        files: &arguments.files,
        selectors: &arguments.selectors,
        all: arguments.all,
        all_namespaces: arguments.all_namespaces,
    };
    if arguments.force && grace == Some(0) {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. \
             The resource may continue to run on the cluster indefinitely."
        );
    }
    let chosen = chosen::choose(&choice, &connected).await?;
    let mut failed = chosen.failed;
    if chosen.meant.is_empty() && !failed {
        line(format_args!("No resources found"));
        return Ok(());
    }
    if arguments.interactive && !confirmed(&chosen.meant) {
        return Ok(());
    }
    if connected.namespace_given
        && !arguments.all_namespaces
        && chosen.meant.iter().any(|meant| !meant.kind.namespaced)
    {
        eprintln!("Warning: deleting cluster-scoped resources, not scoped to the provided namespace");
    }
    let selected = arguments.all || !arguments.selectors.is_empty();
    let ignore_not_found = arguments.ignore_not_found.unwrap_or(selected);
    let mut deleted = 0;
    let mut waiting = Vec::new();
    for meant in chosen.meant {
        let name = shown(meant.kind, &meant.key.name);
        let work = delete(&meant, grace, &arguments, &connected);
        match trace::object("delete object", &name, work).await {
            Ok(uid) => {
                deleted += 1;
                line(format_args!("{}", said(&meant, grace, &arguments)));
                waiting.push((meant, uid));
            }
            Err(failure) if failure.is_not_found() && ignore_not_found => {}
            Err(failure) => {
                failed = true;
                match meant.source() {
                    Some(source) => eprintln!("{}", failure.while_doing("deleting", source)),
                    None => hints::tell(&failure, &connected).await,
                }
            }
        }
    }
    if deleted == 0 && !failed {
        line(format_args!("No resources found"));
    }
    if arguments.wait && arguments.dry_run.dry_run == DryRun::None {
        wait(&waiting, &arguments, &connected, &mut failed).await?;
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

/// What kubectl refuses before it asks the server anything.
fn check(arguments: &Arguments) -> Result<(), Failure> {
    let given = |option: &Option<String>| option.as_ref().is_some_and(|text| !text.is_empty());
    if arguments.all && given(&arguments.selectors.labels) {
        return Err(Failure::message(
            "cannot set --all and --selector at the same time",
        ));
    }
    if arguments.all && given(&arguments.selectors.fields) {
        return Err(Failure::message(
            "cannot set --all and --field-selector at the same time",
        ));
    }
    Ok(())
}

/// kubectl's rules: --now is one second, no grace at all needs --force, which alone means none.
fn grace_seconds(arguments: &Arguments) -> Result<Option<i64>, Failure> {
    let both = || Failure::message("--force and --grace-period greater than 0 cannot be specified together");
    match (arguments.now, arguments.force, arguments.grace_period) {
        (true, _, seconds) if seconds != -1 => Err(Failure::message(
            "--now and --grace-period cannot be specified together",
        )),
        (true, true, _) => Err(both()),
        (true, false, _) => Ok(Some(1)),
        (false, true, seconds) if seconds <= 0 => Ok(Some(0)),
        (false, true, _) => Err(both()),
        (false, false, 0) => Ok(Some(1)),
        (false, false, seconds) => Ok((seconds >= 0).then_some(seconds)),
    }
}

fn confirmed(meant: &[Meant]) -> bool {
    line(format_args!(
        "You are about to delete the following {} resource(s):",
        meant.len()
    ));
    for one in meant {
        line(format_args!("{}", shown(one.kind, &one.key.name)));
    }
    write(format_args!("Do you want to continue? (y/N): "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    let yes = read.is_ok() && matches!(answer.trim(), "y" | "Y");
    if !yes {
        line(format_args!("deletion is cancelled"));
    }
    yes
}

/// Returns the uid of what is being deleted, where the server tells it.
async fn delete(
    meant: &Meant,
    grace: Option<i64>,
    arguments: &Arguments,
    connected: &Connected,
) -> Result<Option<String>, Failure> {
    let dry_run = arguments.dry_run.dry_run;
    if dry_run.is_client() {
        // What is named and not there is an error also where nothing is done.
        return meant.read(connected).await.map(|_| None);
    }
    let options = DeleteOptions {
        grace_period_seconds: grace,
        propagation_policy: Some(arguments.cascade.policy().into()),
        dry_run: match dry_run.is_server() {
            true => vec!["All".into()],
            false => Vec::new(),
        },
        ..DeleteOptions::default()
    };
    connected.cluster.delete(meant.kind, &meant.key, options).await
}

fn said(meant: &Meant, grace: Option<i64>, arguments: &Arguments) -> String {
    if arguments.output.is_some() {
        return shown(meant.kind, &meant.key.name);
    }
    let operation = if grace == Some(0) {
        "force deleted"
    } else {
        "deleted"
    };
    let namespace = match meant.key.namespace.as_str() {
        "" => String::new(),
        namespace => format!(" from {namespace} namespace"),
    };
    format!(
        "{} {} {operation}{namespace}{}",
        qualified_singular(meant.kind),
        go_text::quoted(&meant.key.name),
        arguments.dry_run.dry_run.note()
    )
}

async fn wait(
    waiting: &[(Meant, Option<String>)],
    arguments: &Arguments,
    connected: &Connected,
    failed: &mut bool,
) -> Result<(), Failure> {
    let mut timed_out = BTreeSet::new();
    for (meant, uid) in waiting {
        let gone = follow::until(&connected.cluster, meant.kind, &meant.key, |object| {
            Ok(match (object, uid) {
                (None, _) => true,
                (Some(object), Some(uid)) => object.metadata.uid != *uid,
                (Some(_), None) => false,
            })
        });
        let waited = follow::within(arguments.timeout.0, gone, || {
            format!(
                "timed out waiting for the condition on {}/{}",
                meant.kind.resource, meant.key.name
            )
        });
        match waited.await {
            Ok(()) => {}
            // Who may delete and not look waits for nothing.
            Err(failure) if matches!(failure.reason(), Reason::Forbidden | Reason::MethodNotAllowed) => {}
            Err(failure @ Failure::TimedOut(_)) => drop(timed_out.insert(failure.to_string())),
            Err(failure) => {
                *failed = true;
                eprintln!("{failure}");
            }
        }
    }
    if timed_out.is_empty() {
        return Ok(());
    }
    timed_out.iter().for_each(|text| eprintln!("{text}"));
    Err(Failure::Exit(Failure::TimedOut(String::new()).exit_code()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(options: &str) -> Arguments {
        let words = std::iter::once("delete").chain(options.split_whitespace());
        Line::try_parse_from(words).unwrap().arguments
    }

    #[test]
    fn how_long_an_object_has_to_end_follows_kubectls_rules() {
        let check = |options: &str, expected: Result<Option<i64>, &str>| {
            let seconds = grace_seconds(&parsed(options)).map_err(|failure| failure.to_string());
            assert_eq!(seconds, expected.map_err(String::from), "{options}");
        };
        check("", Ok(None));
        check("--grace-period=5", Ok(Some(5)));
        check("--grace-period=0", Ok(Some(1)));
        check("--now", Ok(Some(1)));
        check("--force", Ok(Some(0)));
        check("--force --grace-period=0", Ok(Some(0)));
        check(
            "--force --grace-period=5",
            Err("error: --force and --grace-period greater than 0 cannot be specified together"),
        );
        check(
            "--force --now",
            Err("error: --force and --grace-period greater than 0 cannot be specified together"),
        );
        check(
            "--now --grace-period=5",
            Err("error: --now and --grace-period cannot be specified together"),
        );
    }

    #[test]
    fn cascade_is_a_word_or_a_deprecated_truth() {
        let check = |text: &str, expected: Cascade| assert_eq!(text.parse(), Ok(expected), "{text}");
        check("background", Cascade::Background);
        check("foreground", Cascade::Foreground);
        check("orphan", Cascade::Orphan);
        check("false", Cascade::Orphan);
        assert_eq!(
            "foo".parse::<Cascade>(),
            Err("invalid cascade value (foo). Must be \"background\", \"foreground\", or \"orphan\"".into())
        );
    }
}
