//! `gantry annotate`: sets and removes annotations.

use super::get::Selectors;
use crate::marks::{self, Marks};
use crate::session::Session;
use anyhow::Result;

/// Set (KEY=VALUE) or remove (KEY-) annotations
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// TYPE NAME... KEY=VALUE... KEY-..., or TYPE/NAME
    #[arg(required = true)]
    arguments: Vec<String>,
    /// Replace values that are there
    #[arg(long)]
    overwrite: bool,
    /// All objects of the type in the namespace
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    selectors: Selectors,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let Arguments {
        arguments,
        overwrite,
        all,
        selectors,
    } = arguments;
    marks::change(
        Marks::Annotations,
        &arguments,
        overwrite,
        all,
        &selectors,
        session,
    )
    .await
}
