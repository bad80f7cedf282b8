//! `--dry-run`: say what would happen and change nothing.

/// The option of every command that changes something.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct DryRunOption {
    /// Change nothing: "client" only reads, "server" has the server check the request
    #[arg(
        id = "dry-run",
        long = "dry-run",
        value_name = "WHERE",
        value_enum,
        default_value = "none"
    )]
    #[arg(num_args = 0..=1, default_missing_value = "client", require_equals = true, global = true)]
    pub dry_run: DryRun,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    None,
    Client,
    Server,
}

impl DryRun {
    /// What is added to a message.
    pub fn note(self) -> &'static str {
        match self {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }

    /// Nothing is sent that would change something.
    pub fn is_client(self) -> bool {
        self == DryRun::Client
    }

    /// The server does everything but the writing.
    pub fn is_server(self) -> bool {
        self == DryRun::Server
    }
}
