//! `gantry label`: sets and removes labels.

use crate::marks::{self, MarkOptions, Marks};
use crate::session::Session;
use anyhow::Result;

/// Set (KEY=VALUE) or remove (KEY-) labels, or show them
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    options: MarkOptions,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    marks::change(Marks::Labels, arguments.options, session).await
}
