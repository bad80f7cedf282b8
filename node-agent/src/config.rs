//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Runs the pods that are bound to one node.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "gantry-node-agent", version)]
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
    /// Removes what the agent made on this node: containers, mounts, cgroups, bridge, routes. The agent must
    /// not be running.
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
    /// The address that other nodes reach this one at.
    #[arg(long, global = true, default_value = "127.0.0.1")]
    pub node_ip: IpAddr,
    /// How the apiserver is reached.
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// containerd's socket.
    #[arg(long, global = true, default_value = "/run/containerd/containerd.sock")]
    pub containerd: PathBuf,
    /// Where volumes, logs and state are kept.
    #[arg(long, global = true, default_value = "/var/lib/gantry/node-agent")]
    pub root_dir: PathBuf,
    /// Where the CNI configuration is written. containerd must look there.
    #[arg(long, global = true, default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    /// Where the CNI plugins are.
    #[arg(long, global = true, default_value = "/usr/lib/cni")]
    pub cni_bin_dir: PathBuf,
    /// The bridge that pods are attached to.
    #[arg(long, global = true, default_value = "gantry0")]
    pub bridge: String,
    /// MTU of the pods' interfaces.
    #[arg(long, global = true, default_value_t = 1500)]
    pub mtu: u32,
    /// The addresses of all pods; traffic from pods to elsewhere is masqueraded.
    #[arg(long, global = true, default_value = "10.244.0.0/16")]
    pub cluster_cidr: String,
    /// The address that answers cluster DNS.
    #[arg(long, global = true, default_value = "169.254.20.10")]
    pub cluster_dns: IpAddr,
    #[arg(long, global = true, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// The host's resolver configuration, for pods with dnsPolicy Default.
    #[arg(long, global = true, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// An OCI or docker archive with the sandbox image, imported at the start. Its name must be the one in
    /// containerd's configuration.
    #[arg(long, global = true)]
    pub pause_image: Option<PathBuf>,
    /// How many pods fit.
    #[arg(long, global = true, default_value_t = 110)]
    pub max_pods: u32,
    /// Where logs and image imports are served to the apiserver, with metrics and health.
    #[arg(long, global = true, default_value = "0.0.0.0:10250")]
    pub listen: SocketAddr,
    #[arg(long, global = true)]
    pub tls_cert: Option<PathBuf>,
    #[arg(long, global = true)]
    pub tls_key: Option<PathBuf>,
    /// The authority that clients' certificates must be signed by.
    #[arg(long, global = true)]
    pub ca: Option<PathBuf>,
    /// The parent of all pods' cgroups is `/<this>/<node name>`.
    #[arg(long, global = true, default_value = "gantry")]
    pub cgroup_root: String,
}

impl Config {
    /// Where a pod's volumes and files are.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    /// Where a pod's logs are: Kubernetes' layout below our own root.
    pub fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.root_dir
            .join("log/pods")
            .join(format!("{namespace}_{name}_{uid}"))
    }

    /// The cgroup above all pods of this node. Several nodes may share one machine.
    pub fn cgroup_parent(&self) -> String {
        format!("/{}/{}", self.cgroup_root, self.node_name)
    }
}
