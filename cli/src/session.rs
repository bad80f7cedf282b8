//! What every command starts from: the global options, the kubeconfig, the connection.

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::kubeconfig::{self, File};
use anyhow::Result;
use gantry_client::Config;
use gantry_proto::KindInfo;
use gantry_telemetry::trace;
use std::path::PathBuf;

const HEADING: &str = "Global options";

/// Options that every command takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Which cluster, and as whom [default: $GANTRY_CONFIG, ~/.gantry/config, /etc/gantry/admin.conf]
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace to work in [default: the context's]
    #[arg(short, long, global = true, help_heading = HEADING)]
    pub namespace: Option<String>,
    /// Say more: the id of the trace that a change starts
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = HEADING)]
    pub verbose: u8,
    /// Record the trace of this command whatever the ratio is, and print its id to standard error
    #[arg(long, global = true, help_heading = HEADING)]
    pub trace: bool,
    /// Which share of the traces that commands begin is recorded, from 0 to 1
    #[arg(
        long,
        global = true,
        env = "GANTRY_TRACE_RATIO",
        default_value_t = 1.0,
        value_parser = gantry_telemetry::parse_ratio,
        value_name = "RATIO",
        help_heading = HEADING
    )]
    pub trace_ratio: f64,
    /// OTLP gRPC endpoint that receives this command's spans, such as http://localhost:4317
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", help_heading = HEADING)]
    pub otlp_endpoint: Option<String>,
    /// The authorities that an https endpoint's certificate may be signed by, in PEM [default: the system's]
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE", help_heading = HEADING)]
    pub otlp_certificate: Option<PathBuf>,
    /// Which log lines of this command itself are written to standard error
    #[arg(
        long,
        global = true,
        env = "GANTRY_LOG",
        default_value = "warn",
        value_name = "FILTER"
    )]
    #[arg(help_heading = HEADING)]
    pub log_level: String,
}

pub struct Session {
    pub options: Options,
}

impl Session {
    pub fn config_file(&self) -> Result<File> {
        let variable = std::env::var("GANTRY_CONFIG").ok();
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let path = kubeconfig::find(
            self.options.kubeconfig.as_deref(),
            variable.as_deref(),
            home.as_deref(),
        )?;
        File::read(&path)
    }

    /// A handle to the cluster. Nothing is connected to yet.
    pub fn connect(&self) -> Result<Connected> {
        let file = self.config_file()?;
        let config = Config::load(&file.path).map_err(|error| Failure::message(error.to_string()))?;
        let cluster = Cluster::new(config.with_trace(trace::current_traceparent))?;
        let flag = self
            .options
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty());
        let namespace = flag.clone().unwrap_or_else(|| file.namespace().to_string());
        Ok(Connected {
            cluster,
            namespace,
            namespace_given: flag.is_some(),
        })
    }
}

/// The cluster, and the namespace to work in.
pub struct Connected {
    pub cluster: Cluster,
    pub namespace: String,
    /// True when the user named it, so that a file that names another one is a mistake.
    pub namespace_given: bool,
}

impl Connected {
    /// The namespace of an object of this kind: empty for kinds without.
    pub fn namespace_of(&self, kind: &KindInfo) -> String {
        if kind.namespaced {
            self.namespace.clone()
        } else {
            String::new()
        }
    }
}
