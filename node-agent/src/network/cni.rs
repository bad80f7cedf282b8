//! The CNI configuration that containerd reads.

use crate::network::Range;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// The network's name, and the file's.
pub const NETWORK: &str = "gantry";
const FILE: &str = "10-gantry.conflist";

/// A bridge with host-local addresses from the node's range. Masquerading is ours, because the plugin's would
/// hide pods from other nodes' pods. `named` gives the name under which a plugin is called.
pub fn conflist(
    bridge: &str,
    mtu: u32,
    range: Range,
    data_dir: &Path,
    named: impl Fn(&str) -> String,
) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": named("bridge"),
                "bridge": bridge,
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "mtu": mtu,
                "ipam": {
                    "type": "host-local",
                    "dataDir": data_dir,
                    "ranges": [[{"subnet": range.to_string()}]],
                    "routes": [{"dst": "0.0.0.0/0"}]
                }
            },
            {"type": named("portmap"), "capabilities": {"portMappings": true}}
        ]
    })
}

pub fn file(conf_dir: &Path) -> PathBuf {
    conf_dir.join(FILE)
}

/// Writes the configuration if it is not there already. containerd sees the rename.
pub fn write(conf_dir: &Path, conflist: &Value) -> io::Result<()> {
    let text = format!("{conflist:#}\n");
    let path = file(conf_dir);
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::create_dir_all(conf_dir)?;
    let new = conf_dir.join(format!(".{FILE}.new"));
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}

/// What is missing of the plugins that the configuration names.
pub fn missing_plugins(bin_dir: &Path) -> Vec<&'static str> {
    let needed = ["bridge", "host-local", "portmap", "loopback"];
    needed
        .into_iter()
        .filter(|plugin| !bin_dir.join(plugin).exists())
        .collect()
}
