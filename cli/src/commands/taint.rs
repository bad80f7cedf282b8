//! `gantry taint`: keeps pods off nodes, or away from them.

use crate::chosen::{self, Choice, Selectors};
use crate::cluster::Object;
use crate::dry_run::DryRunOption;
use crate::failure::Failure;
use crate::manifest::Files;
use crate::present::{OutputOptions, Results};
use crate::resource;
use crate::session::{Connected, Session};
use crate::taints::{self, Changes};
use anyhow::Result;
use gantry_proto::Kind as _;
use gantry_proto::api::v1::PatchType;
use gantry_proto::core::v1::Node;
use gantry_proto::status::Reason;
use serde_json::{Value, json};

/// As kubectl's retries of a patch that met another's.
const MOST_RETRIES: u32 = 5;

/// Set (KEY=VALUE:EFFECT) or remove (KEY:EFFECT-, KEY-) taints of nodes
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// node NAME... KEY=VALUE:EFFECT... KEY:EFFECT-..., where EFFECT is NoSchedule, PreferNoSchedule or NoExecute
    #[arg(required = true)]
    arguments: Vec<String>,
    /// Those whose labels match
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// All nodes
    #[arg(long)]
    all: bool,
    /// Replace values that are there
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    dry_run: DryRunOption,
    #[command(flatten)]
    output: OutputOptions,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let (nodes, specs) = taints::split(&arguments.arguments)?;
    let changes = taints::parse(&specs).map_err(Failure::message)?;
    let nodes = targets(&nodes, &arguments)?;
    let connected = session.connect()?;
    let choice = Choice {
        arguments: &nodes,
        files: &Files::default(),
        selectors: &Selectors {
            labels: arguments.selector.clone(),
            fields: None,
        },
        all: arguments.all,
        all_namespaces: false,
    };
    let chosen = chosen::choose(&choice, &connected).await?;
    let (objects, mut failed) = chosen.read(&connected).await?;
    let dry_run = arguments.dry_run.dry_run;
    let mut results = Results::new(&arguments.output, dry_run);
    for object in objects {
        match taint(object, &changes, &arguments, &connected).await {
            Ok((object, outcome)) => results.print(&object, outcome)?,
            Err(failure) => {
                failed = true;
                eprintln!("{failure}");
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

/// Taints one node. Controllers write to nodes too, so it is decided again on what they have written.
async fn taint(
    mut object: Object,
    changes: &Changes,
    arguments: &Arguments,
    connected: &Connected,
) -> Result<(Object, &'static str), Failure> {
    let dry_run = arguments.dry_run.dry_run;
    let (kind, key) = (object.kind, object.key());
    for attempt in 0.. {
        let (patch, outcome) = decide(&object.decode()?, changes, arguments.overwrite)?;
        if dry_run.is_client() {
            return Ok((object, outcome));
        }
        let patched = connected
            .cluster
            .patch(kind, &key, PatchType::Merge, &patch, dry_run.is_server());
        match patched.await {
            Ok(patched) => return Ok((patched, outcome)),
            Err(failure) if failure.reason() == Reason::Conflict && attempt < MOST_RETRIES => {
                object = connected.cluster.get(kind, &key).await?;
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::message("gave up"))
}

/// The first word must mean nodes; the others are their names.
fn targets(words: &[String], arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let kind = resource::kind(words[0].split('/').next().unwrap_or_default())?;
    if kind.message != Node::INFO.message {
        return Err(Failure::message(format!(
            "invalid resource type {}, only node types are supported",
            words[0].to_lowercase()
        )));
    }
    let selected = arguments.selector.as_ref().is_some_and(|text| !text.is_empty());
    match (arguments.all, selected) {
        (true, true) => Err(Failure::message(
            "setting 'all' parameter with a non empty selector is prohibited",
        )),
        (false, false) if words.len() < 2 && !words[0].contains('/') => Err(Failure::message(
            "at least one resource name must be specified since 'all' parameter is not set",
        )),
        (false, false) => Ok(words.to_vec()),
        _ => Ok(vec![words[0].clone()]),
    }
}

/// The merge patch replaces the whole list, so it says which version of the node it was decided on.
fn decide(node: &Node, changes: &Changes, overwrite: bool) -> Result<(Value, &'static str), Failure> {
    let present = &node.spec().taints;
    let name = &node.metadata().name;
    let (taints, outcome) = taints::decide(name, present, changes, overwrite).map_err(Failure::message)?;
    let taints = if taints.is_empty() {
        Value::Null
    } else {
        json!(taints)
    };
    let version = &node.metadata().resource_version;
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
    Ok((patch, outcome))
}
