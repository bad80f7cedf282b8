//! `gantry uncordon`: lets new pods onto a node again.

use crate::session::Session;
use anyhow::Result;

/// Let new pods onto a node again
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[arg(required = true)]
    nodes: Vec<String>,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    super::cordon::set(&arguments.nodes, false, session).await
}
