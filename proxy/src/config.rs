//! The command line.

use crate::ruleset::Cidr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Serves Services and cluster DNS on one node.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "gantry-proxy", version)]
pub struct Command {
    #[command(flatten)]
    pub config: Config,
    #[command(flatten)]
    pub telemetry: gantry_telemetry::Args,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Action {
    /// Removes the nftables table and the DNS address, which stay when the proxy ends so that Services go on
    /// being served. The proxy must not be running.
    Cleanup,
}

impl Command {
    pub fn is_cleanup(&self) -> bool {
        matches!(self.action, Some(Action::Cleanup))
    }
}

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// The Node object's name.
    #[arg(long, global = true, default_value = "")]
    pub node_name: String,
    /// The node's address, which is only logged: node ports answer on every address of the node except
    /// loopback ones.
    #[arg(long, global = true)]
    pub node_ip: Option<IpAddr>,
    /// How the apiserver is reached.
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The nftables table that is ours.
    #[arg(long, global = true, default_value = "gantry", value_parser = parse_table)]
    pub nft_table: String,
    /// The addresses of all pods; connections to Services from elsewhere are masqueraded.
    #[arg(long, global = true, default_value = "10.244.0.0/16")]
    pub cluster_cidr: Cidr,
    /// The address that answers cluster DNS; added to `lo`.
    #[arg(long, global = true, default_value = "169.254.20.10")]
    pub cluster_dns: Ipv4Addr,
    #[arg(long, global = true, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Names the servers that know all other domains.
    #[arg(long, global = true, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Where metrics and health are served, if a certificate is given.
    #[arg(long, global = true, default_value = "0.0.0.0:10256")]
    pub listen: SocketAddr,
    #[arg(long, global = true)]
    pub tls_cert: Option<PathBuf>,
    #[arg(long, global = true)]
    pub tls_key: Option<PathBuf>,
    /// The authority that clients' certificates must be signed by.
    #[arg(long, global = true)]
    pub ca: Option<PathBuf>,
}

/// The name becomes part of nft's input.
fn parse_table(name: &str) -> Result<String, String> {
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let legal = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    match begins_well && name.len() <= 64 && name.chars().all(legal) {
        true => Ok(name.to_owned()),
        false => {
            Err("a table's name is a letter, followed by at most 63 letters, digits, -, _ or .".to_owned())
        }
    }
}
