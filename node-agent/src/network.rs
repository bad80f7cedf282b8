//! The pods' network: CNI's configuration, routes to other nodes' pods, masquerading.

pub mod cni;
pub mod cni_timer;
pub mod cni_spans;
pub mod routes;
pub mod masquerade;

use std::net::{IpAddr, Ipv4Addr};

/// An IPv4 range such as `10.244.1.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Range {
    /// `None` for what is no IPv4 range.
    pub fn parse(text: &str) -> Option<Range> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        (prefix <= 32).then(|| {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Range {
                address: Ipv4Addr::from(u32::from(address) & mask),
                prefix,
            }
        })
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

pub fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// Lets the kernel forward between pods and nodes, and lets replies between pods on the bridge pass the rules
/// that rewrote the request. Where the bridge filter is not loaded there is nothing to switch.
pub fn set_kernel_switches() -> std::io::Result<()> {
    set_switch("/proc/sys/net/ipv4/ip_forward")?;
    let bridge = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if std::path::Path::new(bridge).exists() {
        set_switch(bridge)?;
    }
    Ok(())
}

fn set_switch(path: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path)?.trim() == "1" {
        Ok(())
    } else {
        std::fs::write(path, "1")
    }
}
