//! The commands. A command is one file with `Arguments` and `run`, and one line in the list below.

pub mod init;

use crate::session::Session;

macro_rules! commands {
    ($($variant:ident = $module:ident,)*) => {
        #[derive(clap::Subcommand, Debug)]
        pub enum Command {
            $($variant($module::Arguments),)*
        }

        impl Command {
            pub async fn run(self, session: &Session) -> anyhow::Result<()> {
                match self {
                    $(Command::$variant(arguments) => Box::pin($module::run(arguments, session)).await,)*
                }
            }
        }
    };
}

commands! {
    Init = init,
}
