//! Traffic from this node's pods to the world outside leaves under the node's address.

use crate::network::Range;
use anyhow::{Context as _, bail};
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

pub const TABLE: &str = "gantry-node";

/// Traffic to other pods keeps its source, so that policies and logs see who it was.
pub fn ruleset(pods: Range, cluster: Range) -> String {
    format!(
        "table ip {TABLE} {{}}\n\
         delete table ip {TABLE}\n\
         table ip {TABLE} {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {pods} ip daddr != {cluster} ip daddr != 224.0.0.0/4 masquerade\n\
         \t}}\n\
         }}\n"
    )
}

/// Removes our table; it need not be there.
pub fn empty() -> String {
    format!("table ip {TABLE} {{}}\ndelete table ip {TABLE}\n")
}

pub async fn apply(ruleset: &str) -> anyhow::Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("running nft (Debian's package nftables)")?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(ruleset.as_bytes()).await?;
    }
    let output = nft.wait_with_output().await?;
    if !output.status.success() {
        bail!(
            "nft refused the rules: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
