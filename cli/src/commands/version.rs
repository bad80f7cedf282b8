//! `gantry version`: of this program and of the server.

use crate::output::line;
use crate::session::Session;
use anyhow::Result;

/// Show the versions of this program and of the server
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Do not ask the server
    #[arg(long)]
    client: bool,
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    line(format_args!("Client Version: v{}", env!("CARGO_PKG_VERSION")));
    if !arguments.client {
        let reply = session.connect()?.cluster.discover().await?;
        line(format_args!("Server Version: {}", reply.server_version));
    }
    Ok(())
}
