//! `gantry uncordon`: lets new pods onto nodes again.

use super::cordon::{self, Nodes};
use crate::dry_run::DryRunOption;
use crate::session::Session;
use anyhow::Result;

/// Let new pods onto nodes again
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    dry_run: DryRunOption,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    cordon::run_with(&arguments.nodes, arguments.dry_run.dry_run, false, session).await
}
