//! Which certificates there are, for whom and where. Names and organisations are those that Kubernetes'
//! own components have, since authorization goes by them.

use std::net::IpAddr;

/// What a new cluster's folder is made for.
pub struct Cluster {
    /// The apiservers, each `https://host:port`, in the order in which clients try them.
    pub servers: Vec<String>,
    /// Names and addresses that the apiserver's certificate is valid for, besides the usual ones.
    pub extra_names: Vec<String>,
}

/// A node that joins.
pub struct Node {
    pub name: String,
    pub address: IpAddr,
}

/// One of the two certificate authorities. etcd has its own, so that a certificate for the apiserver
/// opens no way into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    Cluster,
    Etcd,
}

impl Signer {
    pub const ALL: [Signer; 2] = [Signer::Cluster, Signer::Etcd];

    /// The path of its files, without extension, below the cluster's folder.
    pub fn path(self) -> &'static str {
        match self {
            Signer::Cluster => "ca",
            Signer::Etcd => "etcd/ca",
        }
    }

    pub fn common_name(self) -> &'static str {
        match self {
            Signer::Cluster => "gantry-ca",
            Signer::Etcd => "gantry-etcd-ca",
        }
    }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
    /// A component that calls the apiserver and serves its own port with one certificate.
    Both,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub signer: Signer,
    /// The path of its files, without extension, below the cluster's folder.
    pub path: String,
    pub common_name: String,
    /// Kubernetes' group of the user that the common name stands for; empty for none.
    pub organization: &'static str,
    pub usage: Usage,
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// The kubeconfig that embeds the pair, below the cluster's folder.
    pub kubeconfig: Option<String>,
}

/// The first address of the default Service range, which the `kubernetes` Service has.
const KUBERNETES_SERVICE_ADDRESS: &str = "10.96.0.1";

impl Cluster {
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut apiserver_names: Vec<String> = [
            "localhost",
            "127.0.0.1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            KUBERNETES_SERVICE_ADDRESS,
        ]
        .map(String::from)
        .to_vec();
        let from_urls = self.servers.iter().map(|server| host_of(server));
        for name in from_urls.chain(self.extra_names.iter().cloned()) {
            if !apiserver_names.contains(&name) {
                apiserver_names.push(name);
            }
        }
        let mut etcd_names = local_names();
        etcd_names.push("etcd".into());
        for name in &self.extra_names {
            if !etcd_names.contains(name) {
                etcd_names.push(name.clone());
            }
        }
        vec![
            Leaf {
                names: etcd_names,
                ..leaf(Signer::Etcd, "etcd/server", "etcd-server", "", Usage::Both)
            },
            leaf(
                Signer::Etcd,
                "etcd/client",
                "kube-apiserver-etcd-client",
                "",
                Usage::Client,
            ),
            Leaf {
                names: apiserver_names,
                ..leaf(
                    Signer::Cluster,
                    "apiserver/tls",
                    "kube-apiserver",
                    "",
                    Usage::Server,
                )
            },
            leaf(
                Signer::Cluster,
                "apiserver/kubelet-client",
                "kube-apiserver-kubelet-client",
                "system:masters",
                Usage::Client,
            ),
            component("scheduler", "system:kube-scheduler", self.extra_names.clone()),
            component(
                "controller-manager",
                "system:kube-controller-manager",
                self.extra_names.clone(),
            ),
            Leaf {
                kubeconfig: Some("admin/kubeconfig".into()),
                ..leaf(
                    Signer::Cluster,
                    "admin/tls",
                    "kubernetes-admin",
                    "system:masters",
                    Usage::Client,
                )
            },
            leaf(
                Signer::Cluster,
                "prometheus/tls",
                "prometheus",
                "system:monitoring",
                Usage::Client,
            ),
        ]
    }
}

impl Node {
    pub fn leaves(&self) -> Vec<Leaf> {
        let folder = format!("nodes/{}", self.name);
        let mut names = local_names();
        names.extend([self.name.clone(), self.address.to_string()]);
        vec![
            Leaf {
                names: names.clone(),
                kubeconfig: Some(format!("{folder}/kubeconfig")),
                ..leaf(
                    Signer::Cluster,
                    &format!("{folder}/tls"),
                    &format!("system:node:{}", self.name),
                    "system:nodes",
                    Usage::Both,
                )
            },
            Leaf {
                names,
                kubeconfig: Some(format!("{folder}/proxy.kubeconfig")),
                ..leaf(
                    Signer::Cluster,
                    &format!("{folder}/proxy"),
                    "system:kube-proxy",
                    "system:node-proxier",
                    Usage::Both,
                )
            },
        ]
    }
}

/// The host of an `https://host:port` URL, without the brackets of an IPv6 address.
pub fn host_of(server: &str) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default().into(),
        None => authority.split(':').next().unwrap_or_default().into(),
    }
}

fn component(name: &str, common_name: &str, extra_names: Vec<String>) -> Leaf {
    let mut names = local_names();
    names.push(name.into());
    names.extend(extra_names);
    Leaf {
        names,
        kubeconfig: Some(format!("{name}/kubeconfig")),
        ..leaf(
            Signer::Cluster,
            &format!("{name}/tls"),
            common_name,
            "",
            Usage::Both,
        )
    }
}

fn local_names() -> Vec<String> {
    vec!["localhost".into(), "127.0.0.1".into()]
}

fn leaf(signer: Signer, path: &str, common_name: &str, organization: &'static str, usage: Usage) -> Leaf {
    Leaf {
        signer,
        path: path.into(),
        common_name: common_name.into(),
        organization,
        usage,
        names: Vec::new(),
        kubeconfig: None,
    }
}
