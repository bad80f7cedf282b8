//! The commands. A command is one file with `Arguments` and `run`, and one line in the list below.

pub mod get;
pub mod describe;
pub mod apply;
pub mod create;
pub mod delete;
pub mod patch;
pub mod edit;
pub mod diff;
pub mod wait;
pub mod logs;
pub mod why;
pub mod trace;
pub mod rollout;
pub mod set;
pub mod scale;
pub mod label;
pub mod annotate;
pub mod cordon;
pub mod uncordon;
pub mod drain;
pub mod taint;
pub mod image;
pub mod events;
pub mod explain;
pub mod api_resources;
pub mod api_versions;
pub mod version;
pub mod config;
pub mod init;
pub mod completion;
pub mod complete;

use crate::session::Session;
use crate::trace as traced;

macro_rules! commands {
    ($($(#[$attribute:meta])* $variant:ident = $module:ident $(as $trace:literal)?,)*) => {
        #[derive(clap::Subcommand, Debug)]
        pub enum Command {
            $($(#[$attribute])* $variant($module::Arguments),)*
        }

        impl Command {
            pub async fn run(self, session: &Session) -> anyhow::Result<()> {
                match self {
                    $(Command::$variant(arguments) => {
                        let work = Box::pin($module::run(arguments, session));
                        commands!(@traced $module work, session $(, $trace)?)
                    })*
                }
            }
        }
    };
    (@traced $module:ident $work:ident, $session:ident, $trace:literal) => {
        traced::root($trace, $session, $work).await
    };
    (@traced $module:ident $work:ident, $session:ident) => {
        match $session.options.trace {
            true => traced::root(concat!("gantry ", stringify!($module)), $session, $work).await,
            false => $work.await,
        }
    };
}

// A command that changes the cluster is named as the root of its trace, and one that reads begins none unless it is
// asked to by --trace. The rollout command starts one for the actions that change something.
commands! {
    Get = get,
    Describe = describe,
    Apply = apply as "gantry apply",
    Create = create as "gantry create",
    Delete = delete as "gantry delete",
    Patch = patch as "gantry patch",
    Edit = edit as "gantry edit",
    Diff = diff,
    Wait = wait,
    Logs = logs,
    Why = why,
    Trace = trace,
    Rollout = rollout,
    Set = set as "gantry set",
    Scale = scale as "gantry scale",
    Label = label as "gantry label",
    Annotate = annotate as "gantry annotate",
    Cordon = cordon as "gantry cordon",
    Uncordon = uncordon as "gantry uncordon",
    Drain = drain as "gantry drain",
    Taint = taint as "gantry taint",
    Image = image as "gantry image import",
    Events = events,
    Explain = explain,
    ApiResources = api_resources,
    ApiVersions = api_versions,
    Version = version,
    Config = config,
    Init = init,
    Completion = completion,
    #[command(name = "__complete", hide = true)]
    Complete = complete,
}
