//! `gantry config`: which cluster and namespace commands work in.

use crate::failure::Failure;
use crate::kubeconfig::redacted;
use crate::output::{line, write};
use crate::session::Session;
use crate::yaml;
use anyhow::Result;

/// Show or change which cluster and namespace commands work in
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Print the file, keys and certificates left out
    View {
        /// With keys and certificates
        #[arg(long)]
        raw: bool,
    },
    /// Print the name of the current context
    CurrentContext,
    /// Print the contexts' names, the current one marked
    GetContexts,
    /// Make another context the current one
    UseContext { name: String },
    /// Change a context: gantry config set-context --current --namespace NAME
    SetContext {
        name: Option<String>,
        /// The current one
        #[arg(long, conflicts_with = "name")]
        current: bool,
    },
}

pub async fn run(arguments: Arguments, session: &Session) -> Result<()> {
    let mut file = session.config_file()?;
    match arguments.action {
        Action::View { raw } => {
            let shown = if raw {
                file.value.clone()
            } else {
                redacted(&file.value)
            };
            write(format_args!("{}", yaml::print(&shown)));
        }
        Action::CurrentContext => match file.current_context() {
            "" => return Err(Failure::message("current-context is not set").into()),
            name => line(format_args!("{name}")),
        },
        Action::GetContexts => {
            for name in file.contexts() {
                let mark = if name == file.current_context() { "*" } else { " " };
                line(format_args!("{mark} {name}"));
            }
        }
        Action::UseContext { name } => {
            file.use_context(&name)?;
            file.write()?;
            line(format_args!("Switched to context \"{name}\"."));
        }
        Action::SetContext { name, current } => {
            let name = match name {
                Some(name) => name,
                None if current => file.current_context().to_string(),
                None => return Err(Failure::message("give the context's name or --current").into()),
            };
            let Some(namespace) = &session.options.namespace else {
                return Err(Failure::message("nothing to change: give --namespace").into());
            };
            file.set_namespace(&name, namespace)?;
            file.write()?;
            line(format_args!("Context \"{name}\" modified."));
        }
    }
    Ok(())
}
