//! `gantry cordon`: keeps new pods off nodes.

use crate::chosen::{self, Choice, Selectors};
use crate::cluster::Object;
use crate::dry_run::{DryRun, DryRunOption};
use crate::failure::Failure;
use crate::go_text;
use crate::manifest::Files;
use crate::output::line;
use crate::session::{Connected, Session};
use anyhow::Result;
use gantry_proto::api::v1::PatchType;
use gantry_proto::core::v1::Node;
use serde_json::{Value, json};

/// Which nodes, for the commands that are about nodes alone.
#[derive(clap::Args, Debug)]
pub struct Nodes {
    /// NODE..., or node/NODE...
    #[arg(value_name = "NODE")]
    names: Vec<String>,
    /// Those whose labels match
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
}

/// Keep new pods off nodes
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    dry_run: DryRunOption,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    run_with(&arguments.nodes, arguments.dry_run.dry_run, true, session).await
}

pub(super) async fn run_with(
    nodes: &Nodes,
    dry_run: DryRun,
    unschedulable: bool,
    session: &Session,
) -> Result<()> {
    let connected = session.connect()?;
    let command = if unschedulable { "cordon" } else { "uncordon" };
    let (nodes, mut failed) = nodes.read(command, &connected).await?;
    set(&nodes, unschedulable, dry_run, &connected, &mut failed).await?;
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

impl Nodes {
    /// The nodes that are meant, and whether some are not there, which has been said.
    pub(super) async fn read(
        &self,
        command: &str,
        connected: &Connected,
    ) -> Result<(Vec<Object>, bool), Failure> {
        let selected = self.selector.as_ref().is_some_and(|text| !text.is_empty());
        if self.names.is_empty() && !selected {
            return Err(Failure::message(format!(
                "USAGE: {command} NODE [flags]\nSee 'gantry {command} --help' for help and examples"
            )));
        }
        if !self.names.is_empty() && selected {
            return Err(Failure::message(
                "error: cannot specify both a node name and a --selector option",
            ));
        }
        let names = self.names.iter().map(|name| match name.split_once('/') {
            Some(("node" | "nodes" | "no", rest)) => rest,
            _ => name,
        });
        let arguments: Vec<String> = std::iter::once("nodes").chain(names).map(String::from).collect();
        let choice = Choice {
            arguments: &arguments,
            files: &Files::default(),
            selectors: &Selectors {
                labels: self.selector.clone(),
                fields: None,
            },
            all: false,
            all_namespaces: false,
        };
        chosen::choose(&choice, connected).await?.read(connected).await
    }
}

/// Sets what new pods may do, node by node, and says so.
pub(super) async fn set(
    nodes: &[Object],
    unschedulable: bool,
    dry_run: DryRun,
    connected: &Connected,
    failed: &mut bool,
) -> Result<(), Failure> {
    let outcome = if unschedulable { "cordoned" } else { "uncordoned" };
    for object in nodes {
        let node: Node = object.decode()?;
        if node.spec().unschedulable == unschedulable {
            line(format_args!(
                "{} already {outcome}{}",
                object.shown(),
                dry_run.note()
            ));
            continue;
        }
        let value = if unschedulable {
            Value::Bool(true)
        } else {
            Value::Null
        };
        let patch = json!({"spec": {"unschedulable": value}});
        if !dry_run.is_client() {
            let (kind, key) = (object.kind, object.key());
            let patched = connected
                .cluster
                .patch(kind, &key, PatchType::Merge, &patch, dry_run.is_server());
            if let Err(failure) = patched.await {
                *failed = true;
                let (verb, name) = (
                    outcome.trim_end_matches("ed"),
                    go_text::quoted(&object.metadata.name),
                );
                eprintln!("error: unable to {verb} node {name}: {}", failure.text());
                continue;
            }
        }
        line(format_args!("{} {outcome}{}", object.shown(), dry_run.note()));
    }
    Ok(())
}
