//! `gantry init`: a new cluster's certificates, keys and kubeconfigs, and those of a node that joins.

use crate::kubeconfig;
use crate::output::line;
use crate::pki::{self, Authorities, Cluster, Node, Report};
use crate::session::Session;
use anyhow::{Result, bail};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const DEFAULT_SERVER: &str = "https://127.0.0.1:6443";

/// Make a cluster's certificates, keys and kubeconfigs; what exists already is kept
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    member: Option<Member>,
    /// The folder that gets (or already has) the cluster's files
    #[arg(long, required = true)]
    dir: Option<PathBuf>,
    /// A further DNS name or address that the servers' certificates are valid for (repeatable)
    #[arg(long = "san", value_name = "NAME")]
    sans: Vec<String>,
    /// An apiserver's URL for the kubeconfigs (repeatable) [default: https://127.0.0.1:6443]
    #[arg(long = "server", value_name = "URL")]
    servers: Vec<String>,
}

#[derive(clap::Subcommand, Debug)]
enum Member {
    /// Make the certificates and kubeconfigs of a node that joins
    Node {
        name: String,
        /// The folder that has the cluster's files
        #[arg(long)]
        dir: PathBuf,
        /// The node's address, at which the apiserver reaches its agent
        #[arg(long, value_name = "IP")]
        address: IpAddr,
        /// An apiserver's URL as the node reaches it (repeatable) [default: those of DIR/admin/kubeconfig]
        #[arg(long = "server", value_name = "URL")]
        servers: Vec<String>,
    },
}

pub async fn run(arguments: Arguments, _session: &Session) -> Result<()> {
    #[allow(clippy::disallowed_methods, reason = "a command runs at one time: now")]
    let now = SystemTime::now();
    match (arguments.member, arguments.dir) {
        (
            Some(Member::Node {
                name,
                dir,
                address,
                servers,
            }),
            _,
        ) => {
            check_node_name(&name)?;
            let servers = if servers.is_empty() {
                known_servers(&dir)
            } else {
                servers
            };
            check_servers(&servers)?;
            let node = Node { name, address };
            report(
                &dir,
                pki::complete(&dir, Authorities::Require, &node.leaves(), &servers, now)?,
            );
        }
        (None, Some(dir)) => {
            let servers = if arguments.servers.is_empty() {
                vec![DEFAULT_SERVER.into()]
            } else {
                arguments.servers
            };
            check_servers(&servers)?;
            let cluster = Cluster {
                servers: servers.clone(),
                extra_names: arguments.sans,
            };
            report(
                &dir,
                pki::complete(&dir, Authorities::Make, &cluster.leaves(), &servers, now)?,
            );
        }
        (None, None) => bail!("give the folder with --dir"),
    }
    Ok(())
}

fn known_servers(dir: &Path) -> Vec<String> {
    match kubeconfig::File::read(&dir.join("admin/kubeconfig")) {
        Ok(file) if !file.servers().is_empty() => file.servers(),
        _ => vec![DEFAULT_SERVER.into()],
    }
}

fn report(dir: &Path, report: Report) {
    for path in &report.made {
        line(format_args!("created {}", dir.join(path).display()));
    }
    for warning in &report.warnings {
        eprintln!("Warning: {warning}");
    }
    match (report.made.len(), report.kept.len()) {
        (0, kept) => line(format_args!(
            "{}: complete, {kept} files kept as they are",
            dir.display()
        )),
        (made, 0) => line(format_args!("{}: {made} files created", dir.display())),
        (made, kept) => {
            line(format_args!(
                "{}: {made} files created, {kept} kept as they are",
                dir.display()
            ));
        }
    }
}

/// The node's name becomes a folder, a user name and an object's name: a DNS-1123 subdomain, as Kubernetes asks.
fn check_node_name(name: &str) -> Result<()> {
    let label = |label: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(());
    }
    bail!(
        "node name {name:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
         or '.', and must start and end with an alphanumeric character (e.g. 'example.com')"
    )
}

fn check_servers(servers: &[String]) -> Result<()> {
    for server in servers {
        if !server.starts_with("https://") || pki::plan::host_of(server).is_empty() {
            bail!("--server {server:?}: must be a URL such as https://127.0.0.1:6443");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_that_is_no_subdomain_is_refused() {
        for good in ["n1", "node-1.example.com", "0"] {
            assert!(check_node_name(good).is_ok(), "{good}");
        }
        for bad in ["", "N1", "../x", "a/b", "-a", "a-", "a..b", "."] {
            assert!(check_node_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_must_be_an_https_url_with_a_host() {
        let check = |server: &str| check_servers(&[server.to_string()]).is_ok();
        assert!(check("https://127.0.0.1:6443") && check("https://[::1]:6443") && check("https://api"));
        assert!(!check("http://127.0.0.1:6443") && !check("127.0.0.1:6443") && !check("https://"));
    }
}
