//! `gantry wait`: returns when objects are as they are waited for.

use crate::chosen::{self, Choice, Chosen, Meant, Selectors};
use crate::cluster::{Object, shown};
use crate::dry_run::DryRun;
use crate::failure::Failure;
use crate::follow::{self, Limit};
use crate::hints;
use crate::manifest::Files;
use crate::present::{OutputOptions, Results};
use crate::session::{Connected, Session};
use crate::wait_for::Goal;
use anyhow::Result;
use std::time::Duration;
use tokio::time::Instant;

/// As long as kubectl waits where no limit is wanted.
const A_WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between two looks for objects that are to be created.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// As long as one look takes on a busy server.
const LEAST_LIMIT: Duration = Duration::from_secs(1);

/// Wait until objects are created, deleted, or in a condition
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE NAME..., TYPE/NAME..., or TYPE with a selector or --all
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
    /// What to wait for: create, delete, condition=NAME[=STATUS] or jsonpath='{EXPRESSION}'[=VALUE] (repeatable: one
    /// after the other)
    #[arg(long = "for", value_name = "GOAL", required = true)]
    goals: Vec<Goal>,
    /// The longest to wait, such as 30s; 0 to look once, below 0 for a week
    #[arg(long, default_value = "30s", allow_hyphen_values = true)]
    timeout: Limit,
    #[command(flatten)]
    output: OutputOptions,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let limit = match arguments.timeout {
        Limit::Span(span) => span,
        Limit::Never => A_WEEK,
    };
    let deadline = Instant::now() + limit;
    let choice = Choice {
        arguments: &arguments.targets,
        files: &arguments.files,
        selectors: &arguments.selectors,
        all: arguments.all,
        all_namespaces: arguments.all_namespaces,
    };
    let chosen = if arguments.goals.contains(&Goal::Created) {
        created(&choice, limit, deadline, &connected).await?
    } else {
        chosen::choose(&choice, &connected).await?
    };
    let for_deletion = arguments.goals.contains(&Goal::Deleted);
    if chosen.meant.is_empty() && !for_deletion && !chosen.failed {
        return Err(Failure::message("no matching resources found").into());
    }
    let mut failed = chosen.failed.then_some(Failure::Said);
    let mut results = Results::new(&arguments.output, DryRun::None);
    for meant in &chosen.meant {
        // As kubectl, which has nothing to say about what is gone already.
        if for_deletion && is_gone(meant, &connected).await? {
            continue;
        }
        for goal in &arguments.goals {
            match reached(meant, goal, limit, deadline, &connected).await {
                Ok(Some(object)) => results.print(&object, "condition met")?,
                Ok(None) => results.say(&shown(meant.kind, &meant.key.name), "condition met"),
                Err(failure) => {
                    hints::tell(&failure, &connected).await;
                    failed = Some(Failure::Exit(failure.exit_code()));
                    break;
                }
            }
        }
    }
    match failed {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// The objects, once all that are named and some of those that are selected are there.
async fn created(
    choice: &Choice<'_>,
    limit: Duration,
    deadline: Instant,
    connected: &Connected,
) -> Result<Chosen, Failure> {
    loop {
        let chosen = chosen::choose(choice, connected).await?;
        let mut missing = chosen.meant.is_empty();
        for meant in &chosen.meant {
            match meant.read(connected).await {
                Ok(_) => {}
                Err(failure) if failure.is_not_found() => missing = true,
                Err(failure) => return Err(failure),
            }
        }
        if !missing {
            return Ok(chosen);
        }
        if limit.is_zero() || Instant::now() >= deadline {
            return Err(Failure::TimedOut("timed out waiting for the condition".into()));
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)).await;
    }
}

async fn is_gone(meant: &Meant, connected: &Connected) -> Result<bool, Failure> {
    match meant.read(connected).await {
        Ok(_) => Ok(false),
        Err(failure) if failure.is_not_found() => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// Waits for one goal. Returns the object as it was then; none where it is gone.
async fn reached(
    meant: &Meant,
    goal: &Goal,
    limit: Duration,
    deadline: Instant,
    connected: &Connected,
) -> Result<Option<Object>, Failure> {
    let name = format!("{}/{}", meant.kind.resource, meant.key.name);
    let now = match connected.cluster.get(meant.kind, &meant.key).await {
        Ok(object) => Some(object),
        Err(failure) if failure.is_not_found() && *goal == Goal::Deleted => None,
        Err(failure) => return Err(failure),
    };
    let Some(now) = now else { return Ok(None) };
    if limit.is_zero() {
        return match is_met(goal, &now)? {
            true => Ok(Some(now)),
            false => Err(Failure::TimedOut(format!("condition not met for {name}"))),
        };
    }
    let uid = now.metadata.uid.clone();
    let mut last = None;
    let kind = meant.kind;
    let followed = follow::until(&connected.cluster, kind, &meant.key, |object| match object {
        None if *goal == Goal::Deleted => Ok(true),
        // As kubectl, which looks whether what it waits for is still there.
        None => {
            let gone = gantry_proto::meta::v1::Status::not_found(kind, &meant.key.name);
            Err(Failure::Status(Box::new(gone)))
        }
        Some(object) => {
            last = Some(object.clone());
            // One of the same name that was made since is another.
            let replaced = *goal == Goal::Deleted && object.metadata.uid != uid;
            Ok(replaced || is_met(goal, object)?)
        }
    });
    let left = deadline.saturating_duration_since(Instant::now());
    // One that is met already is not late: it is looked at once, however little time is left.
    let waited = follow::within(left.max(LEAST_LIMIT), followed, String::new).await;
    match waited {
        Ok(()) => Ok(Some(last.unwrap_or(now))),
        Err(Failure::TimedOut(_)) => Err(Failure::TimedOut(format!(
            "timed out waiting for the condition on {name}"
        ))),
        Err(failure) => Err(failure),
    }
}

fn is_met(goal: &Goal, object: &Object) -> Result<bool, Failure> {
    goal.is_met_by(&object.json()?).map_err(Failure::message)
}
