//! `gantry rollout`: how far a Deployment's rollout is, its revisions, back to one, again, hold, go on.

use crate::aligned::tabbed;
use crate::cluster::{Event, Object, Patience, Selection, before_watching_again, shown};
use crate::describe;
use crate::failure::Failure;
use crate::hints;
use crate::output::{line, write};
use crate::resource;
use crate::rollout::{self, CHANGE_CAUSE, Progress};
use crate::session::{Connected, Session};
use crate::span::Span;
use crate::trace;
use anyhow::Result;
use gantry_proto::api::v1::PatchType;
use gantry_proto::apps::v1::{Deployment, ReplicaSet};
use gantry_proto::{Key, Kind as _, KindInfo};
use serde_json::{Value, json};
use std::time::Duration;

/// Watch or steer the rollout of a Deployment
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Wait until the rollout is done, and say how far it is
    Status {
        #[command(flatten)]
        target: Target,
        /// Wait until it is done
        #[arg(short, long, default_value_t = true, num_args = 0..=1, default_missing_value = "true")]
        #[arg(require_equals = true, action = clap::ArgAction::Set)]
        watch: bool,
        /// Fail when another revision is running
        #[arg(long, default_value_t = 0)]
        revision: i64,
        /// The longest to wait, such as 90s; 0 for no limit
        #[arg(long, default_value = "0s")]
        timeout: Span,
    },
    /// Show the revisions
    History {
        #[command(flatten)]
        target: Target,
        /// Show the pod template of this one
        #[arg(long, default_value_t = 0)]
        revision: i64,
    },
    /// Go back to an earlier revision
    Undo {
        #[command(flatten)]
        target: Target,
        /// Which; 0 for the one before
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
    },
    /// Make all pods anew
    Restart {
        #[command(flatten)]
        target: Target,
    },
    /// Hold changes back
    Pause {
        #[command(flatten)]
        target: Target,
    },
    /// Let changes happen again
    Resume {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(clap::Args, Clone, Debug)]
struct Target {
    /// deployment/NAME..., or deployment NAME...
    #[arg(required = true)]
    object: Vec<String>,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let connected = &connected;
    match arguments.action {
        Action::Status {
            target,
            watch,
            revision,
            timeout,
        } => {
            let key = key(&target, connected)?;
            let waited = status(&key, watch, revision, connected);
            match timeout.0 {
                Duration::ZERO => waited.await,
                limit => tokio::time::timeout(limit, waited)
                    .await
                    .unwrap_or_else(|_| Err(Failure::TimedOut("timed out waiting for the condition".into()))),
            }?;
        }
        Action::History { target, revision } => {
            history(&key(&target, connected)?, revision, connected).await?
        }
        Action::Undo { target, to_revision } => {
            let undone = each(&target, connected, async |key| {
                undo(key, to_revision, connected).await
            });
            trace::root("gantry rollout undo", session, undone).await?;
        }
        Action::Restart { target } => {
            let restarted = each(&target, connected, async |key| restart(key, connected).await);
            trace::root("gantry rollout restart", session, restarted).await?;
        }
        Action::Pause { target } => {
            let paused = each(&target, connected, async |key| {
                set_paused(key, true, connected).await
            });
            trace::root("gantry rollout pause", session, paused).await?;
        }
        Action::Resume { target } => {
            let resumed = each(&target, connected, async |key| {
                set_paused(key, false, connected).await
            });
            trace::root("gantry rollout resume", session, resumed).await?;
        }
    }
    Ok(())
}

/// The one Deployment that is meant.
fn key(target: &Target, connected: &Connected) -> Result<Key, Failure> {
    let (kind, name) = resource::object(&target.object, None)?;
    check_kind(kind)?;
    Ok(Key::new(connected.namespace.clone(), name))
}

fn check_kind(kind: &KindInfo) -> Result<(), Failure> {
    match kind.message == Deployment::INFO.message {
        true => Ok(()),
        false => Err(Failure::message(format!(
            "no rollouter has been implemented for \"{}\"",
            kind.kind
        ))),
    }
}

/// Does something to each Deployment that is named, or to all of the namespace where only the type is. One that
/// fails does not keep the others from it.
async fn each(
    target: &Target,
    connected: &Connected,
    act: impl AsyncFn(&Key) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut keys = Vec::new();
    for target in resource::targets(&target.object)? {
        check_kind(target.kind)?;
        match target.name {
            Some(name) => keys.push(Key::new(connected.namespace.clone(), name)),
            None => {
                let selection = Selection {
                    namespace: connected.namespace.clone(),
                    ..Selection::default()
                };
                let (all, _) = connected.cluster.list(Deployment::INFO, &selection).await?;
                keys.extend(all.iter().map(Object::key));
            }
        }
    }
    let mut failed = false;
    for key in &keys {
        if let Err(failure) = act(key).await {
            failed = true;
            hints::tell(&failure, connected).await;
        }
    }
    if failed { Err(Failure::Said) } else { Ok(()) }
}

fn said(key: &Key, what: &str) {
    line(format_args!("{} {what}", shown(Deployment::INFO, &key.name)));
}

/// Says how far it is whenever that has changed.
async fn status(key: &Key, watch: bool, revision: i64, connected: &Connected) -> Result<(), Failure> {
    let selection = Selection {
        namespace: key.namespace.clone(),
        fields: format!("metadata.name={}", key.name),
        ..Selection::default()
    };
    let mut said = String::new();
    let mut finished = |deployment: &Deployment| match rollout::progress(deployment, revision) {
        Progress::Waiting(text) => {
            if text != said {
                line(format_args!("{text}"));
                said = text;
            }
            Ok(!watch)
        }
        Progress::Done(text) => {
            line(format_args!("{text}"));
            Ok(true)
        }
        Progress::Failed(text) => Err(Failure::message(text)),
    };
    let mut patience = Patience::default();
    loop {
        let object = match connected.cluster.get(Deployment::INFO, key).await {
            Ok(object) => object,
            Err(failure) => {
                patience.outlast(failure).await?;
                continue;
            }
        };
        patience.answered();
        let uid = object.metadata.uid.clone();
        if finished(&object.decode()?)? {
            return Ok(());
        }
        let watched = connected
            .cluster
            .watch(Deployment::INFO, &selection, &object.metadata.resource_version)
            .await;
        if let Ok(mut events) = watched {
            // Whatever ends the watch, the object is read again.
            while let Ok(Some((event, object))) = events.next().await {
                if event == Event::Deleted || object.metadata.uid != uid {
                    return Err(Failure::message("object has been deleted"));
                }
                if finished(&object.decode()?)? {
                    return Ok(());
                }
            }
        }
        before_watching_again().await;
    }
}

async fn with_replica_sets(
    key: &Key,
    connected: &Connected,
) -> Result<(Deployment, Vec<ReplicaSet>), Failure> {
    let deployment: Deployment = connected.cluster.get_as(key).await?;
    let selection = Selection {
        namespace: key.namespace.clone(),
        ..Selection::default()
    };
    let replica_sets = connected.cluster.list_as::<ReplicaSet>(&selection).await?;
    Ok((deployment, replica_sets))
}

async fn history(key: &Key, revision: i64, connected: &Connected) -> Result<(), Failure> {
    let (deployment, replica_sets) = with_replica_sets(key, connected).await?;
    let revisions = rollout::revisions(&deployment, &replica_sets);
    let name = shown(Deployment::INFO, &key.name);
    if revision > 0 {
        let Some(found) = revisions.get(&revision) else {
            return Err(Failure::message(format!(
                "unable to find the specified revision {revision} in history"
            )));
        };
        write(format_args!(
            "{name} with revision #{revision}\n{}",
            describe::template(&rollout::recorded_template(found))
        ));
        return Ok(());
    }
    let mut text = "REVISION\tCHANGE-CAUSE\n".to_string();
    for (number, replica_set) in &revisions {
        let cause = replica_set
            .metadata()
            .annotations
            .get(CHANGE_CAUSE)
            .map_or("", String::as_str);
        text.push_str(&format!(
            "{number}\t{}\n",
            if cause.is_empty() { "<none>" } else { cause }
        ));
    }
    write(format_args!("{name} \n{}\n", tabbed(&text, 2)));
    Ok(())
}

async fn undo(key: &Key, to_revision: i64, connected: &Connected) -> Result<(), Failure> {
    let (deployment, replica_sets) = with_replica_sets(key, connected).await?;
    let revisions = rollout::revisions(&deployment, &replica_sets);
    let target = rollout::target(&deployment, &revisions, to_revision).map_err(Failure::message)?;
    match rollout::undo(&deployment, target) {
        Some(patch) => {
            self::patch(key, PatchType::StrategicMerge, &patch, connected).await?;
            said(key, "rolled back");
        }
        None => {
            let revision = rollout::revision_of(&target.metadata().annotations).unwrap_or_default();
            said(
                key,
                &format!("skipped rollback (current template already matches revision {revision})"),
            );
        }
    }
    Ok(())
}

async fn restart(key: &Key, connected: &Connected) -> Result<(), Failure> {
    let deployment: Deployment = connected.cluster.get_as(key).await?;
    if deployment.spec().paused {
        return Err(Failure::message(format!(
            "deployments.apps \"{}\" can't restart paused deployment (run rollout resume first)",
            key.name
        )));
    }
    #[allow(clippy::disallowed_methods, reason = "a command runs at one time: now")]
    let now = jiff::Timestamp::now();
    // Whole seconds, as Go's RFC 3339 has them.
    let text = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    patch(
        key,
        PatchType::StrategicMerge,
        &rollout::restart(&text),
        connected,
    )
    .await?;
    said(key, "restarted");
    Ok(())
}

async fn set_paused(key: &Key, paused: bool, connected: &Connected) -> Result<(), Failure> {
    let deployment: Deployment = connected.cluster.get_as(key).await?;
    if deployment.spec().paused == paused {
        let state = if paused { "already paused" } else { "not paused" };
        return Err(Failure::message(format!(
            "deployments.apps \"{}\" is {state}",
            key.name
        )));
    }
    // A false that is left out and one that is written are the same; null takes it away as kubectl does.
    let value = if paused { Value::Bool(true) } else { Value::Null };
    patch(
        key,
        PatchType::Merge,
        &json!({"spec": {"paused": value}}),
        connected,
    )
    .await?;
    said(key, if paused { "paused" } else { "resumed" });
    Ok(())
}

async fn patch(
    key: &Key,
    patch_type: PatchType,
    patch: &Value,
    connected: &Connected,
) -> Result<(), Failure> {
    connected
        .cluster
        .patch(Deployment::INFO, key, patch_type, patch, false)
        .await
        .map(drop)
}
