//! `gantry`: what a person does with a cluster, with kubectl's words, output and exit codes.

mod commands;
mod session;
mod cluster;
mod failure;
mod trace;
mod trace_tree;
mod trace_svg;
mod kubeconfig;
mod manifest;
mod last_applied;
mod resource;
mod chosen;
mod hints;
mod follow;
mod dry_run;
mod rollout;
mod marks;
mod wait_for;
mod taints;
mod drain;
mod editing;
mod explain;
mod completion;
mod masking;
mod scratch;
mod tables;
mod describe;
mod present;
mod jsonpath;
mod go_template;
mod custom_columns;
mod sort_by;
mod go_text;
mod aligned;
mod age;
mod span;
mod suggest;
mod yaml;
mod output;
mod pki;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use commands::Command;
use failure::Failure;
use gantry_telemetry::{Args, Telemetry};
use session::{Options, Session};
use std::process::ExitCode;

/// Gantry runs containers on a cluster of machines
#[derive(Parser, Debug)]
// Of an option that is given twice the last counts, as for kubectl.
#[command(name = "gantry", version, max_term_width = 120, args_override_self = true)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// Carries out the command line of this process. Returns 1 when it failed, having said why on standard error.
pub async fn run() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            match plain(&error) {
                Some(text) => eprintln!("error: {text}"),
                // Nothing can be done where the message itself cannot be printed.
                None => drop(error.print()),
            }
            return match error.use_stderr() {
                true => ExitCode::from(refused_line(std::env::args().skip(1))),
                false => ExitCode::SUCCESS,
            };
        }
    };
    let telemetry = match telemetry(&command_line.options) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let session = Session {
        options: command_line.options,
    };
    let result = command_line.command.run(&session).await;
    trace::report(&session).await;
    telemetry.shutdown();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(failure) => {
                say(failure, &session).await;
                ExitCode::from(failure.exit_code())
            }
            None => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// What a command line that is wrong ends with: of `diff`, 1 would tell of a difference.
fn refused_line(mut words: impl Iterator<Item = String>) -> u8 {
    let command = words.find(|word| !word.starts_with('-'));
    if command.as_deref() == Some("diff") { 2 } else { 1 }
}

/// Options whose values have errors in kubectl's words, which are printed without any around them.
const PLAIN: [&str; 4] = ["--output", "--for", "--sort-by", "--cascade"];

/// The error of an option's value, where it says all that there is to say.
fn plain(error: &clap::Error) -> Option<String> {
    let (Some(ContextValue::String(option)), Some(cause)) = (
        error.get(ContextKind::InvalidArg),
        std::error::Error::source(error),
    ) else {
        return None;
    };
    let name = option.split([' ', '[', '=']).next()?;
    PLAIN.contains(&name).then(|| cause.to_string())
}

async fn say(failure: &Failure, session: &Session) {
    let text = failure.to_string();
    if text.is_empty() {
        return;
    }
    match session.connect() {
        Ok(connected) if failure.is_not_found() => hints::tell(failure, &connected).await,
        _ => eprintln!("{text}"),
    }
}

fn telemetry(options: &Options) -> anyhow::Result<Telemetry> {
    let arguments = Args {
        log_level: options.log_level.clone(),
        otlp_endpoint: options.otlp_endpoint.clone(),
        otlp_certificate: options.otlp_certificate.clone(),
        trace_ratio: if options.trace { 1.0 } else { options.trace_ratio },
        ..Args::default()
    };
    gantry_telemetry::init("gantry-cli", &arguments)
}

#[cfg(test)]
mod tests;
