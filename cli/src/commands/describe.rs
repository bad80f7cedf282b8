//! `gantry describe`: everything about an object, with its events.

use crate::chosen::Selectors;
use crate::cluster::{Object, Selection};
use crate::describe;
use crate::failure::Failure;
use crate::hints;
use crate::manifest::{self, Files};
use crate::output::write;
use crate::resource;
use crate::session::{Connected, Session};
use anyhow::Result;
use gantry_proto::{Key, KindInfo};
use std::time::SystemTime;

/// Show everything about objects, with their events
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE [NAME or beginning of names...], or TYPE/NAME...
    #[arg(required_unless_present = "filenames")]
    targets: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let mut objects: Vec<Object> = Vec::new();
    let mut failed = false;
    let targets = match arguments.files.filenames.is_empty() {
        true => resource::targets(&arguments.targets)?,
        false => manifest::targets(&arguments.files, &arguments.targets, &connected)?,
    };
    for target in targets {
        let namespace = match (arguments.all_namespaces, target.namespace) {
            (true, _) => String::new(),
            (false, Some(namespace)) => namespace,
            (false, None) => connected.namespace_of(target.kind),
        };
        let result = match target.name {
            Some(name) => named(target.kind, &Key::new(namespace, name), &connected).await,
            None => {
                let selection = arguments.selectors.in_namespace(namespace);
                connected
                    .cluster
                    .list(target.kind, &selection)
                    .await
                    .map(|(all, _)| all)
            }
        };
        match result {
            Ok(found) => objects.extend(found),
            Err(failure @ Failure::Status(_)) => {
                failed = true;
                hints::tell(&failure, &connected).await;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    if objects.is_empty() && !failed {
        eprintln!("No resources found in {} namespace.", connected.namespace);
    }
    for (index, object) in objects.iter().enumerate() {
        let related = describe::related(object, &connected).await;
        #[allow(clippy::disallowed_methods, reason = "a command runs at one time: now")]
        let text = describe::describe(object, &related, SystemTime::now())?;
        write(format_args!("{}{text}", if index > 0 { "\n\n" } else { "" }));
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

/// The object of this name; where there is none, those whose names begin with it, as for kubectl.
async fn named(kind: &'static KindInfo, key: &Key, connected: &Connected) -> Result<Vec<Object>, Failure> {
    let missing = match connected.cluster.get(kind, key).await {
        Ok(object) => return Ok(vec![object]),
        Err(failure) if failure.is_not_found() => failure,
        Err(failure) => return Err(failure),
    };
    let selection = Selection {
        namespace: key.namespace.clone(),
        ..Selection::default()
    };
    let (mut objects, _) = connected.cluster.list(kind, &selection).await?;
    objects.retain(|object| object.metadata.name.starts_with(&key.name));
    match objects.is_empty() {
        true => Err(missing),
        false => Ok(objects),
    }
}
