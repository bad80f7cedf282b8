use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Parser;
use gantry_apiserver::{Config, audit, limits, parse_cidr, parse_port_range, run};
use gantry_store::etcd;
use gantry_telemetry::health::Health;
use gantry_telemetry::metrics::Registry;

/// Each request in flight may hold a message of 16 MiB; more than this many is a mistake.
const MAX_SEATS: usize = 100_000;

/// Gantry's API server: the only door to the cluster's state.
#[derive(Parser)]
#[command(name = "gantry-apiserver", version)]
struct Arguments {
    /// Address and port to serve on.
    #[arg(long, default_value = "0.0.0.0:6443")]
    listen: SocketAddr,
    /// The address at which pods reach this server, by the Service `kubernetes`; by default the one that it listens
    /// on, or this machine's.
    #[arg(long)]
    advertise_address: Option<Ipv4Addr>,
    /// The server's certificate chain (PEM).
    #[arg(long)]
    tls_cert: PathBuf,
    /// Its private key (PEM).
    #[arg(long)]
    tls_key: PathBuf,
    /// The CA that signs the certificates of clients, node agents and the scheduler (PEM).
    #[arg(long)]
    client_ca: PathBuf,
    /// Addresses of etcd's members, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "https://127.0.0.1:2379")]
    etcd_endpoints: Vec<String>,
    /// The CA that signed etcd's certificates (PEM).
    #[arg(long)]
    etcd_ca: PathBuf,
    /// Our client certificate for etcd (PEM).
    #[arg(long)]
    etcd_cert: PathBuf,
    /// Its private key (PEM).
    #[arg(long)]
    etcd_key: PathBuf,
    /// Our client certificate for node agents and the scheduler (PEM).
    #[arg(long)]
    kubelet_client_cert: PathBuf,
    /// Its private key (PEM).
    #[arg(long)]
    kubelet_client_key: PathBuf,
    /// The network from which Services get their addresses.
    #[arg(long, default_value = "10.96.0.0/12", value_parser = checked_cidr)]
    service_cidr: String,
    /// The ports from which Services get their node ports.
    #[arg(long, default_value = "30000-32767", value_parser = parse_port_range)]
    node_port_range: RangeInclusive<u16>,
    /// A file that says which requests are recorded in the audit log, and how much of them: a Policy of
    /// audit.k8s.io/v1.
    #[arg(long)]
    audit_policy_file: Option<PathBuf>,
    /// The file to which audit events are appended, one JSON object per line; - for standard output.
    #[arg(long)]
    audit_log_path: Option<PathBuf>,
    /// The size in megabytes at which the audit log is put aside and begun anew.
    #[arg(long, default_value_t = audit::DEFAULT_MAX_MEGABYTES, value_parser = clap::value_parser!(u64).range(1..))]
    audit_log_maxsize: u64,
    /// How many audit logs that were put aside are kept.
    #[arg(long, default_value_t = audit::DEFAULT_MAX_BACKUPS)]
    audit_log_maxbackup: usize,
    /// Requests that are carried out at a time are at most this and --max-mutating-requests-inflight together; lanes
    /// divide them.
    #[arg(long, default_value_t = limits::DEFAULT_READS, value_parser = at_least::<{ limits::LEAST_SEATS }>)]
    max_requests_inflight: usize,
    /// See --max-requests-inflight.
    #[arg(long, default_value_t = limits::DEFAULT_WRITES)]
    max_mutating_requests_inflight: usize,
    /// Watches and other calls that last which one user may have open.
    #[arg(long, default_value_t = limits::DEFAULT_LASTING_CALLS, value_parser = at_least::<1>)]
    max_long_running_per_client: usize,
    #[command(flatten)]
    telemetry: gantry_telemetry::Args,
}

impl Arguments {
    fn audit(&self) -> audit::Config {
        let log = self.audit_log_path.as_ref().map(|path| match path.to_str() {
            Some("-") => audit::Log::Stdout,
            _ => audit::Log::File {
                path: path.clone(),
                max_megabytes: self.audit_log_maxsize,
                max_backups: self.audit_log_maxbackup,
            },
        });
        audit::Config {
            policy_file: self.audit_policy_file.clone(),
            log,
        }
    }
}

fn at_least<const LEAST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= LEAST => Ok(number),
        _ => Err(format!("{text:?} is not a number of {LEAST} or more")),
    }
}

fn checked_cidr(text: &str) -> Result<String, String> {
    parse_cidr(text).map(|cidr| cidr.to_string())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let telemetry = gantry_telemetry::init("gantry-apiserver", &arguments.telemetry)?;
    let shutdown = gantry_telemetry::shutdown::signal();
    let audit = arguments.audit();
    let limits = limits::Config {
        seats: arguments
            .max_requests_inflight
            .saturating_add(arguments.max_mutating_requests_inflight)
            .min(MAX_SEATS),
        lasting_calls: arguments.max_long_running_per_client,
        ..limits::Config::default()
    };
    let config = Config {
        listen: arguments.listen,
        tls_certificate: arguments.tls_cert,
        tls_key: arguments.tls_key,
        client_ca: arguments.client_ca,
        etcd: etcd::Config {
            endpoints: arguments.etcd_endpoints,
            ca_file: arguments.etcd_ca,
            cert_file: arguments.etcd_cert,
            key_file: arguments.etcd_key,
        },
        kubelet_client_certificate: arguments.kubelet_client_cert,
        kubelet_client_key: arguments.kubelet_client_key,
        advertise: arguments.advertise_address,
        service_cidr: arguments.service_cidr,
        node_ports: arguments.node_port_range,
        audit,
        limits,
    };
    let result = run(config, Health::new(), Registry::new(), shutdown).await;
    telemetry.shutdown();
    result
}
