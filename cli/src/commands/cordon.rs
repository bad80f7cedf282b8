//! `gantry cordon`: keeps new pods off a node.

use crate::cluster::shown;
use crate::output::line;
use crate::session::Session;
use anyhow::Result;
use gantry_proto::api::v1::PatchType;
use gantry_proto::core::v1::Node;
use gantry_proto::{Key, Kind as _};
use serde_json::{Value, json};

/// Keep new pods off a node
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[arg(required = true)]
    nodes: Vec<String>,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    set(&arguments.nodes, true, session).await
}

pub(super) async fn set(nodes: &[String], unschedulable: bool, session: &Session) -> Result<()> {
    let connected = session.connect()?;
    let outcome = if unschedulable { "cordoned" } else { "uncordoned" };
    for name in nodes {
        let key = Key::cluster(name.trim_start_matches("node/").trim_start_matches("nodes/"));
        let node: Node = connected.cluster.get_as(&key).await?;
        if node.spec().unschedulable == unschedulable {
            line(format_args!("{} already {outcome}", shown(Node::INFO, &key.name)));
            continue;
        }
        let value = if unschedulable {
            Value::Bool(true)
        } else {
            Value::Null
        };
        let patch = json!({"spec": {"unschedulable": value}});
        connected
            .cluster
            .patch(Node::INFO, &key, PatchType::Merge, &patch, false)
            .await?;
        line(format_args!("{} {outcome}", shown(Node::INFO, &key.name)));
    }
    Ok(())
}
