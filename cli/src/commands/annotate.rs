//! `gantry annotate`: sets and removes annotations.

use crate::marks::{self, MarkOptions, Marks};
use crate::session::Session;
use anyhow::Result;

/// Set (KEY=VALUE) or remove (KEY-) annotations, or show them
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    options: MarkOptions,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    marks::change(Marks::Annotations, arguments.options, session).await
}
