//! `gantry image import`: brings an image from a file into the nodes' container runtimes. No registry is needed.

use crate::cluster::{Cluster, Selection};
use crate::failure::Failure;
use crate::output::line;
use crate::session::Session;
use anyhow::{Context as _, Result};
use futures::stream;
use gantry_client::Client;
use gantry_proto::api::v1::ImportImageRequest;
use gantry_proto::core::v1::Node;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// Bytes to a message: large enough that the archive and not the messages are the work, and far from the
/// servers' least limit of 4 MiB for one.
const CHUNK_BYTES: usize = 256 << 10;

/// Bring images to the nodes
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Import an OCI or docker archive into the nodes' container runtimes
    Import {
        file: PathBuf,
        /// Only into this node (repeatable) [default: all nodes that are ready]
        #[arg(long = "node", value_name = "NAME")]
        nodes: Vec<String>,
        /// Into all nodes, ready or not
        #[arg(long, conflicts_with = "nodes")]
        all_nodes: bool,
    },
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let Action::Import {
        file,
        nodes,
        all_nodes,
    } = arguments.action;
    // Before anything else, so that a mistyped name costs nothing.
    File::open(&file)
        .await
        .with_context(|| format!("opening {}", file.display()))?;
    let connected = session.connect()?;
    let nodes = if nodes.is_empty() {
        chosen(&connected.cluster, all_nodes).await?
    } else {
        nodes
    };
    let client = connected.cluster.answering_client().await?;
    let mut failed = false;
    for node in &nodes {
        match import(client, node, &file).await {
            Ok(images) if images.is_empty() => {
                line(format_args!("node/{node}: the archive has no image with a name"))
            }
            Ok(images) => images
                .iter()
                .for_each(|image| line(format_args!("node/{node}: imported {image}"))),
            Err(Sending::File(error)) => {
                return Err(error).with_context(|| format!("reading {}", file.display()));
            }
            Err(Sending::Call(error)) => {
                failed = true;
                eprintln!(
                    "node/{node}: {}",
                    Failure::of_call(*error, &connected.cluster.server())
                );
            }
        }
    }
    if failed { Err(Failure::Said.into()) } else { Ok(()) }
}

async fn chosen(cluster: &Cluster, all: bool) -> Result<Vec<String>, Failure> {
    let nodes = cluster.list_as::<Node>(&Selection::default()).await?;
    let is_ready = |node: &&Node| {
        all || node
            .status()
            .conditions
            .iter()
            .any(|c| c.r#type == "Ready" && c.status == "True")
    };
    let names: Vec<String> = nodes
        .iter()
        .filter(is_ready)
        .map(|node| node.metadata().name.clone())
        .collect();
    match names.is_empty() {
        true => Err(Failure::message(
            "no node is ready; see `gantry get nodes`, or name one with --node",
        )),
        false => Ok(names),
    }
}

enum Sending {
    File(std::io::Error),
    Call(Box<tonic::Status>),
}

async fn import(client: &Client, node: &str, file: &Path) -> Result<Vec<String>, Sending> {
    let archive = File::open(file).await.map_err(Sending::File)?;
    let header = ImportImageRequest {
        node: node.into(),
        data: Default::default(),
    };
    let failed = std::sync::Arc::new(std::sync::Mutex::new(None));
    let failure = failed.clone();
    let chunks = stream::unfold((Some(header), archive), move |(header, mut archive)| {
        let failure = failure.clone();
        async move {
            if let Some(header) = header {
                return Some((header, (None, archive)));
            }
            let mut data = Vec::with_capacity(CHUNK_BYTES);
            match (&mut archive)
                .take(CHUNK_BYTES as u64)
                .read_to_end(&mut data)
                .await
            {
                Ok(0) => None,
                Ok(_) => {
                    let chunk = ImportImageRequest {
                        node: String::new(),
                        data: data.into(),
                    };
                    Some((chunk, (None, archive)))
                }
                Err(error) => {
                    if let Ok(mut failure) = failure.lock() {
                        *failure = Some(error);
                    }
                    None
                }
            }
        }
    });
    let reply = client.nodes().import_image(chunks).await;
    let read_failure = failed.lock().ok().and_then(|mut failed| failed.take());
    match (read_failure, reply) {
        (Some(error), _) => Err(Sending::File(error)),
        (None, Ok(reply)) => Ok(reply.into_inner().images),
        (None, Err(error)) => Err(Sending::Call(Box::new(error))),
    }
}
