//! `gantry completion`: a script that lets a shell complete commands and options.

use crate::output;
use crate::session::Session;
use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Print a script that lets a shell complete this program's commands
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[arg(value_enum)]
    shell: Shell,
}

pub async fn run(arguments: Arguments, _session: &Session) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut crate::CommandLine::command(),
        "gantry",
        &mut script,
    );
    output::bytes(&script);
    Ok(())
}
