//! What every command starts from: the global options.

use anyhow::Result;
use std::path::PathBuf;

/// Options that every command takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// The file that says which cluster and as whom [default: $GANTRY_CONFIG, ~/.gantry/config, /etc/gantry/admin.conf]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace to work in [default: the context's]
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub namespace: Option<String>,
    /// Say more: the trace that a change started
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// OTLP gRPC endpoint that receives this command's trace, e.g. http://localhost:4317
    #[arg(
        long,
        global = true,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        help_heading = "Global options"
    )]
    pub otlp_endpoint: Option<String>,
    /// Which of this command's own log lines are written to standard error
    #[arg(
        long,
        global = true,
        env = "GANTRY_LOG",
        default_value = "warn",
        value_name = "FILTER",
        help_heading = "Global options"
    )]
    pub log_level: String,
}

pub struct Session {
    pub options: Options,
}

impl Session {
    pub fn new(options: Options) -> Session {
        Session { options }
    }

    pub fn config_path(&self) -> Result<PathBuf> {
        let variable = std::env::var("GANTRY_CONFIG").ok();
        let home = std::env::var_os("HOME").map(PathBuf::from);
        crate::kubeconfig::find(
            self.options.kubeconfig.as_deref(),
            variable.as_deref(),
            home.as_deref(),
        )
    }
}
