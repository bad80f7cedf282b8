//! `gantry delete`: deletes objects and waits until they are gone.

use super::get::Selectors;
use crate::cluster::{Event, Object, Patience, Selection, before_watching_again, qualified_singular, shown};
use crate::failure::Failure;
use crate::manifest::{self, Files, Validate};
use crate::output::line;
use crate::resource;
use crate::session::{Connected, Session};
use crate::span::Span;
use crate::trace;
use anyhow::Result;
use gantry_proto::meta::v1::{DeleteOptions, Preconditions};
use gantry_proto::{Key, KindInfo};
use std::time::Duration;

/// Delete objects, and wait until they are gone
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE NAME..., or TYPE/NAME...
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
    /// Seconds that a pod has to end; -1 for its own choice
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// Do not wait for confirmation that the pod's containers have ended
    #[arg(long)]
    force: bool,
    /// Give a pod one second to end
    #[arg(long, conflicts_with = "grace_period")]
    now: bool,
    /// Wait until the objects are gone
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    #[arg(action = clap::ArgAction::Set)]
    wait: bool,
    /// The longest to wait for one object, such as 30s; 0 for no limit
    #[arg(long, default_value = "0s")]
    timeout: Span,
    /// What happens to the objects that this one owns
    #[arg(long, value_enum, default_value = "background", num_args = 0..=1, default_missing_value = "background")]
    #[arg(require_equals = true)]
    cascade: Cascade,
    /// Succeed where an object does not exist
    #[arg(long)]
    ignore_not_found: bool,
    /// Print names only
    #[arg(short, long, value_enum)]
    output: Option<NameOnly>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum NameOnly {
    Name,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Cascade {
    /// They are deleted afterwards
    Background,
    /// They are deleted first
    Foreground,
    /// They stay
    Orphan,
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

struct Doomed {
    kind: &'static KindInfo,
    key: Key,
    /// The file that names it.
    source: Option<String>,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let grace = grace_seconds(&arguments)?;
    let mut failed = false;
    let doomed = doomed(&arguments, &connected, &mut failed).await?;
    if doomed.is_empty() && !failed && !arguments.ignore_not_found {
        line(format_args!("No resources found"));
    }
    if grace == Some(0) {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. \
             The resource may continue to run on the cluster indefinitely."
        );
    }
    let mut waiting = Vec::new();
    for one in doomed {
        let name = shown(one.kind, &one.key.name);
        match trace::object(
            "delete object",
            &name,
            delete(&one, grace, &arguments, &connected),
        )
        .await
        {
            Ok(uid) => {
                said(&one, grace, arguments.output);
                waiting.push((one, uid));
            }
            Err(failure) if failure.is_not_found() && arguments.ignore_not_found => {}
            Err(failure) => {
                failed = true;
                let failure = match &one.source {
                    Some(source) => failure.while_doing("deleting", source),
                    None => failure,
                };
                eprintln!("{failure}");
            }
        }
    }
    if arguments.wait {
        for (one, uid) in &waiting {
            let gone = wait_until_gone(one, uid, &connected);
            let result = match arguments.timeout.0 {
                Duration::ZERO => gone.await,
                limit => tokio::time::timeout(limit, gone).await.unwrap_or_else(|_| {
                    let name = format!("{}/{}", one.kind.resource, one.key.name);
                    Err(Failure::message(format!(
                        "timed out waiting for the condition on {name}"
                    )))
                }),
            };
            if let Err(failure) = result {
                failed = true;
                eprintln!("{failure}");
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

/// kubectl's rules: --now is one second, no grace at all needs --force, which alone means none.
fn grace_seconds(arguments: &Arguments) -> Result<Option<i64>, Failure> {
    match (arguments.now, arguments.force, arguments.grace_period) {
        (true, ..) => Ok(Some(1)),
        (false, true, 0 | -1) => Ok(Some(0)),
        (false, true, _) => Err(Failure::message(
            "--force and --grace-period greater than 0 cannot be specified together",
        )),
        (false, false, 0) => Ok(Some(1)),
        (false, false, seconds) => Ok((seconds >= 0).then_some(seconds)),
    }
}

async fn doomed(
    arguments: &Arguments,
    connected: &Connected,
    failed: &mut bool,
) -> Result<Vec<Doomed>, Failure> {
    if !arguments.files.filenames.is_empty() {
        manifest::only_files(&arguments.targets)?;
        let (manifests, failures) = manifest::read(&arguments.files, Validate::Ignore, connected, "delete")?;
        failures.iter().for_each(|failure| eprintln!("{failure}"));
        *failed |= !failures.is_empty();
        let doomed = manifests.into_iter().map(|manifest| Doomed {
            kind: manifest.kind,
            key: Key::new(manifest.namespace(), manifest.name()),
            source: Some(manifest.source),
        });
        return Ok(doomed.collect());
    }
    if arguments.targets.is_empty() {
        return Err(Failure::message(
            "You must provide one or more resources by argument or filename.\nExamples: gantry delete -f web.yaml, \
             gantry delete deployment/web, gantry delete pods -l app=web",
        ));
    }
    let mut doomed = Vec::new();
    for target in resource::targets(&arguments.targets)? {
        if let Some(name) = target.name {
            let key = Key::new(connected.namespace_of(target.kind), name);
            doomed.push(Doomed {
                kind: target.kind,
                key,
                source: None,
            });
            continue;
        }
        let selected = arguments.selectors.labels.is_some() || arguments.selectors.fields.is_some();
        if !arguments.all && !selected {
            return Err(Failure::message(
                "resource(s) were provided, but no name was specified",
            ));
        }
        let namespace = match arguments.all_namespaces {
            true => String::new(),
            false => connected.namespace_of(target.kind),
        };
        let selection = Selection {
            namespace,
            labels: arguments.selectors.labels.clone().unwrap_or_default(),
            fields: arguments.selectors.fields.clone().unwrap_or_default(),
        };
        match connected.cluster.list(target.kind, &selection).await {
            Ok((objects, _)) => doomed.extend(objects.iter().map(|object| Doomed {
                kind: object.kind,
                key: object.key(),
                source: None,
            })),
            Err(failure @ Failure::Status(_)) => {
                *failed = true;
                eprintln!("{failure}");
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(doomed)
}

/// Returns the uid of the object that is being deleted.
async fn delete(
    one: &Doomed,
    grace: Option<i64>,
    arguments: &Arguments,
    connected: &Connected,
) -> Result<String, Failure> {
    let object = connected.cluster.get(one.kind, &one.key).await?;
    let options = DeleteOptions {
        grace_period_seconds: grace,
        propagation_policy: Some(arguments.cascade.policy().into()),
        preconditions: Some(Preconditions {
            uid: Some(object.metadata.uid.clone()),
            resource_version: None,
        }),
        ..DeleteOptions::default()
    };
    connected.cluster.delete(one.kind, &one.key, options).await?;
    Ok(object.metadata.uid)
}

fn said(one: &Doomed, grace: Option<i64>, output: Option<NameOnly>) {
    if output.is_some() {
        return line(format_args!("{}", shown(one.kind, &one.key.name)));
    }
    let operation = if grace == Some(0) {
        "force deleted"
    } else {
        "deleted"
    };
    let namespace = match one.key.namespace.as_str() {
        "" => String::new(),
        namespace => format!(" from {namespace} namespace"),
    };
    line(format_args!(
        "{} \"{}\" {operation}{namespace}",
        qualified_singular(one.kind),
        one.key.name
    ));
}

async fn wait_until_gone(one: &Doomed, uid: &str, connected: &Connected) -> Result<(), Failure> {
    let mut patience = Patience::default();
    patience.answered();
    loop {
        let object: Object = match connected.cluster.get(one.kind, &one.key).await {
            Ok(object) if object.metadata.uid == uid => object,
            Ok(_) => return Ok(()),
            Err(failure) if failure.is_not_found() => return Ok(()),
            Err(failure) => {
                patience.outlast(failure).await?;
                continue;
            }
        };
        patience.answered();
        let selection = Selection {
            namespace: one.key.namespace.clone(),
            fields: format!("metadata.name={}", one.key.name),
            ..Selection::default()
        };
        let watch = connected
            .cluster
            .watch(one.kind, &selection, &object.metadata.resource_version)
            .await;
        if let Ok(mut events) = watch {
            // Whatever ends the watch, the object is read again.
            while let Ok(Some((event, object))) = events.next().await {
                if event == Event::Deleted && object.metadata.uid == uid {
                    return Ok(());
                }
            }
        }
        before_watching_again().await;
    }
}
