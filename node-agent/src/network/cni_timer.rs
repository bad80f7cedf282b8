//! What stands before a CNI plugin, so that its time shows in traces: the program `gantry-cni`, installed as
//! `gantry-bridge` for `bridge`.
//!
//! It opens a connection to the node agent, says what begins, and becomes the plugin (execve): standard input and
//! output, the environment, the exit code and signals are the plugin's own. The connection stays open in it and closes
//! with it, which tells the agent the end. Where no agent listens, it becomes the plugin all the same.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the agent listens: an abstract address, of which each network namespace has its own, as each node has.
pub const ADDRESS: &[u8] = b"gantry-node-agent/cni";
/// What an installed name begins with; the rest is the plugin's.
pub const PREFIX: &str = "gantry-";
/// The CNI specification's first code for a plugin's own errors.
const NO_PLUGIN: u32 = 100;

/// Becomes the plugin that this process is named after. Returns only where there is none.
pub fn run() -> ExitCode {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let mut arguments = std::env::args_os();
    let own = PathBuf::from(arguments.next().unwrap_or_default());
    let name = plugin(&own);
    let found = name.and_then(|name| find(name, &variable("CNI_PATH")));
    let (Some(name), Some(path)) = (name, found) else {
        return failed(&format!("no CNI plugin stands behind {}", own.display()));
    };
    let command = variable("CNI_COMMAND");
    let uid = argument(&variable("CNI_ARGS"), "K8S_POD_UID").map(str::to_owned);
    if let Some(uid) = uid.filter(|_| command == "ADD" || command == "DEL") {
        #[allow(clippy::disallowed_methods, reason = "a span says when it began")]
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Without the agent there is nobody to tell, and the plugin does its work.
        let _ = tell(&format!("{command} {name} {uid} {}\n", begun.as_nanos()));
    }
    let error = Command::new(&path).arg0(&path).args(arguments).exec();
    failed(&format!("{}: {error}", path.display()))
}

/// Says a line on a connection that this process keeps until its end. Never waits.
fn tell(line: &str) -> nix::Result<()> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let connection: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(connection.as_raw_fd(), &UnixAddr::new_abstract(ADDRESS)?)?;
    send(connection.as_raw_fd(), line.as_bytes(), MsgFlags::MSG_NOSIGNAL)?;
    fcntl(&connection, FcntlArg::F_SETFD(FdFlag::empty()))?;
    // The plugin inherits it.
    let _ = connection.into_raw_fd();
    Ok(())
}

/// Of `/usr/lib/cni/gantry-bridge`, `bridge`.
fn plugin(own: &Path) -> Option<&str> {
    let name = own.file_name().and_then(OsStr::to_str)?.strip_prefix(PREFIX)?;
    (!name.is_empty()).then_some(name)
}

/// In the folders of CNI_PATH, as runtimes look.
fn find(name: &str, folders: &str) -> Option<PathBuf> {
    std::env::split_paths(folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Of `IgnoreUnknown=1;K8S_POD_UID=...`, a value.
fn argument<'a>(arguments: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// An error as the CNI specification wants it, on standard output.
fn failed(message: &str) -> ExitCode {
    let error = serde_json::json!({"cniVersion": "0.4.0", "code": NO_PLUGIN, "msg": message});
    println!("{error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_named_by_the_program_and_the_pod_by_the_arguments() {
        for (own, expected) in [
            ("/usr/lib/cni/gantry-bridge", Some("bridge")),
            ("gantry-portmap", Some("portmap")),
            ("/usr/lib/cni/bridge", None),
            ("gantry-", None),
            ("", None),
        ] {
            assert_eq!(plugin(Path::new(own)), expected, "{own}");
        }
        let given = "IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_UID=0b5c-1";
        assert_eq!(argument(given, "K8S_POD_UID"), Some("0b5c-1"));
        assert_eq!(argument("", "K8S_POD_UID"), None);
    }
}
