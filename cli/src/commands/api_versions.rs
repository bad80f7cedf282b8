//! `gantry api-versions`: the groups and versions that the server has.

use super::api_resources::api_version;
use crate::output::line;
use crate::session::Session;
use anyhow::Result;
use std::collections::BTreeSet;

/// Show the groups and versions that the server has
#[derive(clap::Args, Debug)]
pub struct Arguments {}

pub async fn run(_arguments: Arguments, session: &Session) -> Result<()> {
    let reply = session.connect()?.cluster.discover().await?;
    let versions: BTreeSet<String> = reply.resources.iter().map(api_version).collect();
    versions
        .iter()
        .for_each(|version| line(format_args!("{version}")));
    Ok(())
}
