//! `gantry`: what a person does with a cluster, with kubectl's words, output and exit codes.

mod commands;
mod session;
mod kubeconfig;
mod pki;
mod yaml;
mod output;

use clap::Parser;
use commands::Command;
use session::{Options, Session};
use std::process::ExitCode;

/// Gantry runs containers on a cluster of machines
#[derive(Parser, Debug)]
#[command(
    name = "gantry",
    version,
    max_term_width = 120,
    disable_help_subcommand = true
)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// Carries out the command line of this process. Returns 1 when it failed, having said why on standard error.
pub async fn run() -> ExitCode {
    let command_line = CommandLine::parse();
    let session = Session::new(command_line.options);
    match command_line.command.run(&session).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
