//! `gantry completion`: a script that lets a shell complete commands, options and names from the cluster.

use crate::output;
use crate::session::Session;
use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Print a script that lets a shell complete this program's commands
///
/// For bash: source <(gantry completion bash)
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[arg(value_enum)]
    shell: Shell,
}

pub async fn run(arguments: Arguments, _session: &Session) -> Result<()> {
    match arguments.shell {
        Shell::Bash => output::bytes(include_bytes!("../completion/gantry.bash")),
        Shell::Zsh => output::bytes(include_bytes!("../completion/gantry.zsh")),
        Shell::Fish => output::bytes(include_bytes!("../completion/gantry.fish")),
        // The others complete commands and options, and no names.
        other => {
            let mut script = Vec::new();
            clap_complete::generate(other, &mut crate::CommandLine::command(), "gantry", &mut script);
            output::bytes(&script);
        }
    }
    Ok(())
}
