//! Network namespaces: one for the control plane with a bridge, one per node, joined by veth pairs. Nothing
//! outside them is touched, so clusters of parallel tests may use the same addresses and ports.

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;

/// The control plane's address on the bridge.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The address of a second control plane, in the same namespace.
pub const STANDBY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// The namespaces of one cluster; removed when dropped.
pub struct Network {
    prefix: String,
    nodes: usize,
}

impl Network {
    /// `prefix` keeps the namespaces of clusters apart.
    pub fn new(prefix: &str, nodes: usize) -> anyhow::Result<Network> {
        let network = Network {
            prefix: prefix.into(),
            nodes,
        };
        let plane = network.control_plane();
        ip(&["netns", "add", &plane])?;
        in_namespace(&plane, &["link", "set", "lo", "up"])?;
        in_namespace(&plane, &["link", "add", "fabric", "type", "bridge"])?;
        for address in [CONTROL_PLANE, STANDBY] {
            in_namespace(
                &plane,
                &["addr", "add", &format!("{address}/24"), "dev", "fabric"],
            )?;
        }
        in_namespace(&plane, &["link", "set", "fabric", "up"])?;
        for number in 1..=nodes {
            let node = network.node(number);
            let port = format!("node{number}");
            ip(&["netns", "add", &node])?;
            in_namespace(&node, &["link", "set", "lo", "up"])?;
            in_namespace(
                &plane,
                &[
                    "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &node,
                ],
            )?;
            in_namespace(&plane, &["link", "set", &port, "master", "fabric", "up"])?;
            in_namespace(
                &node,
                &["addr", "add", &format!("{}/24", address(number)), "dev", "eth0"],
            )?;
            in_namespace(&node, &["link", "set", "eth0", "up"])?;
            in_namespace(
                &node,
                &["route", "add", "default", "via", &CONTROL_PLANE.to_string()],
            )?;
        }
        Ok(network)
    }

    pub fn control_plane(&self) -> String {
        format!("{}-plane", self.prefix)
    }

    /// Nodes are numbered from 1.
    pub fn node(&self, number: usize) -> String {
        format!("{}-n{number}", self.prefix)
    }

    /// Cuts a node off, or joins it again.
    pub fn set_connected(&self, number: usize, connected: bool) -> anyhow::Result<()> {
        let state = if connected { "up" } else { "down" };
        in_namespace(
            &self.control_plane(),
            &["link", "set", &format!("node{number}"), state],
        )
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 1..=self.nodes {
            let _ = ip(&["netns", "delete", &self.node(number)]);
        }
        let _ = ip(&["netns", "delete", &self.control_plane()]);
    }
}

/// A node's address on the bridge.
pub fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 10 + u8::try_from(number).unwrap_or(u8::MAX))
}

/// Moves the calling thread, and those that it starts from now on, into a network namespace.
pub fn enter(path: &str) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("opening the network namespace {path}"))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering the network namespace {path}"))
}

/// Where a named namespace is found.
pub fn path(namespace: &str) -> String {
    format!("/run/netns/{namespace}")
}

fn in_namespace(namespace: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut all = vec!["-n", namespace];
    all.extend(arguments);
    ip(&all)
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("running ip (install it with scripts/install.sh; tests of whole clusters need root)")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
